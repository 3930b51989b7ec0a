//! Which PostgreSQL a connection leads to. A URL may lead to another one tomorrow: a standby that was promoted, while the old
//! primary perhaps still answers whoever asks it.

use diesel::{QueryResult, sql_types::BigInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio::sync::watch;

use super::primaries::Place;

/// A PostgreSQL, from its start to its end: when it was started, in microseconds. That no two are started in the same
/// microsecond is as good as certain, and every role may ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instance(i64);

#[derive(diesel::QueryableByName)]
struct Started {
    #[diesel(sql_type = BigInt)]
    started: i64,
}

impl Instance {
    /// What tells it, in SQL.
    pub(super) const STARTED: &str = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint";

    /// One that was told of.
    pub(super) const fn told(started: i64) -> Self {
        Self(started)
    }

    /// Where a connection leads that stays with one PostgreSQL.
    pub(super) async fn of(connection: &mut AsyncPgConnection) -> QueryResult<Self> {
        let query = diesel::sql_query(format!("SELECT {} AS started", Self::STARTED));
        let Started { started } = query.get_result(connection).await?;
        Ok(Self(started))
    }

    /// A statement that fails on any other: it divides by zero there.
    pub(super) fn guard(self) -> String {
        format!("SELECT 1 / ({} = {})::int", Self::STARTED, self.0)
    }
}

/// Where the connections of a store have to lead. Changes wake whoever listens on one of them.
pub(super) type Settled = watch::Sender<Settlement>;

/// What was settled last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Settlement {
    /// How often it was: connections that began to be made in an earlier era are used no more.
    pub(super) era: u64,
    /// Where all of them lead; anywhere, as long as nobody has said.
    pub(super) place: Option<Place>,
}

impl Settlement {
    /// Whether a connection may lead there.
    pub(super) fn allows(&self, instance: Instance) -> bool {
        self.place.is_none_or(|settled| settled.instance == instance)
    }
}

/// What is said of a connection that leads elsewhere.
pub(super) const ELSEWHERE: &str =
    "the connection leads to another PostgreSQL than the one whose announcements are heard";
