//! What PostgreSQL tells of changes: those that verification reads, each once, and nothing else.

use futures::StreamExt;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::support::{TestDatabase, TestServer, keys::token_id};

/// Hears what is told on the channel.
struct Ear {
    told: mpsc::UnboundedReceiver<String>,
    client: tokio_postgres::Client,
}

impl Ear {
    async fn on(database: &TestDatabase) -> Self {
        let (client, mut connection) = tokio_postgres::connect(&database.owner_url(), NoTls).await.unwrap();
        let (tell, told) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = futures::stream::poll_fn(move |context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(notification) = message {
                    let _ = tell.send(notification.payload().to_owned());
                }
            }
        });
        client.batch_execute("LISTEN latchkey_verification").await.unwrap();
        Self { told, client }
    }

    /// What has been told up to now, in order, but for the servers' heartbeats.
    async fn heard(&mut self) -> Vec<String> {
        self.client.batch_execute("NOTIFY latchkey_verification, 'end'").await.unwrap();
        let mut heard = Vec::new();
        loop {
            match self.told.recv().await.unwrap() {
                end if end == "end" => break,
                heartbeat if heartbeat.starts_with("heartbeat") => {}
                told => heard.push(told),
            }
        }
        heard.sort();
        heard
    }
}

#[tokio::test]
async fn what_verification_reads_is_told_and_nothing_else_is() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let other = server.token(&database, "dev@example.com", &[]).await;
    let (id, other) = (token_id(&token), token_id(&other));
    let environment = database.environment_of(&id).await;
    let user = database.text("SELECT id::text FROM principals", &[]).await;
    let add = format!(
        "INSERT INTO environment_tokens (id, environment_id, parent_token_id, key_generation, digest, created_at, expires_at)
         SELECT gen_random_uuid(), '{environment}', '{id}', 1, sha256('x'), now() - interval '1 second', now() + "
    );
    let mut ear = Ear::on(&database).await;
    let owner = database.superuser().await;
    let nothing: &[String] = &[];
    let told = |text: String| vec![text];
    for (sql, expected) in [
        // Of use to nobody who verifies.
        (format!("UPDATE personal_access_tokens SET description = 'another' WHERE id = '{id}'"), nothing.to_vec()),
        ("UPDATE personal_access_tokens SET revoked_at = revoked_at".to_owned(), nothing.to_vec()),
        (format!("INSERT INTO token_last_used (token_id, last_used_at) VALUES ('{id}', now())"), nothing.to_vec()),
        ("UPDATE token_last_used SET last_used_at = now(), user_agent = 'x'".to_owned(), nothing.to_vec()),
        ("UPDATE principals SET name = 'Another', email = 'another@example.com'".to_owned(), nothing.to_vec()),
        ("UPDATE signing_keys SET state = 'verifying' WHERE generation = 1".to_owned(), nothing.to_vec()),
        ("UPDATE environments SET name = 'another', status_version = status_version + 1".to_owned(), nothing.to_vec()),
        ("UPDATE environments SET desired_phase = 'running', epoch = epoch + 1".to_owned(), nothing.to_vec()),
        (format!("{add} interval '1 hour' - interval '1 second'"), nothing.to_vec()),
        // What ends a credential, or changes what it is good for.
        (
            format!("UPDATE personal_access_tokens SET revoked_at = now() WHERE id = '{other}'"),
            told(format!("token {other}")),
        ),
        (format!("UPDATE principals SET status = 'suspended' WHERE id = '{user}'"), told(format!("principal {user}"))),
        (format!("UPDATE principals SET role = 'admin' WHERE id = '{user}'"), told(format!("principal {user}"))),
        (
            "UPDATE environments SET desired_phase = 'deleted', epoch = epoch + 1".to_owned(),
            told(format!("environment {environment}")),
        ),
        ("UPDATE signing_keys SET state = 'revoked', revoked_at = now()".to_owned(), told("all".to_owned())),
        // Not one that had ended anyway.
        ("DELETE FROM environment_tokens".to_owned(), told(format!("token {}", "*"))),
        (format!("{add} interval '2 milliseconds' - interval '1 second' RETURNING pg_sleep(0.01)"), nothing.to_vec()),
        ("DELETE FROM environment_tokens".to_owned(), nothing.to_vec()),
        ("TRUNCATE environment_tokens".to_owned(), told("all".to_owned())),
        ("TRUNCATE environments CASCADE".to_owned(), told("all".to_owned())),
        ("TRUNCATE personal_access_tokens CASCADE".to_owned(), told("all".to_owned())),
        (format!("DELETE FROM principals WHERE id = '{user}'"), told(format!("principal {user}"))),
    ] {
        owner.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut heard = ear.heard().await;
        if let Some(starred) = expected.first().and_then(|told| told.strip_suffix('*')) {
            assert!(heard.len() == 1 && heard[0].starts_with(starred), "{sql}: {heard:?}");
            heard.clone_from(&expected);
        }
        assert_eq!(heard, expected, "{sql}");
    }
}

