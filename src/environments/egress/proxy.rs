//! The proxy itself: CONNECT for everything that brings its own encryption, absolute URLs for plain HTTP.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    os::fd::AsRawFd,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use http_body_util::{Either, Full};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    policy::{Destination, PlainHttp, Policy, Refusal},
    upstream::{Stream, connect},
};

/// The most refusals that are remembered.
const REFUSAL_LIMIT: usize = 16;
/// Headers between two hops (RFC 9110, section 7.6.1), and what clients say to proxies alone.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
];

/// How much one environment may ask of its proxy.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Connections at once; further ones wait.
    pub connections: usize,
    /// Connections that are being made at once: each keeps a thread of the machine's resolver busy for a while.
    pub opening: usize,
    /// How long a client may take to send a request's headers.
    pub header_timeout: Duration,
    /// How long a server may take to begin its answer to a plain HTTP request.
    pub answer_timeout: Duration,
    /// The most bytes of a request's headers.
    pub header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            opening: 8,
            header_timeout: Duration::from_secs(15),
            answer_timeout: Duration::from_secs(120),
            header_bytes: 32 * 1024,
        }
    }
}

/// A proxy that listens. Dropping it ends every connection through it.
#[derive(Debug)]
pub struct Proxy {
    refusals: Refusals,
    _listener: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens on a Unix socket `name` in `directory`, which belongs to the server and to nobody else, in place of
    /// whatever socket an earlier server left there. The length of the path does not matter.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn listen(directory: &Path, name: &str, policy: Policy, limits: Limits) -> io::Result<Self> {
        let directory = rustix::fs::openat(
            CWD,
            directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        match rustix::fs::unlinkat(&directory, name, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let listener = UnixListener::bind(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))?;
        // Whoever reaches the directory may connect: the sandbox runs as somebody else.
        rustix::fs::chmodat(&directory, name, Mode::from_raw_mode(0o666), AtFlags::empty())?;
        let refusals = Refusals::default();
        let opening = Semaphore::new(limits.opening);
        let service = Arc::new(Service { policy, limits, refusals: refusals.clone(), opening });
        let task = tokio::spawn(accept(listener, service));
        Ok(Self { refusals, _listener: AbortOnDropHandle::new(task) })
    }

    /// The connections that were not made, oldest first; the first ones alone if there are many.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        self.refusals.lock().iter().cloned().collect()
    }
}

#[derive(Debug, Clone, Default)]
struct Refusals(Arc<Mutex<VecDeque<Refusal>>>);

impl Refusals {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the first ones: they say what a clone was refused, whatever was tried after it.
    fn add(&self, refusal: &Refusal) {
        let mut refusals = self.lock();
        if refusals.len() < REFUSAL_LIMIT {
            refusals.push_back(refusal.clone());
        }
    }
}

