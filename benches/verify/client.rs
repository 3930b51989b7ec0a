//! A client that costs little: requests are made beforehand, and of an answer it reads the gRPC status alone.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpStream, task::JoinSet};

use super::ground::{figures::Times, tokens::Dice};

/// An RPC with its message, for any token.
#[derive(Clone)]
pub(super) struct Call {
    path: String,
    body: Bytes,
}

impl Call {
    pub(super) fn new(path: &str, message: &impl Message) -> Self {
        let message = message.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Self { path: path.to_owned(), body: [&[0], length.as_slice(), &message].concat().into() }
    }
}

/// Connections to one server.
pub(super) struct Client {
    connections: Vec<SendRequest<Full<Bytes>>>,
    authority: String,
}

impl Client {
    pub(super) async fn connect(address: &str, connections: usize) -> Self {
        let mut opened = Vec::new();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            opened.push(sender);
        }
        Self { connections: opened, authority: address.to_owned() }
    }

    fn request(&self, call: &Call, token: &HeaderValue) -> Request<Full<Bytes>> {
        Request::post(format!("http://{}{}", self.authority, call.path))
            .header("authorization", token)
            .header("content-type", "application/grpc")
            .header("user-agent", "grpc-rust-tonic/0.14.9")
            .header("te", "trailers")
            .body(Full::new(call.body.clone()))
            .unwrap()
    }

    /// Asks once: the status, and how long it took.
    pub(super) async fn ask(&self, call: &Call, token: &HeaderValue) -> (u8, Duration) {
        ask(&mut self.connections[0].clone(), self.request(call, token)).await
    }

    /// Keeps requests with random tokens under way for a while; each is answered with one of these statuses. Answers a second, and
    /// how long each took.
    pub(super) async fn saturate(
        &self,
        call: &Call,
        tokens: &[HeaderValue],
        statuses: &'static [u8],
        in_flight: usize,
        duration: Duration,
    ) -> (f64, Times) {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (seed, connection) in (0..).zip(self.connections.iter().flat_map(|one| std::iter::repeat_n(one, in_flight)))
        {
            let mut connection = connection.clone();
            // Made beforehand, as many as are likely to differ.
            let mut dice = Dice(seed << 20);
            let many = tokens.len().min(4096);
            let requests: Vec<_> = (0..many).map(|_| self.request(call, dice.choose(tokens))).collect();
            tasks.spawn(async move {
                let mut times = Times::default();
                for request in requests.iter().cycle() {
                    if began.elapsed() >= duration {
                        break;
                    }
                    let (status, took) = ask(&mut connection, request.clone()).await;
                    assert!(statuses.contains(&status), "gRPC status {status}");
                    times.push(took);
                }
                times
            });
        }
        let mut times = Times::default();
        tasks.join_all().await.into_iter().for_each(|one| times.append(one));
        #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^52 things")]
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        (rate, times)
    }

    /// Asks so often a second, whether the ones before were answered or not: a slow answer holds up no question. Times count from
    /// when each was due.
    pub(super) async fn at_rate(
        &self,
        call: &Call,
        tokens: &[HeaderValue],
        statuses: &'static [u8],
        per_second: f64,
        duration: Duration,
    ) -> Times {
        let began = Instant::now();
        let mut dice = Dice(7 << 40);
        let mut tasks = JoinSet::new();
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let mut due = began;
        for connection in self.connections.iter().cycle() {
            if due.duration_since(began) >= duration {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            let (mut connection, request) = (connection.clone(), self.request(call, dice.choose(tokens)));
            tasks.spawn(async move {
                let (status, _) = ask(&mut connection, request).await;
                assert!(statuses.contains(&status), "gRPC status {status}");
                due.elapsed()
            });
            due += interval;
        }
        let mut times = Times::default();
        tasks.join_all().await.into_iter().for_each(|time| times.push(time));
        times
    }
}

async fn ask(connection: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> (u8, Duration) {
    let sent = Instant::now();
    let response = connection.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let status = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse::<u8>().ok();
    if let Some(status) = status(response.headers()) {
        return (status, sent.elapsed());
    }
    let body = response.into_body().collect().await.unwrap();
    (body.trailers().and_then(status).expect("an answer ends with a status"), sent.elapsed())
}
