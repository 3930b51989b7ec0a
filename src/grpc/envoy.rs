//! `envoy.service.auth.v3.Authorization`: what Envoy asks about requests, and what it is told. What is decided is `service::proxied`'s.

use std::{net::IpAddr, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use tonic::{Code, Request, Response, Status};

use super::caller;
use crate::auth::user_agent;
use crate::domain::{
    bearer::bearer_of_joined,
    principal::{Origin, PrincipalKind},
    proxied::{ContentType, Denial, RequestHead},
};
use crate::pb::envoy::service::auth::v3::{
    self as pb, AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValue, HeaderValueOption,
    HttpStatus, OkHttpResponse, StatusCode, address, attribute_context::HttpRequest,
    authorization_server::Authorization, check_response::HttpResponse, header_value_option::HeaderAppendAction,
};
use crate::service::{Admitted, ProxiedRequest, ProxiedRequests};

/// What the proxy may say of a route.
const KEEP_AUTHORIZATION: &str = "keep_authorization";
const READ_METHODS: &str = "read_methods";

/// By these, frameworks take a request for one of another method than it was judged by.
const OTHER_METHODS: [&str; 3] = ["x-http-method", "x-http-method-override", "x-method-override"];

/// Serves the use case of a proxy that asks.
#[derive(Clone)]
pub struct EnvoyApi {
    requests: ProxiedRequests,
}

impl EnvoyApi {
    /// On a use case.
    #[must_use]
    pub const fn new(requests: ProxiedRequests) -> Self {
        Self { requests }
    }
}

#[tonic::async_trait]
impl Authorization for EnvoyApi {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let caller = caller(&request)?;
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let nothing = HttpRequest::default();
        let http = attributes.request.as_ref().and_then(|request| request.http.as_ref()).unwrap_or(&nothing);
        let headers = Headers(http);
        let content_type = ContentType::of(headers.values("content-type"));
        let upgrades = headers.values("upgrade").next().is_some();
        let head = RequestHead { method: &http.method, path: &http.path, content_type, upgrades };
        let asked = ProxiedRequest {
            token: bearer_of_joined(headers.values("authorization")),
            head,
            read_methods: attributes.context_extensions.get(READ_METHODS).map(String::as_str),
            origin: Origin {
                peer: peer(&attributes),
                user_agent: headers.values("user-agent").next().and_then(user_agent),
                request_id: caller.actor().origin.request_id,
            },
        };
        let answer = match keeps_authorization(&attributes) {
            Ok(keeps) => self.requests.admit(caller.actor(), asked).await.map(|admitted| allowed(&admitted, keeps)),
            Err(denial) => Err(denial),
        };
        // Whatever is refused is an answer: an error of the call may let the request pass, if the proxy is told so.
        Ok(Response::new(answer.unwrap_or_else(|denial| denied(&denial, head.is_grpc()))))
    }
}

/// The headers of a request, in whichever of its two forms they came.
struct Headers<'a>(&'a HttpRequest);

