//! How many descriptors there are: each connection takes one, and so does much else.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is not for connections: PostgreSQL's, listeners, files, and the environments' ways out.
const RESERVED: u64 = 512;

/// Raises this process's limit as far as it may, and says how many connections of at most `wanted` that is enough for.
pub(super) fn connections(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open descriptors cannot be raised");
            limit.current
        }
    };
    // No limit is told as none.
    let Some(descriptors) = current else { return wanted };
    let places = usize::try_from(descriptors.saturating_sub(RESERVED).max(descriptors / 2)).unwrap_or(wanted);
    if places < wanted {
        tracing::warn!(
            descriptors,
            connections = places,
            "few descriptors may be open: fewer connections are taken at once (ulimit -n, or LimitNOFILE= of systemd)"
        );
    }
    wanted.min(places)
}
