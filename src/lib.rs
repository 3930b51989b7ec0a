//! Latchkey issues, verifies and revokes personal access tokens, and serves the environments that they manage.
//!
//! The modules, in reading order. `ARCHITECTURE.md` says what may import what; `tests/architecture.rs` holds the
//! code to it.

pub mod app;
pub mod auth;
pub mod config;
pub mod connect;
pub mod domain;
pub mod embedded;
pub mod environments;
pub mod grpc;
pub mod oauth;
pub mod pb;
pub mod service;
pub mod store;
pub mod telemetry;
