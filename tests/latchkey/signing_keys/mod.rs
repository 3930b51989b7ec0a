//! Signing keys: the file they are in, bringing new ones up, and taking them away.

mod file;
mod revoking;
mod rotating;

use latchkey::domain::token::Presented;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::support::{ServerOptions, TestServer, eventually, http};

fn with_keys(keys: &str) -> ServerOptions {
    ServerOptions { signing_keys: Some(keys.to_owned()), ..ServerOptions::default() }
}

/// The number of the key that a token was made with.
fn generation(token: &str) -> u8 {
    Presented::parse(token).unwrap().generation().number()
}

/// What the server answers under a name of the health service.
async fn health(server: &TestServer, service: &str) -> ServingStatus {
    let channel = tonic::transport::Endpoint::from_shared(server.url()).unwrap().connect().await.unwrap();
    let request = HealthCheckRequest { service: service.to_owned() };
    HealthClient::new(channel).check(request).await.unwrap().into_inner().status()
}

/// Waits until everything that balancers may ask says so.
async fn becomes(server: &TestServer, status: u16, says: &str) {
    eventually(&format!("/readyz {status} {says}"), async || {
        let (code, body) = http::get(server.address(), "/readyz").await;
        (code == status && body.contains(says)).then_some(())
    })
    .await;
    let expected = if status == 200 { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in ["", "latchkey.Verification", "gitpod.v1.TokenService"] {
        eventually(&format!("health of {service:?}"), async || {
            (health(server, service).await == expected).then_some(())
        })
        .await;
    }
    assert_eq!(http::get(server.address(), "/livez").await.0, 200, "it lives all the while");
}
