//! The one door to standard output and standard error.
//!
//! Data goes to standard output, all else to standard error. What goes to standard error is made harmless first: no
//! control characters (a server's words must not steer the terminal), and no tokens.

use std::{
    io::{self, Write},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use latchkey::domain::{text::is_unprintable, token::redacted};

use crate::error::Failure;

/// Writes what people and scripts see.
pub(crate) struct Printer {
    progress: MultiProgress,
}

impl Printer {
    /// A printer to this process's standard streams.
    pub(crate) fn new() -> Self {
        // Draws nothing unless standard error is a terminal.
        Self { progress: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()) }
    }

    /// Writes data to standard output, as one or more whole lines.
    ///
    /// # Errors
    /// [`Failure::Output`] when standard output takes it not: closed, or the disk behind it is full.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.progress.suspend(|| write_all(io::stdout().lock(), &[text.as_bytes(), end.as_bytes()]))
    }

    /// Writes bytes to standard output as they are.
    ///
    /// # Errors
    /// As [`Printer::data`].
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.progress.suspend(|| write_all(io::stdout().lock(), &[bytes]))
    }

    /// Writes to standard error, as it is, what a command in an environment wrote to its own.
    pub(crate) fn raw_error(&self, bytes: &[u8]) {
        // Nobody is left to be told when standard error is gone; so below.
        let _ = self.progress.suspend(|| write_all(io::stderr().lock(), &[bytes]));
    }

    /// Writes a remark to standard error.
    pub(crate) fn note(&self, text: &str) {
        let mut text = redacted(&printable(text));
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let _ = self.progress.suspend(|| write_all(io::stderr().lock(), &[text.as_bytes()]));
    }

    /// Says on standard error what went wrong.
    pub(crate) fn failure(&self, failure: &Failure) {
        if !failure.is_silent() {
            self.note(&format!("error: {failure}"));
        }
    }

    /// Shows that something takes its time, until it is dropped. Shows nothing unless standard error is a terminal.
    pub(crate) fn progress(&self, subject: &str) -> Progress {
        let bar = self.progress.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_prefix(printable(subject));
        bar.enable_steady_tick(Duration::from_millis(100));
        Progress { bar }
    }
}

/// One line that says how far something is.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Says what is going on now.
    pub(crate) fn step(&self, text: &str) {
        self.bar.set_message(printable(text));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn write_all(mut stream: impl Write, parts: &[&[u8]]) -> Result<(), Failure> {
    let written = parts.iter().try_for_each(|part| stream.write_all(part)).and_then(|()| stream.flush());
    written.map_err(Failure::Output)
}

/// The text with every character replaced that a terminal would obey or hide text by; lines stay lines.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if is_unprintable(c) && c != '\n' { '\u{FFFD}' } else { c }).collect()
}

/// The text on one line, for a cell of a table.
pub(crate) fn one_line(text: &str) -> String {
    printable(&text.replace(['\n', '\r', '\t'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_goes_through() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{FFFD}[2Jb\nc");
        assert_eq!(one_line("a\r\nb\u{202E}"), "a  b\u{FFFD}");
    }
}
