//! The client `gitpod`, as scripts and people use it: the real binary, against a server in this process that answers
//! as each test tells it to.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod environments;
mod errors;
mod exec;
mod gitpod;
mod login;
mod progress;
mod secrecy;
mod server;
mod terminal;
mod tokens;
mod unserved;
