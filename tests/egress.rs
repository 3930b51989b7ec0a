//! The egress proxy, asked over its Unix socket: it decides before it connects.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use latchkey::environments::egress::{Destination, Limits, PlainHttp, Policy, Proxy, Refusal};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};

/// A proxy with a policy, and its socket.
struct Way {
    directory: TempDir,
    proxy: Proxy,
}

fn policy(named: &[SocketAddr]) -> Policy {
    Policy {
        named: named.iter().map(|address| Destination::new(&address.ip().to_string(), address.port())).collect(),
        own_addresses: Vec::new(),
        plain_http: PlainHttp::Everywhere,
        upstream: None,
    }
}

impl Way {
    fn new(policy: Policy) -> Self {
        Self::limited(policy, Limits::default())
    }

    fn limited(policy: Policy, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let proxy = Proxy::listen(directory.path(), "proxy.sock", policy, limits).unwrap();
        Self { directory, proxy }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("proxy.sock")).await.unwrap()
    }

    /// Sends a request, and reads until the proxy closes.
    async fn ask(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn connect_to(destination: &str) -> String {
    format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\nConnection: close\r\n\r\n")
}

fn get(url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n")
}

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads a head and gives it back.
async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn nobody_came(listener: TcpListener) {
    let listener = listener.into_std().unwrap();
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

#[tokio::test]
async fn refusals_say_why_and_nobody_is_connected_to() {
    let (listener, address) = listener().await;
    let way = Way::new(policy(&[]));
    let port = address.port();
    let mut refused = 0;
    for (host, why) in [
        ("127.0.0.1", "loopback"),
        ("localhost", "loopback"),
        ("2130706433", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("[::1]", "loopback"),
        ("[::ffff:127.0.0.1]", "loopback"),
        ("[64:ff9b::7f00:1]", "loopback"),
        ("10.0.0.1", "private"),
        ("169.254.169.254", "metadata"),
        ("[fd00:ec2::254]", "metadata"),
        ("[fc00::1]", "unique local"),
    ] {
        for request in [connect_to(&format!("{host}:{port}")), get(&format!("http://{host}:{port}/"))] {
            let answer = way.ask(&request).await;
            assert!(answer.starts_with("HTTP/1.1 403") && answer.contains(why), "{request}{answer}");
            refused += 1;
        }
    }
    nobody_came(listener);
    let refusals = way.proxy.refusals();
    assert_eq!(refusals.len(), refused.min(16), "remembered, but not without bound");
    assert!(matches!(&refusals[0], Refusal::Address { host, .. } if host == "127.0.0.1"), "{refusals:?}");
}

#[tokio::test]
async fn addresses_of_this_machine_are_refused_whatever_they_are() {
    let own: IpAddr = Ipv4Addr::new(9, 9, 9, 9).into();
    let way = Way::new(Policy { own_addresses: vec![own], ..policy(&[]) });
    let answer = way.ask(&connect_to("9.9.9.9:443")).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("one of this server's own"), "{answer}");
}

#[tokio::test]
async fn what_the_operator_named_is_reached_on_that_port_alone() {
    let (named, address) = listener().await;
    let (other, other_address) = listener().await;
    let way = Way::new(policy(&[address]));
    let mut stream = way.connect().await;
    stream.write_all(connect_to(&address.to_string()).as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
    let (mut server, _) = named.accept().await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    server.read_exact(&mut bytes).await.unwrap();
    server.write_all(b"pong").await.unwrap();
    server.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!((&bytes, answer.as_str()), (b"ping", "pong"));
    assert!(way.ask(&connect_to(&other_address.to_string())).await.starts_with("HTTP/1.1 403"));
    nobody_came(other);
    // Named, but nobody is there.
    drop(named);
    let answer = way.ask(&connect_to(&address.to_string())).await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("no connection to"), "{answer}");
}

#[tokio::test]
async fn plain_requests_are_rewritten_for_their_server() {
    let (server, address) = listener().await;
    let way = Way::new(policy(&[address]));
    let request = format!(
        "POST http://{address}/a?b HTTP/1.1\r\nHost: elsewhere\r\nProxy-Connection: close\r\nProxy-Authorization: x\r\n\
         Connection: close, X-Hop\r\nX-Hop: 1\r\nX-End: 2\r\nContent-Length: 2\r\n\r\nhi"
    );
    let serve = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let head = head(&mut stream).await;
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\nKeep-Alive: x\r\nX-End: 3\r\n\r\nyes")
            .await
            .unwrap();
        (head.to_ascii_lowercase(), body)
    };
    let (answer, (head, body)) = tokio::join!(way.ask(&request), serve);
    assert!(head.starts_with("post /a?b http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {address}\r\n")) && head.contains("x-end: 2"), "{head}");
    for hop in ["x-hop", "proxy-", "elsewhere"] {
        assert!(!head.contains(hop), "{head}");
    }
    assert_eq!(&body, b"hi");
    assert!(answer.starts_with("HTTP/1.1 201") && answer.ends_with("\r\n\r\nyes"), "{answer}");
    assert!(!answer.contains("keep-alive"), "{answer}");
}

