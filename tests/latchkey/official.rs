//! The official clients, unchanged, against the server: each script is a case of one client, and says itself what is wrong.

mod browser;
mod json;
mod protobuf;
pub(crate) mod script;
mod watching;
