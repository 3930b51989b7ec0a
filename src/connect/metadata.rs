//! Which headers cross from one protocol to another: all but those that speak of the protocol itself.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The longest time that gRPC can write: eight digits (of milliseconds, here).
const LONGEST_TIMEOUT: u128 = 99_999_999;

/// The headers of a request as gRPC has them.
pub(super) fn for_handler(mut headers: HeaderMap, remaining: Option<Duration>) -> HeaderMap {
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::ACCEPT_ENCODING,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::HOST,
        HeaderName::from_static("grpc-encoding"),
        HeaderName::from_static("grpc-accept-encoding"),
        HeaderName::from_static("grpc-timeout"),
        HeaderName::from_static("connect-timeout-ms"),
        HeaderName::from_static("connect-content-encoding"),
        HeaderName::from_static("connect-accept-encoding"),
        HeaderName::from_static("connect-protocol-version"),
    ] {
        headers.remove(name);
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    if let Some(remaining) = remaining {
        let milliseconds = remaining.as_millis().min(LONGEST_TIMEOUT);
        if let Ok(value) = HeaderValue::from_str(&format!("{milliseconds}m")) {
            headers.insert("grpc-timeout", value);
        }
    }
    headers
}

/// What a handler says in headers or trailers, without what gRPC says in them.
pub(super) fn of_handler(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| !is_of_protocol(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// gRPC keeps all names in `grpc-` for itself; of those, one is for everybody.
fn is_of_protocol(name: &HeaderName) -> bool {
    *name == header::CONTENT_TYPE
        || *name == header::CONTENT_LENGTH
        || *name == header::TRANSFER_ENCODING
        || *name == header::TRAILER
        || *name == header::TE
        || name.as_str().starts_with("grpc-") && *name != "grpc-trace-bin"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn what_speaks_of_the_protocol_does_not_cross() {
        let crossed = for_handler(
            headers(&[
                ("content-type", "application/json"),
                ("content-length", "2"),
                ("connect-protocol-version", "1"),
                ("connect-timeout-ms", "5"),
                ("authorization", "Bearer x"),
                ("x-own", "1"),
                ("x-own", "2"),
                ("data-bin", "AAE"),
            ]),
            Some(Duration::from_millis(1500)),
        );
        let expected = headers(&[
            ("authorization", "Bearer x"),
            ("x-own", "1"),
            ("x-own", "2"),
            ("data-bin", "AAE"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "1500m"),
        ]);
        assert_eq!(crossed, expected);
    }

    #[test]
    fn what_a_handler_says_crosses() {
        let said =
            headers(&[("grpc-status", "5"), ("grpc-message", "no"), ("grpc-trace-bin", "AA"), ("retry-after", "1")]);
        assert_eq!(of_handler(&said), headers(&[("grpc-trace-bin", "AA"), ("retry-after", "1")]));
    }
}
