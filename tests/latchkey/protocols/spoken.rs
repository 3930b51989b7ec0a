//! Each protocol as somebody speaks it who has nothing but HTTP: messages are JSON here, and on the wire what the protocol wants.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::SOON;

/// A protocol, with its codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    ConnectJson,
    ConnectProto,
    ConnectGetJson,
    ConnectGetProto,
    GrpcWeb,
    GrpcWebJson,
    Grpc,
    GrpcJson,
}

use Spoken::{ConnectGetJson, ConnectGetProto, ConnectJson, ConnectProto, Grpc, GrpcJson, GrpcWeb, GrpcWebJson};

/// What may ask for anything.
pub(super) const BY_POST: [Spoken; 6] = [ConnectJson, ConnectProto, GrpcWeb, GrpcWebJson, Grpc, GrpcJson];
/// What may ask for what has no side effects.
pub(super) const EVERY: [Spoken; 8] =
    [ConnectJson, ConnectProto, ConnectGetJson, ConnectGetProto, GrpcWeb, GrpcWebJson, Grpc, GrpcJson];

/// What went wrong, in Connect's words.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) message: String,
    /// Each detail's type and bytes.
    pub(super) details: Vec<(String, Vec<u8>)>,
    /// The head of the answer.
    pub(super) status: u16,
    pub(super) headers: Box<HeaderMap>,
}

