//! Each protocol as its clients write it, all over HTTP/2 by the same plain client: what differs is the server's.

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::stack::Stack;

/// How the services are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// gRPC, straight into tonic.
    Tonic,
    Grpc,
    /// gRPC, through the engine that speaks the other protocols.
    GrpcThroughEngine,
    ConnectProto,
    ConnectJson,
    GrpcWeb,
}

pub(super) const WAYS: [Way; 6] =
    [Way::Tonic, Way::Grpc, Way::GrpcThroughEngine, Way::ConnectProto, Way::ConnectJson, Way::GrpcWeb];

impl Way {
    const fn is_grpc(self) -> bool {
        matches!(self, Self::Tonic | Self::Grpc | Self::GrpcThroughEngine)
    }

    /// The least share of gRPC straight into tonic that is good enough.
    pub(super) const fn bar(self, is_list: bool) -> Option<f64> {
        match self {
            Self::Grpc => Some(0.95),
            Self::ConnectProto => Some(0.9),
            Self::ConnectJson => Some(if is_list { 0.3 } else { 0.8 }),
            Self::Tonic | Self::GrpcThroughEngine | Self::GrpcWeb => None,
        }
    }
}

/// A connection to the services.
#[derive(Clone)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    way: Way,
    authority: String,
    authorization: String,
}

impl Connection {
    pub(super) async fn open(stack: &Stack, way: Way, token: &str) -> Self {
        let address = match way {
            Way::Tonic => stack.straight,
            Way::GrpcThroughEngine => stack.through_engine,
            Way::Grpc | Way::ConnectProto | Way::ConnectJson | Way::GrpcWeb => stack.layered,
        };
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, way, authority: address.to_string(), authorization: format!("Bearer {token}") }
    }

    /// A request with this message.
    pub(super) fn request(&self, path: &str, protobuf: &[u8], json: &str) -> Request<Full<Bytes>> {
        let framed = || {
            let length = u32::try_from(protobuf.len()).unwrap().to_be_bytes();
            [&[0], length.as_slice(), protobuf].concat()
        };
        let (content_type, body) = match self.way {
            Way::Tonic | Way::Grpc | Way::GrpcThroughEngine => ("application/grpc", framed()),
            Way::GrpcWeb => ("application/grpc-web+proto", framed()),
            Way::ConnectProto => ("application/proto", protobuf.to_vec()),
            Way::ConnectJson => ("application/json", json.as_bytes().to_vec()),
        };
        let mut request = Request::post(format!("http://{}{path}", self.authority))
            .header("authorization", &self.authorization)
            .header("content-type", content_type);
        request = match self.way {
            Way::Tonic | Way::Grpc | Way::GrpcThroughEngine => request.header("te", "trailers"),
            Way::GrpcWeb => request.header("x-grpc-web", "1"),
            Way::ConnectProto | Way::ConnectJson => request.header("connect-protocol-version", "1"),
        };
        request.body(Full::new(body.into())).unwrap()
    }

    /// Asks, and returns how long the answer is, which must be a good one.
    pub(super) async fn ask(&mut self, request: Request<Full<Bytes>>) -> usize {
        let response = self.sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "{:?}", self.way);
        let is_ended = response.body().is_end_stream();
        let body = response.into_body().collect().await.unwrap();
        if self.way.is_grpc() {
            let status = body.trailers().and_then(|trailers: &HeaderMap| trailers.get("grpc-status"));
            assert!(!is_ended && status.is_some_and(|status| status == "0"), "{status:?}");
        }
        body.to_bytes().len()
    }
}
