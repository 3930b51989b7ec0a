//! The way out of a sandbox: an HTTP proxy on a Unix socket, one for each environment, in the server. A sandbox has no
//! other network.

pub mod address;
mod policy;
mod proxy;
mod upstream;

pub use policy::{Destination, PlainHttp, Policy, Refusal};
pub use proxy::{Limits, Proxy};
