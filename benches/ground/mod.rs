//! What every benchmark stands on: a PostgreSQL of its own, real servers in front of it, and honest figures.
//!
//! Everything is thrown away afterwards. PostgreSQL has the settings of the embedded default (fsync on), and is reached
//! by its Unix socket.

#![allow(dead_code, unreachable_pub, reason = "each benchmark takes what it needs")]

pub mod conditions;
pub mod figures;
pub mod load;
mod postgres;
pub mod server;
pub mod tokens;
pub mod usage;

pub use postgres::Postgres;
pub use server::Server;

use std::future::Future;

/// Measures, if `cargo bench` asks for it: `cargo test --all-targets` starts benchmarks too, and only wants to know that
/// they can be started.
pub fn run(measuring: impl Future<Output = ()>) {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("nothing is measured without `cargo bench`");
        return;
    }
    conditions::print();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measuring);
}
