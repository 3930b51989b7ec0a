//! The engine's calls as calls of tonic's routes: message in, message out, in Protobuf on tonic's side.

use std::sync::Arc;

use bytes::Bytes;
use connectrpc::{
    CodecFormat, ConnectError, Dispatcher, EncodedBody, EncodedResponse, EncodedStream, MethodDescriptor, MethodKind,
    Payload, RequestContext, Response,
    dispatcher::{RequestStream, StreamingResult, UnaryResult},
};
use futures::{StreamExt, stream};
use http::HeaderMap;
use tonic::{Code, Status, body::Body, service::Routes};

use super::{
    calls::{self, Answer, failure},
    crossing::Crossing,
    error::{connect_error, status},
    framing, json,
    methods::{Method, Methods},
    page_query::PageQuery,
};

/// Calls the routes.
#[derive(Debug, Clone)]
pub(super) struct RoutesDispatcher {
    routes: Routes,
    methods: Methods,
    /// Bytes of a message of a request.
    limit: usize,
}

impl RoutesDispatcher {
    pub(super) const fn new(routes: Routes, methods: Methods, limit: usize) -> Self {
        Self { routes, methods, limit }
    }

    /// A method of this kind, ready to be called.
    fn call(&self, path: &str, kind: MethodKind, context: RequestContext, format: CodecFormat) -> Option<Call> {
        let method = self.methods.get(path).filter(|method| method.descriptor.kind == kind)?;
        Some(Call { dispatcher: self.clone(), method: Arc::clone(method), context, format })
    }
}

impl Dispatcher for RoutesDispatcher {
    fn lookup(&self, path: &str) -> Option<MethodDescriptor> {
        self.methods.get(path).map(|method| method.descriptor)
    }

    fn call_unary(&self, path: &str, context: RequestContext, request: Payload, format: CodecFormat) -> UnaryResult {
        match self.call(path, MethodKind::Unary, context, format) {
            Some(call) => Box::pin(async move {
                let body = call.single(request.encoded()?)?;
                call.for_one(body).await
            }),
            None => Box::pin(async { Err(no_such_method()) }),
        }
    }

    fn call_server_streaming(
        &self,
        path: &str,
        context: RequestContext,
        request: Bytes,
        format: CodecFormat,
    ) -> StreamingResult {
        match self.call(path, MethodKind::ServerStreaming, context, format) {
            Some(call) => Box::pin(async move {
                let body = call.single(request)?;
                call.for_many(body).await
            }),
            None => Box::pin(async { Err(no_such_method()) }),
        }
    }

    fn call_client_streaming(
        &self,
        path: &str,
        context: RequestContext,
        requests: RequestStream,
        format: CodecFormat,
    ) -> UnaryResult {
        match self.call(path, MethodKind::ClientStreaming, context, format) {
            Some(call) => Box::pin(async move {
                let body = call.stream(requests);
                call.for_one(body).await
            }),
            None => Box::pin(async { Err(no_such_method()) }),
        }
    }

    fn call_bidi_streaming(
        &self,
        path: &str,
        context: RequestContext,
        requests: RequestStream,
        format: CodecFormat,
    ) -> StreamingResult {
        match self.call(path, MethodKind::BidiStreaming, context, format) {
            Some(call) => Box::pin(async move {
                let body = call.stream(requests);
                call.for_many(body).await
            }),
            None => Box::pin(async { Err(no_such_method()) }),
        }
    }
}

/// The engine asks only for what [`Dispatcher::lookup`] has told it of.
fn no_such_method() -> ConnectError {
    ConnectError::unimplemented("there is no such method")
}

/// One call.
struct Call {
    dispatcher: RoutesDispatcher,
    method: Arc<Method>,
    context: RequestContext,
    format: CodecFormat,
}

impl Call {
    /// The body of a request with one message.
    fn single(&self, message: Bytes) -> Result<Body, ConnectError> {
        let query = self.context.extensions().get::<PageQuery>();
        let message = to_protobuf(&self.method, self.format, self.dispatcher.limit, message, query)?;
        framing::one(&message).map_err(|status| self.error(&status))
    }

    /// The body of a request with a stream of messages. What goes wrong in it is the handler's to see.
    fn stream(&self, requests: RequestStream) -> Body {
        let (method, format, limit) = (Arc::clone(&self.method), self.format, self.dispatcher.limit);
        let crossing = self.crossing();
        framing::many(requests.map(move |message| {
            message
                .and_then(|message| to_protobuf(&method, format, limit, message, None))
                .map_err(|error| crossing.failure().unwrap_or_else(|| status(&error)))
        }))
    }

