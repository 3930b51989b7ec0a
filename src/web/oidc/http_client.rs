//! What is asked of a provider, over HTTP: bounded in time and size, and followed nowhere.

use std::{future::Future, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, header::USER_AGENT};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take, with all of its body.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer: keys and documents have a few kilobytes, and a token with two thousand groups not much more.
const ANSWER_BYTES: usize = 512 * 1024;

/// Characters of what a provider says that get into logs.
const TOLD: usize = 400;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// None came, or what came was none.
    #[error("{0}")]
    Exchange(String),
    /// It took too long.
    #[error("there was no whole answer within {ANSWER:?}")]
    Late,
    /// It is too long.
    #[error("the answer has more than {ANSWER_BYTES} bytes")]
    Long,
}

/// A client of one provider: by TLS with the machine's roots, or in cleartext where that is said.
#[derive(Clone)]
pub(super) struct HttpClient(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl HttpClient {
    /// A client: by TLS; or in cleartext alone, for a provider on this machine.
    pub(super) fn new(in_cleartext: bool) -> std::io::Result<Self> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT));
        connector.enforce_http(false);
        let ring = rustls::crypto::ring::default_provider();
        let builder = if in_cleartext {
            let config = rustls::ClientConfig::builder_with_provider(ring.into()).with_safe_default_protocol_versions();
            let config = config.map_err(std::io::Error::other)?.with_root_certificates(rustls::RootCertStore::empty());
            HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth()).https_or_http()
        } else {
            HttpsConnectorBuilder::new().with_provider_and_native_roots(ring)?.https_only()
        };
        let connector = builder.enable_http1().wrap_connector(connector);
        // Somebody signs in now and then: a connection that waits would mostly have been closed by then, and found so too late.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self(client))
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut request = request.map(|body| Full::new(Bytes::from(body)));
        let agent = concat!("latchkey/", env!("CARGO_PKG_VERSION"));
        request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(agent));
        let exchange = async {
            let answer = self.0.request(request).await.map_err(|error| HttpError::Exchange(whole(&error)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(|error| {
                if error.is::<http_body_util::LengthLimitError>() {
                    HttpError::Long
                } else {
                    HttpError::Exchange(error.to_string())
                }
            })?;
            Ok(http::Response::from_parts(head, body.to_bytes().to_vec()))
        };
        tokio::time::timeout(ANSWER, exchange).await.unwrap_or(Err(HttpError::Late))
    }
}

/// An error with what caused it: the outermost says no more than that something went wrong. A provider may have written parts of it, so
/// that it is cut.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    cut(&text)
}

/// What fits into a log of a text that a provider may have written.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(TOLD).flat_map(char::escape_debug).collect()
}

impl<'c> AsyncHttpClient<'c> for HttpClient {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.exchange(request))
    }
}
