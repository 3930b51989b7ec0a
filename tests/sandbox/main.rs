//! What a sandbox keeps from the code in it, and what commands in it get.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounts;
mod commands;
mod files;
mod limits;
mod neighbours;
mod rights;

#[path = "../support"]
mod support {
    pub(crate) mod git_server;
    pub(crate) mod machine;
    pub(crate) mod outside;
}