    fn crossing(&self) -> Crossing {
        self.context.extensions().get::<Crossing>().cloned().unwrap_or_default()
    }

    fn error(&self, status: &Status) -> ConnectError {
        connect_error(status, &self.dispatcher.methods)
    }

    /// Calls the routes.
    async fn begin(&mut self, body: Body) -> Result<Answer, ConnectError> {
        let crossing = self.crossing();
        let remaining = self.context.time_remaining();
        let headers = std::mem::take(self.context.headers_mut());
        let mut extensions = std::mem::take(self.context.extensions_mut());
        extensions.remove::<Crossing>();
        extensions.remove::<PageQuery>();
        let routes = &mut self.dispatcher.routes;
        let (extensions, answer) = calls::call(routes, &self.method, headers, remaining, extensions, body).await;
        crossing.extend(extensions);
        crossing.answered(answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
        answer.map_err(|status| self.error(&status))
    }

    /// Calls, for an answer of one message.
    async fn for_one(mut self, body: Body) -> Result<EncodedResponse, ConnectError> {
        let crossing = self.crossing();
        let Answer { headers, mut messages, trailers } = self.begin(body).await?;
        let outcome = async {
            let message = messages.next().await?;
            let more = messages.next().await?;
            match failure(&messages.trailers) {
                Some(status) => Err(status),
                None if more.is_some() => Err(Status::internal("the answer has more than one message")),
                None => message.ok_or_else(|| Status::internal("the answer has no message")),
            }
        };
        let message = outcome.await.map_err(|status| {
            crossing.answered(status.code());
            after_headers(self.error(&status), headers.clone(), HeaderMap::new())
        })?;
        let mut response = Response::new(from_protobuf(&self.method, self.format, message)?);
        response.headers = headers;
        response.trailers = trailers;
        Ok(response)
    }

    /// Calls, for an answer of a stream.
    async fn for_many(mut self, body: Body) -> Result<Response<EncodedStream>, ConnectError> {
        let Answer { headers, messages, trailers } = self.begin(body).await?;
        let trailers_of_failure = trailers.clone();
        let answers = stream::unfold(Some((self, messages)), move |reading| {
            let trailers = trailers_of_failure.clone();
            async move {
                let (call, mut messages) = reading?;
                let status = match messages.next().await {
                    Ok(Some(message)) => {
                        let message = from_protobuf(&call.method, call.format, message);
                        return Some((message, Some((call, messages))));
                    }
                    Ok(None) => failure(&messages.trailers)?,
                    Err(status) => status,
                };
                Some((Err(after_headers(call.error(&status), HeaderMap::new(), trailers)), None))
            }
        });
        let mut response: Response<EncodedStream> = Response::new(answers.boxed());
        response.headers = headers;
        response.trailers = trailers;
        Ok(response)
    }
}

/// An error that comes when headers have been sent: what it says in headers of its own goes into the trailers.
fn after_headers(mut error: ConnectError, headers: HeaderMap, trailers: HeaderMap) -> ConnectError {
    let mut all = std::mem::take(error.response_headers_mut());
    for (name, value) in &trailers {
        all.append(name, value.clone());
    }
    error.with_headers(headers).with_trailers(all)
}

/// A message in Protobuf, whose page is the one that the query asks for, if it does.
fn to_protobuf(
    method: &Method,
    format: CodecFormat,
    limit: usize,
    message: Bytes,
    query: Option<&PageQuery>,
) -> Result<Bytes, ConnectError> {
    if format != CodecFormat::Json {
        return Ok(message);
    }
    let mut message = json::to_message(&method.input, &message)?;
    if let (Some(query), Some(pagination)) = (query, &method.pagination) {
        pagination.overlay(query, &mut message)?;
    }
    // The engine has measured the JSON.
    let length = message.encoded_len();
    if length > limit {
        return Err(ConnectError::resource_exhausted(format!("message size {length} exceeds limit {limit}")));
    }
    Ok(message.encode_to_vec().into())
}

fn from_protobuf(method: &Method, format: CodecFormat, message: Bytes) -> Result<EncodedBody, ConnectError> {
    if format == CodecFormat::Json {
        json::from_protobuf(&method.output, &message).map(EncodedBody::from)
    } else {
        Ok(EncodedBody::from(message))
    }
}
