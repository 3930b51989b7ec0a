//! Servers that run, for the operator's commands.

use diesel::{
    ExpressionMethods, QueryDsl,
    dsl::{now, sql},
    sql_types::Timestamptz,
};
use diesel_async::RunQueryDsl;

use super::{Store, StoreError, reading, schema::servers, writing};
use crate::domain::ids::ServerId;

/// Where people reach a server that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningServer {
    /// Its public URL, without a slash at its end.
    pub public_url: String,
    /// Whether people sign in there by links.
    pub takes_links: bool,
}

impl Store {
    /// Says that a server runs; again and again, as long as it does.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn server_seen(&self, id: ServerId, server: &RunningServer) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::insert_into(servers::table)
                .values((
                    servers::id.eq(id.uuid()),
                    servers::public_url.eq(&server.public_url),
                    servers::takes_links.eq(server.takes_links),
                ))
                .on_conflict(servers::id)
                .do_update()
                .set(servers::seen_at.eq(now))
                .execute(connection)
                .await?;
            Ok(())
        })
    }

    /// Says that a server runs no more.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn server_ended(&self, id: ServerId) -> Result<(), StoreError> {
        writing!(self, async |connection| -> Result<(), StoreError> {
            diesel::delete(servers::table.find(id.uuid())).execute(connection).await?;
            Ok(())
        })
    }

    /// The server that was last seen, in these two minutes; one that takes links rather than one that does not.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn server_running(&self) -> Result<Option<RunningServer>, StoreError> {
        let found: Option<(String, bool)> = reading!(self, |connection| {
            servers::table
                .filter(servers::seen_at.gt(sql::<Timestamptz>("now() - interval '2 minutes'")))
                .order((servers::takes_links.desc(), servers::seen_at.desc()))
                .select((servers::public_url, servers::takes_links))
                .first(connection)
        })
        .map(Some)
        .or_else(super::error::not_found)?;
        Ok(found.map(|(public_url, takes_links)| RunningServer { public_url, takes_links }))
    }
}
