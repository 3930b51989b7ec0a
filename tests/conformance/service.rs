//! `connectrpc.conformance.v1.ConformanceService`: answers what each request says that it should.

use std::{pin::Pin, time::Duration};

use futures::{Stream, stream};
use prost_types::Any;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

use crate::{
    metadata::{any, append, request_info, status, trailers},
    pb::{
        BidiStreamRequest, BidiStreamResponse, ClientStreamRequest, ClientStreamResponse, ConformancePayload,
        IdempotentUnaryRequest, IdempotentUnaryResponse, ServerStreamRequest, ServerStreamResponse,
        StreamResponseDefinition, UnaryRequest, UnaryResponse, UnaryResponseDefinition, UnimplementedRequest,
        UnimplementedResponse, conformance_payload::RequestInfo, conformance_service_server::ConformanceService,
        unary_response_definition,
    },
};

/// The name of the detail that errors have when no message tells of the request.
const REQUEST_INFO: &str = "ConformancePayload.RequestInfo";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Conformance;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ConformanceService for Conformance {
    async fn unary(&self, request: Request<UnaryRequest>) -> Result<Response<UnaryResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let info = request_info(&metadata, vec![any("UnaryRequest", &message)]);
        let answer = one(message.response_definition, info).await?;
        Ok(answer.map(|payload| UnaryResponse { payload: Some(payload) }))
    }

    async fn idempotent_unary(
        &self,
        request: Request<IdempotentUnaryRequest>,
    ) -> Result<Response<IdempotentUnaryResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        let info = request_info(&metadata, vec![any("IdempotentUnaryRequest", &message)]);
        let answer = one(message.response_definition, info).await?;
        Ok(answer.map(|payload| IdempotentUnaryResponse { payload: Some(payload) }))
    }

    async fn unimplemented(
        &self,
        _request: Request<UnimplementedRequest>,
    ) -> Result<Response<UnimplementedResponse>, Status> {
        Err(Status::unimplemented("not implemented"))
    }

    async fn client_stream(
        &self,
        request: Request<Streaming<ClientStreamRequest>>,
    ) -> Result<Response<ClientStreamResponse>, Status> {
        let (metadata, _, mut messages) = request.into_parts();
        let (mut definition, mut requests) = (None, Vec::new());
        while let Some(message) = messages.message().await? {
            requests.push(any("ClientStreamRequest", &message));
            // The first message says what to answer.
            if requests.len() == 1 {
                definition = message.response_definition;
            }
        }
        let answer = one(definition, request_info(&metadata, requests)).await?;
        Ok(answer.map(|payload| ClientStreamResponse { payload: Some(payload) }))
    }

    type ServerStreamStream = Answers<ServerStreamResponse>;

    async fn server_stream(
        &self,
        request: Request<ServerStreamRequest>,
    ) -> Result<Response<Self::ServerStreamStream>, Status> {
        let (metadata, _, message) = request.into_parts();
        let info = request_info(&metadata, vec![any("ServerStreamRequest", &message)]);
        let definition = message.response_definition.unwrap_or_default();
        Ok(answers(definition, |definition, sender| async move {
            let mut sending = Sending { sender, info: Some(info) };
            let pause = pause(definition.response_delay_ms);
            for data in definition.response_data {
                tokio::time::sleep(pause).await;
                sending.data(data).await?;
            }
            sending.end(definition.error).await
        })
        .map(|payloads| map(payloads, |payload| ServerStreamResponse { payload })))
    }

    type BidiStreamStream = Answers<BidiStreamResponse>;

    async fn bidi_stream(
        &self,
        request: Request<Streaming<BidiStreamRequest>>,
    ) -> Result<Response<Self::BidiStreamStream>, Status> {
        let (metadata, _, mut messages) = request.into_parts();
        let first = messages.message().await?;
        let definition = first.as_ref().and_then(|message| message.response_definition.clone()).unwrap_or_default();
        let full_duplex = first.as_ref().is_some_and(|message| message.full_duplex);
        Ok(answers(definition, move |definition, sender| async move {
            let mut sending = Sending { sender, info: None };
            let pause = pause(definition.response_delay_ms);
            let mut data = definition.response_data.into_iter();
            let (mut requests, mut message, mut is_first) = (Vec::new(), first, true);
            while let Some(request) = message {
                requests.push(any("BidiStreamRequest", &request));
                // In full duplex each message has its answer, as long as there is one.
                if full_duplex {
                    let Some(data) = data.next() else { break };
                    tokio::time::sleep(pause).await;
                    sending.info = Some(info(&metadata, &mut requests, is_first));
                    is_first = false;
                    sending.data(data).await?;
                }
                message = match messages.message().await {
                    Ok(message) => message,
                    Err(status) => return sending.fail(status).await,
                };
            }
            if is_first {
                sending.info = Some(info(&metadata, &mut requests, true));
            }
            for data in data {
                tokio::time::sleep(pause).await;
                sending.data(data).await?;
            }
            sending.end(definition.error).await
        })
        .map(|payloads| map(payloads, |payload| BidiStreamResponse { payload })))
    }
}

