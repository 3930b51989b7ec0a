//! Connections that are slow, silent, greedy or endless: none of them keeps others from being served.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::StreamBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use latchkey::pb::gitpod::v1::CreatePersonalAccessTokenRequest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::metadata::MetadataMap;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::support::{Caller, SOON, TestDatabase, TestServer, WHOAMI, eventually, http1};

/// Opens a connection and sends this.
async fn open(server: &TestServer, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream
}

#[tokio::test]
async fn who_says_nothing_or_half_a_sentence_is_shown_out_while_others_are_served() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    api.whoami().await.unwrap();

    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut silent = vec![
        ("nothing at all", open(&server, b"").await),
        ("one byte", open(&server, b"G").await),
        ("half a request line", open(&server, b"POST /gitpod.v1.Tok").await),
        ("half the headers", open(&server, b"GET /livez HTTP/1.1\r\nhost: example.com\r\nx-slow").await),
        ("half a preface of HTTP/2", open(&server, &http2[..12]).await),
        ("HTTP/2 without a request", open(&server, http2).await),
        ("the beginning of TLS", open(&server, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03").await),
    ];
    // A first request in good order is no licence for the second.
    let mut second = open(&server, b"GET /livez HTTP/1.1\r\nhost: example.com\r\n\r\n").await;
    let mut answer = [0; 1024];
    let count = second.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
    second.write_all(b"GET /li").await.unwrap();
    silent.push(("half a second request", second));

    let all_closed = async {
        for (what, stream) in &mut silent {
            let answer = http1::read_to_end(stream).await;
            assert!(!answer.contains("200 OK"), "{what}: {answer}");
        }
    };
    let others = async {
        loop {
            api.clone().whoami().await.expect("others are served meanwhile");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = all_closed => {}
        () = others => {}
    }
    api.whoami().await.expect("a connection that has spoken stays");
}

#[tokio::test]
async fn a_header_of_a_mebibyte_is_refused_and_the_server_lives_on() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let large = "a".repeat(1024 * 1024);
    let caller = Caller::connect(&server.url()).await;

    for header in
        [format!("x-large: {large}\r\n"), format!("authorization: Bearer {large}\r\n"), format!("{large}: x\r\n")]
    {
        let answer = http1::get(server.address(), "/livez", &header).await;
        // The connection may break off before the answer has been read, since more was sent than was taken.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "HTTP/1.1: {answer}");
    }
    let line = http1::get(server.address(), &format!("/{large}"), "").await;
    assert!(line.is_empty() || line.starts_with("HTTP/1.1 414") || line.starts_with("HTTP/1.1 431"), "{line}");
    let many = http1::get(server.address(), "/livez", &"x: y\r\n".repeat(100_000)).await;
    assert!(many.is_empty() || many.starts_with("HTTP/1.1 431"), "many headers: {many}");

    // HTTP/2, with a connection of its own for each: it may be closed over this.
    for good in [false, true] {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        let mut headers = http::HeaderMap::new();
        headers.insert("x-large", large.parse().unwrap());
        if good {
            headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        let own = Caller::connect(&server.url()).await;
        let refused = HealthClient::new(own.channel()).check(request).await.unwrap_err();
        assert_ne!(refused.code(), tonic::Code::Ok, "{refused}");
    }
    let authorization = format!("Bearer {large}");
    let own = Caller::connect(&server.url()).await;
    own.call(WHOAMI, &[authorization.as_bytes()]).await.expect_err("a token of a mebibyte");

    caller.call_with_token(WHOAMI, &token).await.expect("the connection of somebody else stays");
    Caller::connect(&server.url()).await.call_with_token(WHOAMI, &token).await.expect("and new ones are taken");
}

#[tokio::test]
async fn a_stranger_is_answered_before_any_body_is_sent() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let rpc = "/gitpod.v1.TokenService/CreatePersonalAccessToken";

    // HTTP/1.1: a body is announced, none ever comes.
    let mut stream = open(
        &server,
        format!(
            "POST {rpc} HTTP/1.1\r\nhost: example.com\r\ncontent-type: application/grpc\r\ncontent-length: 10737418240\r\n\r\n"
        )
        .as_bytes(),
    )
    .await;
    let mut answer = [0; 4096];
    let count = tokio::time::timeout(SOON, stream.read(&mut answer)).await.expect("the answer comes at once").unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert!(answer.contains("grpc-status: 16\r\n"), "{answer}");

    // HTTP/2: the request stays open, and nothing follows its headers.
    let stream = TcpStream::connect(server.address()).await.unwrap();
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let never = StreamBody::new(futures::stream::pending::<Result<http_body::Frame<bytes::Bytes>, std::io::Error>>());
    let request = Request::post(format!("{}{rpc}", server.url()))
        .header("content-type", "application/grpc")
        .header("authorization", "Bearer nonsense")
        .body(never)
        .unwrap();
    let answer = tokio::time::timeout(SOON, client.send_request(request)).await.expect("at once").unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["grpc-status"]),
        (StatusCode::OK, &http::HeaderValue::from_static("16"))
    );
    connection.abort();
}

