//! A connection to PostgreSQL that swallows what is sent, and many who wait while all of them do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::support::{ServerOptions, TestDatabase, TestServer, Wire, details, eventually};

/// Longer than the 5 s that a query may take, and far less than for ever.
const ANSWERED: Duration = Duration::from_secs(9);

/// A server that asks PostgreSQL about each request, over a wire of ours.
async fn start(database: &TestDatabase, wire: &Wire, bound: &str) -> TestServer {
    let args = [
        ("--database-url", wire.url()),
        ("--owner-database-url", database.owner_url()),
        ("--revocation-bound", bound.to_owned()),
    ];
    let args = args.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
    TestServer::launch(ServerOptions { args, ..ServerOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn a_connection_that_swallows_what_is_sent_stalls_its_own_queries_alone() {
    let database = TestDatabase::create().await;
    let wire = Wire::start(&database).await;
    let server = start(&database, &wire, "0").await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    for round in 0..3 {
        api.clone().whoami().await.unwrap();
        wire.hold_next();
        // Until some query was swallowed: a look-up, or something that the server asks of its own accord.
        let mut asking = Vec::new();
        let held = wire.holds_one();
        tokio::pin!(held);
        while timeout(Duration::from_millis(5), &mut held).await.is_err() {
            let mut api = api.clone();
            asking.push(tokio::spawn(async move { timeout(ANSWERED, api.whoami()).await }));
        }
        // Everybody else is answered meanwhile: long before the query that is swallowed has its 5 s.
        let began = Instant::now();
        for _ in 0..50 {
            api.clone().whoami().await.unwrap_or_else(|status| panic!("round {round}: {status:?}"));
        }
        assert!(began.elapsed() < Duration::from_secs(4), "nobody waits for those that are swallowed");
        for asked in asking {
            match asked.await.unwrap().expect("it is answered in time") {
                Ok(_) => {}
                Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
            }
        }
        // That connection is used no more, and nothing of it comes later.
        wire.let_go();
    }
}

#[tokio::test]
async fn many_who_wait_are_answered_by_few_queries_over_few_connections() {
    const TOKENS: usize = 20;
    const CALLERS: usize = 400;
    let database = TestDatabase::create().await;
    let wire = Wire::start(&database).await;
    let server = start(&database, &wire, "1s").await;
    server.user(&database, "dev@example.com").await;
    let mut apis = Vec::new();
    for _ in 0..TOKENS {
        apis.push(server.api(&server.token(&database, "dev@example.com", &[]).await).await);
    }
    for cut in [false, true] {
        wire.hold_all();
        // Nothing is heard for longer than the bound: nothing that is remembered counts.
        eventually("what is remembered counts no more", async || {
            timeout(Duration::from_millis(200), apis[0].clone().whoami()).await.is_err().then_some(())
        })
        .await;
        let turned_away = Arc::new(AtomicUsize::new(0));
        let waiting: Vec<_> = (0..CALLERS)
            .map(|n| {
                let (mut api, turned_away) = (apis[n % TOKENS].clone(), Arc::clone(&turned_away));
                tokio::spawn(async move {
                    let mut first = true;
                    loop {
                        match timeout(ANSWERED, api.whoami()).await.expect("it is answered in time") {
                            Ok(_) => return,
                            Err(status) => {
                                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                                let wait = details(&status).retry_info().and_then(|info| info.retry_delay).unwrap();
                                if std::mem::take(&mut first) {
                                    turned_away.fetch_add(1, Ordering::Relaxed);
                                }
                                tokio::time::sleep(wait).await;
                            }
                        }
                    }
                })
            })
            .collect();
        if cut {
            eventually("all of them have been turned away", async || {
                (turned_away.load(Ordering::Relaxed) == CALLERS).then_some(())
            })
            .await;
        }
        let before = wire.seen();
        wire.let_go();
        for waiting in waiting {
            waiting.await.unwrap();
        }
        let after = wire.seen();
        let (connections, queries) = (after.0 - before.0, after.1 - before.1);
        // The pools' and the listeners' at the most; a few for each connection that is made, and a few batches: not one for each
        // caller.
        assert!(connections <= 16 + 5 + 3, "{connections} connections");
        assert!(queries < CALLERS / 2, "{queries} queries");
    }
}
