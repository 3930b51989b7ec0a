//! The services of the contract, one file each. They turn messages into calls of use cases, and back.

mod classes;
mod convert;
mod convert_environment;
mod environment_ops;
mod environments;
mod envoy;
mod events;
mod identity;
mod runners;
mod status;
mod tokens;
mod unsupported;
mod users;
mod watch;

use tonic::{Request, Status};

use crate::auth::Caller;

pub use classes::RunnerConfigurationApi;
pub use environment_ops::EnvironmentOpsApi;
pub use environments::EnvironmentApi;
pub use envoy::EnvoyApi;
pub use events::EventApi;
pub use identity::IdentityApi;
pub use runners::RunnerApi;
pub use tokens::TokenApi;
pub use users::UserApi;

/// The caller that the auth layer left with the request.
fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    // None would mean that a service was registered outside the auth layer: refuse whatever it is.
    request.extensions().get::<Caller>().cloned().ok_or_else(|| {
        tracing::error!("a request reached a handler without passing the auth layer");
        Status::internal("internal error")
    })
}
