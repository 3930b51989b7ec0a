//! What stands in front of the handlers, given any bytes: paths, queries, headers, envelopes, compression and JSON, in every
//! protocol. Whatever comes is answered, in the protocol that was spoken, and nothing breaks off.
//!
//! An input is three lines and a body: what is sent (a method of HTTP and a content type), where to (path and query), with which
//! other headers (`name: value`, separated by tabs), and what. The services of the contract are known here, but nobody serves
//! them, so that whatever is read well comes to UNIMPLEMENTED; health is served.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::BodyExt;
use latchkey::{
    app::in_front,
    auth::{Cache, CredentialSource, QueueFull, Recorder, SourceUnavailable, Verifier, policy},
    config::{Limits, TrustedProxies},
    connect::Connect,
    domain::{
        audit::Observation,
        credential::StoredCredential,
        ids::{OrganizationId, PrincipalId, TokenId},
        principal::{Credential, Origin, PrincipalKind, PrincipalStatus, Role},
        site::Site,
        token::{CredentialKind, Generation, SigningKeys},
    },
};
use time::OffsetDateTime;
use tonic::{Code, service::Routes};
use tower::{Service, util::BoxCloneService};
use uuid::Uuid;

/// What may be asked of a front for one input: longer than this, and it is standing still. Nobody waits for it: time passes when
/// there is nothing else to do.
const SOON: Duration = Duration::from_secs(60 * 60);
/// Bytes of a message, at the most.
const LIMIT: usize = 64 * 1024;

/// The front, and what runs it.
pub(crate) struct Front {
    service: BoxCloneService<Request<Body>, Response<Body>, Infallible>,
    /// Of somebody who may do anything.
    authorization: HeaderValue,
    runtime: tokio::runtime::Runtime,
}

/// Knows one token.
struct One(Uuid, StoredCredential);

impl CredentialSource for One {
    async fn find(
        &self,
        kind: CredentialKind,
        ids: Vec<Uuid>,
    ) -> Result<Vec<(Uuid, StoredCredential)>, SourceUnavailable> {
        let is_known = kind == CredentialKind::PersonalAccessToken && ids.contains(&self.0);
        Ok(is_known.then(|| (self.0, self.1.clone())).into_iter().collect())
    }

    async fn knows(&self, _generation: Generation) -> Result<bool, SourceUnavailable> {
        Ok(false)
    }
}

/// Writes nothing down.
struct Nowhere;

impl Recorder for Nowhere {
    fn has_room(&self) -> bool {
        true
    }

    fn room(&self) -> impl Future<Output = Result<(), QueueFull>> + Send {
        std::future::ready(Ok(()))
    }

    fn observe(&self, _seen: Observation) {}

    fn used(&self, _credential: Credential, _at: OffsetDateTime, _origin: &Origin) {}
}

impl Front {
    /// Ready for any input.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let (_reporter, health) = tonic_health::server::health_reporter();
        let descriptors = [
            latchkey::pb::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_types::pb::FILE_DESCRIPTOR_SET,
        ];
        let connect = Connect::new(Routes::new(health), descriptors).expect("descriptors of ours");
        let connect = connect.with_message_limit(LIMIT).with_json_lines_keep_alive(Duration::from_millis(1));

