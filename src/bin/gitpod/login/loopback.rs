//! Where the browser brings the code: a port of this machine that is there for one login.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use latchkey::domain::{
    login::{CodeVerifier, LoopbackRedirect},
    secret::Secret,
};
use subtle::ConstantTimeEq;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use url::form_urlencoded;

use crate::error::Failure;

/// The one path that there is.
const PATH: &str = "/login/callback";
/// How long whoever connects may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who may be connected at once.
const CONNECTIONS: usize = 16;

/// Nothing else is loaded, nobody frames it, and nobody is told the address, which has the code in it.
const HEADERS: [(HeaderName, &str); 6] = [
    (header::CONTENT_TYPE, "text/html; charset=utf-8"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONNECTION, "close"),
];

/// What the browser brought.
#[derive(Debug)]
pub(super) enum Came {
    /// Somebody has said yes.
    Code(Secret),
    /// Somebody has said no.
    Denied,
}

/// The port, and what has to come there.
pub(super) struct Loopback {
    listener: TcpListener,
    redirect: LoopbackRedirect,
    expected: Arc<Expected>,
}

struct Expected {
    host: String,
    state: Secret,
    issuer: String,
}

impl Loopback {
    /// Takes a free port, for a code that comes with this state, from this server.
    pub(super) async fn bind(state: &CodeVerifier, issuer: &str) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::Failed(format!("cannot listen for the browser: {error}; try --no-browser"))
        };
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
            Ok(listener) => listener,
            Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.map_err(failed)?,
        };
        let host = listener.local_addr().map_err(failed)?.to_string();
        let redirect = LoopbackRedirect::parse(&format!("http://{host}{PATH}"))
            .ok_or_else(|| Failure::Failed(format!("{host} is no address of this machine")))?;
        let expected = Expected { host, state: Secret::new(state.expose().to_owned()), issuer: issuer.to_owned() };
        Ok(Self { listener, redirect, expected: Arc::new(expected) })
    }

    /// Where the server is to send the browser.
    pub(super) fn address(&self) -> &str {
        self.redirect.as_str()
    }

    /// Waits for what was expected. Whatever else comes is told nothing, and ends nothing.
    pub(super) async fn wait(&self) -> Result<Came, Failure> {
        let (told, mut came) = mpsc::channel(1);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                Some(came) = came.recv() => {
                    // The person is to see the page that says so.
                    let _ = tokio::time::timeout(Duration::from_secs(1), async {
                        while connections.join_next().await.is_some() {}
                    })
                    .await;
                    return Ok(came);
                }
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => {
                    let Ok((stream, _)) = accepted else { continue };
                    let (told, expected) = (told.clone(), Arc::clone(&self.expected));
                    connections.spawn(async move {
                        let serve = service_fn(move |request: Request<Incoming>| {
                            let (told, expected) = (told.clone(), Arc::clone(&expected));
                            async move { Ok::<_, Infallible>(expected.answer(&request, &told)) }
                        });
                        let connection = http1::Builder::new()
                            .timer(TokioTimer::new())
                            .header_read_timeout(PATIENCE)
                            .keep_alive(false)
                            .serve_connection(TokioIo::new(stream), serve);
                        // Who takes nothing is let go.
                        let _ = tokio::time::timeout(2 * PATIENCE, connection).await;
                    });
                }
            }
        }
    }
}

impl Expected {
    fn answer<B>(&self, request: &Request<B>, told: &mpsc::Sender<Came>) -> Response<Full<Bytes>> {
        match self.read(request) {
            Ok(came) => {
                let text = match came {
                    Came::Code(_) => "Signed in. You can close this window, and go on where you began.",
                    Came::Denied => "Not signed in, as you have said. You can close this window.",
                };
                // A browser that asks twice is answered twice; the first counts.
                let _ = told.try_send(came);
                respond(StatusCode::OK, text)
            }
            Err(status) => respond(status, "There is nothing here."),
        }
    }

