//! What git says: its progress, its own words, and those of the host that it passes on. Whoever runs the host writes much of it:
//! nothing here grows with what comes.

use std::cell::Cell;

use crate::domain::environment::{Progress, ProgressStep};

/// The most bytes of git's own words that are kept: the end of them.
const OWN_BYTES: usize = 4 * 1024;
/// The most bytes of the host's words that are kept: the end of them.
const REMOTE_BYTES: usize = 1024;
/// The most bytes of one line that are kept: the beginning of it.
const LINE_BYTES: usize = 1024;
/// The most bytes of an answer of git's that is used: a branch or a commit.
const ANSWER_BYTES: usize = 4 * 1024;
/// What git puts before each line of the host's.
const REMOTE: &str = "remote: ";

/// The beginning of what git answers.
#[derive(Default)]
pub(super) struct Answer(Vec<u8>);

impl Answer {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let room = ANSWER_BYTES - self.0.len();
        self.0.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub(super) fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// What git says beside its answer, line by line. A line of progress ends in `\r`, the last of its kind in `, done.`: none of
/// them is kept.
pub(super) struct Complaint<'a> {
    line: Vec<u8>,
    own: String,
    remote: String,
    /// Where the last progress is left.
    progress: &'a Cell<Option<Progress>>,
}

impl<'a> Complaint<'a> {
    pub(super) fn new(progress: &'a Cell<Option<Progress>>) -> Self {
        Self { line: Vec::new(), own: String::new(), remote: String::new(), progress }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => self.end_line(*byte),
                byte if self.line.len() < LINE_BYTES => self.line.push(*byte),
                _ => {}
            }
        }
    }

    fn end_line(&mut self, end: u8) {
        let line = String::from_utf8_lossy(&self.line);
        let line = line.trim();
        let is_progress = end == b'\r' || line.ends_with(", done.");
        if is_progress {
            if let Some(progress) = progress(line) {
                self.progress.set(Some(progress));
            }
        } else if let Some(line) = line.strip_prefix(REMOTE) {
            keep(&mut self.remote, line.trim(), REMOTE_BYTES);
        } else if line != REMOTE.trim() && !line.starts_with("Cloning into ") {
            keep(&mut self.own, line, OWN_BYTES);
        }
        self.line.clear();
    }

    /// Git's own words, and the host's.
    pub(super) fn into_texts(mut self) -> (String, String) {
        self.end_line(b'\n');
        (self.own, self.remote)
    }
}

/// Adds a line to a text that keeps its last lines.
fn keep(text: &mut String, line: &str, bytes: usize) {
    if line.is_empty() {
        return;
    }
    text.push_str(line);
    text.push('\n');
    if text.len() > bytes {
        let start = text.ceil_char_boundary(text.len() - bytes);
        let line = text[start..].find('\n').map_or(0, |end| end + 1);
        // One that is longer than all that is kept stays as long as it is the last.
        text.drain(..if start + line < text.len() { start + line } else { start });
    }
}

/// Reads a line such as `Receiving objects:  36% (145/402), 1.20 MiB | 2.30 MiB/s`. Steps of the host's are told by it alone.
fn progress(line: &str) -> Option<Progress> {
    let (is_remote, line) = line.strip_prefix(REMOTE).map_or((false, line), |line| (true, line));
    let (title, state) = line.split_once(':')?;
    let step = match (is_remote, title) {
        (true, "Enumerating objects" | "Counting objects") => ProgressStep::Counting,
        (true, "Compressing objects") => ProgressStep::Packing,
        (false, "Receiving objects") => ProgressStep::Receiving,
        (false, "Resolving deltas") => ProgressStep::Resolving,
        (false, "Updating files") => ProgressStep::Writing,
        (true | false, _) => return None,
    };
    let (done, total, rest) = match state.split_once("% (") {
        Some((_, state)) => {
            let (counts, rest) = state.split_once(')')?;
            let (done, total) = counts.split_once('/')?;
            (done.parse().ok()?, total.parse().ok()?, rest)
        }
        None => (state.split(',').next()?.trim().parse().ok()?, 0, ""),
    };
    let bytes = rest.strip_prefix(", ").and_then(|rest| size(rest.split(" | ").next()?)).unwrap_or_default();
    Some(Progress { step, done, total, bytes })
}

