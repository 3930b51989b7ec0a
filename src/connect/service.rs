//! The service, which chooses the way of each request.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use connectrpc::{
    CodecFormat, CompressionPolicy, ConnectRpcBody, ConnectRpcService, DeadlinePolicy, Limits, MethodKind, Protocol,
};
use http::{HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as HttpBody;
use tonic::{Code, body::Body, service::Routes};
use tower::Service;

use super::{
    classify::Way,
    crossing::{Crossing, RequestBody},
    deadline,
    dispatcher::RoutesDispatcher,
    error::Errors,
    framing::HEADER,
    json_lines::JsonLines,
    methods::{InvalidDescriptors, Methods},
    native, own_code,
    page_query::PageQuery,
    retry,
};

/// Bytes of a message when nothing is said: tonic's own default.
const DEFAULT_LIMIT: usize = 4 * 1024 * 1024;
/// By how much a message may get longer by being compressed, and still be taken.
const COMPRESSED_LONGER: usize = 1024;

/// How long nothing comes in lines of JSON before a space does, when nothing is said: proxies and clients give up after a minute
/// or half of one.
const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Who answers plain gRPC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NativeGrpc {
    /// The routes themselves: tonic as it is.
    #[default]
    Straight,
    /// The engine, which keeps to the protocol to the letter, and costs more.
    Engine,
}

/// Serves tonic's routes in every protocol; see the module.
#[derive(Clone)]
pub struct Connect {
    routes: Routes,
    methods: Methods,
    limit: usize,
    native: NativeGrpc,
    keep_alive: Duration,
    engine: ConnectRpcService<RoutesDispatcher>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connect")
            .field("limit", &self.limit)
            .field("native", &self.native)
            .finish_non_exhaustive()
    }
}

impl Connect {
    /// In front of these routes. The descriptors are encoded `google.protobuf.FileDescriptorSet`s; they must have every
    /// service of the routes, and may have more types, for details of errors.
    ///
    /// # Errors
    /// [`InvalidDescriptors`]
    pub fn new<'a>(
        routes: Routes,
        descriptors: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, InvalidDescriptors> {
        let (routes, methods) = (routes.prepare(), Methods::read(descriptors)?);
        let engine = engine(&routes, &methods, DEFAULT_LIMIT);
        Ok(Self {
            routes,
            methods,
            limit: DEFAULT_LIMIT,
            native: NativeGrpc::default(),
            keep_alive: DEFAULT_KEEP_ALIVE,
            engine,
        })
    }

