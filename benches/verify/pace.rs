//! Requests that are due at a rate: whether there were as many as there were to be, and how late the client itself was.

use std::time::Duration;

use super::ground::figures::{Times, median};

/// The part of the wanted rate that has to be reached for a figure to say anything about that rate.
const ENOUGH: f64 = 0.95;
/// The part of the median time of a request that the client's own lateness may be without being worth a word.
const LITTLE: f64 = 0.1;

/// What came of one round.
pub(super) struct Pace {
    /// From when each request was due until it was answered.
    pub(super) times: Times,
    /// From when each was due until it was handed over: the client's own part of that.
    lateness: Times,
    /// Requests a second.
    wanted: f64,
    /// Answers a second, until the last one came.
    reached: f64,
}

impl Pace {
    pub(super) fn new(times: Times, lateness: Times, wanted: f64, elapsed: Duration) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^52 things")]
        let reached = times.len() as f64 / elapsed.as_secs_f64();
        Self { times, lateness, wanted, reached }
    }

    fn is_reached(&self) -> bool {
        self.reached >= self.wanted * ENOUGH
    }
}

/// The rounds of one kind of requests.
pub(super) struct Paces {
    whose: &'static str,
    rounds: Vec<Pace>,
}

impl Paces {
    pub(super) const fn of(whose: &'static str) -> Self {
        Self { whose, rounds: Vec::new() }
    }

    pub(super) fn push(&mut self, round: Pace) {
        self.rounds.push(round);
    }

    /// The time that a share of the requests took at the most, in the median round.
    pub(super) fn quantile(&self, share: f64) -> f64 {
        self.median(|round| round.times.quantile(share))
    }

    /// What was reached, and how late the client was.
    pub(super) fn summary(&self) -> String {
        format!(
            "{}: {:.0}/s of {:.0}/s wanted, handed over late by p50 {:.3} ms, p99 {:.3} ms",
            self.whose,
            self.median(|round| round.reached),
            self.median(|round| round.wanted),
            self.median(|round| round.lateness.quantile(0.5)),
            self.median(|round| round.lateness.quantile(0.99)),
        )
    }

    /// Why the figure says nothing of the rate that was wanted, if it does not.
    pub(super) fn shortfall(&self) -> Option<String> {
        let short: Vec<&Pace> = self.rounds.iter().filter(|round| !round.is_reached()).collect();
        let worst =
            short.iter().min_by(|one, other| (one.reached / one.wanted).total_cmp(&(other.reached / other.wanted)))?;
        Some(format!(
            "{}: {} of {} rounds fell short, the worst with {:.0}/s of {:.0}/s",
            self.whose,
            short.len(),
            self.rounds.len(),
            worst.reached,
            worst.wanted
        ))
    }

    /// Why the times may be the client's own, if they may.
    pub(super) fn doubt(&self) -> Option<String> {
        let (late, p50) = (self.median(|round| round.lateness.quantile(0.99)), self.quantile(0.5));
        let is_little = late <= p50 * LITTLE;
        (!is_little).then(|| {
            format!(
                "{}: the client's own lateness, p99 {late:.3} ms, is not small against a p50 of {p50:.3} ms",
                self.whose
            )
        })
    }

    fn median(&self, of: impl Fn(&Pace) -> f64) -> f64 {
        median(self.rounds.iter().map(of))
    }
}
