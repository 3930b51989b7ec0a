//! Streams of events that nobody reads.

use latchkey::domain::ids::EnvironmentId;
use tonic::{Code, transport::Endpoint};

use super::watch::{everything, of_one};
use crate::support::{Api, SOON, TestDatabase, TestServer, eventually};

/// A client that is there, and lets nothing of any answer through.
async fn closed(server: &TestServer, token: &str) -> Api {
    let endpoint = Endpoint::from_shared(server.url()).unwrap().initial_stream_window_size(0);
    Api::over(endpoint.connect().await.unwrap(), Some(&format!("Bearer {token}")))
}

#[tokio::test]
async fn what_nobody_reads_is_given_up_and_leaves_its_place() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let api = server.api(&token).await;
    let unread = closed(&server, &token).await;
    let nowhere = EnvironmentId::generate().to_string();
    let mut watches = vec![];
    for _ in 0..100 {
        // Something is to be told at once.
        watches.push(unread.watch(of_one(&nowhere)).await.unwrap());
    }
    let Err(refused) = api.watch(everything()).await else { panic!("one more is taken") };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    // The server waits half a minute for them, and a while until it looks.
    let again = async {
        loop {
            match api.watch(everything()).await {
                Ok(watch) => return watch,
                Err(refused) => assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(4 * SOON, again).await.expect("their places are free");
    // All of them, and with them all that was kept for them.
    let mut again = vec![];
    for _ in 0..99 {
        again.push(eventually("there is a place", async || api.watch(everything()).await.ok()).await);
    }
    drop(watches);
}