    /// What a request brings, if it is the one that was expected: by its path, by the name that it was sent to (another name may have
    /// been led here), with the state that was sent along, and of this server's.
    fn read<B>(&self, request: &Request<B>) -> Result<Came, StatusCode> {
        if request.method() != Method::GET || request.uri().path() != PATH {
            return Err(StatusCode::NOT_FOUND);
        }
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let is_called =
            hosts.next().is_some_and(|host| host.as_bytes() == self.host.as_bytes()) && hosts.next().is_none();
        if !is_called || request.uri().authority().is_some() {
            return Err(StatusCode::NOT_FOUND);
        }
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let one = |name: &str| {
            let mut values = form_urlencoded::parse(query).filter(|(known, _)| known == name).map(|(_, value)| value);
            let value = values.next();
            value.filter(|_| values.next().is_none()).map(|value| Secret::new(value.into_owned()))
        };
        let is_same = |value: Option<Secret>, expected: &str| {
            value.is_some_and(|value| bool::from(value.expose().as_bytes().ct_eq(expected.as_bytes())))
        };
        if !is_same(one("state"), self.state.expose()) || !is_same(one("iss"), &self.issuer) {
            return Err(StatusCode::NOT_FOUND);
        }
        match (one("code"), one("error")) {
            (Some(code), None) => Ok(Came::Code(code)),
            (None, Some(_)) => Ok(Came::Denied),
            (None, None) | (Some(_), Some(_)) => Err(StatusCode::BAD_REQUEST),
        }
    }
}

fn respond(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let page = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>gitpod login</title>\n<p>{text}</p></html>\n"
    );
    let mut response = Response::new(Full::new(Bytes::from(page)));
    *response.status_mut() = status;
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "127.0.0.1:8085";
    const ISSUER: &str = "https://latchkey.example";

    fn read(target: &str, headers: &[(&str, &str)]) -> Result<Came, StatusCode> {
        let expected =
            Expected { host: HOST.to_owned(), state: Secret::new("s".to_owned()), issuer: ISSUER.to_owned() };
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        expected.read(&request.body(()).unwrap())
    }

    #[test]
    fn one_request_brings_the_code_and_no_other() {
        let good = format!("{PATH}?code=c%2B&state=s&iss=https%3A%2F%2Flatchkey.example");
        assert!(matches!(read(&good, &[("host", HOST)]), Ok(Came::Code(code)) if code.expose() == "c+"));
        let denied = good.replace("code=c%2B", "error=access_denied");
        assert!(matches!(read(&denied, &[("host", HOST)]), Ok(Came::Denied)));
        for (target, headers) in [
            (good.replace("callback", "other"), vec![("host", HOST)]),
            (good.replace("state=s", "state=t"), vec![("host", HOST)]),
            (good.replace("state=s", "state="), vec![("host", HOST)]),
            (good.replace("state=s", "x=y"), vec![("host", HOST)]),
            (format!("{good}&state=s"), vec![("host", HOST)]),
            (format!("{good}&error=x"), vec![("host", HOST)]),
            (format!("{good}&code=d"), vec![("host", HOST)]),
            (good.replace("latchkey.example", "evil.example"), vec![("host", HOST)]),
            (good.clone(), vec![]),
            (good.clone(), vec![("host", "evil.example:8085")]),
            (good.clone(), vec![("host", "localhost:8085")]),
            (good.clone(), vec![("host", HOST), ("host", "evil.example")]),
            (format!("http://evil.example{good}"), vec![("host", HOST)]),
            (PATH.to_owned(), vec![("host", HOST)]),
        ] {
            assert!(read(&target, &headers).is_err(), "{target} {headers:?}");
        }
    }

    #[test]
    fn a_page_says_nothing_of_what_was_asked() {
        let (told, mut came) = mpsc::channel(1);
        let expected =
            Expected { host: HOST.to_owned(), state: Secret::new("s".to_owned()), issuer: ISSUER.to_owned() };
        let request =
            Request::builder().uri(format!("{PATH}?code=%3Cscript%3E&state=x")).header("host", HOST).body(()).unwrap();
        let response = expected.answer(&request, &told);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(!format!("{response:?}").contains("script") && came.try_recv().is_err());
        assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer");
    }
}
