//! Where a page begins and ends: the time of creation and the ID of its last row.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::page::{Order, PageKey};

pub(super) fn key_of(created_at: OffsetDateTime, id: Uuid) -> PageKey {
    let micros = created_at.unix_timestamp_nanos() / 1000;
    PageKey { created_at_micros: i64::try_from(micros).unwrap_or(i64::MAX), id }
}

/// The page token was checked to be a time when it was read.
pub(super) fn time_of(key: PageKey) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(key.created_at_micros) * 1000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// In SQL: the order of a list by a time and an ID, and the beginning of the condition that a row comes later in it than
/// the key that is to follow.
pub(super) fn sorting(time: &str, id: &str, order: Order) -> (String, String) {
    let (direction, comparison) = match order {
        Order::Ascending => ("ASC", ">"),
        Order::Descending => ("DESC", "<"),
    };
    (format!("{time} {direction}, {id} {direction}"), format!("({time}, {id}) {comparison} ("))
}

/// A boxed query from where a page begins, by the condition that [`sorting`] gives. A macro, since the type of such a query cannot be
/// written down.
macro_rules! from_page {
    ($query:expr, $later:expr, $page:expr) => {
        match $page.after() {
            None => $query,
            Some(after) => $query.filter(
                diesel::dsl::sql::<diesel::sql_types::Bool>($later)
                    .bind::<diesel::sql_types::Timestamptz, _>($crate::store::keyset::time_of(after))
                    .sql(", ")
                    .bind::<diesel::sql_types::Uuid, _>(after.id)
                    .sql(")"),
            ),
        }
    };
}

pub(super) use from_page;
