//! What every test starts from: a database of its own, a server of its own, and callers.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test takes what it needs")]

mod call;
mod cluster;
mod database;
pub mod environments;
pub(crate) mod git_server;
mod gitpod;
pub mod http;
pub mod http1;
pub mod keys;
mod left_out;
mod local_server;
pub mod network;
pub(crate) mod outside;
mod pgbouncer;
mod private_cluster;
mod replication;
mod rows;
mod rpc;
pub mod server;
pub mod small_disk;
pub mod token_text;
pub mod watch;
mod wire;

pub use call::{Caller, WHOAMI, told};
pub use cluster::connect;
pub use database::TestDatabase;
pub use gitpod::{GITPOD, Gitpod, Ran};
pub(crate) use left_out::left_out;
pub use local_server::{LocalServer, Starter, is_alive, long_sleep, processes_around, processes_with, sandbox};
pub use pgbouncer::PgBouncer;
pub use private_cluster::PrivateCluster;
pub use replication::Replication;
pub use rpc::{Api, details, with_request_id, with_token};
pub use server::{LATCHKEY, ServerOptions, TestServer};
pub use wire::Wire;

use std::{future::Future, time::Duration};

/// How long something may take that should happen at once; only a broken test waits that long.
pub const SOON: Duration = Duration::from_secs(30);

/// Waits until something is so, asking again and again: for what gives no sign of its own.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, asking).await.unwrap_or_else(|_| panic!("still waiting after {SOON:?}: {what}"))
}