async fn accept(listener: UnixListener, service: Arc<Service>) {
    let places = Arc::new(Semaphore::new(service.limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => break stream,
                    // Out of descriptors, most likely: let connections end before the next try.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        };
        let service = Arc::clone(&service);
        connections.spawn(async move {
            serve(stream, service).await;
            drop(place);
        });
    }
}

/// A tunnel that was promised: the client's side, once HTTP is over, and the other one.
type Tunnel = (OnUpgrade, Box<dyn Stream>);

/// Serves one connection to its end, and the tunnel that it may become.
async fn serve(stream: UnixStream, service: Arc<Service>) {
    let promised: Arc<Mutex<Option<Tunnel>>> = Arc::default();
    let handler = service_fn(|request| {
        let (service, promised) = (Arc::clone(&service), Arc::clone(&promised));
        async move { Ok::<_, Infallible>(service.answer(request, &promised).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(service.limits.header_timeout)
        .max_buf_size(service.limits.header_bytes)
        .serve_connection(TokioIo::new(stream), handler)
        .with_upgrades();
    // How a client's connection ends is the client's business.
    let _ = connection.await;
    let tunnel = promised.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((client, mut server)) = tunnel
        && let Ok(client) = client.await
    {
        let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut server).await;
    }
}

struct Service {
    policy: Policy,
    limits: Limits,
    refusals: Refusals,
    /// Places for connections that are being made.
    opening: Semaphore,
}

type Answer = Response<Either<Full<Bytes>, Passed>>;

impl Service {
    async fn answer(&self, request: Request<Incoming>, promised: &Mutex<Option<Tunnel>>) -> Answer {
        let result = if request.method() == Method::CONNECT {
            self.open_tunnel(request, promised).await
        } else {
            self.pass_on(request).await
        };
        result.unwrap_or_else(|error| {
            let status = match &error {
                Error::Refused(refusal) => {
                    self.refusals.add(refusal);
                    match refusal {
                        Refusal::Address { .. } | Refusal::PlainHttp { .. } => StatusCode::FORBIDDEN,
                        Refusal::Unresolved { .. } | Refusal::Unreachable { .. } => StatusCode::BAD_GATEWAY,
                    }
                }
                Error::NotForAProxy => StatusCode::BAD_REQUEST,
                Error::Server(_) => StatusCode::BAD_GATEWAY,
                Error::ServerTimedOut => StatusCode::GATEWAY_TIMEOUT,
            };
            text(status, error.to_string())
        })
    }

    async fn open(&self, destination: &Destination) -> Result<Box<dyn Stream>, Refusal> {
        let _place = self.opening.acquire().await;
        connect(&self.policy, destination).await
    }

    async fn open_tunnel(
        &self,
        mut request: Request<Incoming>,
        promised: &Mutex<Option<Tunnel>>,
    ) -> Result<Answer, Error> {
        let destination = destination(request.uri(), None)?;
        let server = self.open(&destination).await?;
        let client = hyper::upgrade::on(&mut request);
        promised.lock().unwrap_or_else(PoisonError::into_inner).replace((client, server));
        Ok(text(StatusCode::OK, String::new()))
    }

    async fn pass_on(&self, request: Request<Incoming>) -> Result<Answer, Error> {
        if request.uri().scheme() != Some(&http::uri::Scheme::HTTP) {
            return Err(Error::NotForAProxy);
        }
        let destination = destination(request.uri(), Some(80))?;
        if self.policy.plain_http == PlainHttp::NamedOnly && !self.policy.named.contains(&destination) {
            return Err(Refusal::PlainHttp { host: destination.host().to_owned() }.into());
        }
        let server = self.open(&destination).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(server)).await.map_err(Error::Server)?;
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            // An error of the connection is an error of the request or of the body, and told there.
            let _ = connection.await;
        }));
        let answer = sender.send_request(for_origin(request)?);
        let answer = tokio::time::timeout(self.limits.answer_timeout, answer).await;
        let mut answer = answer.map_err(|_| Error::ServerTimedOut)?.map_err(Error::Server)?;
        remove_hop_by_hop(answer.headers_mut());
        Ok(answer.map(|body| Either::Right(Passed { body, _connection: connection })))
    }
}

/// Why a request has no answer from where it should have gone.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this is a proxy: it takes CONNECT, and requests for http:// URLs")]
    NotForAProxy,
    #[error("the server's answer was lost: {0}")]
    Server(hyper::Error),
    #[error("the server did not answer in time")]
    ServerTimedOut,
}

fn destination(uri: &Uri, default_port: Option<u16>) -> Result<Destination, Error> {
    let authority = uri.authority().ok_or(Error::NotForAProxy)?;
    let port = authority.port_u16().or(default_port).ok_or(Error::NotForAProxy)?;
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(Error::NotForAProxy);
    }
    Ok(Destination::new(authority.host(), port))
}

/// The request as its server expects it: a path, and the host of the URL whatever the client's Host header says.
fn for_origin(request: Request<Incoming>) -> Result<Request<Incoming>, Error> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().ok_or(Error::NotForAProxy)?.as_str();
    let host = header::HeaderValue::from_str(authority).map_err(|_| Error::NotForAProxy)?;
    remove_hop_by_hop(&mut parts.headers);
    parts.headers.insert(header::HOST, host);
    parts.uri = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    parts.extensions.clear();
    Ok(Request::from_parts(parts, body))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

fn text(status: StatusCode, text: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *answer.status_mut() = status;
    answer
}

/// A server's body, with the connection that it comes through.
struct Passed {
    body: Incoming,
    _connection: AbortOnDropHandle<()>,
}

impl Body for Passed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
