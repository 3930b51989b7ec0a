//! Times as pages show them: in UTC, for the script to put them into the reader's zone, and in words.

use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// A time on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    at: OffsetDateTime,
    now: OffsetDateTime,
}

impl Moment {
    /// A time, as seen from now.
    pub(super) fn new(at: OffsetDateTime, now: OffsetDateTime) -> Self {
        let whole = |time: OffsetDateTime| time.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).unwrap_or(time);
        Self { at: whole(at), now: whole(now) }
    }

    /// For programs (RFC 3339).
    pub(super) fn iso(&self) -> String {
        self.at.format(&Rfc3339).unwrap_or_default()
    }

    /// For people, in UTC.
    pub(super) fn utc(&self) -> String {
        let format = format_description!("[day padding:none] [month repr:short] [year], [hour]:[minute] UTC");
        self.at.format(format).unwrap_or_default()
    }

    /// How far it is: `in 29 days`, `3 hours ago`.
    pub(super) fn words(&self) -> String {
        let distance = self.at - self.now;
        let far = distance.abs();
        let (count, unit) = if far < Duration::MINUTE {
            return if distance.is_negative() { "just now".to_owned() } else { "in less than a minute".to_owned() };
        } else if far < Duration::HOUR {
            (far.whole_minutes(), "minute")
        } else if far < Duration::DAY {
            (far.whole_hours(), "hour")
        } else {
            // To the nearest: of a token for 60 days it is not said at once that it is for 59.
            ((far + Duration::hours(12)).whole_days(), "day")
        };
        let plural = if count == 1 { "" } else { "s" };
        if distance.is_negative() {
            format!("{count} {unit}{plural} ago")
        } else {
            format!("in {count} {unit}{plural}")
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_time_is_told_to_programs_in_utc_and_in_words() {
        let now = datetime!(2026-03-01 12:00 UTC);
        let at = |at| Moment::new(at, now);
        assert_eq!(at(datetime!(2026-03-31 14:00:05.5 +2)).iso(), "2026-03-31T12:00:05Z");
        assert_eq!(at(datetime!(2026-03-31 14:00:05.5 +2)).utc(), "31 Mar 2026, 12:00 UTC");
        for (time, words) in [
            (datetime!(2026-03-31 12:00 UTC), "in 30 days"),
            (datetime!(2026-03-02 12:00 UTC), "in 1 day"),
            (datetime!(2026-03-02 11:59 UTC), "in 23 hours"),
            (datetime!(2026-03-01 12:01 UTC), "in 1 minute"),
            (datetime!(2026-03-01 12:00:59 UTC), "in less than a minute"),
            (datetime!(2026-03-04 23:59 UTC), "in 3 days"),
            (datetime!(2026-03-05 00:00 UTC), "in 4 days"),
            (datetime!(2026-03-01 11:59:30 UTC), "just now"),
            (datetime!(2026-03-01 10:00 UTC), "2 hours ago"),
            (datetime!(2026-02-01 10:00 UTC), "28 days ago"),
        ] {
            assert_eq!(at(time).words(), words);
        }
    }
}
