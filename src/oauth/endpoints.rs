//! What is asked and what is answered.

use std::sync::Arc;

use axum::{Router, body::Body, extract::State, routing::any};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    answer::{Failure, answer},
    form, login,
    metadata::{SCOPES, metadata},
};
use crate::auth::Caller;
use crate::domain::principal::PrincipalKind;
use crate::service::{ActiveToken, Introspection, LoginRequests, Revocation, Revocations};

/// Serves the use cases of introspection, of revocation, and of signing programs in.
#[derive(Clone)]
pub struct OAuthApi {
    introspection: Introspection,
    revocations: Revocations,
    pub(super) login_requests: LoginRequests,
    pub(super) issuer: Arc<str>,
    pub(super) request_bytes: usize,
}

impl OAuthApi {
    /// On use cases, for clients that know the server by this URL; with forms of so many bytes, and fewer.
    #[must_use]
    pub const fn new(
        introspection: Introspection,
        revocations: Revocations,
        login_requests: LoginRequests,
        issuer: Arc<str>,
        request_bytes: usize,
    ) -> Self {
        Self { introspection, revocations, login_requests, issuer, request_bytes }
    }

    async fn introspect(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let caller = caller(&request)?;
        form::only_in_body(&request)?;
        only_post(&request)?;
        let token = form::token(request, self.request_bytes).await?;
        let found = self.introspection.introspect(caller.actor(), token.expose()).await?;
        let said = found.map_or_else(|| json!({ "active": false }), |token| active(&token, &self.issuer));
        Ok(answer(StatusCode::OK, Code::Ok, Some(&said)))
    }

    async fn revoke(&self, request: Request<Body>) -> Result<Response<Body>, Failure> {
        let caller = caller(&request)?;
        form::only_in_body(&request)?;
        only_post(&request)?;
        let token = form::token(request, self.request_bytes).await?;
        match self.revocations.revoke(caller.actor(), &token, "oauth2/revoke").await? {
            Revocation::Revoked | Revocation::NoToken => Ok(answer(StatusCode::OK, Code::Ok, None)),
            // The caller is told nothing (RFC 7009, section 2.2); the audit log is, by the code: whoever tries others' is seen.
            Revocation::NotTheirs => Ok(answer(StatusCode::OK, Code::NotFound, None)),
            Revocation::OfEnvironment => Err(Failure::unsupported_token_type()),
        }
    }
}

/// The endpoints. Nothing here asks who calls: the auth layer in front of it has.
pub fn router(api: OAuthApi) -> Router {
    let metadata = Arc::new(metadata(&api.issuer));
    Router::new()
        .route("/oauth2/introspect", any(introspect))
        .route("/oauth2/revoke", any(revoke))
        .route("/oauth2/device_authorization", any(login::authorize_device))
        .route("/oauth2/token", any(login::token))
        .with_state(api)
        .route("/.well-known/oauth-authorization-server", any(well_known).with_state(metadata))
}

async fn introspect(State(api): State<OAuthApi>, request: Request<Body>) -> Response<Body> {
    api.introspect(request).await.unwrap_or_else(Failure::answer)
}

async fn revoke(State(api): State<OAuthApi>, request: Request<Body>) -> Response<Body> {
    api.revoke(request).await.unwrap_or_else(Failure::answer)
}

async fn well_known(State(metadata): State<Arc<Value>>, method: Method) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        return Failure::method("GET, HEAD").answer();
    }
    let mut response = answer(StatusCode::OK, Code::Ok, Some(&metadata));
    // It is the same for everybody, and changes with the configuration alone.
    response.headers_mut().remove(http::header::CACHE_CONTROL);
    response.headers_mut().remove(http::header::PRAGMA);
    response
}

pub(super) fn only_post(request: &Request<Body>) -> Result<(), Failure> {
    if request.method() == Method::POST { Ok(()) } else { Err(Failure::method("POST")) }
}

/// The caller that the auth layer left with the request.
fn caller(request: &Request<Body>) -> Result<Caller, Failure> {
    // None would mean that an endpoint was registered outside the auth layer: refuse whatever it is.
    request.extensions().get::<Caller>().cloned().ok_or_else(|| {
        tracing::error!("a request reached an endpoint without passing the auth layer");
        Failure::internal()
    })
}

/// RFC 7662, section 2.2; the last three are our own.
fn active(token: &ActiveToken, issuer: &str) -> Value {
    let scope = if token.read_only { SCOPES[0].to_owned() } else { SCOPES.join(" ") };
    let kind = match token.identity.kind {
        PrincipalKind::User => "user",
        PrincipalKind::ServiceAccount => "service_account",
    };
    let mut said = json!({
        "active": true,
        "iss": issuer,
        "sub": token.identity.principal_id.to_string(),
        "jti": token.token_id.to_string(),
        "token_type": "Bearer",
        "scope": scope,
        "exp": token.expires_at.unix_timestamp(),
        "organization_id": token.identity.organization_id.to_string(),
        "principal_kind": kind,
        "read_only": token.read_only,
    });
    if let Some(made_at) = token.token_id.made_at() {
        said["iat"] = made_at.into();
    }
    said
}
