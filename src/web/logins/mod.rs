//! What programs ask people for that want to act for them: `gitpod login` without a token.

pub(super) mod authorize;
pub(super) mod device;

use time::Duration;

/// How long something is good for, in the largest unit that says it exactly.
fn words(duration: Duration) -> String {
    let seconds = duration.whole_seconds();
    let (count, unit) = match seconds {
        _ if seconds % 86_400 == 0 => (seconds / 86_400, "day"),
        _ if seconds % 3600 == 0 => (seconds / 3600, "hour"),
        _ if seconds % 60 == 0 => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_exactly() {
        for (seconds, said) in [
            (60, "1 minute"),
            (90, "90 seconds"),
            (5400, "90 minutes"),
            (7200, "2 hours"),
            (86_400, "1 day"),
            (2_592_000, "30 days"),
        ] {
            assert_eq!(words(Duration::seconds(seconds)), said);
        }
    }
}