        let line = SigningKeys::generate_line(Generation::FIRST).expect("randomness");
        let keys = SigningKeys::parse(line.expose()).expect("a line of ours");
        let id = TokenId::generate();
        let minted = keys.mint(CredentialKind::PersonalAccessToken, Generation::FIRST, id.uuid());
        let minted = minted.expect("randomness").expect("there is such a key");
        let now = OffsetDateTime::UNIX_EPOCH;
        let stored = StoredCredential {
            credential: Credential::PersonalAccessToken { id, read_only: false },
            digest: minted.digest,
            expires_at: now + Duration::from_secs(60),
            revoked_at: None,
            organization_id: OrganizationId::generate(),
            principal_id: PrincipalId::generate(),
            kind: PrincipalKind::User,
            role: Role::Admin,
            status: PrincipalStatus::Active,
            read_at: now,
            known_at: latchkey::domain::clock::boot_time(),
        };
        let verifier = {
            let _in_runtime = runtime.enter();
            Arc::new(Verifier::start(
                Arc::new(keys),
                Arc::new(One(id.uuid(), stored)),
                Arc::new(Cache::new(Duration::ZERO, 1)),
            ))
        };
        let errors = connect.errors();
        let service = Router::new().fallback_service(connect);
        let site = Arc::new(Site::new("http://127.0.0.1:8080", [127, 0, 0, 1].into()).expect("a URL"));
        let (nowhere, limits) = (Arc::new(Nowhere), Limits::default());
        let service =
            in_front(service, errors, verifier, nowhere, Arc::default(), site, &limits, TrustedProxies::default(), &[]);
        let authorization = format!("Bearer {}", minted.text.expose()).parse().expect("a token is a header");
        Self { service: BoxCloneService::new(service), authorization, runtime }
    }

    /// Gives it one input, as a stranger sends it, as somebody does who may do anything, and as they do if they stop in the middle;
    /// returns the code that the second of them is answered with, if the input makes a request.
    pub(crate) fn take(&self, input: &[u8]) -> Option<Code> {
        let (parts, body) = request(input)?.into_parts();
        let whole = || Body::from(body.clone());
        self.answer(Request::from_parts(parts.clone(), whole()), true);
        let mut known = parts;
        known.headers.entry(header::AUTHORIZATION).or_insert(self.authorization.clone());
        let half = stream::iter([Ok::<_, Infallible>(body.slice(..body.len() / 2))]);
        let half = Body::from_stream(half.chain(stream::pending()));
        self.answer(Request::from_parts(known.clone(), half), false);
        Some(self.answer(Request::from_parts(known, whole()), false))
    }

    fn answer(&self, request: Request<Body>, is_stranger: bool) -> Code {
        let (path, headers) = (request.uri().path(), request.headers());
        let is_refused = is_stranger && !headers.contains_key(header::AUTHORIZATION) && !may_be_public(path);
        let mut service = self.service.clone();
        self.runtime.block_on(async {
            let answering = async {
                let Ok(response) = service.call(request).await;
                let (parts, mut body) = response.into_parts();
                // A watch never ends; its first frames will do.
                for _ in 0..4 {
                    match tokio::time::timeout(Duration::from_millis(20), body.frame()).await {
                        Ok(Some(Ok(_))) => {}
                        Ok(Some(Err(_)) | None) | Err(_) => break,
                    }
                }
                parts
            };
            let parts = tokio::time::timeout(SOON, answering).await.expect("answered in time");
            let code = *parts.extensions.get::<Code>().expect("every answer has a code");
            let is_error_of_http = parts.status.is_client_error() || parts.status.is_server_error();
            assert!(parts.status == 200 || is_error_of_http && code != Code::Ok, "{code:?}: {parts:?}");
            assert!(parts.headers.contains_key("x-request-id"), "{parts:?}");
            assert!(!is_refused || matches!(code, Code::Unauthenticated | Code::Unimplemented), "{code:?}: {parts:?}");
            code
        })
    }
}

/// Whether a path may lead to what nobody needs a token for, however its slashes are written.
fn may_be_public(path: &str) -> bool {
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    let path = words.join("/");
    policy::POLICIES.iter().any(|policy| policy.who == policy::Who::Public && path.ends_with(policy.rpc))
}

fn request(input: &[u8]) -> Option<Request<Bytes>> {
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let (sent, path, headers) = (parts.next()?, parts.next()?, parts.next()?);
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let mut request = Request::new(body);
    let (method, content_type) = std::str::from_utf8(sent).ok()?.split_once(' ')?;
    *request.method_mut() = Method::from_bytes(method.as_bytes()).ok()?;
    *request.uri_mut() = Uri::try_from(path).ok()?;
    if !content_type.is_empty() {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_str(content_type).ok()?);
    }
    for line in headers.split(|byte| *byte == b'\t') {
        let colon = line.iter().position(|byte| *byte == b':');
        let Some((name, value)) = colon.map(|at| line.split_at(at)) else { continue };
        let (name, value) = (HeaderName::from_bytes(name).ok()?, value[1..].trim_ascii());
        // Time-outs are waited for, which finds nothing.
        if name != "grpc-timeout" && name != "connect-timeout-ms" || value.len() < 2 || value.len() > 6 {
            request.headers_mut().append(name, HeaderValue::from_bytes(value).ok()?);
        }
    }
    Some(request)
}
