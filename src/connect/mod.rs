//! Connect and gRPC-Web in front of any tonic service.
//!
//! [`Connect`] takes tonic's [`Routes`](tonic::service::Routes) and the descriptors of what they serve. Requests of the Connect protocol (unary,
//! streams, GET), of gRPC-Web and of gRPC with another codec or with compression go through the protocol engine of the
//! crate `connectrpc`, whose dispatcher calls the routes as gRPC would: one handler answers in every protocol. JSON is
//! proto3 JSON, through descriptors. Plain gRPC goes straight to the routes, held to the same limit and deadlines.
//!
//! A request's extensions reach the handler, and those of its answer come back, whatever the protocol. The code that an
//! answer has is left with it as a [`tonic::Code`], for layers in front that count or log.
//!
//! For plain-JSON clients there is more than Connect has: a page can be asked for in the query (`page_query.rs`), streams can be
//! lines of JSON (`json_lines.rs`), and answers say when it is of no use to ask again (`retry.rs`).
//!
//! What does not come from a handler is answered in the protocol of the request as well: [`Errors`] does that for layers
//! in front, without a look at the body.
//!
//! This module knows nothing of the services behind it.

mod calls;
mod classify;
mod crossing;
mod deadline;
mod dispatcher;
mod error;
mod framing;
mod json;
mod json_lines;
mod metadata;
mod methods;
mod native;
#[cfg(test)]
mod oracle;
mod own_code;
mod page_query;
mod retry;
mod service;
mod trailers;

pub use error::Errors;
pub use methods::InvalidDescriptors;
pub use service::{Connect, NativeGrpc};
pub use trailers::Trailers;
