//! The audit log: what is in it, what is not, who reads it, and that nothing happens without it.

mod acts;
mod atomic;
mod indexes;
mod observations;
mod partitions;
mod reading;

use serde_json::Value;
use tokio_postgres::Client;

use crate::support::{TestDatabase, eventually};

/// The log and what is still being counted, as JSON objects; `matching` is SQL.
async fn rows(client: &Client, table: &str, matching: &str) -> Vec<Value> {
    let query = format!("SELECT to_jsonb(r)::text FROM {table} r WHERE {matching} ORDER BY created_at, id");
    let query = if table.ends_with("_tallies") { query.replace("created_at, id", "minute") } else { query };
    let rows = client.query(&query, &[]).await.unwrap();
    rows.into_iter().map(|row| serde_json::from_str(row.get(0)).unwrap()).collect()
}

/// The entries of the log that match; no more and no fewer than expected, once there are as many.
async fn logged(client: &Client, matching: &str, expected: usize) -> Vec<Value> {
    eventually(&format!("{expected} entries with {matching}"), async || {
        let found = rows(client, "audit_logs", matching).await;
        assert!(found.len() <= expected, "more than {expected} entries with {matching}: {found:#?}");
        (found.len() == expected).then_some(found)
    })
    .await
}

/// Whether an entry says all this of an act. `expected` is an object with the columns that matter.
#[track_caller]
fn assert_says(entry: &Value, expected: &Value) {
    for (column, value) in expected.as_object().unwrap() {
        assert_eq!(&entry[column], value, "{column} of {entry:#}");
    }
}

/// A runner that no server looks after, with a default class: environments are asked for, and stay as they are.
async fn runner_of_nobody(database: &TestDatabase) {
    let sql = "
        INSERT INTO runners (id, organization_id, name) SELECT gen_random_uuid(), id, 'nobody' FROM organizations;
        INSERT INTO environment_classes
            (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, is_default)
            SELECT gen_random_uuid(), id, 'Small', '', 1, 1, 1, true FROM runners";
    database.owner().await.batch_execute(sql).await.unwrap();
}