/// A number of bytes as git writes it: `1.20 MiB`.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = text.split_once(' ')?;
    let bits = match unit {
        "byte" | "bytes" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let (whole, hundredths) = number.split_once('.').unwrap_or((number, "0"));
    let hundredths = whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(hundredths.parse().ok()?)?;
    hundredths.checked_mul(1 << bits).map(|bytes| bytes.div_ceil(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(said: &[&[u8]]) -> (String, String) {
        let progress = Cell::new(None);
        let mut complaint = Complaint::new(&progress);
        said.iter().for_each(|bytes| complaint.take(bytes));
        complaint.into_texts()
    }

    #[test]
    fn progress_is_read_and_not_kept() {
        let last = Cell::new(None);
        let mut complaint = Complaint::new(&last);
        complaint.take(b"Cloning into '/workspace/a'...\nremote: Counting objects:  50% (1/2)\rremote: Coun");
        assert_eq!(last.take(), Some(Progress { step: ProgressStep::Counting, done: 1, total: 2, bytes: 0 }));
        complaint.take(
            b"ting objects: 100% (2/2), done.        \nReceiving objects:  36% (145/402)\rfatal: early EOF\nremote: \nerror: x",
        );
        assert_eq!(last.take(), Some(Progress { step: ProgressStep::Receiving, done: 145, total: 402, bytes: 0 }));
        assert_eq!(complaint.into_texts(), ("fatal: early EOF\nerror: x\n".to_owned(), String::new()));
    }

    #[test]
    fn every_step_is_known_by_gits_words_and_no_other_line_is_progress() {
        use ProgressStep::{Counting, Packing, Receiving, Resolving, Writing};
        for (line, expected) in [
            ("remote: Enumerating objects: 402, done.", Some((Counting, 402, 0, 0))),
            ("remote: Counting objects:   2% (1/50)", Some((Counting, 1, 50, 0))),
            ("remote: Compressing objects: 100% (2/2), done.", Some((Packing, 2, 2, 0))),
            ("Receiving objects:  36% (145/402), 1.20 MiB | 2.30 MiB/s", Some((Receiving, 145, 402, 1_258_292))),
            ("Receiving objects: 100% (3/3), 2.00 GiB | 2.30 MiB/s, done.", Some((Receiving, 3, 3, 2 << 30))),
            ("Receiving objects: 100% (3/3), 1 byte | 1 byte/s", Some((Receiving, 3, 3, 1))),
            ("Receiving objects: 100% (3/3), many | 1", Some((Receiving, 3, 3, 0))),
            ("Receiving objects: 100% (3/3), 99999999999999999.00 GiB | 1", Some((Receiving, 3, 3, 0))),
            ("Resolving deltas:   0% (0/10)", Some((Resolving, 0, 10, 0))),
            ("Updating files: 100% (4/4), done.", Some((Writing, 4, 4, 0))),
            // A host may say what it likes.
            ("remote: Receiving objects:  36% (145/402)", None),
            ("Counting objects:  36% (145/402)", None),
            ("remote: Counting objects: \u{1b}[2J", None),
            ("remote: Counting objects:  36% (-1/402)", None),
            ("remote: Counting objects:  36% (1/99999999999999999999)", None),
            ("remote: Counting objects:  36% (1", None),
            ("fatal: early EOF", None),
        ] {
            let expected = expected.map(|(step, done, total, bytes)| Progress { step, done, total, bytes });
            assert_eq!(progress(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_hosts_words_do_not_push_out_gits_own() {
        let talk = "remote: ä talks and talks\n".repeat(1000);
        let (own, remote) = texts(&[b"fatal: no\n", talk.as_bytes()]);
        assert_eq!(own, "fatal: no\n");
        assert!(remote.len() <= REMOTE_BYTES && remote.starts_with("ä talks"), "{remote}");
        let (own, _) = texts(&["error: ä\n".repeat(1000).as_bytes(), &[b'x'; 100_000]]);
        assert!(own.len() <= OWN_BYTES && own.starts_with("error: ä\n"), "{own}");
        assert!(own.ends_with(&format!("{}\n", "x".repeat(LINE_BYTES))));
        let (_, remote) = texts(&[b"remote: ", &[b'x'; 100_000]]);
        assert!(remote.len() > 1000 && remote.len() <= REMOTE_BYTES, "{}", remote.len());
    }
}
