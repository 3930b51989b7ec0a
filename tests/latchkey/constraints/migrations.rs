//! Migrations go up from nothing, and each goes down to where it began.

use std::{fs, path::PathBuf};

use latchkey::store::{StoreConfig, migrate};
use tokio_postgres::Client;

use crate::support::TestDatabase;

/// Everything that a migration can make, in words.
const SCHEMA: &str = "
    SELECT format('column %s.%s %s %s %s %s', relname, attname, format_type(atttypid, atttypmod), attnotnull,
        pg_get_expr(adbin, adrelid), attacl)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped
    UNION ALL SELECT format('relation %s %s %s %s', relname, relkind, relacl, reloptions)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT format('trigger %s', pg_get_triggerdef(oid)) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT format('function %s %s', pg_get_functiondef(oid), proacl)
    FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ORDER BY 1";

async fn schema(client: &Client) -> Vec<String> {
    client.query(SCHEMA, &[]).await.unwrap().into_iter().map(|row| row.get(0)).collect()
}

fn folders() -> Vec<PathBuf> {
    let all = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let mut folders: Vec<PathBuf> = all.map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders
}

#[tokio::test]
async fn each_migration_goes_up_and_down_and_up_again() {
    let database = TestDatabase::create_empty().await;
    let owner = database.owner().await;
    let mut before = Vec::new();
    let run = async |folder: &PathBuf, file: &str| {
        let sql = fs::read_to_string(folder.join(file)).unwrap();
        let done = owner.batch_execute(&sql).await;
        done.unwrap_or_else(|error| panic!("{}/{file}: {error:?}", folder.display()));
    };
    let folders = folders();
    for folder in &folders {
        before.push(schema(&owner).await);
        run(folder, "up.sql").await;
        assert_ne!(schema(&owner).await, *before.last().unwrap(), "{} does something", folder.display());
    }
    let whole = schema(&owner).await;
    for (folder, before) in folders.iter().zip(&before).rev() {
        run(folder, "down.sql").await;
        assert_eq!(schema(&owner).await, *before, "{} is reverted", folder.display());
    }
    assert_eq!(before[0], Vec::<String>::new());
    for folder in &folders {
        run(folder, "up.sql").await;
    }
    assert_eq!(schema(&owner).await, whole);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_brought_up_to_date_once() {
    let database = TestDatabase::create_empty().await;
    let config = StoreConfig::parse(&database.owner_url()).unwrap();
    assert_eq!(migrate(&config).await.unwrap().len(), folders().len());
    assert_eq!(migrate(&config).await.unwrap(), Vec::<String>::new());
    let template = TestDatabase::create().await;
    assert_eq!(schema(&database.owner().await).await, schema(&template.owner().await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_was_broken_off_is_built_anew() {
    let database = TestDatabase::create_empty().await;
    let config = StoreConfig::parse(&database.owner_url()).unwrap();
    migrate(&config).await.unwrap();
    let owner = database.owner().await;
    let before = schema(&owner).await;
    // As PostgreSQL leaves one: two rows that are one to it, while others go on.
    let broken = "DROP INDEX personal_access_tokens_by_revocation;
        DELETE FROM __diesel_schema_migrations WHERE version = '20261130000016';
        INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'x'), (gen_random_uuid(), 'x');";
    owner.batch_execute(broken).await.unwrap();
    let twice = "CREATE UNIQUE INDEX CONCURRENTLY personal_access_tokens_by_revocation ON organizations (name)";
    assert!(owner.batch_execute(twice).await.is_err());
    assert_eq!(migrate(&config).await.unwrap().len(), 1);
    assert_eq!(schema(&owner).await, before);
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'personal_access_tokens_by_revocation'::regclass";
    assert!(owner.query_one(valid, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_a_partition_that_was_broken_off_is_built_anew() {
    let database = TestDatabase::create_empty().await;
    let config = StoreConfig::parse(&database.owner_url()).unwrap();
    migrate(&config).await.unwrap();
    let owner = database.owner().await;
    let before = schema(&owner).await;
    // One was broken off, another one was built when the server was killed before it was made a part of the whole.
    let killed = "DROP INDEX audit_logs_of_subject_type;
        CREATE INDEX audit_logs_of_subject_type ON ONLY audit_logs (organization_id, subject_type, created_at DESC, id DESC);
        CREATE INDEX audit_logs_default_of_subject_type
            ON audit_logs_default (organization_id, subject_type, created_at DESC, id DESC);
        INSERT INTO organizations (id, name) VALUES (gen_random_uuid(), 'x'), (gen_random_uuid(), 'x');";
    owner.batch_execute(killed).await.unwrap();
    let month = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')";
    let month: String = owner.query_one(month, &[]).await.unwrap().get(0);
    let twice = format!("CREATE UNIQUE INDEX CONCURRENTLY audit_logs_{month}_of_subject_type ON organizations (name)");
    assert!(owner.batch_execute(&twice).await.is_err());
    assert_eq!(migrate(&config).await.unwrap(), Vec::<String>::new());
    assert_eq!(schema(&owner).await, before);
    let invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    assert_eq!(owner.query_one(invalid, &[]).await.unwrap().get::<_, i64>(0), 0);
    // What is made from now on comes with them.
    let partition =
        "CREATE TABLE audit_logs_2999_01 PARTITION OF audit_logs FOR VALUES FROM ('2999-01-01Z') TO ('2999-02-01Z')";
    owner.batch_execute(partition).await.unwrap();
    let like = "SELECT count(*) FROM pg_indexes WHERE tablename = $1";
    let indexes = async |table: &str| owner.query_one(like, &[&table]).await.unwrap().get::<_, i64>(0);
    assert_eq!(indexes("audit_logs_2999_01").await, indexes("audit_logs").await);
}
