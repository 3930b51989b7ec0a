//! A client that costs little: requests are made beforehand, and of an answer it reads the gRPC status alone.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    ground::{figures::Times, tokens::Dice},
    pace::Pace,
};

/// Requests that are made beforehand, at the least: each call and each token is sure to be among them.
const MADE: usize = 4096;
/// Requests that may be handed over at once, if so many are due: then it is their answers' turn.
const AT_ONCE: usize = 32;

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

/// Requests that are made beforehand.
pub(super) type Requests = Arc<[Request<Full<Bytes>>]>;

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

    /// Random calls with random tokens, to be asked of this client's server: made before anything is measured.
    pub(super) fn requests(&self, calls: &[Call], tokens: &[HeaderValue]) -> Requests {
        let mut dice = Dice(7 << 40);
        let many = MADE.max(tokens.len()).max(calls.len());
        (0..many).map(|_| self.request(dice.choose(calls), dice.choose(tokens))).collect()
    }

    /// Asks once: the status, and how long it took.
    pub(super) async fn ask(&self, call: &Call, token: &HeaderValue) -> (u8, Duration) {
        ask(&mut self.connections[0].clone(), self.request(call, token)).await
    }

    /// Keeps requests under way for a while; each is answered with one of these statuses. Answers a second, and how long each took.
    pub(super) async fn saturate(
        &self,
        requests: &Requests,
        statuses: &'static [u8],
        in_flight: usize,
        duration: Duration,
    ) -> (f64, Times) {
        let askers = self.connections.len() * in_flight;
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        for asker in 0..askers {
            let mut connection = self.connections[asker / in_flight].clone();
            let requests = Arc::clone(requests);
            tasks.spawn(async move {
                let mut times = Times::default();
                // Each begins elsewhere.
                for request in requests.iter().cycle().skip(requests.len() * asker / askers) {
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
    /// when each was due. Timers are exact to a millisecond, in which many are due: so nothing is waited for, and the thread, which
    /// is to have a core of its own, looks after the connections and at the clock by turns.
    pub(super) async fn at_rate(
        &self,
        requests: &Requests,
        statuses: &'static [u8],
        per_second: f64,
        duration: Duration,
    ) -> Pace {
        let interval = Duration::from_secs_f64(1.0 / per_second);
        let (mut tasks, mut lateness, mut at_once) = (JoinSet::new(), Times::default(), 0);
        let began = Instant::now();
        let mut due = began;
        for (connection, request) in self.connections.iter().cycle().zip(requests.iter().cycle()) {
            if due.duration_since(began) >= duration {
                break;
            }
            while at_once == AT_ONCE || Instant::now() < due {
                tokio::task::yield_now().await;
                at_once = 0;
            }
            at_once += 1;
            // Handed over by the call, not by the await.
            let answer = connection.clone().send_request(request.clone());
            lateness.push(due.elapsed());
            tasks.spawn(async move {
                let status = status(answer.await.unwrap()).await;
                assert!(statuses.contains(&status), "gRPC status {status}");
                due.elapsed()
            });
            due += interval;
        }
        let mut times = Times::default();
        tasks.join_all().await.into_iter().for_each(|time| times.push(time));
        Pace::new(times, lateness, per_second, began.elapsed())
    }
}

async fn ask(connection: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> (u8, Duration) {
    let sent = Instant::now();
    let status = status(connection.send_request(request).await.unwrap()).await;
    (status, sent.elapsed())
}

/// The status that an answer ends with.
async fn status(response: Response<Incoming>) -> u8 {
    assert_eq!(response.status(), 200);
    let status = |headers: &HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse::<u8>().ok();
    if let Some(status) = status(response.headers()) {
        return status;
    }
    let body = response.into_body().collect().await.unwrap();
    body.trailers().and_then(status).expect("an answer ends with a status")
}
