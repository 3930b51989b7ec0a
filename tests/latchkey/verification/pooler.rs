//! A pooler between a server and PostgreSQL that gives connections to whoever asks, for one query at a time: what PostgreSQL tells
//! of its own accord is dropped. It comes in between when the server runs already: one that starts finds it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use latchkey::store::{Store, StoreConfig, StoreError};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
};
use tokio_postgres::config::Host;

use super::bound::{BOUND, assert_refused_within_bound, revoke};
use crate::support::{ServerOptions, TestDatabase, TestServer, eventually};

/// PostgreSQL's answer to one query is over.
const READY: u8 = b'Z';
/// It tells something.
const NOTIFICATION: u8 = b'A';

/// Passes on what is asked and answered, and what is told meanwhile; whatever else is told, until it drops that. Returns the URL for
/// the serving role.
async fn pooler(database: &TestDatabase, drops: &Arc<AtomicBool>) -> String {
    let config: tokio_postgres::Config = database.serving_url().parse().unwrap();
    let Some(Host::Unix(directory)) = config.get_hosts().first() else { panic!("it listens on a socket") };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let socket = directory.join(format!(".s.PGSQL.{port}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let drops = Arc::clone(drops);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let postgres = UnixStream::connect(&socket).await.unwrap();
            let ((mut asks, mut told), (mut answers, mut asked)) = (client.into_split(), postgres.into_split());
            let is_asking = Arc::new(AtomicBool::new(true));
            tokio::spawn({
                let is_asking = Arc::clone(&is_asking);
                async move {
                    let mut some = [0; 4096];
                    while let Ok(length @ 1..) = asks.read(&mut some).await {
                        is_asking.store(true, Ordering::SeqCst);
                        if asked.write_all(&some[..length]).await.is_err() {
                            return;
                        }
                    }
                }
            });
            let drops = Arc::clone(&drops);
            tokio::spawn(async move {
                while let Some(message) = read(&mut answers).await {
                    let passes =
                        is_asking.load(Ordering::SeqCst) || message[0] != NOTIFICATION || !drops.load(Ordering::SeqCst);
                    if message[0] == READY {
                        is_asking.store(false, Ordering::SeqCst);
                    }
                    if passes && told.write_all(&message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let (user, name) = (config.get_user().unwrap(), config.get_dbname().unwrap());
    format!("postgresql://{user}@{address}/{name}")
}

/// One message: its type, its length without that, and so many bytes.
async fn read(answers: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut message = vec![0; 5];
    answers.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[1..5].try_into().unwrap());
    message.resize(1 + usize::try_from(length).unwrap(), 0);
    answers.read_exact(&mut message[5..]).await.ok()?;
    Some(message)
}

#[tokio::test]
async fn a_server_that_is_told_of_changes_only_while_it_asks() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    let drops = Arc::new(AtomicBool::new(false));
    let args = [
        ("--revocation-bound", format!("{}s", BOUND.as_secs())),
        ("--database-url", pooler(&database, &drops).await),
        ("--owner-database-url", database.owner_url()),
    ];
    let options = ServerOptions {
        args: args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect(),
        signing_keys: Some(first.keys()),
        ..ServerOptions::default()
    };
    let second = TestServer::launch(options).await.unwrap();
    drops.store(true, Ordering::SeqCst);
    let admin = first.admin_user(&database, "admin@example.com").await;
    let token = first.token(&database, "admin@example.com", &[]).await;
    let mut api = second.api(&token).await;
    for _ in 0..3 {
        eventually("it is served", async || api.clone().whoami().await.ok()).await;
    }
    let revoked = revoke(&mut first.api(&admin).await, &token).await;
    assert_refused_within_bound(&mut api, revoked).await;
}

#[tokio::test]
async fn a_transaction_that_found_itself_elsewhere_is_nobodys_next_one() {
    let (database, other) = (TestDatabase::create().await, TestDatabase::create_private().await);
    drop(TestServer::start(&database).await);
    let place = {
        let other = Store::new(StoreConfig::parse(&other.serving_url()).unwrap()).unwrap();
        other.listen_for_credential_changes().await.unwrap().place()
    };
    let url = database.serving_url();
    let store = Store::new(StoreConfig::parse(&url).unwrap().with_direct(&url).unwrap()).unwrap();
    store.personal_access_tokens_find(&[]).await.unwrap();
    store.settle(place);
    let elsewhere = store.personal_access_tokens_find(&[]).await.unwrap_err();
    assert!(matches!(elsewhere, StoreError::Unavailable(_)), "{elsewhere:?}");
    let observer = database.superuser().await;
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND state LIKE 'idle in transaction%'";
    eventually("no transaction is left open", async || {
        (observer.query_one(open, &[]).await.unwrap().get::<_, i64>(0) == 0).then_some(())
    })
    .await;
}
