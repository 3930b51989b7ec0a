//! Figures out of measurements.

use std::time::Duration;

/// How long many things of one kind took.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Takes one more.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Takes all of another.
    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The time that a share of them took at the most, in milliseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let milliseconds: Vec<f64> = self.0.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        quantile(milliseconds, share)
    }

    /// `p50 … ms, p99 … ms, n = …`
    pub fn summary(&self) -> String {
        format!(
            "p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, n = {}",
            self.quantile(0.5),
            self.quantile(0.9),
            self.quantile(0.99),
            self.len()
        )
    }
}

/// The middle one of some figures.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    quantile(figures.into_iter().collect(), 0.5)
}

/// The smallest figure that a share of them does not exceed; between two figures, what lies between.
fn quantile(mut figures: Vec<f64>, share: f64) -> f64 {
    assert!(!figures.is_empty(), "nothing was measured");
    figures.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^52 things")]
    let place = share * (figures.len() - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is an index: from 0 to the last one"
    )]
    let below = place.floor() as usize;
    let above = (below + 1).min(figures.len() - 1);
    figures[below] + (figures[above] - figures[below]) * place.fract()
}
