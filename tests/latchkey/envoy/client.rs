//! Clients of Envoy: HTTP/1.1 by hand, for headers that no client of good manners sends.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
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
