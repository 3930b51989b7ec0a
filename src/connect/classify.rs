//! Which protocol a request speaks, by its method and its exact content type.

use connectrpc::{MethodKind, Protocol};
use http::{HeaderMap, Method as HttpMethod, header, request::Parts};

use super::methods::Method;

/// Who answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The routes themselves.
    Native,
    /// The engine.
    Engine(Protocol),
    /// The routes, whose stream is written as lines of JSON.
    JsonLines,
    /// Nobody: the RPC is not asked for by this method of HTTP.
    MethodNotAllowed,
    /// Nobody: these are the content types that the RPC takes.
    UnsupportedMediaType(&'static str),
}

/// Lines of JSON.
pub(super) const JSON_LINES: &str = "application/jsonl";

/// What a stream of answers to one message is asked for with.
const SERVER_STREAM_TYPES: &str = "application/connect+json, application/connect+proto, application/grpc, \
                                   application/grpc+json, application/grpc+proto, application/grpc-web, \
                                   application/grpc-web+json, application/grpc-web+proto, application/jsonl";
/// What other streams are asked for with.
const STREAM_TYPES: &str = "application/connect+json, application/connect+proto, application/grpc, application/grpc+json, \
                            application/grpc+proto, application/grpc-web, application/grpc-web+json, \
                            application/grpc-web+proto";

impl Way {
    /// The way of a request for a method, or for something that is none.
    pub(super) fn of(request: &Parts, method: Option<&Method>) -> Self {
        if request.method == HttpMethod::POST && is_plain_grpc(&request.headers) {
            return Self::Native;
        }
        // A GET has no content type, and is Connect's.
        let detected = Protocol::detect(&request.headers);
        if let Some(method) = method {
            if request.method == HttpMethod::GET && !method.descriptor.idempotent {
                return Self::MethodNotAllowed;
            }
            if request.method == HttpMethod::POST
                && method.descriptor.kind == MethodKind::ServerStreaming
                && wants_json_lines(&request.headers)
            {
                return Self::JsonLines;
            }
            let is_unary_type = detected.is_some_and(|detected| !detected.is_streaming);
            if request.method == HttpMethod::POST && is_unary_type && method.descriptor.kind != MethodKind::Unary {
                return Self::UnsupportedMediaType(if method.descriptor.kind == MethodKind::ServerStreaming {
                    SERVER_STREAM_TYPES
                } else {
                    STREAM_TYPES
                });
            }
        }
        Self::Engine(detected.map_or(Protocol::Connect, |detected| detected.protocol))
    }
}

/// gRPC with Protobuf that is not compressed: what tonic's routes take as it is.
pub(super) fn is_plain_grpc(headers: &HeaderMap) -> bool {
    let is_grpc = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type == "application/grpc" || content_type == "application/grpc+proto");
    is_grpc && headers.get("grpc-encoding").is_none_or(|encoding| encoding == "identity")
}

/// Whether the request is a message in JSON, and its stream of answers is to be lines of JSON: who says so with `Accept` sends
/// an ordinary message.
fn wants_json_lines(headers: &HeaderMap) -> bool {
    let is = |value: &str, wanted: &str| {
        value.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(wanted))
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    is(content_type, JSON_LINES)
        || is(content_type, "application/json")
            && accepted.any(|list| list.split(',').any(|accepted| is(accepted, JSON_LINES)))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::connect::methods::Methods;

    fn way(http_method: HttpMethod, headers: &[(&str, &str)], path: &str) -> Way {
        let mut request = Request::builder().method(http_method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let methods = Methods::read([tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap();
        let method = methods.get(path).map(AsRef::as_ref);
        Way::of(&request.body(()).unwrap().into_parts().0, method)
    }

    #[test]
    fn content_types_are_taken_exactly() {
        let check = "grpc.health.v1.Health/Check";
        for (content_type, expected) in [
            ("application/grpc", Way::Native),
            ("application/grpc+proto", Way::Native),
            ("application/grpc; charset=utf-8", Way::Engine(Protocol::Grpc)),
            ("application/grpc+json", Way::Engine(Protocol::Grpc)),
            ("application/grpc-web", Way::Engine(Protocol::GrpcWeb)),
            ("application/grpc-web+proto", Way::Engine(Protocol::GrpcWeb)),
            ("application/json", Way::Engine(Protocol::Connect)),
            ("application/proto", Way::Engine(Protocol::Connect)),
            ("application/connect+proto", Way::Engine(Protocol::Connect)),
            ("text/plain", Way::Engine(Protocol::Connect)),
        ] {
            assert_eq!(way(HttpMethod::POST, &[("content-type", content_type)], check), expected, "{content_type}");
        }
        let compressed = [("content-type", "application/grpc"), ("grpc-encoding", "gzip")];
        assert_eq!(way(HttpMethod::POST, &compressed, check), Way::Engine(Protocol::Grpc));
    }

    #[test]
    fn what_cannot_be_asked_for_like_this_goes_to_nobody() {
        assert_eq!(way(HttpMethod::GET, &[], "grpc.health.v1.Health/Check"), Way::MethodNotAllowed);
        assert_eq!(way(HttpMethod::GET, &[], "no.such.Service/Method"), Way::Engine(Protocol::Connect));
        let json = [("content-type", "application/json")];
        let stream = way(HttpMethod::POST, &json, "grpc.health.v1.Health/Watch");
        assert_eq!(stream, Way::UnsupportedMediaType(SERVER_STREAM_TYPES));
    }

    #[test]
    fn lines_of_json_are_asked_for_by_content_type_or_accept() {
        let watch = "grpc.health.v1.Health/Watch";
        for (headers, expected) in [
            (&[("content-type", "application/jsonl")][..], Way::JsonLines),
            (&[("content-type", "application/jsonl; charset=utf-8")], Way::JsonLines),
            (&[("content-type", "application/json"), ("accept", "application/jsonl")], Way::JsonLines),
            (&[("content-type", "application/json"), ("accept", "*/*, Application/JSONL;q=1")], Way::JsonLines),
            // A protocol that has streams of its own keeps to it.
            (
                &[("content-type", "application/connect+json"), ("accept", "application/jsonl")],
                Way::Engine(Protocol::Connect),
            ),
            (&[("content-type", "application/grpc"), ("accept", "application/jsonl")], Way::Native),
        ] {
            assert_eq!(way(HttpMethod::POST, headers, watch), expected, "{headers:?}");
        }
        // What answers with one message does so as ever.
        let accept = [("content-type", "application/json"), ("accept", "application/jsonl")];
        let check = way(HttpMethod::POST, &accept, "grpc.health.v1.Health/Check");
        assert_eq!(check, Way::Engine(Protocol::Connect));
    }
}
