//! What became of verifications, counted.

use std::time::Duration;

use metrics::{Counter, Histogram};

use super::verifier::VerifyError;
use crate::domain::credential::Ended;

/// Where what a verification goes by was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// It was remembered.
    Cache,
    /// It was looked up.
    Batch,
    /// It was not looked for: the text is no token of ours.
    Nowhere,
}

const SOURCES: [&str; 3] = ["cache", "batch", "nowhere"];
const OUTCOMES: [&str; 9] = [
    "good",
    "malformed",
    "forged",
    "unknown",
    "revoked",
    "expired",
    "suspended",
    "signing key not here",
    "database unavailable",
];

/// Counters and histograms, found once: to look them up by their labels takes longer than a verification.
pub(super) struct Outcomes {
    counters: Vec<[Counter; OUTCOMES.len()]>,
    seconds: [Histogram; SOURCES.len()],
}

impl Outcomes {
    /// With whoever collects metrics now.
    pub(super) fn new() -> Self {
        let counters = |source| {
            OUTCOMES.map(
                |outcome| metrics::counter!("latchkey_verifications_total", "source" => source, "outcome" => outcome),
            )
        };
        let seconds = |source| metrics::histogram!("latchkey_verification_seconds", "source" => source);
        Self { counters: SOURCES.map(counters).into(), seconds: SOURCES.map(seconds) }
    }

    pub(super) fn count(&self, found: Found, outcome: Option<&VerifyError>, took: Duration) {
        let source = match found {
            Found::Cache => 0,
            Found::Batch => 1,
            Found::Nowhere => 2,
        };
        self.counters[source][index(outcome)].increment(1);
        self.seconds[source].record(took.as_secs_f64());
    }
}

/// The place of an outcome in [`OUTCOMES`].
const fn index(outcome: Option<&VerifyError>) -> usize {
    match outcome {
        None => 0,
        Some(VerifyError::Malformed(_)) => 1,
        Some(VerifyError::Forged) => 2,
        Some(VerifyError::Unknown) => 3,
        Some(VerifyError::Ended(_, Ended::Revoked(_))) => 4,
        Some(VerifyError::Ended(_, Ended::Expired(_))) => 5,
        Some(VerifyError::Ended(_, Ended::Suspended)) => 6,
        Some(VerifyError::KeyNotHere(_)) => 7,
        Some(VerifyError::Unavailable) => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::Presented;

    #[test]
    fn outcomes_are_named_as_they_are_everywhere() {
        let malformed = Presented::parse("x").unwrap_err();
        assert_eq!(OUTCOMES[index(None)], "good");
        for error in
            [VerifyError::Malformed(malformed), VerifyError::Forged, VerifyError::Unknown, VerifyError::Unavailable]
        {
            assert_eq!(OUTCOMES[index(Some(&error))], error.reason());
        }
        for (place, ended) in [
            (4, Ended::Revoked(time::OffsetDateTime::UNIX_EPOCH)),
            (5, Ended::Expired(time::OffsetDateTime::UNIX_EPOCH)),
            (6, Ended::Suspended),
        ] {
            assert_eq!(OUTCOMES[place], ended.reason());
        }
        assert_eq!(OUTCOMES[7], VerifyError::KeyNotHere(crate::domain::token::Generation::FIRST).reason());
    }
}
