//! The server as its users meet it: the real binary, a real PostgreSQL, real clients.

mod support;

mod admin;
mod audit;
mod auth;
mod connections;
mod constraints;
mod environments;
mod exec;
mod faults;
mod readme;
mod secrets;
mod seed_scripts;
mod signing_keys;
mod tokens;
mod tools;
