//! What balancers are told while PostgreSQL is away.

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient as Client,
};

use crate::support::{ServerOptions, TestDatabase, TestServer, eventually, http};

/// What the server says under a name.
async fn health(server: &TestServer, service: &str) -> ServingStatus {
    let channel = tonic::transport::Endpoint::from_shared(server.url()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: service.to_owned() };
    Client::new(channel).check(request).await.unwrap().into_inner().status()
}

/// What it says of itself, of verification, of what Envoy asks, and of a service that reads and writes.
async fn told(server: &TestServer) -> [ServingStatus; 4] {
    let names = ["", "latchkey.Verification", "envoy.service.auth.v3.Authorization", "gitpod.v1.TokenService"];
    futures::future::join_all(names.map(|name| health(server, name))).await.try_into().unwrap()
}

#[tokio::test]
async fn whoever_can_still_verify_says_so_while_postgresql_is_away() {
    use ServingStatus::{NotServing, Serving};
    let database = TestDatabase::create_private().await;
    let options = ServerOptions { args: vec!["--revocation-bound=1h".to_owned()], ..ServerOptions::default() };
    let remembers = TestServer::start_with(&database, options).await;
    let forgets = TestServer::without_memory(&database).await;
    let token = remembers.user(&database, "dev@example.com").await;
    let mut api = remembers.api(&token).await;
    api.whoami().await.unwrap();
    for server in [&remembers, &forgets] {
        assert_eq!(told(server).await, [Serving; 4]);
    }
    database.cluster().stop().await;
    for server in [&remembers, &forgets] {
        eventually("it is not ready", async || (http::get(server.address(), "/readyz").await.0 == 503).then_some(()))
            .await;
    }
    // The health service hears of a look a moment after /readyz.
    eventually("verification is told apart", async || {
        (told(&remembers).await == [NotServing, Serving, Serving, NotServing]).then_some(())
    })
    .await;
    api.whoami().await.expect("it is remembered, and so it is verified");
    eventually("nothing is served by who remembers nothing", async || {
        (told(&forgets).await == [NotServing; 4]).then_some(())
    })
    .await;
    database.cluster().start_again().await;
    for server in [&remembers, &forgets] {
        eventually("all is well again", async || (told(server).await == [Serving; 4]).then_some(())).await;
    }
}
