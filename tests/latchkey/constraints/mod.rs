//! What PostgreSQL itself holds everybody to: constraints, triggers and rights, and that migrations go up and down.

mod cases;
mod indexes;
mod login_cases;
mod migrations;
mod privileges;
mod session_cases;

use std::collections::BTreeSet;

use tokio_postgres::Client;

use crate::support::TestDatabase;

/// What is there before each case, by the names that the cases use.
const FIXTURE: &str = "
    INSERT INTO organizations (id, name) VALUES (@org, 'Ours'), (@other_org, 'Theirs');
    INSERT INTO principals (id, organization_id, kind, role, name, email) VALUES
        (@user, @org, 'user', 'member', 'User', 'user@example.com'),
        (@colleague, @org, 'user', 'admin', 'Colleague', 'colleague@example.com'),
        (@service, @org, 'service_account', 'member', 'Service', NULL),
        (@stranger, @other_org, 'user', 'member', 'Stranger', 'stranger@example.com');
    INSERT INTO signing_keys (generation, check_value, state, activated_at) VALUES
        (1, sha256('1'), 'active', now()), (2, sha256('2'), 'verifying', NULL);
    INSERT INTO personal_access_tokens
        (id, organization_id, principal_id, creator_id, key_generation, digest, description, read_only, created_at, expires_at, revoked_at)
    VALUES
        (@token, @org, @user, @user, 1, sha256('a'), 'live', false, '2026-01-01Z', '2026-01-31Z', NULL),
        (@revoked, @org, @user, @user, 1, sha256('b'), 'revoked', false, '2026-01-01Z', '2026-01-31Z', '2026-01-02Z');
    INSERT INTO token_last_used (token_id, last_used_at) VALUES (@token, now());
    INSERT INTO audit_logs (id, created_at, actor_kind, action, rpc, outcome)
        VALUES (@entry, '2001-01-01Z', 'operator', 'user_create', 'test', 'succeeded');
    INSERT INTO audit_tallies (minute, actor_kind, action, rpc, outcome, reason, count)
        VALUES ('2001-01-01Z', 'stranger', 'credential_refuse', 'test', 'denied', 'forged', 1);
    INSERT INTO runners (id, organization_id, name) VALUES (@runner, @org, 'local'), (@other_runner, @other_org, 'local');
    INSERT INTO environment_classes
        (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, is_default)
    VALUES
        (@class, @runner, 'Small', '', 1, 1, 1, true), (@other_class, @other_runner, 'Small', '', 1, 1, 1, true);
    INSERT INTO environments
        (id, organization_id, creator_id, created_by_token_id, runner_id, class_id, name, desired_phase, phase)
        VALUES (@environment, @org, @user, @token, @runner, @class, 'empty', 'running', 'creating');
    INSERT INTO environment_tokens (id, environment_id, parent_token_id, key_generation, digest, expires_at)
        VALUES (@environment_token, @environment, @token, 1, sha256('c'), now() + interval '1 hour');
    INSERT INTO sessions (id, organization_id, principal_id, key_generation, digest, signed_in_by, expires_at, idle_expires_at)
        VALUES (@entry, @org, @user, 1, sha256('d'), 'link', now() + interval '7 days', now() + interval '1 hour');
    INSERT INTO sign_in_links (id, organization_id, principal_id, key_generation, digest, expires_at)
        VALUES (@entry, @org, @user, 1, sha256('e'), now() + interval '1 minute');
    INSERT INTO token_forms (creator_id, idempotency_key) VALUES (@user, @entry);
    INSERT INTO audit_session_tallies (minute, organization_id, actor_id, actor_kind, session_id, action, rpc, outcome, count)
        VALUES ('2001-01-01Z', @org, @user, 'user', @entry, 'read', 'test', 'succeeded', 1);
    INSERT INTO servers (id, public_url, takes_links) VALUES (@entry, 'http://127.0.0.1:8080', true);
    INSERT INTO identities (issuer, subject, organization_id, principal_id) VALUES ('https://i.example', 'user', @org, @user);
    INSERT INTO invitations (id, organization_id, principal_id, provider, email, created_at, expires_at, redeemed_at, withdrawn_at)
    VALUES
        (@invitation, @org, @user, 'acme', 'user@example.com', '2026-01-01Z', '2026-01-08Z', NULL, NULL),
        (@redeemed, @org, @user, 'acme', 'user@example.com', '2026-01-01Z', '2026-01-08Z', '2026-01-02Z', NULL),
        (@withdrawn, @org, @user, 'acme', 'user@example.com', '2026-01-01Z', '2026-01-08Z', NULL, '2026-01-02Z');
    INSERT INTO sign_in_attempts (id) VALUES (@attempt);
    INSERT INTO login_requests
        (id, flow, key_generation, digest, user_code_digest, host_name, lifetime_seconds, expires_at, state)
        VALUES (@waiting, 'device', 1, sha256('d'), sha256('e'), 'laptop', 60, now() + interval '5 minutes', 'pending');
    INSERT INTO login_requests
        (id, flow, key_generation, digest, code_challenge, redirect_uri, host_name, lifetime_seconds, expires_at, state,
         decided_at, organization_id, approver_id, session_id, token_id)
        VALUES (@redeemed, 'redirect', 1, sha256('f'), sha256('g'), 'http://127.0.0.1:8085/', 'laptop', 60,
            now() + interval '1 minute', 'redeemed', now(), @org, @user, @new, @token);";

