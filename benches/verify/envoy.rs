//! What Envoy waits for before each request.

use std::{path::Path, time::Duration};

use http::HeaderValue;
use latchkey::pb::envoy::service::auth::v3::{
    AttributeContext, CheckRequest,
    attribute_context::{HttpRequest, Request},
};
use tonic_health::pb::HealthCheckRequest;

use super::{
    Options,
    client::{Call, Client},
    ground::{Postgres, Server, figures::median, server::LATCHKEY, tokens},
    pace::Paces,
    pin,
    remembered::headers,
    table::{Bar, Table},
};

/// Different requests that are asked about, each with a token of its own.
const TOKENS: u32 = 64;

fn health() -> Call {
    Call::new("/grpc.health.v1.Health/Check", &HealthCheckRequest::default())
}

fn check(token: &HeaderValue) -> Call {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    // As many headers as a browser or a client of gRPC sends.
    let headers = [
        header("authorization", token.to_str().unwrap()),
        header(":authority", "service.example"),
        header(":path", "/things/1"),
        header(":method", "GET"),
        header(":scheme", "https"),
        header("user-agent", "curl/8.0"),
        header("accept", "*/*"),
        header("x-request-id", "00000000-0000-0000-0000-000000000000"),
        header("x-forwarded-proto", "https"),
    ];
    let http = HttpRequest {
        method: "GET".to_owned(),
        path: "/things/1".to_owned(),
        headers: headers.into(),
        ..HttpRequest::default()
    };
    let request = Some(Request { http: Some(http) });
    let attributes = Some(AttributeContext { request, ..AttributeContext::default() });
    Call::new("/envoy.service.auth.v3.Authorization/Check", &CheckRequest { attributes })
}

pub(super) async fn measure(options: &Options, table: &mut Table) {
    if !options.wants("envoy") {
        return;
    }
    let postgres = Postgres::start().await;
    let server = pin::starting(Server::start(Path::new(LATCHKEY), &postgres, &[])).await;
    let own = [HeaderValue::from_str(&format!("Bearer {}", server.service_token().await)).unwrap()];
    let tokens = headers(&tokens::fill(&postgres, 10_000, TOKENS).await);
    pin::postgres(&postgres);
    let client = Client::connect(server.address(), options.connections).await;
    let calls: Vec<Call> = tokens.iter().map(check).collect();
    let requests = client.requests(&calls, &own);
    let duration = Duration::from_secs(options.seconds);
    // Every token is remembered before one of them is measured.
    for _ in 0..2 {
        for call in &calls {
            assert_eq!(client.ask(call, &own[0]).await.0, 0);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // What the machine makes of it: the same pace of calls that nobody is verified for.
    let idle = client.requests(&[health()], &own);
    let (mut ratios, mut peaks, mut half) = (Vec::new(), Vec::new(), Paces::of("half of it"));
    let mut bare = Paces::of("as many health checks");
    for _ in 0..options.rounds {
        let peak = client.saturate(&requests, &[0], options.in_flight, duration).await.0;
        let pace = client.at_rate(&requests, &[0], peak / 2.0, duration).await;
        let (p50, p99) = (pace.times.quantile(0.5), pace.times.quantile(0.99));
        println!("peak {peak:.0}/s; at half of it p50 {p50:.2} ms, p99 {p99:.2} ms");
        bare.push(client.at_rate(&idle, &[0], peak / 2.0, duration).await);
        ratios.push(p99 / p50);
        peaks.push(peak);
        half.push(pace);
    }
    let details = format!(
        "{TOKENS} tokens; peak {:.0}/s; at half of it p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms; as many health checks, for which nobody is verified: p50 {:.2} ms, p95 {:.2} ms, p99 {:.2} ms",
        median(peaks),
        half.quantile(0.5),
        half.quantile(0.95),
        half.quantile(0.99),
        bare.quantile(0.5),
        bare.quantile(0.95),
        bare.quantile(0.99),
    );
    table.paced_row(
        "ext_authz Check p99 at half of peak throughput, against its p50",
        Bar::Below(3.0),
        median(ratios),
        " x",
        &details,
        &[&half, &bare],
    );
    server.stop().await;
}
