//! A partition for each month, made before it begins.

use tokio_postgres::Client;

use crate::support::{TestDatabase, server::admin};

async fn partitions(client: &Client) -> Vec<(String, String)> {
    let query = "
        SELECT relname::text, pg_get_expr(relpartbound, pg_class.oid) FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'audit_logs'::regclass ORDER BY 1";
    client.query(query, &[]).await.unwrap().into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The first days of this month and of the next four, and the names of their partitions.
async fn months(client: &Client) -> Vec<(String, String)> {
    let query = "
        SELECT to_char(month, 'YYYY-MM-DD HH24:MI:SS') || '+00', to_char(month, '\"audit_logs_\"YYYY_MM') FROM generate_series(
            date_trunc('month', now() AT TIME ZONE 'UTC'), date_trunc('month', now() AT TIME ZONE 'UTC') + interval '4 months',
            interval '1 month') AS month";
    client.query(query, &[]).await.unwrap().into_iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn insert(client: &Client, created_at: &str) -> String {
    let sql = format!(
        "INSERT INTO audit_logs (id, created_at, actor_kind, action, rpc, outcome)
         VALUES (gen_random_uuid(), {created_at}, 'operator', 'user_create', 'test', 'succeeded')
         RETURNING tableoid::regclass::text"
    );
    // The owner is told where it went: the serving role may not look into partitions, but `tableoid` is no secret.
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn entries_go_to_their_month() {
    let database = TestDatabase::create().await;
    let serving = database.serving().await;
    serving.batch_execute("SET timezone = 'UTC'").await.unwrap();
    let months = months(&serving).await;
    let mut expected: Vec<(String, String)> = months
        .windows(2)
        .map(|pair| (pair[0].1.clone(), format!("FOR VALUES FROM ('{}') TO ('{}')", pair[0].0, pair[1].0)))
        .collect();
    expected.push(("audit_logs_default".to_owned(), "DEFAULT".to_owned()));
    expected.sort();
    assert_eq!(partitions(&serving).await, expected);
    assert_eq!(insert(&serving, "now()").await, months[0].1);
    for pair in months.windows(2) {
        assert_eq!(insert(&serving, &format!("'{}'", pair[0].0)).await, pair[0].1, "its first moment");
        let last = format!("timestamptz '{}' - interval '1 microsecond'", pair[1].0);
        assert_eq!(insert(&serving, &last).await, pair[0].1, "its last moment");
    }
    for far in ["'2999-01-01Z'", "'2001-01-01Z'", &format!("'{}'", months[4].0)] {
        assert_eq!(insert(&serving, far).await, "audit_logs_default", "{far}");
    }
    let everything = serving.query_one("SELECT count(*) FROM audit_logs", &[]).await.unwrap();
    assert_eq!(everything.get::<_, i64>(0), 1 + 8 + 3);
}

#[tokio::test]
async fn partitions_are_made_by_whoever_is_first() {
    let database = TestDatabase::create().await;
    let owner = database.owner().await;
    let whole = partitions(&owner).await;
    let months = months(&owner).await;
    for (_, partition) in &months[1..4] {
        owner.batch_execute(&format!("DROP TABLE {partition}")).await.unwrap();
    }
    let mut together = Vec::new();
    for _ in 0..4 {
        let serving = database.serving().await;
        together.push(async move { serving.batch_execute("SELECT audit_logs_prepare_partitions()").await });
    }
    for done in futures::future::join_all(together).await {
        done.expect("the serving role may, and one waits for the other");
    }
    assert_eq!(partitions(&owner).await, whole);
}

#[tokio::test]
async fn a_month_that_began_in_the_default_partition_stays_there() {
    let database = TestDatabase::create().await;
    let owner = database.owner().await;
    let months = months(&owner).await;
    for (_, partition) in &months[2..4] {
        owner.batch_execute(&format!("DROP TABLE {partition}")).await.unwrap();
    }
    let serving = database.serving().await;
    assert_eq!(insert(&serving, &format!("'{}'", months[2].0)).await, "audit_logs_default");
    serving.batch_execute("SELECT audit_logs_prepare_partitions()").await.expect("that month is passed over");
    let made: Vec<String> = partitions(&owner).await.into_iter().map(|(name, _)| name).collect();
    assert!(made.contains(&months[3].1) && !made.contains(&months[2].1), "{made:?}");
    let kept = owner.query_one("SELECT count(*) FROM audit_logs", &[]).await.unwrap();
    assert_eq!(kept.get::<_, i64>(0), 1);
}

#[tokio::test]
async fn the_operator_drops_whole_months_and_that_is_logged() {
    let database = TestDatabase::create().await;
    let owner = database.owner().await;
    let this_month = months(&owner).await[0].0[..7].to_owned();
    owner
        .batch_execute(
            "CREATE TABLE audit_logs_2020_01 PARTITION OF audit_logs FOR VALUES FROM ('2020-01-01Z') TO ('2020-02-01Z');
             CREATE TABLE audit_logs_2020_02 PARTITION OF audit_logs FOR VALUES FROM ('2020-02-01Z') TO ('2020-03-01Z')",
        )
        .await
        .unwrap();
    for at in ["'2019-12-31 23:59Z'", "'2020-01-31 23:59:59Z'", "'2020-02-01Z'", "'2020-03-01Z'", "now()"] {
        insert(&owner, at).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let drop = async |before: &str| admin(&database, directory.path(), &["drop-audit-logs", "--before", before]).await;
    let left = async || {
        let query =
            "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM') FROM audit_logs WHERE rpc = 'test' ORDER BY 1";
        let rows = owner.query(query, &[]).await.unwrap();
        rows.into_iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
    };

    for bad in ["2020", "2020-13", "2020-02-01", "tomorrow", ""] {
        assert!(drop(bad).await.unwrap_err().contains("--before"), "{bad}");
    }
    let refused = drop("2999-01").await.unwrap_err();
    assert!(refused.contains("current month"), "{refused}");
    assert_eq!(left().await.len(), 5, "nothing was dropped");

    assert_eq!(drop("2020-02").await.unwrap(), "dropped 2020-01\ndropped 1 entries of months without a partition\n");
    assert_eq!(left().await, ["2020-02", "2020-03", this_month.as_str()]);
    // The very month that is named stays, this one too.
    let said = drop(&this_month).await.unwrap();
    assert_eq!(said, "dropped 2020-02\ndropped 1 entries of months without a partition\n");
    assert_eq!(left().await, [this_month.as_str()]);
    let logged =
        "SELECT rpc FROM audit_logs WHERE action = 'audit_logs_drop' AND actor_kind = 'operator' ORDER BY created_at";
    let logged: Vec<String> = owner.query(logged, &[]).await.unwrap().into_iter().map(|row| row.get(0)).collect();
    let command = |month: &str| format!("latchkey admin drop-audit-logs --before {month}");
    assert_eq!(logged, [command("2020-02"), command(&this_month)]);
}

#[tokio::test]
async fn a_log_in_use_is_not_dropped_and_nobody_waits_behind_that() {
    let database = TestDatabase::create().await;
    let owner = database.owner().await;
    let old =
        "CREATE TABLE audit_logs_2020_01 PARTITION OF audit_logs FOR VALUES FROM ('2020-01-01Z') TO ('2020-02-01Z')";
    owner.batch_execute(old).await.unwrap();
    let reader = database.serving().await;
    reader.batch_execute("BEGIN; SELECT count(*) FROM audit_logs").await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let command = ["drop-audit-logs", "--before", "2020-02"];
    let refused = admin(&database, directory.path(), &command).await.unwrap_err();
    assert!(refused.contains("nothing was dropped") && refused.contains("try again"), "{refused}");
    assert!(partitions(&owner).await.iter().any(|(name, _)| name == "audit_logs_2020_01"));
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!(admin(&database, directory.path(), &command).await.unwrap(), "dropped 2020-01\n");
}