/// Stands for a UUID of its own in the fixture and in the cases; longer names first.
const NAMES: [&str; 22] = [
    "@environment_token",
    "@environment",
    "@other_runner",
    "@other_class",
    "@invitation",
    "@withdrawn",
    "@redeemed",
    "@attempt",
    "@other_org",
    "@colleague",
    "@stranger",
    "@revoked",
    "@service",
    "@waiting",
    "@runner",
    "@class",
    "@entry",
    "@token",
    "@user",
    "@org",
    "@nobody",
    "@new",
];

fn named(sql: &str) -> String {
    NAMES.iter().enumerate().fold(sql.to_owned(), |sql, (number, name)| {
        sql.replace(name, &format!("uuid '00000000-0000-4000-8000-{number:012}'"))
    })
}

async fn fixture(database: &TestDatabase) -> Client {
    let owner = database.owner().await;
    owner.batch_execute(&named(FIXTURE)).await.unwrap();
    owner
}

/// The name of the constraint that a statement breaks, or what else became of it. Changes nothing.
async fn broken_by(client: &Client, sql: &str) -> Result<String, String> {
    client.batch_execute("BEGIN").await.unwrap();
    let outcome = client.batch_execute(&named(sql)).await;
    client.batch_execute("ROLLBACK").await.unwrap();
    let Err(error) = outcome else { return Err("it was done".to_owned()) };
    let error = error.as_db_error().expect("PostgreSQL said it");
    let Some(constraint) = error.constraint() else { return Err(error.to_string()) };
    // A partition's copy of a key has a name of its own.
    let of = "SELECT p.conname::text FROM pg_constraint c JOIN pg_constraint p ON p.oid = c.conparentid WHERE c.conname = $1";
    let parent = client.query_opt(of, &[&constraint]).await.unwrap();
    Ok(parent.map_or_else(|| constraint.to_owned(), |row| row.get(0)))
}

