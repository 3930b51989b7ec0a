//! What no RPC does, or not quickly enough: written into a test's own database.

use latchkey::embedded::Role;
use tokio_postgres::types::ToSql;

use super::TestDatabase;

impl TestDatabase {
    /// Puts a token's whole life 91 days back, so that it has expired: whoever remembers it hears of that soon.
    pub async fn expire(&self, token_id: &str) {
        let mut superuser = self.superuser().await;
        let transaction = superuser.transaction().await.unwrap();
        // Without the trigger that keeps tokens from being changed.
        transaction.batch_execute("SET LOCAL session_replication_role = replica").await.unwrap();
        let days = "interval '91 days'";
        let update = format!(
            "UPDATE personal_access_tokens SET created_at = created_at - {days}, expires_at = expires_at - {days},
             revoked_at = revoked_at - {days} WHERE id = $1::text::uuid"
        );
        assert_eq!(transaction.execute(&update, &[&token_id]).await.unwrap(), 1);
        transaction.batch_execute("NOTIFY latchkey_verification, 'all'").await.unwrap();
        transaction.commit().await.unwrap();
    }

    /// Adds tokens like another one, all of them made at one moment, as no RPC could.
    pub async fn add_tokens(&self, like: &str, count: i32) {
        let insert = "
            INSERT INTO personal_access_tokens
                (id, organization_id, principal_id, creator_id, key_generation, digest, description, read_only, created_at, expires_at)
            SELECT gen_random_uuid(), organization_id, principal_id, creator_id, key_generation, digest, 'many', false,
                date_trunc('second', created_at) - interval '1 hour', created_at + interval '1 day'
            FROM personal_access_tokens, generate_series(1, $2) WHERE id = $1::text::uuid";
        let added = self.owner().await.execute(insert, &[&like, &count]).await.unwrap();
        assert_eq!(i32::try_from(added).unwrap(), count);
    }

    /// From now on PostgreSQL's side of a connection ends in the middle of a commit, once all is written: whenever there was
    /// something like `INSERT ON sessions`, by a trigger of that table that is called `gone`.
    pub async fn gone_at_commit(&self, what: &str) {
        let trigger = format!(
            "CREATE FUNCTION gone() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
             BEGIN
                 PERFORM pg_terminate_backend(pg_backend_pid());
                 RETURN NULL;
             END
             $$;
             CREATE CONSTRAINT TRIGGER gone AFTER {what} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION gone()"
        );
        self.superuser().await.batch_execute(&trigger).await.unwrap();
    }

    /// Suspends a user, or lets them act again.
    pub async fn suspend(&self, email: &str, suspended: bool) {
        let status = if suspended { "suspended" } else { "active" };
        let owner = self.owner().await;
        let update = "UPDATE principals SET status = $1 WHERE email = $2";
        assert_eq!(owner.execute(update, &[&status, &email]).await.unwrap(), 1);
    }

    /// Adds a service account; returns its ID.
    pub async fn service_account(&self, name: &str) -> String {
        self.text(
            "INSERT INTO principals (id, organization_id, kind, role, name)
             SELECT gen_random_uuid(), id, 'service_account', 'member', $1 FROM organizations RETURNING id::text",
            &[&name],
        )
        .await
    }

    /// Adds a stopped, empty environment of a token's holder, on a runner that is nowhere; returns its ID.
    pub async fn environment_of(&self, token_id: &str) -> String {
        self.text(
            "WITH made_with AS (SELECT * FROM personal_access_tokens WHERE id = $1::text::uuid),
             runner AS (
                 INSERT INTO runners (id, organization_id, name)
                 SELECT gen_random_uuid(), organization_id, 'nowhere' FROM made_with RETURNING *
             ),
             class AS (
                 INSERT INTO environment_classes
                     (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes)
                 SELECT gen_random_uuid(), id, 'None', '', 1, 1, 1 FROM runner RETURNING *
             )
             INSERT INTO environments
                 (id, organization_id, creator_id, created_by_token_id, runner_id, class_id, name, desired_phase, phase)
             SELECT gen_random_uuid(), t.organization_id, t.principal_id, t.id, class.runner_id, class.id, 'test',
                 'stopped', 'stopped'
             FROM made_with t, class
             RETURNING id::text",
            &[&token_id],
        )
        .await
    }

    /// Adds a runner that is nowhere, with a default class: what is made of it stays as it was made.
    pub async fn runner_nowhere(&self) {
        let rows = "
            WITH runner AS (
                INSERT INTO runners (id, organization_id, name)
                SELECT gen_random_uuid(), id, 'nowhere' FROM organizations RETURNING id
            )
            INSERT INTO environment_classes
                (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, is_default)
            SELECT gen_random_uuid(), id, 'None', '', 1, 1, 1, true FROM runner";
        self.owner().await.batch_execute(rows).await.unwrap();
    }

    /// Adds a class with hardly anything to the only runner: half a processor, 256 MiB of memory, 48 processes, 16 MiB of
    /// disk; returns its ID.
    pub async fn tiny_class(&self) -> String {
        self.class_with(268_435_456, 16_777_216).await
    }

    /// A class with so many bytes of memory and of disk; gives its ID.
    pub async fn class_with(&self, memory: i64, disk: i64) -> String {
        self.text(
            "INSERT INTO environment_classes
                 (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, disk_bytes)
             SELECT gen_random_uuid(), id, $3, '', 500, $1, 48, $2 FROM runners
             RETURNING id::text",
            &[&memory, &disk, &format!("{memory} and {disk}")],
        )
        .await
    }

    /// What a query of one text answers, asked by the owner.
    pub async fn text(&self, query: &str, values: &[&(dyn ToSql + Sync)]) -> String {
        self.owner().await.query_one(query, values).await.unwrap().get(0)
    }

    /// What a query of one number answers, asked by the owner.
    pub async fn number(&self, query: &str, values: &[&(dyn ToSql + Sync)]) -> i64 {
        self.owner().await.query_one(query, values).await.unwrap().get(0)
    }

    /// Every row of every table, as PostgreSQL writes it.
    pub async fn dump(&self) -> String {
        use futures::TryStreamExt;
        // The owner is who takes backups; what it cannot read is no part of one.
        let owner = self.owner().await;
        let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables
                      WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND tableowner = $1";
        let mut dump = String::new();
        for row in owner.query(tables, &[&Role::Owner.name()]).await.unwrap() {
            let table: String = row.get(0);
            let rows = owner.copy_out(&format!("COPY (SELECT * FROM {table}) TO STDOUT")).await.unwrap();
            let rows: Vec<bytes::Bytes> = rows.try_collect().await.unwrap();
            dump.push_str(&format!("-- {table}\n"));
            for row in rows {
                dump.push_str(std::str::from_utf8(&row).unwrap());
            }
        }
        dump
    }
}
