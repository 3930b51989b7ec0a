//! Clients that send a byte now and then, on real connections: the layers that have deadlines, with short ones.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tonic::service::Routes;
use tower::Layer;

use super::{body_deadline::BodyDeadlineLayer, listen};
use crate::{config::Limits, connect::Connect};

const CHECK: &str = "/grpc.health.v1.Health/Check";
/// Between two bytes. Nothing is ever silent for as long as any of the deadlines.
const BETWEEN: Duration = Duration::from_millis(10);

async fn start() -> SocketAddr {
    let short = Duration::from_millis(400);
    let limits = Limits { header_timeout: short, idle_timeout: short, body_timeout: short, ..Limits::default() };
    let (_reporter, health) = tonic_health::server::health_reporter();
    let connect = Connect::new(Routes::new(health), [tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
    let service = axum::Router::new().fallback_service(connect);
    let service = BodyDeadlineLayer::new(&limits, std::sync::Arc::new(|_| None)).layer(service);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { listen::serve(listener, service, &limits, std::future::pending()).await });
    address
}

/// These bytes, one by one, and then others for ever.
fn trickle(first: &'static [u8]) -> impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static {
    stream::iter(first.iter().copied()).chain(stream::repeat(b' ')).then(|byte| async move {
        tokio::time::sleep(BETWEEN).await;
        Ok(Bytes::copy_from_slice(&[byte]))
    })
}

/// Somebody who calls on one connection.
enum Caller {
    One(http1::SendRequest<Body>),
    Two(http2::SendRequest<Body>),
}

impl Caller {
    async fn connect(address: SocketAddr, is_http2: bool) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            Self::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Self::One(sender)
        }
    }

    /// What an answer says, all of it.
    async fn call(&mut self, content_type: &str, body: Body) -> String {
        let request = Request::post(format!("http://latchkey.test{CHECK}")).header("content-type", content_type);
        let request = request.header("host", "latchkey.test").body(body).unwrap();
        let response = match self {
            Self::One(sender) => sender.send_request(request).await,
            Self::Two(sender) => sender.send_request(request).await,
        };
        let (parts, body) = response.unwrap().into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_else(HeaderMap::new);
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        format!("{} {:?} {text} {trailers:?}", parts.status.as_u16(), parts.headers)
    }
}

async fn assert_goes_on(caller: &mut Caller) {
    let answer = caller.call("application/json", Body::from("{}")).await;
    assert!(answer.contains(r#"{"status":"SERVING"}"#), "{answer}");
}

#[tokio::test]
async fn a_body_that_trickles_ends_in_every_protocol_while_others_go_on() {
    let address = start().await;
    // A message of 255 bytes, of which no more than some come.
    let framed: &[u8] = b"\0\0\0\0\xff";
    for (is_http2, content_type, body, told) in [
        (false, "application/json", b"{".as_slice(), "deadline_exceeded"),
        (true, "application/json", b"{", "deadline_exceeded"),
        (false, "application/proto", b"\x0a\xff", "deadline_exceeded"),
        (true, "application/proto", b"\x0a\xff", "deadline_exceeded"),
        (false, "application/grpc-web", framed, "grpc-status: 4\r\n"),
        (true, "application/grpc-web", framed, "grpc-status: 4\r\n"),
        (true, "application/grpc", framed, r#""grpc-status": "4""#),
        (true, "application/grpc+json", framed, r#""grpc-status": "4""#),
    ] {
        let (mut slow, mut other) =
            (Caller::connect(address, is_http2).await, Caller::connect(address, is_http2).await);
        let mut beside = match &slow {
            Caller::Two(sender) => Some(Caller::Two(sender.clone())),
            Caller::One(_) => None,
        };
        let trickling = slow.call(content_type, Body::from_stream(trickle(body)));
        let others = async {
            loop {
                assert_goes_on(&mut other).await;
                if let Some(beside) = &mut beside {
                    assert_goes_on(beside).await;
                }
                tokio::time::sleep(BETWEEN).await;
            }
        };
        let answer = tokio::select! {
            answer = trickling => answer,
            () = others => unreachable!("they go on"),
        };
        assert!(answer.contains(told), "{is_http2} {content_type}: {answer}");
        assert!(answer.contains("body of the request") || answer.contains("body%20of%20the"), "{answer}");
        if let Some(mut beside) = beside {
            assert_goes_on(&mut beside).await;
        }
    }
}

#[tokio::test]
async fn headers_that_trickle_end_the_connection_while_others_go_on() {
    let address = start().await;
    // A frame of headers that is announced to have 255 bytes.
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\xff\x01\x04\0\0\0\x01".as_slice();
    let http1 = b"GET /livez HTTP/1.1\r\nx-slow: ".as_slice();
    // The second request is no better than the first.
    let good = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".as_slice();
    for (at_once, slowly) in [(b"".as_slice(), http2), (http2, b""), (b"", http1), (http1, b""), (good, http1)] {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        writing.write_all(at_once).await.unwrap();
        let sending = async {
            let mut bytes = std::pin::pin!(trickle(slowly));
            while let Some(Ok(byte)) = bytes.next().await {
                if writing.write_all(&byte).await.is_err() {
                    return;
                }
            }
        };
        let ending = async {
            let mut said = vec![];
            // Closed, or broken off: more may have come than was read.
            let _ = reading.read_to_end(&mut said).await;
        };
        let others = async {
            let mut other = Caller::connect(address, false).await;
            loop {
                assert_goes_on(&mut other).await;
                tokio::time::sleep(BETWEEN).await;
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(sending, ending) } => {}
            () = others => unreachable!("they go on"),
        }
    }
}
