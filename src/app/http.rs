//! What is served where.

use std::sync::Arc;

use axum::{Router, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use metrics_exporter_prometheus::PrometheusHandle;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};

use super::{gauges::Gauges, readiness::Readiness, strangers::Strangers};
use crate::{
    config::Limits,
    connect::Connect,
    grpc::{
        EnvironmentApi, EnvironmentOpsApi, EnvoyApi, EventApi, IdentityApi, RunnerApi, RunnerConfigurationApi,
        TokenApi, UserApi,
    },
    oauth::{self, OAuthApi},
    pb::{
        self,
        envoy::service::auth::v3::authorization_server::AuthorizationServer,
        gitpod::v1::{
            environment_service_server::EnvironmentServiceServer, event_service_server::EventServiceServer,
            identity_service_server::IdentityServiceServer,
            runner_configuration_service_server::RunnerConfigurationServiceServer,
            runner_service_server::RunnerServiceServer, token_service_server::TokenServiceServer,
            user_service_server::UserServiceServer,
        },
        supervisor::v1::environment_ops_service_server::EnvironmentOpsServiceServer,
    },
    web::{self, Pages},
};

/// The services of the contract.
pub(super) struct Services {
    pub(super) tokens: TokenApi,
    pub(super) users: UserApi,
    pub(super) identity: IdentityApi,
    pub(super) events: EventApi,
    pub(super) environments: EnvironmentApi,
    pub(super) runners: RunnerApi,
    pub(super) runner_configuration: RunnerConfigurationApi,
    pub(super) operations: EnvironmentOpsApi,
    pub(super) envoy: EnvoyApi,
}

/// What reflection tells of, and JSON is written by: the services, and the details of errors, for clients that know nothing.
const DESCRIPTORS: [&[u8]; 5] = [
    pb::FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    // Each version of reflection tells of the other too: every service is listed, whichever is asked.
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
];

/// Every RPC, in every protocol. Nothing here asks who calls: the auth layer in front of it has.
pub(super) fn connect<H: Health>(services: Services, health: HealthServer<H>, limits: &Limits) -> Connect {
    const MADE_HERE: &str = "the descriptors were made by build scripts";
    let request_bytes = limits.request_bytes;
    let strangers = Strangers::new(limits);
    let reflection = || {
        DESCRIPTORS.iter().fold(tonic_reflection::server::Builder::configure(), |builder, descriptors| {
            builder.register_encoded_file_descriptor_set(descriptors)
        })
    };
    let Services { tokens, users, identity, events, environments, runners, runner_configuration, operations, envoy } =
        services;
    let routes = Routes::new(TokenServiceServer::new(tokens).max_decoding_message_size(request_bytes))
        .add_service(UserServiceServer::new(users).max_decoding_message_size(request_bytes))
        .add_service(IdentityServiceServer::new(identity).max_decoding_message_size(request_bytes))
        .add_service(EventServiceServer::new(events).max_decoding_message_size(request_bytes))
        .add_service(EnvironmentServiceServer::new(environments).max_decoding_message_size(request_bytes))
        .add_service(RunnerServiceServer::new(runners).max_decoding_message_size(request_bytes))
        .add_service(
            RunnerConfigurationServiceServer::new(runner_configuration).max_decoding_message_size(request_bytes),
        )
        .add_service(EnvironmentOpsServiceServer::new(operations).max_decoding_message_size(request_bytes))
        .add_service(AuthorizationServer::new(envoy).max_decoding_message_size(request_bytes))
        .add_service(strangers.bound(health))
        .add_service(strangers.bound(reflection().build_v1().expect(MADE_HERE)))
        .add_service(strangers.bound(reflection().build_v1alpha().expect(MADE_HERE)));
    Connect::new(routes, DESCRIPTORS).expect(MADE_HERE).with_message_limit(request_bytes)
}

/// Everything on the port.
pub(super) fn router(connect: Connect, oauth: OAuthApi, pages: Pages, readiness: Arc<Readiness>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route(
            "/readyz",
            get(move || async move {
                match readiness.problem() {
                    None => (StatusCode::OK, "ready\n".to_owned()),
                    Some(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {problem}\n")),
                }
            }),
        )
        .merge(oauth::router(oauth))
        .merge(web::router(pages))
        .fallback_service(connect)
}

/// Tells the metrics, on a listener of their own: they are not for callers.
pub(super) fn metrics(metrics: Option<&'static PrometheusHandle>, gauges: Gauges) -> Router {
    let tell = move || {
        gauges.set();
        metrics.map(PrometheusHandle::render).unwrap_or_default()
    };
    let content_type = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Router::new().route("/metrics", get(move || async move { (content_type, tell()) }))
}
