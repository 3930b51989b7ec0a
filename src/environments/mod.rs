//! Environments: what brings them up, what runs inside them, and how they reach the world.
//!
//! - [`runner`]: makes, starts, stops and deletes environments; [`runner::local`] does it with sandboxes on this
//!   machine.
//! - [`supervisor`]: the process inside an environment, and the client that the server talks to it with.
//! - [`egress`]: the proxy that is a sandbox's only way out.

pub mod egress;
mod excerpt;
pub mod reconciler;
pub mod runner;
pub mod supervisor;
