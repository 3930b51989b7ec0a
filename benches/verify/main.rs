//! What verification costs, and what it holds out: each row of one table against its bar. Servers and PostgreSQL have one core, clients
//! the other.
//!
//! `cargo bench --bench verify` measures all rows; `-- --only cached` one of them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

#[path = "../ground/mod.rs"]
mod ground;

mod against_pgbench;
mod client;
mod envoy;
mod handler;
mod many;
mod pace;
mod pgbench;
mod pin;
mod queries;
mod remembered;
mod replicas;
mod table;
mod turns;

use clap::Parser;

#[derive(Parser)]
struct Options {
    /// Rows of the table to measure, by their names; all by default
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Connections of the client, and of pgbench
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests under way on each connection of the client
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Rounds, each of which measures both sides of a share once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Tokens in the table that is compared with pgbench's
    #[arg(long, default_value_t = 1_000_000)]
    tokens: u32,
    /// Tokens in the largest table
    #[arg(long, default_value_t = 10_000_000)]
    large: u32,
    /// What cargo passes on
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|one| one == row)
    }
}

fn main() {
    ground::run_in_one_thread(pin::clients, async {
        let options = Options::parse();
        let mut table = table::Table::default();
        remembered::measure(&options, &mut table).await;
        replicas::measure(&options, &mut table).await;
        envoy::measure(&options, &mut table).await;
        many::measure(&options, &mut table).await;
        against_pgbench::measure(&options, &mut table).await;
        table.print();
    });
}
