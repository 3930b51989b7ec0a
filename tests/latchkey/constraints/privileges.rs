//! What the serving role may do, and that it may do no more: a server that was taken over cannot rewrite what happened.

use tokio_postgres::Client;

use super::{fixture, named};
use crate::support::TestDatabase;

/// Every right of the serving role on tables, by column where it has only some.
const GRANTS: &str = "\
audit_logs INSERT SELECT
audit_session_tallies DELETE INSERT SELECT UPDATE(count)
audit_tallies DELETE INSERT SELECT UPDATE(count)
environment_classes INSERT SELECT
environment_tokens DELETE INSERT SELECT
environments DELETE INSERT SELECT UPDATE
identities INSERT SELECT
invitations INSERT SELECT UPDATE(redeemed_at,withdrawn_at)
login_requests DELETE INSERT SELECT UPDATE(approver_id,decided_at,organization_id,poll_seconds,polled_at,session_id,state,token_id)
organizations SELECT
personal_access_tokens INSERT SELECT UPDATE(description,revoked_at)
principals INSERT(email,id,kind,name,organization_id,role) SELECT UPDATE(role,status)
runners INSERT SELECT
servers DELETE INSERT SELECT UPDATE(seen_at)
sessions DELETE INSERT SELECT UPDATE(idle_expires_at,last_used_at,peer,revoked_at,user_agent)
sign_in_attempts DELETE INSERT SELECT
sign_in_links DELETE INSERT SELECT UPDATE(used_at)
signing_keys INSERT SELECT UPDATE(state)
token_forms DELETE INSERT SELECT
token_last_used INSERT SELECT UPDATE(last_used_at,peer,user_agent)";

const RIGHTS: &str = "
    SELECT relname::text, string_agg(held, ' ' ORDER BY held) FROM (
        SELECT relname, CASE
            WHEN has_table_privilege(c.oid, kind) THEN kind
            WHEN kind IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') THEN (
                SELECT format('%s(%s)', kind, string_agg(attname, ',' ORDER BY attname::text)) FROM pg_attribute
                WHERE attrelid = c.oid AND attnum > 0 AND has_column_privilege(c.oid, attnum, kind)
                HAVING count(*) > 0)
            END AS held
        FROM pg_class c, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS kind
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    ) AS rights WHERE held IS NOT NULL GROUP BY relname ORDER BY 1";

#[tokio::test]
async fn the_serving_role_has_exactly_these_rights() {
    let database = TestDatabase::create().await;
    let serving = database.serving().await;
    let rows = serving.query(RIGHTS, &[]).await.unwrap();
    let rights: Vec<String> =
        rows.into_iter().map(|row| format!("{} {}", row.get::<_, &str>(0), row.get::<_, &str>(1))).collect();
    assert_eq!(rights.join("\n"), GRANTS);
    let functions = "
        SELECT proname::text FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prosecdef AND has_function_privilege(oid, 'EXECUTE')";
    let functions: Vec<String> =
        serving.query(functions, &[]).await.unwrap().into_iter().map(|row| row.get(0)).collect();
    assert_eq!(functions, ["audit_logs_prepare_partitions"], "nothing else lends it the owner's rights");
}

