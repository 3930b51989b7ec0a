//! OAuth's endpoints about tokens: introspection (RFC 7662), revocation (RFC 7009), how programs get one (RFC 6749, RFC 7636, RFC 8628),
//! and where they are (RFC 8414).
//!
//! For callers that have a library for these and none of ours. Who calls was decided by the auth layer, from the headers alone; here
//! forms become calls of the same use cases that RPCs are served by, and answers become JSON. A token comes in the body and nowhere
//! else: what stands in a URL is in logs.

mod answer;
mod endpoints;
mod form;
mod login;
mod metadata;

pub use answer::refuse;
pub use endpoints::{OAuthApi, router};
