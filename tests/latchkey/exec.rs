//! Commands in environments.
