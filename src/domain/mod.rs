//! Pure rules, no I/O: what a token, an environment and an audit entry are, and what may be asked of them.

pub mod audit;
pub mod bearer;
pub mod clock;
pub mod credential;
pub mod environment;
pub mod event;
pub mod exec;
pub mod ids;
#[cfg(feature = "server")]
pub mod login;
pub mod page;
pub mod principal;
pub mod proxied;
pub mod runner;
pub mod secret;
pub mod session;
#[cfg(feature = "server")]
pub mod sign_in;
pub mod site;
pub mod size;
pub mod text;
pub mod token;
