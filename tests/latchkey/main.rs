//! The server as its users meet it: the real binary, a real PostgreSQL, real clients.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says so by breaking off")]

mod support;

mod admin;
mod audit;
mod auth;
mod client;
mod connections;
mod constraints;
mod environments;
mod envoy;
mod events;
mod exec;
mod faults;
mod interceptors;
mod logins;
mod oauth;
mod official;
mod oidc;
mod pages;
mod privileges;
mod protocols;
mod readme;
mod remote;
mod runners;
mod secrets;
mod seed_scripts;
mod signing_keys;
mod suspensions;
mod telemetry;
mod tokens;
mod tools;
mod verification;
mod web;
