//! Trailers of an answer that succeeds.

use http::HeaderMap;

/// An extension of a response by which a handler sends trailers with an answer that succeeds: tonic has no other way. Of a
/// failure, the metadata of its status are sent.
#[derive(Debug, Clone, Default)]
pub struct Trailers(pub HeaderMap);
