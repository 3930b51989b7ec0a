//! How long the embedded default takes until it serves: the first time, when everything is made, and every time after that.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

mod ground;

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use clap::Parser;
use ground::{figures::Times, server::LATCHKEY};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

#[derive(Parser)]
struct Options {
    /// Starts after the first
    #[arg(long, default_value_t = 10)]
    starts: usize,
    /// What cargo passes on
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    ground::run(async {
        let options = Options::parse();
        let directory = tempfile::Builder::new().prefix("latchkey-bench-").tempdir().unwrap();
        // PostgreSQL and sandboxes pass through it as accounts of their own.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let (first, server) = start(directory.path()).await;
        stop(server).await;
        println!("first start, with initdb and migrations: {:.2} s", first.as_secs_f64());
        let mut times = Times::default();
        for _ in 0..options.starts {
            let (time, server) = start(directory.path()).await;
            times.push(time);
            stop(server).await;
        }
        println!("start after that, PostgreSQL stopped before: {} (bar: < 2 s)", times.summary());
    });
}

/// Starts a server and waits until it says that it serves, and that it is ready.
async fn start(data: &Path) -> (Duration, Child) {
    let began = Instant::now();
    let mut server = Command::new(LATCHKEY)
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--data-dir"])
        .arg(data)
        .env_remove("GIT_CONFIG_GLOBAL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("it serves");
    let address = line.strip_prefix("latchkey serves http://").expect("it says where");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    (began.elapsed(), server)
}

async fn stop(mut server: Child) {
    kill(Pid::from_raw(server.id().unwrap().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(server.wait().await.unwrap().success(), "it ends in good order");
}
