//! Traces, as a collector gets them.

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message;
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use crate::support::{Api, ServerOptions, TestDatabase, TestServer, eventually, keys::forged, keys::token_id};

/// Keeps what it is told.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://{}", incoming.local_addr().unwrap());
        let service = TraceServiceServer::new(collector.clone());
        tokio::spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
        (collector, url)
    }

    fn spans(&self) -> Vec<Span> {
        let told = self.0.lock().unwrap();
        let resources = told.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().iter().flat_map(Message::encode_to_vec).collect()
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    found.and_then(|attribute| attribute.value.clone()).map(|value| format!("{value:?}")).unwrap_or_default()
}

async fn start(database: &TestDatabase, args: &[&str]) -> TestServer {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    TestServer::start_with(database, ServerOptions { args, ..ServerOptions::default() }).await
}

const RPC: &str = "gitpod.v1.TokenService/ListPersonalAccessTokens";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn list(api: &mut Api, traceparent: Option<&str>) -> Result<(), Status> {
    let mut request = Request::new(latchkey::pb::gitpod::v1::ListPersonalAccessTokensRequest::default());
    if let Some(value) = traceparent {
        request.metadata_mut().insert("traceparent", value.parse().unwrap());
    }
    api.tokens.list_personal_access_tokens(request).await.map(|_| ())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_request_is_a_part_of_the_trace_that_it_comes_with() {
    let database = TestDatabase::create().await;
    let (collector, url) = Collector::start().await;
    let server = start(&database, &[&format!("--otlp-endpoint={url}"), "--revocation-bound=0"]).await;
    let token = server.user(&database, "dev@example.com").await;
    let refused = forged();
    let mut api = server.api(&token).await;
    list(&mut api, Some(&format!("00-{TRACE}-{PARENT}-01"))).await.unwrap();
    list(&mut server.api(&refused).await, None).await.unwrap_err();
    // One that its caller does not trace is not traced here.
    list(&mut api, Some("00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-00f067aa0ba902b7-00")).await.unwrap();

    let spans = eventually("the spans are told", async || {
        let spans = collector.spans();
        (spans.iter().filter(|span| span.name == RPC).count() >= 2).then_some(spans)
    })
    .await;
    let named: Vec<&Span> = spans.iter().filter(|span| span.name == RPC).collect();
    let good = named.iter().find(|span| hex(&span.trace_id) == TRACE).expect("it goes on with the trace");
    assert_eq!((hex(&good.parent_span_id).as_str(), good.kind()), (PARENT, SpanKind::Server));
    assert!(attribute(good, "token_id").contains(&token_id(&token)));
    assert!(attribute(good, "rpc.grpc.status_code").contains('0'));
    let below = |name| {
        let is_below = |span: &&Span| span.parent_span_id == good.span_id && span.name == name;
        spans.iter().filter(is_below).count()
    };
    assert_eq!(below("verify"), 1, "{spans:#?}");
    assert!(below("postgresql") >= 1, "{spans:#?}");
    let stranger = named.iter().find(|span| hex(&span.trace_id) != TRACE).unwrap();
    assert!(attribute(stranger, "rpc.grpc.status_code").contains("16"), "{stranger:?}");
    // The caller's mistake, not the server's.
    assert_ne!(stranger.status.clone().unwrap_or_default().code(), StatusCode::Error);
    assert_eq!(attribute(stranger, "token_id"), "");

    let bytes = String::from_utf8_lossy(&collector.bytes()).into_owned();
    for secret in [&token, &refused] {
        assert!(!bytes.contains(secret.as_str()));
    }
    assert!(spans.iter().all(|span| hex(&span.trace_id) != "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

#[tokio::test]
async fn a_collector_that_is_away_keeps_nobody_waiting() {
    let database = TestDatabase::create().await;
    let mut server = start(&database, &["--otlp-endpoint=http://127.0.0.1:1"]).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    for _ in 0..100 {
        list(&mut api, None).await.unwrap();
    }
    drop(api);
    assert!(server.stop().await);
}
