//! The endpoints by which this program gets a token of its own: forms over the way that calls take too.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use latchkey::domain::{login::CLIENT_ID, secret::Secret};
use serde_json::Value;
use tonic::{body::Body, transport::Channel};
use tower::{Service, ServiceExt};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use crate::{
    connection::way,
    error::{Failure, causes},
    host::Host,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most bytes of an answer.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How a program gets a token that waits for somebody on another machine.
pub(crate) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// One server's endpoints.
pub(crate) struct OAuth {
    host: Host,
    channel: Channel,
}

/// What the server says of itself (RFC 8414).
#[derive(Debug)]
pub(crate) struct Metadata {
    /// Who gives codes out.
    pub(crate) issuer: String,
    /// Where people say yes or no, in a browser.
    pub(crate) authorization_endpoint: Url,
}

/// Why there is no token.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The word that the standards have for it.
    Error {
        /// Which.
        error: String,
        /// What the server says of it.
        description: String,
    },
    /// It cannot be done now: the server or the way to it. May be later.
    Unavailable {
        /// Why.
        failure: Failure,
        /// When the server says to come again.
        retry_after: Option<Duration>,
    },
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Error { description, .. } => Self::Refused(description),
            Refused::Unavailable { failure, .. } => failure,
        }
    }
}

impl OAuth {
    /// Prepares the way. Nothing is sent before the first request.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn new(host: Host) -> Result<Self, Failure> {
        Ok(Self { channel: way(&host)?, host })
    }

    /// What the server says of itself. None if it is not known to give out tokens this way.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub(crate) async fn metadata(&self) -> Result<Option<Metadata>, Failure> {
        let path = "/.well-known/oauth-authorization-server";
        let (status, _, said) = self.send(Method::GET, path, Bytes::new()).await?;
        if status != StatusCode::OK
            || !said["grant_types_supported"]
                .as_array()
                .is_some_and(|grants| grants.iter().any(|grant| grant == DEVICE_CODE))
        {
            return Ok(None);
        }
        let endpoint = said["authorization_endpoint"].as_str().and_then(page);
        let issuer = said["issuer"].as_str().map(str::to_owned);
        Ok(issuer.zip(endpoint).map(|(issuer, authorization_endpoint)| Metadata { issuer, authorization_endpoint }))
    }

    /// Asks for codes, to be answered on another machine.
    ///
    /// # Errors
    /// [`Refused`]
    pub(crate) async fn authorize_device(&self, fields: &[(&str, &str)]) -> Result<Value, Refused> {
        self.post("/oauth2/device_authorization", fields).await
    }

    /// Asks for the token that somebody has said yes to.
    ///
    /// # Errors
    /// [`Refused`]
    pub(crate) async fn token(&self, fields: &[(&str, &str)]) -> Result<Secret, Refused> {
        let said = self.post("/oauth2/token", fields).await?;
        let token = said["access_token"].as_str().map(|token| Secret::new(token.to_owned()));
        token.ok_or_else(|| self.strange("gave no token"))
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value, Refused> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("client_id", CLIENT_ID).extend_pairs(fields);
        let form = Zeroizing::new(form.finish());
        let sent = self.send(Method::POST, path, Bytes::copy_from_slice(form.as_bytes())).await;
        let (status, retry_after, said) =
            sent.map_err(|failure| Refused::Unavailable { failure, retry_after: None })?;
        if status == StatusCode::OK {
            return Ok(said);
        }
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let (error, description) = (text("error"), text("error_description"));
        let may_be_later = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        match (error.is_empty(), may_be_later) {
            (false, true) => {
                let failure = Failure::Failed(format!("{} cannot answer now: {description}", self.host.base()));
                Err(Refused::Unavailable { failure, retry_after })
            }
            (false, false) => Err(Refused::Error { error, description }),
            (true, _) => Err(self.strange(&format!("answered {status}"))),
        }
    }

    fn strange(&self, what: &str) -> Refused {
        let failure =
            Failure::Failed(format!("{} {what} where it should have; is it as new as this client?", self.host.base()));
        Refused::Unavailable { failure, retry_after: None }
    }

    /// Sends a request. Redirects are not followed: codes go to this server alone.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Option<Duration>, Value), Failure> {
        let unreachable = |problem: &str| {
            Failure::Failed(format!(
                "cannot reach {}: {problem}; is the server running, and is this its address?",
                self.host.base()
            ))
        };
        let asking = async {
            let request = Request::builder()
                .method(method)
                .uri(format!("{}{path}", self.host.base()))
                .header(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
                .header(header::ACCEPT, HeaderValue::from_static("application/json"))
                .body(Body::new(Full::new(body)))
                .map_err(|error| unreachable(&error.to_string()))?;
            let mut channel = self.channel.clone();
            let ready = channel.ready().await.map_err(|error| unreachable(&causes(&error)))?;
            let response = ready.call(request).await.map_err(|error| unreachable(&causes(&error)))?;
            let (parts, body) = response.into_parts();
            let retry_after =
                parts.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let read = Limited::new(body, ANSWER_LIMIT).collect().await;
            let bytes = read.map_err(|_| unreachable("the answer did not come whole"))?.to_bytes();
            let said = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            Ok((parts.status, retry_after.map(Duration::from_secs), said))
        };
        let late = |_| Failure::Unanswered { host: self.host.base(), after: PATIENCE };
        tokio::time::timeout(PATIENCE, asking).await.map_err(late)?
    }
}

/// An address that a person may be sent to.
pub(crate) fn page(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}