/// What the suite wants to know of the messages since the last answer; of the headers it wants to know once.
fn info(metadata: &MetadataMap, requests: &mut Vec<Any>, is_first: bool) -> RequestInfo {
    let requests = std::mem::take(requests);
    if is_first { request_info(metadata, requests) } else { RequestInfo { requests, ..RequestInfo::default() } }
}

fn pause(milliseconds: u32) -> Duration {
    Duration::from_millis(milliseconds.into())
}

/// The answer of one message.
async fn one(
    definition: Option<UnaryResponseDefinition>,
    info: RequestInfo,
) -> Result<Response<ConformancePayload>, Status> {
    let definition = definition.unwrap_or_default();
    tokio::time::sleep(pause(definition.response_delay_ms)).await;
    let data = match definition.response {
        Some(unary_response_definition::Response::ResponseData(data)) => data,
        Some(unary_response_definition::Response::Error(error)) => {
            let mut metadata = MetadataMap::new();
            append(&mut metadata, &definition.response_headers);
            append(&mut metadata, &definition.response_trailers);
            return Err(status(&error, Some(any(REQUEST_INFO, &info)), metadata));
        }
        None => Vec::new(),
    };
    let mut response = Response::new(ConformancePayload { data, request_info: Some(info) });
    append(response.metadata_mut(), &definition.response_headers);
    response.extensions_mut().insert(trailers(&definition.response_trailers));
    Ok(response)
}

/// Nobody takes the answers any more.
struct Gone;

/// Where the messages of an answer go.
struct Sending {
    sender: mpsc::Sender<Result<ConformancePayload, Status>>,
    /// What the next message, or the error, tells of the request.
    info: Option<RequestInfo>,
}

impl Sending {
    async fn data(&mut self, data: Vec<u8>) -> Result<(), Gone> {
        let payload = ConformancePayload { data, request_info: self.info.take() };
        self.sender.send(Ok(payload)).await.map_err(|_| Gone)
    }

    async fn end(mut self, error: Option<crate::pb::Error>) -> Result<(), Gone> {
        let Some(error) = error else { return Ok(()) };
        let info = self.info.take().map(|info| any(REQUEST_INFO, &info));
        self.fail(status(&error, info, MetadataMap::new())).await
    }

    async fn fail(self, status: Status) -> Result<(), Gone> {
        self.sender.send(Err(status)).await.map_err(|_| Gone)
    }
}

/// The answer of a stream, which a task writes.
fn answers<F: Future<Output = Result<(), Gone>> + Send + 'static>(
    definition: StreamResponseDefinition,
    write: impl FnOnce(StreamResponseDefinition, mpsc::Sender<Result<ConformancePayload, Status>>) -> F,
) -> Response<Answers<ConformancePayload>> {
    let (sender, receiver) = mpsc::channel(1);
    let (headers, trailing) = (definition.response_headers.clone(), trailers(&definition.response_trailers));
    tokio::spawn(write(definition, sender));
    let payloads = stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver)));
    let mut response: Response<Answers<ConformancePayload>> = Response::new(Box::pin(payloads));
    append(response.metadata_mut(), &headers);
    response.extensions_mut().insert(trailing);
    response
}

fn map<T: 'static>(
    payloads: Answers<ConformancePayload>,
    make: impl Fn(Option<ConformancePayload>) -> T + Send + 'static,
) -> Answers<T> {
    use futures::StreamExt;
    Box::pin(payloads.map(move |payload| payload.map(|payload| make(Some(payload)))))
}
