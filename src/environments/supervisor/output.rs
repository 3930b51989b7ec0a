//! What a command writes: read as it comes, kept up to a limit, made text.

use std::{future, io, os::fd::OwnedFd};

use tokio::net::unix::pipe::Receiver;

use crate::domain::exec::OUTPUT_LIMIT;

/// As much as a pipe can hold at most (`/proc/sys/fs/pipe-max-size`).
const PIPE_CAPACITY: usize = 1024 * 1024;

/// One output stream.
pub(super) struct Capture {
    pipe: Option<Receiver>,
    kept: Vec<u8>,
    is_cut: bool,
}

impl Capture {
    pub(super) fn new(pipe: impl Into<OwnedFd>) -> io::Result<Self> {
        Ok(Self { pipe: Some(Receiver::from_owned_fd(pipe.into())?), kept: Vec::new(), is_cut: false })
    }

    /// Whether everybody who could write has gone.
    pub(super) fn is_over(&self) -> bool {
        self.pipe.is_none()
    }

    /// Reads something, or finds the end; never returns after that. Loses nothing when dropped.
    pub(super) async fn read(&mut self) {
        match &self.pipe {
            Some(pipe) => {
                if pipe.readable().await.is_err() {
                    self.pipe = None;
                } else {
                    self.read_available(64 * 1024);
                }
            }
            None => future::pending().await,
        }
    }

    /// Reads what is there already, and no more: for when the command is over, and others of its descendants, left
    /// in the background, still hold the pipe.
    pub(super) fn drain(&mut self) {
        self.read_available(PIPE_CAPACITY);
    }

    fn read_available(&mut self, limit: usize) {
        let mut buffer = [0; 16 * 1024];
        let mut total = 0;
        while let Some(pipe) = self.pipe.as_ref().filter(|_| total < limit) {
            match pipe.try_read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(length) => {
                    total += length;
                    let room = OUTPUT_LIMIT - self.kept.len();
                    self.kept.extend_from_slice(&buffer[..length.min(room)]);
                    self.is_cut |= length > room;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    /// The text, with notes at its end that say what was done to it.
    pub(super) fn into_text(self) -> String {
        text(self.kept, self.is_cut)
    }
}

fn text(bytes: Vec<u8>, mut is_cut: bool) -> String {
    let (mut text, is_replaced) = match String::from_utf8(bytes) {
        Ok(text) => (text, false),
        Err(error) => {
            let error_at = error.utf8_error();
            let is_split = is_cut && error_at.error_len().is_none();
            let mut bytes = error.into_bytes();
            if is_split {
                // The cut went through a character: no byte of the command's was wrong.
                bytes.truncate(error_at.valid_up_to());
            }
            (String::from_utf8_lossy(&bytes).into_owned(), !is_split)
        }
    };
    if text.len() > OUTPUT_LIMIT {
        // A replacement takes three bytes in place of one.
        text.truncate(text.floor_char_boundary(OUTPUT_LIMIT));
        is_cut = true;
    }
    if is_cut {
        text.push_str("\n[latchkey: cut off here, after 8 MiB]\n");
    }
    if is_replaced {
        text.push_str("\n[latchkey: bytes that are not UTF-8 were replaced by U+FFFD]\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_to_a_text_stands_at_its_end() {
        assert_eq!(text(b"a\n".to_vec(), false), "a\n");
        assert_eq!(text(b"a".to_vec(), true), "a\n[latchkey: cut off here, after 8 MiB]\n");
        assert_eq!(
            text(vec![b'a', 0xff], false),
            "a\u{FFFD}\n[latchkey: bytes that are not UTF-8 were replaced by U+FFFD]\n"
        );
        // A character that the limit splits is dropped, and none of the command's doing.
        assert_eq!(text(vec![b'a', 0xc3], true), "a\n[latchkey: cut off here, after 8 MiB]\n");
    }

    #[test]
    fn replacements_do_not_grow_a_text_beyond_the_limit() {
        let text = text(vec![0xff; OUTPUT_LIMIT], false);
        assert!(text.len() < OUTPUT_LIMIT + 200);
        assert!(text.contains("cut off here") && text.contains("not UTF-8"));
    }
}