/// What a server that was taken over might try.
const REFUSED: &[&str] = &[
    // What happened stays written.
    "UPDATE audit_logs SET outcome = 'succeeded'",
    "UPDATE audit_logs SET count = 2",
    "DELETE FROM audit_logs",
    "TRUNCATE audit_logs",
    "LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE",
    "DROP TABLE audit_logs",
    "ALTER TABLE audit_logs DETACH PARTITION audit_logs_default",
    "ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_reason",
    "CREATE TABLE mine PARTITION OF audit_logs FOR VALUES FROM ('2001-01-01') TO ('2001-02-01')",
    "CREATE RULE quiet AS ON INSERT TO audit_logs DO INSTEAD NOTHING",
    "CREATE POLICY hidden ON audit_logs USING (false)",
    "UPDATE audit_tallies SET reason = 'x'",
    "TRUNCATE audit_tallies",
    // No token comes back, lasts longer or changes hands.
    "UPDATE personal_access_tokens SET digest = sha256('mine')",
    "UPDATE personal_access_tokens SET expires_at = now() + interval '80 days'",
    "UPDATE personal_access_tokens SET principal_id = @colleague",
    "UPDATE personal_access_tokens SET read_only = false",
    "UPDATE personal_access_tokens SET key_generation = 2",
    "UPDATE sessions SET expires_at = now() + interval '80 days'",
    "UPDATE sessions SET principal_id = @colleague",
    "UPDATE sessions SET digest = sha256('mine')",
    "TRUNCATE sessions",
    "UPDATE sign_in_links SET digest = sha256('mine')",
    "UPDATE sign_in_links SET expires_at = now() + interval '9 minutes'",
    "UPDATE servers SET public_url = 'https://mine.example'",
    "DELETE FROM personal_access_tokens",
    "TRUNCATE personal_access_tokens CASCADE",
    "ALTER TABLE personal_access_tokens DISABLE TRIGGER personal_access_tokens_keep",
    "DROP TRIGGER personal_access_tokens_keep ON personal_access_tokens",
    "CREATE OR REPLACE FUNCTION personal_access_tokens_keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "SET session_replication_role = replica",
    "CREATE TRIGGER mine BEFORE INSERT ON principals FOR EACH ROW EXECUTE FUNCTION environments_notify()",
    "UPDATE signing_keys SET check_value = sha256('mine')",
    "DELETE FROM signing_keys",
    // Nobody rises.
    "UPDATE principals SET kind = 'service_account', email = NULL",
    "UPDATE principals SET email = 'mine@example.com'",
    "UPDATE principals SET organization_id = @other_org",
    "INSERT INTO principals (id, organization_id, kind, role, name, email, created_at) VALUES (@new, @org, 'user', 'admin', 'x', 'x@y', '2001-01-01Z')",
    // Nobody else's identity is taken over, and no invitation is used twice or redirected.
    "UPDATE identities SET principal_id = @colleague",
    "DELETE FROM identities",
    "TRUNCATE identities",
    "UPDATE invitations SET principal_id = @colleague",
    "UPDATE invitations SET email = 'mine@example.com'",
    "UPDATE invitations SET expires_at = now() + interval '1 day'",
    "DELETE FROM invitations",
    "UPDATE sign_in_attempts SET ended_at = now()",
    "DELETE FROM principals",
    "INSERT INTO organizations (id, name) VALUES (@new, 'x')",
    "UPDATE organizations SET name = 'x'",
    "UPDATE runners SET organization_id = @other_org",
    "UPDATE environment_classes SET processes = 1000000",
    "UPDATE environment_tokens SET expires_at = expires_at",
    // What somebody has said yes to stays what it was.
    "UPDATE login_requests SET digest = sha256('mine')",
    "UPDATE login_requests SET user_code_digest = sha256('mine')",
    "UPDATE login_requests SET code_challenge = sha256('mine')",
    "UPDATE login_requests SET redirect_uri = 'http://127.0.0.1:1/'",
    "UPDATE login_requests SET lifetime_seconds = 7776000",
    "UPDATE login_requests SET expires_at = now() + interval '1 minute'",
    // Nothing is made, and nobody else's rights are taken.
    "CREATE TABLE mine (n int)",
    "CREATE TABLE mine AS SELECT * FROM principals",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE EXTENSION hstore",
    "ALTER TABLE principals ADD COLUMN mine int",
    "DROP FUNCTION audit_logs_prepare_partitions()",
    "CREATE OR REPLACE FUNCTION audit_logs_prepare_partitions() RETURNS void LANGUAGE sql AS ''",
    "SELECT * FROM __diesel_schema_migrations",
    "DELETE FROM __diesel_schema_migrations",
    "SET ROLE latchkey_owner",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION latchkey_owner",
    "CREATE ROLE mine SUPERUSER",
    "ALTER ROLE latchkey_serving SUPERUSER",
    "GRANT latchkey_owner TO latchkey_serving",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "COPY principals TO '/tmp/mine'",
    "SELECT pg_read_file('/etc/passwd')",
];

/// SQLSTATE insufficient_privilege.
const DENIED: &str = "42501";

async fn code_of(client: &Client, sql: &str) -> Option<String> {
    client.batch_execute("BEGIN").await.unwrap();
    let outcome = client.batch_execute(&named(sql)).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    outcome.err().map(|error| error.code().expect("PostgreSQL said it").code().to_owned())
}

#[tokio::test]
async fn the_serving_role_can_do_nothing_beyond_its_rights() {
    let database = TestDatabase::create().await;
    fixture(&database).await;
    let serving = database.serving().await;
    let mut wrong = Vec::new();
    for sql in REFUSED {
        let code = code_of(&serving, sql).await;
        if code.as_deref() != Some(DENIED) {
            wrong.push(format!("{sql}: {code:?}"));
        }
    }
    let partitions = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass";
    let partitions: Vec<String> =
        serving.query(partitions, &[]).await.unwrap().into_iter().map(|row| row.get(0)).collect();
    assert!(partitions.len() >= 5, "this month's, three more, and the default one: {partitions:?}");
    for partition in &partitions {
        for act in ["UPDATE {} SET count = 2", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {}", "SELECT * FROM {}"] {
            let sql = act.replace("{}", partition);
            let code = code_of(&serving, &sql).await;
            if code.as_deref() != Some(DENIED) {
                wrong.push(format!("{sql}: {code:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn revoking_is_for_ever_also_for_the_serving_role() {
    let database = TestDatabase::create().await;
    let owner = fixture(&database).await;
    let serving = database.serving().await;
    let revoke = named("UPDATE personal_access_tokens SET revoked_at = now() WHERE id = @token");
    serving.batch_execute(&revoke).await.unwrap();
    for sql in ["SET revoked_at = NULL", "SET revoked_at = now() + interval '1 day'"] {
        let sql = named(&format!("UPDATE personal_access_tokens {sql} WHERE id = @token"));
        let error = serving.batch_execute(&sql).await.unwrap_err();
        let constraint = error.as_db_error().and_then(|error| error.constraint());
        assert_eq!(constraint, Some("personal_access_tokens_keep"), "{sql}: {error:?}");
    }
    let live = "SELECT count(*) FROM personal_access_tokens WHERE revoked_at IS NULL";
    assert_eq!(owner.query_one(live, &[]).await.unwrap().get::<_, i64>(0), 0);
}