#[tokio::test]
async fn many_are_told_of_as_one() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let id = token_id(&server.user(&database, "dev@example.com").await);
    let user = database.text("SELECT id::text FROM principals", &[]).await;
    let mut ear = Ear::on(&database).await;
    let owner = database.owner().await;
    let revoke =
        "UPDATE personal_access_tokens SET revoked_at = now() WHERE revoked_at IS NULL AND description = 'many'";
    for (tokens, expected) in [(100, 100), (101, 1), (100_000, 1)] {
        database.add_tokens(&id, tokens).await;
        owner.batch_execute(revoke).await.unwrap();
        let heard = ear.heard().await;
        assert_eq!(heard.len(), expected, "{tokens} tokens");
        if expected == 1 {
            assert_eq!(heard[0], format!("principal {user}"), "{tokens} tokens");
        }
    }
    let many_users = "INSERT INTO principals (id, organization_id, kind, role, name)
                      SELECT gen_random_uuid(), organization_id, 'service_account', 'member', 'many'
                      FROM principals, generate_series(1, 101)";
    owner.batch_execute(many_users).await.unwrap();
    owner.batch_execute("UPDATE principals SET status = 'suspended' WHERE name = 'many'").await.unwrap();
    assert_eq!(ear.heard().await, ["all"]);
}

#[tokio::test]
async fn what_is_changed_by_hand_is_told_however_the_session_is_set() {
    for setting in ["session_replication_role = replica", "search_path = pg_catalog"] {
        let database = TestDatabase::create().await;
        let server = TestServer::start(&database).await;
        let tokens =
            [server.user(&database, "dev@example.com").await, server.token(&database, "dev@example.com", &[]).await];
        let [revoked, deleted] = tokens.map(|token| token_id(&token));
        let user = database.text("SELECT id::text FROM principals", &[]).await;
        drop(server);
        let mut ear = Ear::on(&database).await;
        let owner = database.superuser().await;
        owner.batch_execute(&format!("SET {setting}")).await.unwrap();
        for (sql, expected) in [
            (
                format!("UPDATE public.personal_access_tokens SET revoked_at = now() WHERE id = '{revoked}'"),
                format!("token {revoked}"),
            ),
            (
                format!(
                    "DELETE FROM public.token_last_used; DELETE FROM public.personal_access_tokens WHERE id = '{deleted}'"
                ),
                format!("token {deleted}"),
            ),
            (
                format!("UPDATE public.principals SET status = 'suspended' WHERE id = '{user}'"),
                format!("principal {user}"),
            ),
            (
                "INSERT INTO public.signing_keys (generation, check_value, state) VALUES (9, sha256('9'), 'verifying');
                 DELETE FROM public.signing_keys WHERE generation = 9"
                    .to_owned(),
                "all".to_owned(),
            ),
            ("TRUNCATE public.signing_keys CASCADE".to_owned(), "all".to_owned()),
            ("TRUNCATE public.principals CASCADE".to_owned(), "all".to_owned()),
        ] {
            owner.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{setting}: {sql}: {error:?}"));
            assert_eq!(ear.heard().await, [expected], "{setting}: {sql}");
        }
    }
}
