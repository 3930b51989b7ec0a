//! What is left out of the tests here, and why.

#![allow(clippy::print_stderr, clippy::unwrap_used, reason = "what is left out is said, or the test fails")]

use std::{fs::OpenOptions, io::Write};

/// The variable that names a file for what is left out: `make test` shows it in the end, and fails where it is not expected.
const FILE: &str = "TESTS_LEFT_OUT";

/// Says that something is left out of the test that calls this, and why. Nobody is shown what a test says that passes: so it is
/// written down as well, with the test's name, if there is a file for that.
pub(crate) fn left_out(reason: &str) {
    eprintln!("left out: {reason}");
    let Some(path) = std::env::var_os(FILE) else { return };
    let thread = std::thread::current();
    let line = format!("{}: {reason}\n", thread.name().unwrap_or("a test"));
    // Other tests write there as well: each line is one write, at the end.
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}
