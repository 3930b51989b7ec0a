//! Clients of Envoy: HTTP/1.1 by hand, for headers that no client of good manners sends, and HTTP/2 for bodies that none does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

use crate::support::http1;

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// Connects from one of the machine's own addresses.
pub(super) async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from, 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Sends a request with these lines of headers, without a body, from an address.
pub(super) async fn send_from(from: IpAddr, to: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Answer {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: services.example\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n"
    );
    send_text(from, to, &request).await
}

/// The same from the usual address.
pub(super) async fn send(to: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Answer {
    send_from(Ipv4Addr::LOCALHOST.into(), to, method, path, headers).await
}

/// Sends just this.
pub(super) async fn send_text(from: IpAddr, to: SocketAddr, text: &str) -> Answer {
    let mut stream = connect(from, to).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    let answer = http1::read_to_end(&mut stream).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer to {text}: {answer}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap())
    });
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

/// The line that a token comes in.
pub(super) fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}")
}

async fn connect_http2(to: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = connect(Ipv4Addr::LOCALHOST.into(), to).await;
    let (client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(method: &str, path: &str, token: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(format!("http://services.example{path}"));
    request.header("authorization", format!("Bearer {token}"))
}

async fn read(answer: hyper::Result<Response<Incoming>>) -> Answer {
    let (parts, body) = answer.unwrap().into_parts();
    let body = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

/// Sends a message of gRPC, an empty one, over HTTP/2 by any method, and as whatever these content types call it.
pub(super) async fn send_message(to: SocketAddr, method: &str, path: &str, token: &str, kinds: &[&str]) -> Answer {
    let request =
        kinds.iter().fold(request(method, path, token), |request, kind| request.header("content-type", *kind));
    let request = request.body(Full::new(Bytes::from_static(&[0; 5]))).unwrap();
    read(connect_http2(to).await.send_request(request).await).await
}

/// Sends requests with these methods and tokens, one after the other on one connection of HTTP/2, and waits for no answer.
pub(super) async fn send_all(
    to: SocketAddr,
    path: &str,
    requests: &[(&str, &str)],
) -> Vec<impl Future<Output = (u16, String)> + use<>> {
    let mut client = connect_http2(to).await;
    let answers = requests.iter().map(|(method, token)| {
        let sent = client.send_request(request(method, path, token).body(Full::default()).unwrap());
        async move {
            let answer = read(sent.await).await;
            (answer.status, answer.body)
        }
    });
    answers.collect()
}