#[tokio::test]
async fn every_constraint_refuses_what_breaks_it() {
    let database = TestDatabase::create().await;
    let client = fixture(&database).await;
    let mut wrong = Vec::new();
    for (constraint, sql) in cases::CASES.iter().chain(session_cases::CASES).chain(login_cases::CASES) {
        let outcome = broken_by(&client, sql).await;
        if outcome.as_deref() != Ok(constraint) {
            wrong.push(format!("{constraint}: {sql}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for sql in cases::ALLOWED {
        client.batch_execute("BEGIN").await.unwrap();
        let done = client.batch_execute(&named(sql)).await;
        client.batch_execute("ROLLBACK").await.unwrap();
        assert!(done.is_ok(), "{sql}: {done:?}");
    }
}

/// Names of everything that can refuse a row: constraints, unique indexes, and triggers that fire before a change.
const REFUSING: &str = "
    SELECT conname::text FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND conparentid = 0 AND conislocal AND contype IN ('c', 'f', 'p', 'u', 'x')
        AND conrelid <> '__diesel_schema_migrations'::regclass
    UNION
    SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indisunique AND relnamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
    UNION
    SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal AND tgtype & 2 = 2";

#[tokio::test]
async fn every_constraint_has_a_case() {
    let database = TestDatabase::create().await;
    let client = database.owner().await;
    let known = client.query(REFUSING, &[]).await.unwrap();
    let known: BTreeSet<String> = known.into_iter().map(|row| row.get(0)).collect();
    assert!(known.len() > 50, "the catalogue is read: {known:?}");
    let cases = cases::CASES.iter().chain(session_cases::CASES).chain(login_cases::CASES);
    let tried: BTreeSet<String> = cases.map(|(constraint, _)| (*constraint).to_owned()).collect();
    let untried: Vec<_> = known.difference(&tried).collect();
    let unknown: Vec<_> = tried.difference(&known).collect();
    assert!(untried.is_empty() && unknown.is_empty(), "no case breaks {untried:?}; no such constraint: {unknown:?}");
}

/// Every column that may be empty. All others refuse NULL.
const NULLABLE: [&str; 54] = [
    "audit_logs.actor_id",
    "audit_logs.organization_id",
    "audit_logs.peer",
    "audit_logs.request_id",
    "audit_logs.session_id",
    "audit_logs.subject_id",
    "audit_logs.subject_type",
    "audit_logs.token_id",
    "audit_logs.user_agent",
    "audit_session_tallies.peer",
    "audit_session_tallies.user_agent",
    "audit_tallies.actor_id",
    "audit_tallies.organization_id",
    "audit_tallies.peer",
    "audit_tallies.token_id",
    "audit_tallies.user_agent",
    "environments.archived_at",
    "environments.branch",
    "environments.checkout_location",
    "environments.commit",
    "environments.context_url",
    "environments.failure_message",
    "environments.last_started_at",
    "environments.remote_url",
    "environments.target",
    "environments.target_name",
    "environments.upstream_url",
    "environments.warning_message",
    "invitations.redeemed_at",
    "invitations.withdrawn_at",
    "login_requests.approver_id",
    "login_requests.code_challenge",
    "login_requests.decided_at",
    "login_requests.network",
    "login_requests.organization_id",
    "login_requests.peer",
    "login_requests.polled_at",
    "login_requests.redirect_uri",
    "login_requests.session_id",
    "login_requests.token_id",
    "login_requests.user_agent",
    "login_requests.user_code_digest",
    "personal_access_tokens.created_by_token_id",
    "personal_access_tokens.revoked_at",
    "principals.email",
    "sessions.peer",
    "sessions.revoked_at",
    "sessions.user_agent",
    "sign_in_links.used_at",
    "signing_keys.activated_at",
    "signing_keys.revoked_at",
    "token_forms.token_id",
    "token_last_used.peer",
    "token_last_used.user_agent",
];

#[tokio::test]
async fn columns_refuse_null_unless_they_are_known_to_take_it() {
    let database = TestDatabase::create().await;
    let client = fixture(&database).await;
    let columns = "
        SELECT relname::text, attname::text FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition AND attnum > 0
            AND relname <> '__diesel_schema_migrations'
        ORDER BY 1, 2";
    let mut nullable = Vec::new();
    for row in client.query(columns, &[]).await.unwrap() {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        // A copy of a row that is there, but for this column.
        let sql = format!(
            "INSERT INTO {table} SELECT (jsonb_populate_record(r, '{{\"{column}\": null}}')).* FROM {table} r LIMIT 1"
        );
        client.batch_execute("BEGIN").await.unwrap();
        let outcome = client.batch_execute(&sql).await;
        client.batch_execute("ROLLBACK").await.unwrap();
        let refusal = outcome.err().and_then(|error| error.as_db_error().cloned());
        let refused = refusal.is_some_and(|error| error.code().code() == "23502" && error.column() == Some(&column));
        if !refused {
            nullable.push(format!("{table}.{column}"));
        }
    }
    assert_eq!(nullable, NULLABLE);
}
