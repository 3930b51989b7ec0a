//! What `latchkey admin list-tokens` prints, for people and for `cut`.

use futures::future::join_all;

use super::Operator;
use crate::support::{TestDatabase, TestServer, eventually, token_text::token_id};

/// A time of a token, as it is listed.
async fn time(database: &TestDatabase, column: &str, id: &str) -> String {
    let query = format!(
        "SELECT to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
         FROM personal_access_tokens LEFT JOIN token_last_used ON token_id = id WHERE id = $1::text::uuid"
    );
    database.text(&query, &[&id]).await
}

#[tokio::test]
async fn a_line_says_whose_a_token_is_and_what_it_is_good_for() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let operator = Operator::of_database(&database).with_keys(&server.data_dir().join("signing-keys"));
    let user = operator.creates_user("dev@example.com").await;
    let used = operator.creates_token("dev@example.com", &["--valid-for", "90d"]).await;
    let create = ["create-token", "--user", "dev@example.com", "--read-only", "--valid-for", "1m"];
    let unused = operator.does(&[&create[..], &["--description", "für Anna's «nightly» run  "]].concat()).await;
    let (used_id, unused_id) = (token_id(&used), token_id(unused.trim_end()));

    server.api(&used).await.whoami().await.unwrap();
    let lines = eventually("the use is listed", async || {
        let lines = operator.lists(&["--user", "dev@example.com"]).await;
        (lines[1][5] != "last used never").then_some(lines)
    })
    .await;
    for (line, id, access, description, days) in [
        (&lines[0], &unused_id, "read-only", "für Anna's «nightly» run  ", None),
        (&lines[1], &used_id, "read-write", "for work", Some("90")),
    ] {
        assert_eq!(line.len(), 7, "{line:?}");
        assert_eq!((&line[0], &line[1], line[2].as_str(), line[6].as_str()), (id, &user, access, description));
        assert_eq!(line[3], format!("created {}", time(&database, "created_at", id).await));
        assert_eq!(line[4], format!("expires {}", time(&database, "expires_at", id).await));
        let whole = "SELECT extract(epoch FROM expires_at - created_at)::bigint FROM personal_access_tokens
                     WHERE id = $1::text::uuid";
        let seconds = days.map_or(60, |days| days.parse::<i64>().unwrap() * 24 * 60 * 60);
        assert_eq!(database.number(whole, &[id]).await, seconds, "{line:?}");
    }
    assert_eq!(lines[0][5], "last used never");
    assert_eq!(lines[1][5], format!("last used {}", time(&database, "last_used_at", &used_id).await));
    for secret in [&used, unused.trim_end()] {
        assert!(!format!("{lines:?}").contains(&secret[11..]), "a list shows no token");
    }
}

#[tokio::test]
async fn expired_tokens_are_listed_and_revoked_ones_are_not() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let operator = Operator::of_database(&database).with_keys(&server.data_dir().join("signing-keys"));
    operator.creates_user("dev@example.com").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(token_id(&operator.creates_token("dev@example.com", &[]).await));
    }
    let [good, expired, revoked, both] = ids.as_slice() else { panic!("{ids:?}") };
    for id in [expired, both] {
        database.expire(id).await;
    }
    for id in [revoked, both] {
        operator.does(&["revoke-token", id]).await;
    }
    assert_eq!(
        operator.lists_ids(&[]).await,
        [good.as_str(), expired],
        "newest first: the expired one was put back in time"
    );
    let line = operator.lists(&[]).await.swap_remove(1);
    assert_eq!(line[4], format!("expires {}", time(&database, "expires_at", expired).await));
}

#[tokio::test]
async fn a_list_is_whole_however_long_and_of_one_user_if_asked() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let operator = Operator::of_database(&database).with_keys(&server.data_dir().join("signing-keys"));
    assert_eq!(operator.lists(&[]).await, Vec::<Vec<String>>::new());
    let mut users = Vec::new();
    for email in ["one@example.com", "two@example.com"] {
        let id = operator.creates_user(email).await;
        let first = operator.creates_token(email, &[]).await;
        let api = server.api(&first).await;
        // More than two pages, between the two of them.
        join_all((0..29).map(async |_| api.clone().create_token("another").await)).await;
        users.push((email, id));
    }
    for (email, id) in &users {
        for spelt in [(*email).to_owned(), email.to_uppercase()] {
            let lines = operator.lists(&["--user", &spelt]).await;
            assert_eq!(lines.len(), 30, "{spelt}");
            assert!(lines.iter().all(|fields| fields[1] == *id));
        }
    }
    let all = operator.lists(&[]).await;
    let mut ids: Vec<&String> = all.iter().map(|fields| &fields[0]).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((all.len(), ids.len()), (60, 60), "each once");
    let created: Vec<&String> = all.iter().map(|fields| &fields[3]).collect();
    assert!(created.is_sorted_by(|newer, older| newer >= older), "{created:?}");
}