    /// How many bytes a message of a request may have, uncompressed and in each codec; 4 MiB by default. The routes must take
    /// as many.
    #[must_use]
    pub fn with_message_limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self.engine = engine(&self.routes, &self.methods, bytes);
        self
    }

    /// Who answers plain gRPC.
    #[must_use]
    pub const fn with_native_grpc(mut self, native: NativeGrpc) -> Self {
        self.native = native;
        self
    }

    /// How long nothing comes in a stream of lines of JSON before a space does; 10 s by default.
    #[must_use]
    pub const fn with_json_lines_keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// Answers requests that come to no handler, in their own protocol.
    #[must_use]
    pub fn errors(&self) -> Errors {
        Errors::new(self.methods.clone())
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let mut response = self.answer_unmarked(request).await;
        let code = response.extensions().get::<Code>().copied().unwrap_or(Code::Unknown);
        retry::mark(&mut response, code);
        response
    }

    async fn answer_unmarked(mut self, request: Request<Body>) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path();
        let method = self.methods.get(path.strip_prefix('/').unwrap_or(path)).cloned();
        let mut way = Way::of(&parts, method.as_deref());
        if way == Way::Native && self.native == NativeGrpc::Engine {
            way = Way::Engine(Protocol::Grpc);
        }
        let protocol = match way {
            Way::Native => Protocol::Grpc,
            Way::Engine(protocol) => protocol,
            Way::JsonLines => Protocol::Connect,
            Way::MethodNotAllowed => {
                return refused(StatusCode::METHOD_NOT_ALLOWED, (header::ALLOW, HeaderValue::from_static("POST")));
            }
            Way::UnsupportedMediaType(types) => {
                let accepted = (header::HeaderName::from_static("accept-post"), HeaderValue::from_static(types));
                return refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, accepted);
            }
        };
        let timeout = match deadline::requested(&parts.headers, protocol) {
            Ok(timeout) => timeout,
            Err(status) => return self.errors().answer(&parts.headers, status),
        };
        // What has no time at all is not even begun.
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return self.errors().answer(&parts.headers, deadline::exceeded());
        }
        let takes_one = method
            .as_ref()
            .is_none_or(|method| matches!(method.descriptor.kind, MethodKind::Unary | MethodKind::ServerStreaming));
        match (way, method) {
            (Way::Native, _) => {
                let request = Request::from_parts(parts, body);
                return native::call(self.routes, request, takes_one, timeout, self.limit).await;
            }
            (Way::JsonLines, Some(method)) => {
                let (errors, limit, keep_alive) = (self.errors(), self.limit, self.keep_alive);
                let lines = JsonLines { routes: self.routes, method, errors, limit, keep_alive };
                return lines.call(parts, body, timeout).await;
            }
            (_, Some(method)) if method.pagination.is_some() && is_plain_json(&parts) => {
                match PageQuery::read(parts.uri.query().unwrap_or_default()) {
                    Ok(Some(query)) => drop(parts.extensions.insert(query)),
                    Ok(None) => {}
                    Err(status) => return self.errors().answer(&parts.headers, status),
                }
            }
            (_, Some(_) | None) => {}
        }
        self.through_engine(Request::from_parts(parts, body), takes_one).await
    }

    async fn through_engine(&mut self, request: Request<Body>, takes_one: bool) -> Response<Body> {
        let crossing = Crossing::default();
        let headers = request.headers().clone();
        let mut request = request.map(|body| RequestBody::new(body, crossing.clone()));
        request.extensions_mut().insert(crossing.clone());
        let Ok(response) = self.engine.call(request).await;
        // The engine says of a body that cannot be read that the server is at fault. Where it reads a body itself, before it
        // calls anybody, it is known better.
        if takes_one && let Some(status) = crossing.failure() {
            return self.errors().answer(&headers, status);
        }
        let (code, extensions) = crossing.finish();
        let mut response = response.map(whole);
        response.extensions_mut().extend(extensions);
        let Some(code) = code else { return own_code::mark(response) };
        response.extensions_mut().insert(code);
        response
    }
}

/// A request of Connect's, by POST, for one message in JSON.
fn is_plain_json(request: &Parts) -> bool {
    request.method == Method::POST
        && Protocol::detect(&request.headers).is_some_and(|detected| {
            detected.protocol == Protocol::Connect
                && detected.codec_format == CodecFormat::Json
                && !detected.is_streaming
        })
}

impl<B> Service<Request<B>> for Connect
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.clone().answer(request.map(Body::new));
        Box::pin(async move { Ok(answer.await) })
    }
}

fn engine(routes: &Routes, methods: &Methods, limit: usize) -> ConnectRpcService<RoutesDispatcher> {
    let dispatcher = RoutesDispatcher::new(routes.clone(), methods.clone(), limit);
    // What is read whole, before it is decompressed: not much more than the message.
    let whole = limit.saturating_add(HEADER + COMPRESSED_LONGER);
    ConnectRpcService::new(dispatcher)
        .with_limits(Limits::default().with_max_message_size(limit).with_max_request_body_size(whole))
        .with_deadline_policy(DeadlinePolicy::new().with_enforce_on_streams(true))
        .with_compression_policy(CompressionPolicy::default())
}

/// The engine's body; of one that is there already, the length is told.
pub(super) fn whole(body: ConnectRpcBody) -> Body {
    if let ConnectRpcBody::Full(body) = body { Body::new(body) } else { Body::new(body) }
}

