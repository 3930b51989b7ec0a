//! What anybody may ask: whether the server is well, and what it offers. And how who speaks no gRPC is refused.

use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::{Caller, TestDatabase, TestServer, WHOAMI, http1, token_text::TokenText};

/// The services that reflection lists: those of the contract, and those that explain it.
const SERVICES: [&str; 12] = [
    "envoy.service.auth.v3.Authorization",
    "gitpod.v1.EnvironmentService",
    "gitpod.v1.EventService",
    "gitpod.v1.IdentityService",
    "gitpod.v1.RunnerConfigurationService",
    "gitpod.v1.RunnerService",
    "gitpod.v1.TokenService",
    "gitpod.v1.UserService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "supervisor.v1.EnvironmentOpsService",
];

#[tokio::test]
async fn health_needs_no_token_and_takes_no_notice_of_a_bad_one() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let caller = Caller::connect(&server.url()).await;
    let mut health = HealthClient::new(caller.channel());
    for service in SERVICES.iter().filter(|service| !service.starts_with("grpc.")).chain(&["", "latchkey.Verification"])
    {
        let request = HealthCheckRequest { service: (*service).to_owned() };
        let mut with_bad_token = tonic::Request::new(request.clone());
        with_bad_token.metadata_mut().insert("authorization", "Bearer nonsense".parse().unwrap());
        for request in [tonic::Request::new(request), with_bad_token] {
            let answer = health.check(request).await.unwrap().into_inner();
            assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
        }
    }
    let unknown = health.check(HealthCheckRequest { service: "gitpod.v1.NoSuchService".to_owned() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut watched = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);

    assert!(http1::get(server.address(), "/livez", "").await.starts_with("HTTP/1.1 200"));
    assert!(http1::get(server.address(), "/readyz", "").await.ends_with("ready\n"));
}

#[tokio::test]
async fn who_watches_the_health_is_told_that_the_server_ends_and_does_not_hold_it_up() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let mut health = HealthClient::new(Caller::connect(&server.url()).await.channel());
    let mut watched = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let told = tokio::spawn(async move {
        let mut told = Vec::new();
        while let Ok(Some(message)) = watched.message().await {
            told.push(message.status());
        }
        told
    });
    assert!(server.stop().await);
    assert!(!server.log().contains("did not end in time"), "nothing had to be broken off: {}", server.log());
    assert!(matches!(told.await.unwrap()[..], [] | [ServingStatus::NotServing] | [ServingStatus::NotServing, _]));
}

#[tokio::test]
async fn reflection_needs_no_token_and_lists_every_service_in_both_versions() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let caller = Caller::connect(&server.url()).await;

    let ask = v1::ServerReflectionRequest {
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(caller.channel());
    let answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(listed) = answer else {
        panic!("not a list: {answer:?}")
    };
    let mut names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, SERVICES);

    let ask = v1alpha::ServerReflectionRequest {
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::ListServices(String::new())),
        ..Default::default()
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(caller.channel());
    let answers = client.server_reflection_info(futures::stream::iter([ask])).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(listed) = answer else {
        panic!("not a list: {answer:?}")
    };
    let mut names: Vec<String> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(names, SERVICES);
}

#[tokio::test]
async fn who_speaks_no_grpc_is_refused_in_the_words_of_http() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let forged = {
        let mut text = TokenText::read(&token);
        text.body[48] ^= 1;
        text.write()
    };
    let nobody = http1::get(server.address(), WHOAMI, "").await;
    assert!(nobody.starts_with("HTTP/1.1 401") && nobody.contains("www-authenticate: Bearer"), "{nobody}");
    let message = |answer: &str| answer.rsplit("\r\n\r\n").next().unwrap().to_owned();
    // HTTP/1.1 strips the white space around a value, so that these two are good.
    for (header, status) in [
        ("authorization: Bearer nonsense", "401"),
        ("authorization: Basic ZGV2OnBhc3N3b3Jk", "401"),
        (&format!("authorization: Bearer {forged}"), "401"),
        (&format!("authorization: Bearer {token}\r\nauthorization: Bearer {token}"), "401"),
        (&format!("authorization: Bearer {token}, Bearer {token}"), "401"),
    ] {
        let answer = http1::get(server.address(), WHOAMI, &format!("{header}\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{header}: {answer}");
        assert_eq!(message(&answer), message(&nobody), "{header}");
    }
    for header in [format!("authorization: \t Bearer {token} \t "), format!("AUTHORIZATION:Bearer {token}")] {
        let answer = http1::get(server.address(), WHOAMI, &format!("{header}\r\n")).await;
        assert!(!answer.starts_with("HTTP/1.1 401"), "{header}: {answer}");
    }
    let unknown = http1::get(server.address(), "/no/such/page", "").await;
    assert!(unknown.starts_with("HTTP/1.1 404"), "{unknown}");
}