impl<'a> Headers<'a> {
    /// Every value of a header.
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let joined = self.0.headers.iter().map(|(key, value)| (key, value.as_bytes()));
        let raw = self.0.header_map.iter().flat_map(|map| &map.headers).map(|HeaderValue { key, value, raw_value }| {
            (key, if raw_value.is_empty() { value.as_bytes() } else { raw_value.as_slice() })
        });
        joined.chain(raw).filter(move |(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Who sent the request, as the proxy says. It is believed: only services of the organization ask.
fn peer(attributes: &AttributeContext) -> Option<IpAddr> {
    let address = attributes.source.as_ref()?.address.as_ref()?.address.as_ref()?;
    match address {
        address::Address::SocketAddress(socket) => Some(socket.address.parse::<IpAddr>().ok()?.to_canonical()),
    }
}

fn keeps_authorization(attributes: &AttributeContext) -> Result<bool, Denial> {
    match attributes.context_extensions.get(KEEP_AUTHORIZATION).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => {
            let denial = Denial::Misconfigured { key: KEEP_AUTHORIZATION, problem: "must be true or false" };
            tracing::warn!(?denial, "a proxy asks with a configuration that makes no sense");
            Err(denial)
        }
    }
}

fn allowed(admitted: &Admitted, keeps_authorization: bool) -> CheckResponse {
    let Admitted { identity, token_id, read_only } = admitted;
    let kind = match identity.kind {
        PrincipalKind::User => "user",
        PrincipalKind::ServiceAccount => "service_account",
    };
    let headers = vec![
        set("x-latchkey-principal-id", identity.principal_id.to_string()),
        set("x-latchkey-principal-kind", kind.to_owned()),
        set("x-latchkey-organization-id", identity.organization_id.to_string()),
        set("x-latchkey-token-id", token_id.to_string()),
    ];
    let mut remove = Vec::new();
    if !keeps_authorization {
        remove.push("authorization".to_owned());
    }
    if *read_only {
        remove.extend(OTHER_METHODS.map(str::to_owned));
    }
    CheckResponse {
        status: Some(pb::Status { code: Code::Ok.into(), message: String::new() }),
        http_response: Some(HttpResponse::OkResponse(OkHttpResponse { headers, headers_to_remove: remove })),
    }
}

fn denied(denial: &Denial, is_grpc: bool) -> CheckResponse {
    let status = Status::from(denial);
    let (http, error) = match denial {
        Denial::NoToken(_) => (StatusCode::Unauthorized, Some("")),
        Denial::Repeated(_) => (StatusCode::BadRequest, Some("invalid_request")),
        Denial::InvalidToken(_) => (StatusCode::Unauthorized, Some("invalid_token")),
        Denial::ReadOnly(_) => (StatusCode::Forbidden, Some("insufficient_scope")),
        Denial::TooManyTries { .. } => (StatusCode::TooManyRequests, None),
        Denial::Unavailable { .. } => (StatusCode::ServiceUnavailable, None),
        Denial::Misconfigured { .. } => (StatusCode::InternalServerError, None),
    };
    let mut headers: Vec<_> =
        error.map(|error| set("www-authenticate", challenge(error, status.message()))).into_iter().collect();
    match denial {
        Denial::TooManyTries { retry_after } | Denial::Unavailable { retry_after, .. } => {
            headers.push(set("retry-after", whole_seconds(*retry_after).to_string()));
        }
        Denial::NoToken(_)
        | Denial::Repeated(_)
        | Denial::InvalidToken(_)
        | Denial::ReadOnly(_)
        | Denial::Misconfigured { .. } => {}
    }
    let body = if is_grpc {
        // Envoy would make UNAVAILABLE of 429, and has no details.
        headers.push(set("grpc-status", i32::from(status.code()).to_string()));
        headers.push(set("grpc-status-details-bin", STANDARD_NO_PAD.encode(status.details())));
        status.message().to_owned()
    } else {
        headers.push(set("content-type", "application/json".to_owned()));
        serde_json::json!({ "code": connect_code(denial), "message": status.message() }).to_string()
    };
    CheckResponse {
        status: Some(pb::Status { code: status.code().into(), message: status.message().to_owned() }),
        http_response: Some(HttpResponse::DeniedResponse(DeniedHttpResponse {
            status: Some(HttpStatus { code: http.into() }),
            headers,
            body,
        })),
    }
}

/// The code as Connect writes it.
const fn connect_code(denial: &Denial) -> &'static str {
    match denial {
        Denial::NoToken(_) | Denial::Repeated(_) | Denial::InvalidToken(_) => "unauthenticated",
        Denial::ReadOnly(_) => "permission_denied",
        Denial::TooManyTries { .. } => "resource_exhausted",
        Denial::Unavailable { .. } => "unavailable",
        Denial::Misconfigured { .. } => "internal",
    }
}

/// RFC 6750, section 3: no error where nothing was tried; what the description may not hold is left out.
fn challenge(error: &str, description: &str) -> String {
    if error.is_empty() {
        return "Bearer realm=\"latchkey\"".to_owned();
    }
    let description: String = description.chars().filter(|c| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~')).collect();
    format!("Bearer realm=\"latchkey\", error=\"{error}\", error_description=\"{description}\"")
}

fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

fn set(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::envoy::service::auth::v3::{Address, HeaderMap, SocketAddress, attribute_context::Peer};

    fn raw(values: &[(&str, &str)]) -> HttpRequest {
        let header = |(key, value): &(&str, &str)| HeaderValue {
            key: (*key).to_owned(),
            value: String::new(),
            raw_value: value.as_bytes().to_vec(),
        };
        let header_map = Some(HeaderMap { headers: values.iter().map(header).collect() });
        HttpRequest { header_map, ..HttpRequest::default() }
    }

    fn token(http: &HttpRequest) -> Option<&str> {
        bearer_of_joined(Headers(http).values("authorization")).ok()
    }

    #[test]
    fn one_authorization_header_counts_in_either_form() {
        let joined = |value: &str| HttpRequest {
            headers: [("authorization".to_owned(), value.to_owned())].into(),
            ..HttpRequest::default()
        };
        assert_eq!(token(&joined("Bearer a")), Some("a"));
        assert_eq!(token(&raw(&[("Authorization", "Bearer a"), ("x", "Bearer b")])), Some("a"));
        for repeated in [
            joined("Bearer a,Bearer b"),
            joined("Bearer a,"),
            raw(&[("authorization", "Bearer a"), ("AUTHORIZATION", "Bearer a")]),
            raw(&[("authorization", "Bearer a,Bearer a")]),
        ] {
            assert_eq!(token(&repeated), None);
        }
        let mut both = joined("Bearer a");
        both.header_map = raw(&[("authorization", "Bearer a")]).header_map;
        assert_eq!(token(&both), None);
        assert_eq!(token(&HttpRequest::default()), None);
    }

    #[test]
    fn the_peer_is_an_address_of_ip_or_nobody() {
        let of = |address: &str| {
            let socket = SocketAddress { address: address.to_owned() };
            let address = Address { address: Some(address::Address::SocketAddress(socket)) };
            peer(&AttributeContext { source: Some(Peer { address: Some(address) }), ..AttributeContext::default() })
        };
        assert_eq!(of("192.0.2.1"), Some([192, 0, 2, 1].into()));
        assert_eq!(of("::ffff:192.0.2.1"), Some([192, 0, 2, 1].into()), "not one network with all of IPv4");
        assert_eq!(of("2001:db8::1"), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(of("/run/envoy.sock"), None);
        assert_eq!(peer(&AttributeContext::default()), None);
    }

    #[test]
    fn a_challenge_says_what_is_wrong_if_something_was_tried() {
        assert_eq!(challenge("", "x"), "Bearer realm=\"latchkey\"");
        assert_eq!(
            challenge("invalid_token", "a \"quoted\" \\ word\r\n"),
            "Bearer realm=\"latchkey\", error=\"invalid_token\", error_description=\"a quoted  word\""
        );
    }

    #[test]
    fn nobody_is_told_to_come_again_at_once() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