/// An answer in the words of HTTP alone, which every client has a code for.
fn refused(status: StatusCode, (name, value): (header::HeaderName, HeaderValue)) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(name, value);
    response.extensions_mut().insert(Code::Unknown);
    response
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body::Frame;
    use http_body_util::{BodyExt, Full, StreamBody};
    use tonic::Status;
    use tonic_health::pb::{
        FILE_DESCRIPTOR_SET, HealthCheckRequest, HealthCheckResponse,
        health_server::{Health, HealthServer},
    };

    use super::*;

    /// Travels in extensions.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Marker(u8);

    struct Marking;

    #[tonic::async_trait]
    impl Health for Marking {
        async fn check(
            &self,
            request: tonic::Request<HealthCheckRequest>,
        ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
            let Marker(number) = *request.extensions().get::<Marker>().expect("it has come with the request");
            let mut response = tonic::Response::new(HealthCheckResponse::default());
            response.extensions_mut().insert(Marker(number + 1));
            Ok(response)
        }

        type WatchStream = stream::Empty<Result<HealthCheckResponse, Status>>;

        async fn watch(
            &self,
            _request: tonic::Request<HealthCheckRequest>,
        ) -> Result<tonic::Response<Self::WatchStream>, Status> {
            Ok(tonic::Response::new(stream::empty()))
        }
    }

    /// The answer to a request with this body.
    async fn answer(content_type: &str, body: Body) -> Response<Body> {
        let mut connect = Connect::new(Routes::new(HealthServer::new(Marking)), [FILE_DESCRIPTOR_SET]).unwrap();
        let mut request = Request::post("/grpc.health.v1.Health/Check").body(body).unwrap();
        request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        request.extensions_mut().insert(Marker(1));
        connect.call(request).await.unwrap()
    }

    const TYPES: [(&str, &[u8]); 5] = [
        ("application/json", b"{}"),
        ("application/proto", b""),
        ("application/grpc-web", b"\0\0\0\0\0"),
        ("application/grpc", b"\0\0\0\0\0"),
        ("application/grpc+json", b"\0\0\0\0\x02{}"),
    ];

    #[tokio::test]
    async fn extensions_and_the_code_cross_in_every_protocol() {
        for (content_type, body) in TYPES {
            let response = answer(content_type, Body::new(Full::new(Bytes::from_static(body)))).await;
            assert_eq!(response.extensions().get::<Marker>(), Some(&Marker(2)), "{content_type}");
            assert_eq!(response.extensions().get::<Code>(), Some(&Code::Ok), "{content_type}");
        }
    }

    #[tokio::test]
    async fn the_code_of_what_the_engine_refuses_is_known_and_the_answer_whole() {
        // No gzip, no message, and more than a message.
        for (content_type, body) in [
            ("application/json", "{"),
            ("application/grpc-web", "\u{1}\0\0\0\u{1}x"),
            ("application/grpc-web+json", "\0\0\0\0\u{1}{"),
            ("application/grpc+json", "\0\0\0\0\u{1}{"),
            ("application/grpc-web", ""),
            ("application/grpc-web", "\0\u{7f}\0\0\0"),
            ("application/connect+json", "{}"),
        ] {
            let response = answer(content_type, Body::new(Full::from(body))).await;
            let code = *response.extensions().get::<Code>().unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned();
            let said = format!("{:?} {trailers:?} {}", parts.headers, String::from_utf8_lossy(&body.to_bytes()));
            let number = i32::from(code);
            let known = [
                (Code::InvalidArgument, "invalid_argument"),
                (Code::ResourceExhausted, "resource_exhausted"),
                (Code::Unimplemented, "unimplemented"),
                (Code::Internal, "internal"),
            ];
            let Some((_, name)) = known.into_iter().find(|(known, _)| *known == code) else {
                panic!("{content_type} {code:?}: {said}")
            };
            let written = [
                format!("grpc-status: {number}\r\n"),
                format!("\"grpc-status\": \"{number}\""),
                format!("\"code\":\"{name}\""),
            ];
            assert!(written.iter().any(|written| said.contains(written)), "{content_type} {code:?}: {said}");
        }
    }

    #[tokio::test]
    async fn a_body_that_cannot_be_read_is_told_with_its_own_code_in_every_protocol() {
        for (content_type, _) in TYPES {
            let failing = stream::iter([Err::<Frame<Bytes>, _>(Status::deadline_exceeded("sluggish"))]);
            let response = answer(content_type, Body::new(StreamBody::new(failing))).await;
            assert_eq!(response.extensions().get::<Code>(), Some(&Code::DeadlineExceeded), "{content_type}");
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned();
            let said = format!("{:?} {trailers:?} {}", parts.headers, String::from_utf8_lossy(&body.to_bytes()));
            assert!(said.contains("sluggish"), "{content_type}: {said}");
        }
    }
}
