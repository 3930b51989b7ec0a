//! Where a page begins and ends: the time of creation and the ID of its last row.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::page::PageKey;

pub(super) fn key_of(created_at: OffsetDateTime, id: Uuid) -> PageKey {
    let micros = created_at.unix_timestamp_nanos() / 1000;
    PageKey { created_at_micros: i64::try_from(micros).unwrap_or(i64::MAX), id }
}

/// The page token was checked to be a time when it was read.
pub(super) fn time_of(key: PageKey) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(key.created_at_micros) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