#[tokio::test]
async fn a_stream_without_end_does_not_keep_the_server_from_stopping() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let caller = Caller::connect(&server.url()).await;
    let mut watched =
        HealthClient::new(caller.channel()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    caller.call_with_token(WHOAMI, &token).await.unwrap();

    assert!(server.stop().await, "it ends in good order: {}", server.log());
    // The end of the stream is an end, clean or broken off: no client waits for ever.
    let ended = async { while let Ok(Some(_)) = watched.message().await {} };
    tokio::time::timeout(SOON, ended).await.expect("the stream ends with the server");
    // What was seen last was written down.
    let used = "SELECT count(*) FROM token_last_used";
    assert_eq!(database.number(used, &[]).await, 1);
}

#[tokio::test]
async fn a_request_under_way_is_finished_before_the_server_stops() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;

    // Making a token waits for its holder's row.
    let mut owner = database.owner().await;
    let holding = owner.transaction().await.unwrap();
    holding.execute("SELECT FROM principals FOR UPDATE", &[]).await.unwrap();
    let creating = tokio::spawn(async move {
        let request = CreatePersonalAccessTokenRequest { description: "late".to_owned(), ..Default::default() };
        api.tokens.create_personal_access_token(request).await
    });
    // What others wait for, only the superuser sees.
    let superuser = database.superuser().await;
    let waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually("the request waits for the lock", || async {
        (superuser.execute(waits, &[]).await.unwrap() > 0).then_some(())
    })
    .await;
    let address = server.address().to_owned();
    let (stopped, created) = tokio::join!(server.stop(), async {
        eventually("the server has begun to stop: it takes no new connections", || async {
            TcpStream::connect(&address).await.is_err().then_some(())
        })
        .await;
        holding.rollback().await.unwrap();
        creating.await.unwrap()
    });
    assert!(stopped);
    created.expect("it is answered").into_inner().personal_access_token.unwrap();
}

/// Reads an answer whose length is told; its head.
async fn answer(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(
            tokio::time::timeout(SOON, stream.read_u8())
                .await
                .expect("it is answered")
                .expect("the connection is there"),
        );
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let (_, length) = head.split_once("content-length: ").expect("its length is told");
    let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    head
}

#[tokio::test]
async fn who_is_refused_before_a_body_has_come_goes_on_or_is_told_that_the_connection_ends() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let request = |path: &str, content_type: &str, length: usize| {
        format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n")
    };
    let whoami = "/gitpod.v1.IdentityService/GetAuthenticatedIdentity";
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    // Without a token, and where there is nothing.
    for (path, content_type) in [(whoami, "application/json"), ("/no.such.Service/Method", "application/json")] {
        for _ in 0..3 {
            stream.write_all(request(path, content_type, 2).as_bytes()).await.unwrap();
            let head = answer(&mut stream).await;
            assert!(head.starts_with("http/1.1 4") && !head.contains("connection: close"), "{head}");
            stream.write_all(b"{}").await.unwrap();
        }
    }
    stream.write_all(request(whoami, "application/json", 1 << 20).as_bytes()).await.unwrap();
    let head = answer(&mut stream).await;
    assert!(head.starts_with("http/1.1 401") && head.contains("connection: close"), "{head}");
}
