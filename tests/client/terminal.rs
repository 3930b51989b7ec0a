//! A terminal that the client writes to, and what somebody in front of it sees.

use std::{
    fs::File,
    io::Read,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::pty::{OpenptyResult, Winsize, openpty};
use tokio::sync::Notify;

const DEADLINE: Duration = Duration::from_secs(30);

/// A pseudo-terminal, wide enough for every line of these tests.
pub(crate) struct Terminal {
    written: Arc<Mutex<Vec<u8>>>,
    arrived: Arc<Notify>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    /// Opens one; the stream is for the program that is to write to it.
    pub(crate) fn open() -> (Self, Stdio) {
        let size = Winsize { ws_row: 24, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).unwrap();
        // Else the programs of other tests would hold it open.
        for side in [&master, &slave] {
            rustix::io::fcntl_setfd(side, rustix::io::FdFlags::CLOEXEC).unwrap();
        }
        let (written, arrived) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::new(Notify::new()));
        let reader = {
            let (written, arrived) = (Arc::clone(&written), Arc::clone(&arrived));
            let mut master = File::from(master);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                // Reading fails once nobody has the other side open any more.
                while let Ok(count @ 1..) = master.read(&mut buffer) {
                    written.lock().unwrap().extend_from_slice(&buffer[..count]);
                    arrived.notify_waiters();
                }
            })
        };
        (Self { written, arrived, reader }, Stdio::from(slave))
    }

    fn written(&self) -> String {
        String::from_utf8_lossy(&self.written.lock().unwrap()).into_owned()
    }

    /// Waits until a text has been written.
    pub(crate) async fn shows(&self, text: &str) {
        let shown = async {
            loop {
                let arrived = self.arrived.notified();
                if self.written().contains(text) {
                    return;
                }
                arrived.await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, shown).await;
        assert!(in_time.is_ok(), "{text:?} is not in {:?}", self.written());
    }

    /// Everything that was written, and what can still be read on the screen. The program must have ended.
    pub(crate) fn close(self) -> (String, Vec<String>) {
        self.reader.join().unwrap();
        let written = String::from_utf8(self.written.lock().unwrap().clone()).unwrap();
        let screen = screen(&written);
        (written, screen)
    }
}

/// The lines that are not blank after a terminal has obeyed what was written to it.
fn screen(written: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut characters = written.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                assert_eq!(characters.next(), Some('['), "{written:?}");
                let mut number = String::new();
                let command = loop {
                    match characters.next().expect("a sequence has an end") {
                        digit if digit.is_ascii_digit() || digit == ';' => number.push(digit),
                        command => break command,
                    }
                };
                let steps = number.parse().unwrap_or(1);
                match (command, number.as_str()) {
                    ('A', _) => row = row.saturating_sub(steps),
                    ('B', _) => row += steps,
                    ('K', "2") => lines[row].clear(),
                    ('K', "" | "0") => lines[row].truncate(column),
                    ('m', _) => {}
                    _ => panic!("this terminal does not know {number}{command}: {written:?}"),
                }
            }
            character => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = character;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let lines = lines.iter().map(|line| line.iter().collect::<String>().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

#[test]
fn a_screen_shows_what_was_not_cleared() {
    assert_eq!(screen("one\r\ntwo\rT"), ["one", "Two"]);
    assert_eq!(screen("one\r\ntwo\r\u{1b}[2K\u{1b}[1A\u{1b}[2K"), Vec::<String>::new());
    assert_eq!(screen("\u{1b}[1mone\u{1b}[0m\r\u{1b}[Ktwo"), ["two"]);
}