#[tokio::test]
async fn plain_http_can_be_kept_to_what_is_named() {
    let way = Way::new(Policy { plain_http: PlainHttp::NamedOnly, ..policy(&[]) });
    let answer = way.ask(&get("http://1.1.1.1/")).await;
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("only https is allowed"), "{answer}");
}

#[tokio::test]
async fn what_is_no_proxy_request_is_refused() {
    let way = Way::new(policy(&[]));
    for request in [
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".to_owned(),
        get("https://1.1.1.1/"),
        get("ftp://1.1.1.1/"),
        get("http://user@1.1.1.1/"),
        "CONNECT 1.1.1.1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
    ] {
        let answer = way.ask(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{request}{answer}");
    }
    let answer = way.ask(&connect_to("no-such-host.invalid:443")).await;
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("does not resolve"), "{answer}");
}

#[tokio::test]
async fn a_client_that_says_nothing_or_too_much_is_let_go() {
    let limits = Limits { header_timeout: Duration::from_millis(50), connections: 1, ..Limits::default() };
    let way = Way::limited(policy(&[]), limits);
    // The only place is taken by who says nothing; it is given to the next one when that time is over.
    let mut silent = way.connect().await;
    silent.write_all(b"GET http://").await.unwrap();
    assert!(way.ask(&connect_to("10.0.0.1:1")).await.starts_with("HTTP/1.1 403"));
    let way = Way::new(policy(&[]));
    let mut stream = way.connect().await;
    let request = format!("GET http://10.0.0.1/ HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    // Let go in the middle of it: what of the answer still comes through is a matter of luck.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(way.proxy.refusals(), [], "nobody looked at where it should go");
}

#[tokio::test]
async fn a_proxy_that_is_dropped_ends_its_connections_and_makes_room() {
    let (named, address) = listener().await;
    let way = Way::new(policy(&[address]));
    let mut stream = way.connect().await;
    stream.write_all(connect_to(&address.to_string()).as_bytes()).await.unwrap();
    head(&mut stream).await;
    let (mut server, _) = named.accept().await.unwrap();
    drop(way.proxy);
    assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
    // The socket's file is still there: the next proxy takes its place.
    let proxy = Proxy::listen(way.directory.path(), "proxy.sock", policy(&[]), Limits::default()).unwrap();
    let way = Way { directory: way.directory, proxy };
    assert!(way.ask(&connect_to("10.0.0.1:1")).await.starts_with("HTTP/1.1 403"));
}

#[tokio::test]
async fn the_operators_own_proxy_is_asked_after_the_rules() {
    let (upstream, address) = listener().await;
    let policy = Policy { upstream: Some(Destination::new("127.0.0.1", address.port())), ..policy(&[]) };
    let way = Way::new(policy);
    assert!(way.ask(&connect_to("10.0.0.1:443")).await.starts_with("HTTP/1.1 403"));
    let mut stream = way.connect().await;
    // A name that only the proxy may know.
    stream.write_all(connect_to("behind.invalid:443").as_bytes()).await.unwrap();
    let serve = async {
        let (mut server, _) = upstream.accept().await.unwrap();
        let asked = head(&mut server).await;
        server.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
        server.shutdown().await.unwrap();
        (asked, server)
    };
    let (asked, _server): (String, TcpStream) = serve.await;
    assert!(asked.starts_with("CONNECT behind.invalid:443 HTTP/1.1"), "{asked}");
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 200"));
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
    assert_eq!(way.proxy.refusals().into_iter().map(|refusal| refusal.to_string()).collect::<BTreeSet<_>>().len(), 1);
}
