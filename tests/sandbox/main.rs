//! What a sandbox keeps from the code in it, and what commands in it get.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "skipped tests say why")]

mod accounts;
mod commands;
mod descriptors;
mod files;
mod impostors;
mod liars;
mod limits;
mod neighbours;
mod network;
mod ordinary;
mod rights;
mod shares;
mod system_calls;

#[path = "../support"]
mod support {
    pub(crate) mod git_server;
    pub(crate) mod left_out;
    pub(crate) mod machine;
    pub(crate) mod outside;
}

/// Whether what only root can do can be done; if not, says that it is left out.
fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        support::left_out::left_out("only root can do what this needs");
    }
    is_root
}
