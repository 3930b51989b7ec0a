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
    if is_asked_for() {
        conditions::print();
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measuring);
    }
}

/// As [`run`] does, in one thread, which is made ready once the conditions are told: they are the machine's, not those of the core
/// that this thread may be confined to from then on. Whoever waits by looking at the clock keeps no other thread from its work.
pub fn run_in_one_thread(make_ready: impl FnOnce(), measuring: impl Future<Output = ()>) {
    if is_asked_for() {
        conditions::print();
        make_ready();
        // Whoever looks at the clock is asked again soon, however much else there is to do.
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.event_interval(16).enable_all().build().unwrap().block_on(measuring);
    }
}

fn is_asked_for() -> bool {
    let is_asked_for = std::env::args().any(|argument| argument == "--bench");
    if !is_asked_for {
        println!("nothing is measured without `cargo bench`");
    }
    is_asked_for
}
