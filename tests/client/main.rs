//! The client `gitpod`, as scripts and people use it: the real binary, against a server in this process that answers
//! as each test tells it to.

mod environments;
mod errors;
mod exec;
mod gitpod;
mod login;
mod secrecy;
mod server;
mod tokens;
