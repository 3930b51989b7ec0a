//! What can be seen of a server from outside: metrics, traces, logs.

mod logs;
mod metrics;
mod traces;