/// Connect's names of gRPC's codes.
pub(super) const CODES: [&str; 17] = [
    "ok",
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

impl Spoken {
    fn content_type(self) -> Option<&'static str> {
        match self {
            ConnectJson => Some("application/json"),
            ConnectProto => Some("application/proto"),
            ConnectGetJson | ConnectGetProto => None,
            GrpcWeb => Some("application/grpc-web+proto"),
            GrpcWebJson => Some("application/grpc-web+json"),
            Grpc => Some("application/grpc"),
            GrpcJson => Some("application/grpc+json"),
        }
    }

    pub(super) fn is_json(self) -> bool {
        matches!(self, ConnectJson | ConnectGetJson | GrpcWebJson | GrpcJson)
    }

    pub(super) fn is_connect(self) -> bool {
        matches!(self, ConnectJson | ConnectProto | ConnectGetJson | ConnectGetProto)
    }

    /// The name of the header for deadlines, and this many milliseconds in it.
    pub(super) fn timeout(self, milliseconds: u32) -> (&'static str, String) {
        if self.is_connect() {
            ("connect-timeout-ms", milliseconds.to_string())
        } else {
            ("grpc-timeout", format!("{milliseconds}m"))
        }
    }

    /// A request as it goes out.
    pub(super) fn request(self, path: &str, message: &[u8], headers: &[(&str, &str)]) -> Request<Full<Bytes>> {
        let by_get = matches!(self, ConnectGetJson | ConnectGetProto);
        let (codec, message_text) = (if self.is_json() { "json" } else { "proto" }, URL_SAFE_NO_PAD.encode(message));
        let query = format!("?connect=v1&encoding={codec}&base64=1&message={message_text}");
        let mut request = Request::builder()
            .method(if by_get { Method::GET } else { Method::POST })
            .uri(if by_get { format!("{path}{query}") } else { path.to_owned() })
            .header("host", "latchkey.test");
        if let Some(content_type) = self.content_type() {
            request = request.header("content-type", content_type);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match self {
            ConnectJson | ConnectProto => Bytes::copy_from_slice(message),
            ConnectGetJson | ConnectGetProto => Bytes::new(),
            GrpcWeb | GrpcWebJson | Grpc | GrpcJson => framed(message),
        };
        request.body(Full::new(body)).unwrap()
    }

    /// Calls an RPC, `package.Service/Method`.
    pub(super) async fn call(
        self,
        address: &str,
        rpc: &str,
        headers: &[(&str, &str)],
        message: Value,
    ) -> Result<Value, Failure> {
        self.call_at(address, &format!("/{rpc}"), rpc, headers, message).await
    }

    /// Calls an RPC with a token.
    pub(super) async fn call_as(self, address: &str, token: &str, rpc: &str, message: Value) -> Result<Value, Failure> {
        self.call(address, rpc, &[("authorization", &format!("Bearer {token}"))], message).await
    }

    /// Calls an RPC at another path than its own.
    pub(super) async fn call_at(
        self,
        address: &str,
        path: &str,
        rpc: &str,
        headers: &[(&str, &str)],
        message: Value,
    ) -> Result<Value, Failure> {
        let (input, output) = types(rpc);
        let message = if self.is_json() { message.to_string().into_bytes() } else { to_protobuf(&input, &message) };
        let answer = self.answer_to(address, self.request(path, &message, headers)).await?;
        Ok(if self.is_json() { serde_json::from_slice(&answer).unwrap() } else { from_protobuf(output, &answer) })
    }

    /// The message that answers a request, as it comes.
    pub(super) async fn answer_to(self, address: &str, request: Request<Full<Bytes>>) -> Result<Vec<u8>, Failure> {
        let response = tokio::time::timeout(SOON, self.send(address, request)).await.expect("answered in time");
        let (status, head) = (response.status().as_u16(), response.headers().clone());
        let collected = tokio::time::timeout(SOON, response.into_body().collect()).await.expect("in time").unwrap();
        let trailers = collected.trailers().cloned();
        self.read(status, head, trailers, &collected.to_bytes())
    }

    /// Sends a request on a connection of its own.
    pub(super) async fn send(self, address: &str, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        if matches!(self, Grpc | GrpcJson) {
            request.headers_mut().remove("host");
            *request.uri_mut() = format!("http://{address}{}", request.uri()).parse().unwrap();
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            return sender.send_request(request).await.unwrap();
        }
        let (mut sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request).await.unwrap()
    }

    /// The message of an answer, or what it says instead.
    pub(super) fn read(
        self,
        status: u16,
        headers: HeaderMap,
        trailers: Option<HeaderMap>,
        body: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        if self.is_connect() {
            if status == 200 {
                return Ok(body.to_vec());
            }
            let error: Value = serde_json::from_slice(body).unwrap_or(json!({ "code": "unknown" }));
            return Err(connect_failure(&error, status, headers));
        }
        assert_eq!(status, 200, "gRPC has no other status: {headers:?}");
        let frames = frames(body);
        let trailers = match (self, trailers) {
            (Grpc | GrpcJson, trailers) => trailers.unwrap_or_else(|| headers.clone()),
            // The last frame has the trailers, in the words of HTTP/1.1.
            _ => {
                let (flags, text) = frames.last().expect("trailers");
                assert_eq!(*flags, 0x80, "{frames:?}");
                let lines = std::str::from_utf8(text).unwrap().lines();
                let pairs = lines.map(|line| line.split_once(':').unwrap());
                pairs.map(|(name, value)| (name.parse().unwrap(), value.trim().parse().unwrap())).collect()
            }
        };
        let code: usize = trailers["grpc-status"].to_str().unwrap().parse().unwrap();
        if code == 0 {
            return Ok(frames[0].1.clone());
        }
        let text = |name: &str| trailers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
        let message = percent_encoding::percent_decode_str(&text("grpc-message")).decode_utf8().unwrap().into_owned();
        let details = STANDARD_NO_PAD.decode(text("grpc-status-details-bin").trim_end_matches('=')).unwrap();
        let details = tonic_types::pb::Status::decode(details.as_slice()).unwrap().details;
        let details = details.into_iter().map(|any| (any.type_url.rsplit('/').next().unwrap().to_owned(), any.value));
        Err(Failure {
            code: CODES[code].to_owned(),
            message,
            details: details.collect(),
            status,
            headers: Box::new(headers),
        })
    }
}

/// What an error of Connect's says.
fn connect_failure(error: &Value, status: u16, headers: HeaderMap) -> Failure {
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let detail = |detail: &Value| {
        let value = STANDARD_NO_PAD.decode(detail["value"].as_str().unwrap()).unwrap();
        (detail["type"].as_str().unwrap().to_owned(), value)
    };
    Failure {
        code: error["code"].as_str().unwrap().to_owned(),
        message: error["message"].as_str().unwrap_or_default().to_owned(),
        details: details.iter().map(detail).collect(),
        status,
        headers: Box::new(headers),
    }
}

/// A message with gRPC's header.
pub(super) fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), message].concat().into()
}

/// The whole frames of a body: flags and bytes.
pub(super) fn frames(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = body.split_at_checked(5) {
        let length = u32::from_be_bytes(header[1..].try_into().unwrap()) as usize;
        let Some((message, rest)) = rest.split_at_checked(length) else { break };
        frames.push((header[0], message.to_vec()));
        body = rest;
    }
    frames
}

/// What an RPC takes and gives.
pub(super) fn types(rpc: &str) -> (MessageDescriptor, MessageDescriptor) {
    let mut pool = DescriptorPool::decode(latchkey::pb::FILE_DESCRIPTOR_SET).unwrap();
    for more in [
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(more).unwrap();
    }
    let (service, method) = rpc.split_once('/').unwrap();
    let service = pool.get_service_by_name(service).unwrap();
    let method = service.methods().find(|known| known.name() == method).unwrap();
    (method.input(), method.output())
}

pub(super) fn to_protobuf(descriptor: &MessageDescriptor, message: &Value) -> Vec<u8> {
    DynamicMessage::deserialize(descriptor.clone(), message).unwrap().encode_to_vec()
}

pub(super) fn from_protobuf(descriptor: MessageDescriptor, message: &[u8]) -> Value {
    serde_json::to_value(DynamicMessage::decode(descriptor, message).unwrap()).unwrap()
}
