//! Whether what is announced comes back on a connection that listens: looked at before anybody counts on it.

use std::time::Duration;

use diesel::{deserialize::QueryableByName, sql_types::Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures::StreamExt;

use super::{
    Store, StoreConfig, StoreError,
    connect::{self, POOLER, SERVING_ROLE},
    reading,
};
use crate::domain::ids::HeartbeatId;

/// Why a server does not start with its database URLs.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// They lead where they must not; and what to do.
    #[error("{0}")]
    Misled(String),
    /// PostgreSQL.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How long an announcement may take to come back. It takes a millisecond, and PostgreSQL has just shown that it answers.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(QueryableByName)]
struct Role {
    #[diesel(sql_type = Text)]
    role: String,
}

/// A channel on which nobody else announces anything.
fn channel() -> String {
    format!("latchkey_self_test_{}", HeartbeatId::generate().uuid().simple())
}

impl Store {
    /// Looks whether what is announced over the store's connections comes back on one that listens, and whether they have the
    /// rights of the serving role and no more.
    ///
    /// # Errors
    /// [`SelfTestError`]
    pub async fn self_test(&self) -> Result<(), SelfTestError> {
        let mut listening = listening(&self.config.listening(), self.config.deadline).await?;
        let channel = channel();
        listening.batch_execute(&format!("LISTEN {channel}")).await.map_err(StoreError::from)?;
        let Role { role } = reading!(self, |connection| {
            diesel::sql_query("SELECT current_user::text AS role, pg_notify($1, '')")
                .bind::<Text, _>(&channel)
                .get_result(connection)
        })?;
        if role != SERVING_ROLE {
            return Err(SelfTestError::Misled(format!(
                "the database URL leads to a session of {role}, not of {SERVING_ROLE}: something on the way drops what is asked for; it is {POOLER}"
            )));
        }
        if comes_back(&mut listening, &channel).await? {
            return Ok(());
        }
        Err(SelfTestError::Misled(if self.config.is_pooled() {
            "what is announced through the database URL is not heard through --database-direct-url: that has to lead to PostgreSQL itself, not to \
             a pooler, and to the same database"
                .to_owned()
        } else {
            format!("what is announced is not heard through the database URL: that is {POOLER}")
        }))
    }
}

/// Whether that is so for whoever migrates, on the connection that it takes: the lock that keeps others from migrating goes with it.
pub(super) async fn is_direct(config: &StoreConfig, migrating: &mut AsyncPgConnection) -> Result<bool, StoreError> {
    let channel = channel();
    migrating.batch_execute(&format!("LISTEN {channel}")).await?;
    listening(&config.owning(), config.deadline).await?.batch_execute(&format!("NOTIFY {channel}")).await?;
    let is_direct = comes_back(migrating, &channel).await?;
    migrating.batch_execute(&format!("UNLISTEN {channel}")).await?;
    Ok(is_direct)
}

async fn listening(config: &tokio_postgres::Config, deadline: Duration) -> Result<AsyncPgConnection, StoreError> {
    tokio::time::timeout(deadline, connect::connect(config))
        .await
        .map_err(|_| StoreError::Unavailable(format!("no answer within {deadline:?}")))?
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

async fn comes_back(connection: &mut AsyncPgConnection, channel: &str) -> Result<bool, StoreError> {
    let mut told = std::pin::pin!(connection.notifications_stream());
    let heard = async {
        loop {
            match told.next().await {
                Some(Ok(notification)) if notification.channel == channel => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Err(StoreError::Unavailable("the listening connection was closed".to_owned())),
            }
        }
    };
    tokio::time::timeout(PATIENCE, heard).await.map_or(Ok(false), |heard| heard.map(|()| true))
}
