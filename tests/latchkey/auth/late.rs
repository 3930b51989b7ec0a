//! Requests that begin in time, and of which the rest comes when their token is good no more.

use std::time::Duration;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::{TestDatabase, TestServer, http1::read_to_end, keys::token_id};

/// With a bound of nothing, what is under way is held to a second.
const BOUND: Duration = Duration::from_secs(1);

/// Begins a request, and does not send its body yet.
async fn begin(server: &TestServer, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let head = format!(
        "POST /gitpod.v1.IdentityService/GetAuthenticatedIdentity HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n",
        server.address()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn end(mut stream: TcpStream) -> String {
    stream.write_all(b"{}").await.unwrap();
    read_to_end(&mut stream).await
}

#[tokio::test]
async fn a_body_that_comes_after_the_revocation_is_not_believed() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    let (good, revoked) =
        (server.user(&database, "dev@example.com").await, server.token(&database, "dev@example.com", &[]).await);
    let [kept, late] = [begin(&server, &good).await, begin(&server, &revoked).await];
    // Both were let in, by their headers: a use is noted of whoever is.
    crate::support::eventually("both are let in", async || {
        let used = database.text("SELECT count(*)::text FROM token_last_used", &[]).await;
        (used == "2").then_some(())
    })
    .await;
    server.admin(&database, &["revoke-token", &token_id(&revoked)]).await.unwrap();
    // The bound is a time, and there is no event when it is over.
    tokio::time::sleep(BOUND).await;
    let late = end(late).await;
    assert!(late.starts_with("HTTP/1.1 401 ") && late.contains("token revoked on"), "{late}");
    let kept = end(kept).await;
    assert!(kept.starts_with("HTTP/1.1 200 "), "slow, and good: {kept}");
}
