//! Who leaves is worked for no longer, in every protocol.

use std::sync::Mutex;

use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use latchkey::connect::Connect;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Receiver, Sender},
};
use tonic::{Response, Status, service::Routes};
use tonic_health::pb::{
    FILE_DESCRIPTOR_SET, HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};

use super::{spoken::BY_POST, streams::WATCH};
use crate::support::{SOON, TestDatabase, TestServer, eventually};

const CREATE: &str = "/gitpod.v1.TokenService/CreatePersonalAccessToken";

/// A service whose stream tells what a test tells it, and lets the test know when nobody listens any more.
struct Telling(Mutex<Option<Receiver<HealthCheckResponse>>>);

#[tonic::async_trait]
impl Health for Telling {
    async fn check(
        &self,
        _request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _request: tonic::Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let told = self.0.lock().unwrap().take().expect("asked once");
        let told = stream::unfold(told, |mut told| async move { Some((Ok(told.recv().await?), told)) });
        Ok(Response::new(told.boxed()))
    }
}

/// A server for one stream; what is sent here is told.
async fn telling() -> (std::net::SocketAddr, Sender<HealthCheckResponse>) {
    let (sender, receiver) = mpsc::channel(1);
    let routes = Routes::new(HealthServer::new(Telling(Mutex::new(Some(receiver)))));
    let connect = Connect::new(routes, [FILE_DESCRIPTOR_SET]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // That it is broken off is what the test is for.
        let _ = Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(connect))
            .await;
    });
    (address, sender)
}

#[tokio::test]
async fn a_stream_that_nobody_reads_any_more_is_cancelled_in_every_protocol() {
    let envelope = Bytes::from_static(b"\0\0\0\0\0");
    let json = Bytes::from_static(b"\0\0\0\0\x02{}");
    for (version, content_type, body) in [
        (Version::HTTP_2, "application/grpc", &envelope),
        (Version::HTTP_2, "application/grpc+json", &json),
        (Version::HTTP_11, "application/grpc-web", &envelope),
        (Version::HTTP_11, "application/connect+proto", &envelope),
        (Version::HTTP_11, "application/connect+json", &json),
        (Version::HTTP_2, "application/connect+json", &json),
        (Version::HTTP_11, "application/jsonl", &Bytes::from_static(b"{}")),
        (Version::HTTP_2, "application/jsonl", &Bytes::from_static(b"{}")),
    ] {
        let (address, sender) = telling().await;
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let request = Request::post(format!("http://{address}/{WATCH}")).header("content-type", content_type);
        let request = request.body(Full::new(body.clone())).unwrap();
        sender.send(HealthCheckResponse { status: 1 }).await.unwrap();
        let (mut response, connection) = if version == Version::HTTP_2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await.unwrap(), connection)
        } else {
            let (mut sender, connection) = http1::handshake(stream).await.unwrap();
            let connection = tokio::spawn(async move { drop(connection.await) });
            (sender.send_request(request).await.unwrap(), connection)
        };
        response.frame().await.expect("it has begun").unwrap();
        assert!(!sender.is_closed(), "{version:?} {content_type}");
        // Over HTTP/2 a stream can be given up by itself; over HTTP/1.1 only with its connection.
        drop(response);
        if version == Version::HTTP_11 {
            connection.abort();
        }
        let cancelled = tokio::time::timeout(SOON, sender.closed()).await;
        assert!(cancelled.is_ok(), "{version:?} {content_type}: still told to nobody");
    }
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_done_in_any_protocol() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("Bearer {token}");
    // What others wait for, only the superuser sees.
    let superuser = database.superuser().await;
    let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for spoken in BY_POST {
        // Making a token waits for its holder's row.
        let mut owner = database.owner().await;
        let holding = owner.transaction().await.unwrap();
        holding.execute("SELECT FROM principals FOR UPDATE", &[]).await.unwrap();
        let message: &[u8] = if spoken.is_json() { br#"{"description":"d"}"# } else { b"\x12\x01d" };
        let request = spoken.request(CREATE, message, &[("authorization", &authorization)]);
        let address = server.address().to_owned();
        let asking = tokio::spawn(async move { spoken.send(&address, request).await });
        eventually("it waits", || async { (superuser.execute(waiting, &[]).await.unwrap() > 0).then_some(()) }).await;
        asking.abort();
        eventually("nobody waits", || async { (superuser.execute(waiting, &[]).await.unwrap() == 0).then_some(()) })
            .await;
        holding.rollback().await.unwrap();
    }
    assert_eq!(database.number("SELECT count(*) FROM personal_access_tokens", &[]).await, 1, "none was made");
}
