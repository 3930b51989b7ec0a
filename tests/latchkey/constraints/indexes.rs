//! Indexes of large tables, which are built while others go on.

use latchkey::store::{StoreConfig, StoreError, build_indexes, migrate};
use tokio_postgres::Client;

use super::migrations::schema;
use crate::support::{TestDatabase, TestServer, eventually};

/// Those that are there, and good for something.
async fn valid(client: &Client) -> Vec<String> {
    let query = "
        SELECT relname::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
        WHERE indisvalid AND relnamespace = 'public'::regnamespace ORDER BY 1";
    client.query(query, &[]).await.unwrap().into_iter().map(|row| row.get(0)).collect()
}

/// Leaves an index of that name as PostgreSQL leaves one that was broken off.
async fn break_off(client: &Client, name: &str) {
    let doubled = "INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'x'), (gen_random_uuid(), 'x')";
    client.batch_execute(doubled).await.unwrap();
    let unique = format!("CREATE UNIQUE INDEX CONCURRENTLY {name} ON organizations (name)");
    assert!(client.batch_execute(&unique).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_broken_off_is_built_anew_and_what_was_built_is_taken_on() {
    let database = TestDatabase::create().await;
    let config = StoreConfig::parse(&database.owner_url()).unwrap();
    let owner = database.owner().await;
    let (before, all) = (schema(&owner).await, valid(&owner).await);
    let month = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')";
    let month: String = owner.query_one(month, &[]).await.unwrap().get(0);
    // One of a month was broken off, one of the others was built when the server was killed before it became a part of the whole.
    let killed = "DROP INDEX personal_access_tokens_by_revocation; DROP INDEX audit_logs_of_subject_type;
        CREATE INDEX audit_logs_of_subject_type ON ONLY audit_logs (organization_id, subject_type, created_at DESC, id DESC);
        CREATE INDEX audit_logs_default_of_subject_type
            ON audit_logs_default (organization_id, subject_type, created_at DESC, id DESC)";
    owner.batch_execute(killed).await.unwrap();
    break_off(&owner, "personal_access_tokens_by_revocation").await;
    break_off(&owner, &format!("audit_logs_{month}_of_subject_type")).await;
    // Another one that somebody builds by themselves is theirs.
    break_off(&owner, "organizations_by_name").await;
    assert!(build_indexes(&config).await.unwrap());
    assert_eq!(valid(&owner).await, all);
    owner.batch_execute("DROP INDEX organizations_by_name").await.unwrap();
    assert_eq!(schema(&owner).await, before);
    // What is made from now on comes with them.
    let partition =
        "CREATE TABLE audit_logs_2999_01 PARTITION OF audit_logs FOR VALUES FROM ('2999-01-01Z') TO ('2999-02-01Z')";
    owner.batch_execute(partition).await.unwrap();
    let like = "SELECT count(*) FROM pg_indexes WHERE tablename = $1";
    let indexes = async |table: &str| owner.query_one(like, &[&table]).await.unwrap().get::<_, i64>(0);
    assert_eq!(indexes("audit_logs_2999_01").await, indexes("audit_logs").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_takes_as_long_as_it_takes_and_one_that_fails_keeps_no_other_from_it() {
    let database = TestDatabase::create().await;
    let url = database.owner_url();
    let owner = database.owner().await;
    let all = valid(&owner).await;
    let names = ["personal_access_tokens_by_end", "personal_access_tokens_by_revocation", "audit_logs_of_subject_type"];
    let drop = async || {
        owner.batch_execute(&format!("DROP INDEX {}", names.join(", "))).await.unwrap();
    };
    // Sessions of the owner have limits, which no build keeps.
    drop().await;
    let role: String = owner.query_one("SELECT current_user::text", &[]).await.unwrap().get(0);
    let limits = format!(
        "ALTER ROLE {role} IN DATABASE {} SET statement_timeout = '1ms'",
        owner.query_one("SELECT quote_ident(current_database())", &[]).await.unwrap().get::<_, String>(0)
    );
    owner.batch_execute(&limits).await.unwrap();
    assert!(build_indexes(&StoreConfig::parse(&url).unwrap()).await.unwrap());
    assert_eq!(valid(&owner).await, all);
    // One of that name, of something else, cannot be made good.
    drop().await;
    let in_the_way = "CREATE TABLE personal_access_tokens_by_end ()";
    owner.batch_execute(in_the_way).await.unwrap();
    let failed = build_indexes(&StoreConfig::parse(&url).unwrap()).await.unwrap_err();
    assert!(matches!(failed, StoreError::Query(_)), "{failed}");
    let but_one: Vec<String> = all.into_iter().filter(|name| name != "personal_access_tokens_by_end").collect();
    assert_eq!(valid(&owner).await, but_one);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_one_that_waits_for_somebody() {
    let database = TestDatabase::create_empty().await;
    let config = StoreConfig::parse(&database.owner_url()).unwrap();
    migrate(&config).await.unwrap();
    let owner = database.owner().await;
    // A dump, which takes as long as it takes.
    let mut dump = database.owner().await;
    let snapshot = dump.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead);
    let snapshot = snapshot.start().await.unwrap();
    snapshot.query_one("SELECT count(*) FROM audit_logs", &[]).await.unwrap();
    let server = TestServer::start(&database).await;
    let building = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY %' AND wait_event_type = 'Lock' AND datname = current_database()";
    eventually("the server builds", || async {
        (owner.query_one(building, &[]).await.unwrap().get::<_, i64>(0) == 1).then_some(())
    })
    .await;
    // Others leave it to the first one; commands, and whoever asks for something, do not come to that.
    assert!(!build_indexes(&config).await.unwrap());
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    api.create_token("made meanwhile").await;
    let second = TestServer::start_beside(&server, &database).await;
    second.api(&token).await.whoami().await.unwrap();
    snapshot.commit().await.unwrap();
    let template = TestDatabase::create().await;
    let all = valid(&template.owner().await).await;
    eventually("all are built", || async { (valid(&owner).await == all).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_to_the_log_is_not_kept_waiting() {
    let database = TestDatabase::create_empty().await;
    let config = StoreConfig::parse(&database.owner_url()).unwrap();
    migrate(&config).await.unwrap();
    let mut writer = database.owner().await;
    let writing = writer.transaction().await.unwrap();
    let entry = "INSERT INTO audit_logs (id, actor_kind, action, rpc, outcome) VALUES (gen_random_uuid(), 'operator', 'user_create', 'test', 'succeeded')";
    writing.batch_execute(entry).await.unwrap();
    // It gives up, and lets those pass who have come after it.
    let error = build_indexes(&config).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("lock timeout")), "{error}");
    writing.commit().await.unwrap();
    // PostgreSQL may not have noticed yet that the first one is gone.
    eventually("all are built", || async { build_indexes(&config).await.unwrap().then_some(()) }).await;
}
