//! Connections: how many, how long they may say nothing, and how they end.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::answer_body::Answers;
use crate::{auth::Peer, config::Limits, domain::exec::Held};

/// How long to wait when the system has no more descriptors or memory for connections.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// Serves connections until `shutdown`, then lets requests under way end, for a while.
pub(super) async fn serve<S>(listener: TcpListener, service: S, limits: &Limits, shutdown: impl Future<Output = ()>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let builder = Arc::new(builder(limits));
    let places = Arc::new(Semaphore::new(limits.connections));
    let ending = CancellationToken::new();
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            // Ended connections are cleared away; their tasks have nothing to say.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let (builder, service, ending) = (Arc::clone(&builder), service.clone(), ending.clone());
                let patience =
                    Patience { first: limits.header_timeout, idle: limits.idle_timeout, answer: limits.answer_silence };
                connections.spawn(async move {
                    connection(&builder, stream, peer, service, patience, &ending).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(EXHAUSTED).await;
            }
        }
    }
    drop(listener);
    ending.cancel();
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.shutdown, all).await.is_err() {
        tracing::warn!("some requests did not end in time and are broken off");
        connections.shutdown().await;
    }
}

/// How long a connection may be without a request.
#[derive(Clone, Copy)]
struct Patience {
    /// Before its first one.
    first: Duration,
    /// After that.
    idle: Duration,
    /// While it takes nothing of an answer.
    answer: Duration,
}

async fn connection<S>(
    builder: &Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    service: S,
    patience: Patience,
    ending: &CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let activity = Activity::default();
    let answers = Answers::default();
    let counted = {
        let (activity, answers) = (activity.clone(), answers.clone());
        hyper::service::service_fn(move |request: Request<Incoming>| {
            let under_way = activity.begin();
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Peer(peer.ip().to_canonical()));
            let (mut service, answers) = (service.clone(), answers.clone());
            async move {
                let mut response = tower::ServiceExt::ready(&mut service).await?.call(request).await?;
                let held = response.extensions_mut().remove::<Held>();
                // Under way until the last of its answer is gone, or nobody wants it any more.
                Ok::<_, Infallible>(response.map(|body| answers.begin(body, (under_way, held))))
            }
        })
    };
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), counted);
    let giving_up = answers.give_up(patience.answer);
    tokio::pin!(connection, giving_up);
    let mut is_ending = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection broke off");
                }
                return;
            }
            () = ending.cancelled(), if !is_ending => {}
            never = &mut giving_up => match never {},
            () = activity.silence(patience) => {
                tracing::debug!(%peer, "a connection that says nothing is closed");
                // Who takes nothing of what is left to be said does not get to know of a good order either.
                if is_ending || !activity.has_begun() {
                    return;
                }
            }
        }
        // The other end is told, and requests that have crossed with that are still answered.
        connection.as_mut().graceful_shutdown();
        is_ending = true;
    }
}

/// The requests of one connection.
#[derive(Clone)]
struct Activity(Arc<watch::Sender<Requests>>);

#[derive(Clone, Copy, Default)]
struct Requests {
    begun: u64,
    under_way: u32,
}

/// One request; it is under way as long as this is there.
struct UnderWay(Arc<watch::Sender<Requests>>);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Requests::default())))
    }
}

impl Activity {
    fn begin(&self) -> UnderWay {
        self.0.send_modify(|requests| {
            requests.begun += 1;
            requests.under_way += 1;
        });
        UnderWay(Arc::clone(&self.0))
    }

    fn has_begun(&self) -> bool {
        self.0.borrow().begun > 0
    }

