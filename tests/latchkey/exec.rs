//! Commands in environments.

mod client;
mod commands;
mod tokens;
