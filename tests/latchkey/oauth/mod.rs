//! OAuth's endpoints about tokens, as its clients and those who are none of them meet them.

pub(crate) mod asking;
mod authenticating;
mod client;
mod introspecting;
mod requests;
mod revoking;
mod well_known;
