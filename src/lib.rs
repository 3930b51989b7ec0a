//! Latchkey issues, verifies and revokes personal access tokens, and serves the environments that they manage.
//!
//! The modules, in reading order. `ARCHITECTURE.md` says what may import what; `tests/architecture.rs` holds the
//! code to it. Other services that are called with tokens need `remote` alone: see its documentation.

#[cfg(feature = "server")]
pub mod app;
#[cfg(feature = "server")]
pub mod auth;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod connect;
pub mod domain;
#[cfg(feature = "server")]
pub mod embedded;
#[cfg(feature = "server")]
pub mod environments;
#[cfg(feature = "server")]
pub mod form;
#[cfg(feature = "server")]
pub mod grpc;
#[cfg(any(feature = "server", feature = "remote-verifier"))]
pub mod lookups;
#[cfg(feature = "server")]
pub mod oauth;
pub mod pb;
#[cfg(feature = "remote-verifier")]
pub mod remote;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "server")]
pub mod web;
