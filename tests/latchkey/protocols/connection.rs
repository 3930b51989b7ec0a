//! One connection, used again and again: what somebody has sent on it must not spoil it for what comes next.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::spoken::{Failure, Spoken, framed, frames};
use crate::support::SOON;

pub(super) const IDENTITY: &str = "gitpod.v1.IdentityService/GetAuthenticatedIdentity";

enum Sender {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// A connection of HTTP/2 for gRPC, of HTTP/1.1 for all else.
pub(super) struct Connection {
    sender: Sender,
    spoken: Spoken,
    authority: String,
    pub(super) authorization: String,
}

impl Connection {
    pub(super) async fn open(address: &str, token: &str, spoken: Spoken) -> Self {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let sender = if matches!(spoken, Spoken::Grpc | Spoken::GrpcJson) {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            Sender::Two(sender)
        } else {
            let (sender, connection) = http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            Sender::One(sender)
        };
        Self { sender, spoken, authority: address.to_owned(), authorization: format!("Bearer {token}") }
    }

    /// Status, headers, trailers and body of an answer.
    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> (u16, HeaderMap, Option<HeaderMap>, Bytes) {
        let sending = async {
            match &mut self.sender {
                Sender::One(sender) => {
                    sender.ready().await.expect("the connection goes on");
                    sender.send_request(request).await.unwrap()
                }
                Sender::Two(sender) => {
                    request.headers_mut().remove("host");
                    *request.uri_mut() = format!("http://{}{}", self.authority, request.uri()).parse().unwrap();
                    sender.ready().await.expect("the connection goes on");
                    sender.send_request(request).await.unwrap()
                }
            }
        };
        let (parts, body) = tokio::time::timeout(SOON, sending).await.expect("answered in time").into_parts();
        let body = tokio::time::timeout(SOON, body.collect()).await.expect("in time").unwrap();
        let trailers = body.trailers().cloned();
        (parts.status.as_u16(), parts.headers, trailers, body.to_bytes())
    }

    /// The message that answers one with this body, exactly as it is.
    pub(super) async fn call(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Vec<u8>, Failure> {
        let authorization = self.authorization.clone();
        let headers = [&[("authorization", authorization.as_str())], headers].concat();
        let request = self.spoken.request(path, body, &headers);
        let by_get = request.method() == http::Method::GET;
        let body = if by_get { Bytes::new() } else { Bytes::copy_from_slice(body) };
        let (status, headers, trailers, body) = self.send(request.map(|_| body.into())).await;
        self.spoken.read(status, headers, trailers, &body)
    }

    /// The code with which a stream of Connect's ends that is asked for with this body.
    pub(super) async fn stream(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let mut request = Request::post(path).header("host", "latchkey.test");
        for (name, value) in [("authorization", self.authorization.as_str())].iter().chain(headers) {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let (status, headers, _, body) = self.send(request).await;
        assert_eq!(status, 200, "{headers:?}");
        let (flags, end) = frames(&body).pop().expect("a stream has an end");
        assert_eq!(flags, 2, "{body:?}");
        let end: Value = serde_json::from_slice(&end).unwrap();
        end["error"]["code"].as_str().unwrap_or("ok").to_owned()
    }

    /// The next call on it is answered as if nothing had been.
    pub(super) async fn assert_goes_on(&mut self, what: &str) {
        let message = if self.spoken.is_json() { json!({}).to_string() } else { String::new() };
        let body = if self.spoken.is_connect() { message.into_bytes().into() } else { framed(message.as_bytes()) };
        let answer = self.call(&format!("/{IDENTITY}"), &[], &body).await;
        assert!(answer.is_ok(), "{:?} after {what}: {answer:?}", self.spoken);
    }
}
