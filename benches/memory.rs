//! Memory of the server: idle, after a minute of verifications, and a while after that.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

mod ground;

use std::{path::Path, time::Duration};

use clap::Parser;
use ground::{
    Postgres, Server,
    load::{Load, Question},
    server::LATCHKEY,
    tokens,
    usage::memory,
};

#[derive(Parser)]
struct Options {
    /// Rows in the table of tokens
    #[arg(long, default_value_t = 100_000)]
    rows: u32,
    /// Tokens that are used, at random
    #[arg(long, default_value_t = 4096)]
    tokens: u32,
    /// Connections of the client
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests under way on each
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Seconds of load
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What cargo passes on
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    ground::run(async {
        let options = Options::parse();
        let postgres = Postgres::start().await;
        let server = Server::start(Path::new(LATCHKEY), &postgres, &[]).await;
        let tokens = tokens::fill(&postgres, options.rows, options.tokens).await;
        say(&server, "idle, just started");
        let load = Load::connect(&server, options.connections, &tokens.headers).await;
        let under_load = load.saturate(Question::Identity, options.in_flight, Duration::from_secs(options.seconds));
        let outcome = async {
            let half = Duration::from_secs(options.seconds) / 2;
            tokio::time::sleep(half).await;
            say(&server, &format!("after {} s of load", half.as_secs()));
        };
        let (outcome, ()) = tokio::join!(under_load, outcome);
        say(&server, &format!("after {} s of load ({:.0} verified requests/s)", options.seconds, outcome.rate));
        drop(load);
        tokio::time::sleep(Duration::from_secs(10)).await;
        say(&server, "10 s later, all connections closed");
        server.stop().await;
    });
}

fn say(server: &Server, when: &str) {
    let (resident, own) = memory(server.pid());
    println!(
        "{when}: {resident:.1} MiB resident, {own:.1} MiB of it the server's own (the rest is its program's file)"
    );
}
