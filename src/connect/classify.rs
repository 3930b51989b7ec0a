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
    /// Nobody: the RPC is not asked for by this method of HTTP.
    MethodNotAllowed,
    /// Nobody: these are the content types that the RPC takes.
    UnsupportedMediaType(&'static str),
}

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
            let is_unary_type = detected.is_some_and(|detected| !detected.is_streaming);
            if request.method == HttpMethod::POST && is_unary_type && method.descriptor.kind != MethodKind::Unary {
                return Self::UnsupportedMediaType(STREAM_TYPES);
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
        assert_eq!(stream, Way::UnsupportedMediaType(STREAM_TYPES));
    }
}
