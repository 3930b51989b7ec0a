//! The verifier for other services: puts a layer in front of a tower service that lets nobody pass but holders of good tokens.
//!
//! It asks Latchkey (`TokenService.BatchIntrospectTokens`), all requests that wait together, and keeps each answer as long as
//! Latchkey says that it may be kept: so a revoked token is refused here within the same bound as by Latchkey itself. If
//! Latchkey cannot be asked, requests are refused: UNAVAILABLE, never let through, and never called unauthenticated.
//!
//! ```no_run
//! use latchkey::remote::{AuthLayer, RemoteVerifier};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let service_token = String::new();
//! // The token of a service account of the role 'service'.
//! let verifier = RemoteVerifier::connect("https://latchkey.example.com", &service_token)?;
//! let layer = AuthLayer::new(verifier).public("/grpc.health.v1.Health/").read("/greeter.v1.Greeter/Greet");
//! # Ok(())
//! # }
//! ```
//!
//! `tonic::transport::Server::builder().layer(layer)` takes it, and so does any other tower stack. The service finds the
//! [`Caller`] in the extensions of its request. `examples/greeter` is a whole service.

mod caller;
mod introspection;
mod layer;
mod verifier;

pub use caller::Caller;
pub use layer::{AuthLayer, AuthService};
pub use verifier::{ConnectError, RemoteVerifier, VerifyError};
