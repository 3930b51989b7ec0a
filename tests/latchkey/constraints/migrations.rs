//! Migrations go up from nothing, and each goes down to where it began.

use std::{fs, path::PathBuf};

use latchkey::store::{StoreConfig, build_indexes, migrate};
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

pub(super) async fn schema(client: &Client) -> Vec<String> {
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
    assert!(build_indexes(&config).await.unwrap());
    let template = TestDatabase::create().await;
    assert_eq!(schema(&database.owner().await).await, schema(&template.owner().await).await);
}
