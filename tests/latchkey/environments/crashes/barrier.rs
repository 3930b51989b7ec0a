//! Where a server is held up, for a test to do something meanwhile.

use crate::support::{LocalServer, eventually};

/// Holds up what a server writes of environments, at one step.
pub(super) struct Barrier {
    // Locked as long as this connection lives.
    _holder: tokio_postgres::Client,
}

impl Barrier {
    /// Holds up whatever makes this condition true of a row that is written (`NEW`), with the row locked.
    pub(super) async fn before_update(local: &LocalServer, condition: &str) -> Self {
        Self::raise(local, "UPDATE", &format!("ROW WHEN ({condition})")).await
    }

    /// Holds up whatever deletes rows, before any is locked: others go on with them.
    pub(super) async fn before_delete(local: &LocalServer) -> Self {
        Self::raise(local, "DELETE", "STATEMENT").await
    }

    async fn raise(local: &LocalServer, event: &str, each: &str) -> Self {
        let statements = format!(
            "CREATE OR REPLACE FUNCTION wait_at_barrier() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END $$;
             CREATE TRIGGER barrier BEFORE {event} ON environments FOR EACH {each}
             EXECUTE FUNCTION wait_at_barrier()"
        );
        local.database.superuser().await.batch_execute(&statements).await.unwrap();
        let holder = local.database.superuser().await;
        holder.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
        Self { _holder: holder }
    }

    /// Waits until somebody stands there.
    pub(super) async fn reached(&self, local: &LocalServer) {
        let watcher = local.database.superuser().await;
        eventually("a write is held up", async || {
            let query = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                         WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()
                           AND l.objid = 1 AND l.objsubid = 1";
            (watcher.query_one(query, &[]).await.unwrap().get::<_, i64>(0) > 0).then_some(())
        })
        .await;
    }
}
