//! What can be seen of the server from outside: logs, metrics, traces.

mod metrics;
mod subscriber;
mod traces;

pub use metrics::{metrics, upkeep};
pub use subscriber::{Telemetry, start};
pub use traces::{trace, trace_outcome};
