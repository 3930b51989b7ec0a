//! How long a client waits is the client's to say, in every protocol.

use std::time::Instant;

use bytes::Bytes;
use futures::stream::{self, Repeat};
use http::Request;
use http_body_util::{BodyExt, Full};
use latchkey::connect::Connect;
use serde_json::json;
use tonic::{Response, Status, service::Routes};
use tonic_health::pb::{
    FILE_DESCRIPTOR_SET, HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};
use tower::Service;

use super::{
    spoken::{BY_POST, EVERY},
    streams::{self, WATCH},
};
use crate::support::{SOON, TestDatabase, TestServer, eventually};

const IDENTITY: &str = "gitpod.v1.IdentityService/GetAuthenticatedIdentity";
const CREATE: &str = "gitpod.v1.TokenService/CreatePersonalAccessToken";

#[tokio::test]
async fn a_deadline_ends_what_is_under_way_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");

    // Making a token waits for its holder's row.
    let mut owner = database.owner().await;
    let holding = owner.transaction().await.unwrap();
    holding.execute("SELECT FROM principals FOR UPDATE", &[]).await.unwrap();
    for spoken in BY_POST {
        let (name, value) = spoken.timeout(200);
        let headers = [("authorization", authorization.as_str()), (name, &value)];
        let ended = spoken.call(server.address(), CREATE, &headers, json!({ "description": "late" })).await;
        let ended = ended.unwrap_err();
        assert_eq!(ended.code, "deadline_exceeded", "{spoken:?}: {ended:?}");
        assert_eq!(ended.status, if spoken.is_connect() { 504 } else { 200 }, "{spoken:?}");
    }
    holding.rollback().await.unwrap();

    // What nobody waits for any more is not done after all. What others wait for, only the superuser sees.
    let superuser = database.superuser().await;
    let busy = "SELECT FROM pg_stat_activity
                WHERE datname = current_database() AND usename <> current_user AND state <> 'idle'";
    eventually("nothing is under way", || async { (superuser.execute(busy, &[]).await.unwrap() == 0).then_some(()) })
        .await;
    assert_eq!(database.number("SELECT count(*) FROM personal_access_tokens", &[]).await, 1);
}

#[tokio::test]
async fn a_deadline_ends_a_stream_in_every_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    for streamed in streams::EVERY {
        let (name, value) = streamed.timeout(200);
        let mut stream = streamed.open(server.address(), WATCH, &[(name, &value)], &[json!({})]).await;
        assert_eq!(stream.next().await, Ok(json!({ "status": "SERVING" })), "{streamed:?}");
        assert_eq!(stream.next().await, Err("deadline_exceeded".to_owned()), "{streamed:?}");
    }
}

#[tokio::test]
async fn time_outs_are_read_as_each_protocol_writes_them() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");
    let huge = format!("1{}", "0".repeat(30));
    for spoken in EVERY {
        let (name, none) = spoken.timeout(0);
        let call = async |value: &str| {
            let headers = [("authorization", authorization.as_str()), (name, value)];
            spoken.call(server.address(), IDENTITY, &headers, json!({})).await
        };
        // No time at all is over before anything is begun.
        assert_eq!(call(&none).await.unwrap_err().code, "deadline_exceeded", "{spoken:?}");
        let (longest, garbage) = if spoken.is_connect() {
            ("9999999999", [huge.clone(), "soon".to_owned(), "5m".to_owned(), "-1".to_owned(), String::new()])
        } else {
            ("99999999H", [format!("{huge}S"), "soon".to_owned(), "5".to_owned(), "-1S".to_owned(), String::new()])
        };
        call(longest).await.unwrap_or_else(|failure| panic!("{spoken:?}: {failure:?}"));
        for value in garbage {
            let invalid = call(&value).await.unwrap_err();
            assert_eq!(invalid.code, "invalid_argument", "{spoken:?} {value}: {invalid:?}");
            assert!(invalid.message.contains(name), "{spoken:?} {value}: {invalid:?}");
        }
    }
}

/// A service whose stream never has to be waited for, and never ends.
struct Busy;

#[tonic::async_trait]
impl Health for Busy {
    async fn check(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    type WatchStream = Repeat<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _request: tonic::Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(stream::repeat(Ok(HealthCheckResponse { status: 1 }))))
    }
}

#[tokio::test]
async fn a_deadline_ends_a_stream_that_never_pauses_in_every_protocol() {
    let envelope = Bytes::from_static(b"\0\0\0\0\0");
    let (grpc, connect) = (("grpc-timeout", "50m"), ("connect-timeout-ms", "50"));
    for (content_type, (name, value), body) in [
        ("application/grpc", grpc, &envelope),
        ("application/grpc-web", grpc, &envelope),
        ("application/connect+proto", connect, &envelope),
        ("application/jsonl", connect, &Bytes::from_static(b"{}")),
    ] {
        let mut served = Connect::new(Routes::new(HealthServer::new(Busy)), [FILE_DESCRIPTOR_SET]).unwrap();
        let request = Request::post(format!("/{WATCH}")).header("content-type", content_type).header(name, value);
        let response = served.call(request.body(Full::new(body.clone())).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200, "{content_type}");
        let (began, mut body) = (Instant::now(), response.into_body());
        while let Some(Ok(_)) = body.frame().await {
            assert!(began.elapsed() < SOON, "{content_type} goes on for ever");
            // As connections do between what they send: time goes on for others.
            tokio::task::yield_now().await;
        }
    }
}