    /// Ready when there has been no request for as long as the patience lasts.
    async fn silence(&self, patience: Patience) {
        let mut changes = self.0.subscribe();
        loop {
            let Requests { begun, under_way } = *changes.borrow_and_update();
            if under_way > 0 {
                // The sender is there as long as `self` is.
                let _ = changes.changed().await;
                continue;
            }
            let left = if begun == 0 { patience.first } else { patience.idle };
            if tokio::time::timeout(left, changes.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|requests| requests.under_way -= 1);
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// With no place free, connections wait in the kernel's queue.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, place))
}

fn builder(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size((limits.header_bytes as usize).max(8192));
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keep_alive_timeout)
        .keep_alive_timeout(limits.keep_alive_timeout)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes);
    builder
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::client::conn::http2::{self, SendRequest};
    use tokio::task::JoinHandle;

    use super::*;

    /// A server whose answers wait for a word, and patience of its own.
    async fn start(idle_timeout: Duration, answer: watch::Receiver<bool>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(move |_: Request<Body>| {
            let mut answer = answer.clone();
            async move {
                answer.wait_for(|answer| *answer).await.unwrap();
                Ok(Response::new(Body::from("answer")))
            }
        });
        let limits = Limits { idle_timeout, ..Limits::default() };
        tokio::spawn(async move { serve(listener, service, &limits, std::future::pending()).await });
        address
    }

    async fn connect(address: SocketAddr) -> (SendRequest<Body>, JoinHandle<Result<(), hyper::Error>>) {
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        (sender, tokio::spawn(connection))
    }

    fn request() -> Request<Body> {
        Request::get("http://localhost/").body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_connection_without_requests_is_closed_in_good_order() {
        let (_answer, answers) = watch::channel(true);
        let address = start(Duration::from_millis(50), answers).await;
        let (mut sender, connection) = connect(address).await;
        let response = sender.send_request(request()).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
        // The client keeps its end open, and is told.
        connection.await.unwrap().expect("not broken off");
        assert!(sender.ready().await.is_err());
    }

    #[tokio::test]
    async fn a_request_under_way_keeps_its_connection_open() {
        let (answer, answers) = watch::channel(false);
        let address = start(Duration::from_millis(20), answers).await;
        let (mut sender, connection) = connect(address).await;
        let slow = tokio::spawn(sender.send_request(request()));
        // Another connection has come to its end for want of requests meanwhile: the time was long enough.
        let (mut other, idle) = connect(address).await;
        drop(tokio::spawn(other.send_request(request())));
        answer.send(true).unwrap();
        idle.await.unwrap().expect("not broken off");
        let response = slow.await.unwrap().unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "answer");
        connection.await.unwrap().expect("not broken off");
    }

    #[tokio::test]
    async fn what_nobody_takes_is_given_up_with_its_connection() {
        let held = Arc::new(());
        let service = {
            let held = Arc::clone(&held);
            tower::service_fn(move |_: Request<Body>| {
                let held = Arc::clone(&held);
                let answers = futures::stream::repeat_with(move || {
                    let _holds = &held;
                    Ok::<_, Infallible>(bytes::Bytes::from_static(b"a little more"))
                });
                async { Ok(Response::new(Body::from_stream(answers))) }
            })
        };
        let short = Duration::from_millis(30);
        let limits = Limits { answer_silence: short, idle_timeout: short, ..Limits::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { serve(listener, service, &limits, std::future::pending()).await });
        let given_up = async || {
            while Arc::strong_count(&held) > 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };

        // Who does not read from the connection at all.
        let mut stream = TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        while Arc::strong_count(&held) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        given_up().await;
        // What had been sent can still be read, and then it is over.
        let mut rest = vec![];
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
        assert!(rest.starts_with(b"HTTP/1.1 200") && !rest.ends_with(b"\r\n0\r\n\r\n"));

        // Who does, and takes nothing of the answer, or not even its beginning: its connection is as lively as can be.
        for window in [65_535, 0] {
            let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
            let mut builder = http2::Builder::new(TokioExecutor::new());
            let (mut sender, connection) = builder.initial_stream_window_size(window).handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let response = sender.send_request(request()).await.unwrap();
            given_up().await;
            // The other end of the connection is closed, whatever is left of the answer here.
            let _ = connection.await.unwrap();
            drop(response);
        }
    }
}
