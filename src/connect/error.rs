//! A status of gRPC as an error of the protocol that was spoken.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use connectrpc::{ConnectError, ErrorCode, ErrorDetail};
use http::{HeaderMap, HeaderValue, Response, header};
use prost::Message;
use tonic::{Status, body::Body};
use tonic_types::StatusExt;

use super::{classify, json, metadata, methods::Methods, retry, service::whole};

/// Answers requests that came to no handler.
#[derive(Debug, Clone)]
pub struct Errors {
    methods: Methods,
}

impl Errors {
    pub(super) const fn new(methods: Methods) -> Self {
        Self { methods }
    }

    /// The answer with this status to a request with these headers, in its own protocol; for who speaks none of them, as
    /// Connect has it: an HTTP status, and JSON. The code is in the extensions of the answer.
    #[must_use]
    pub fn answer(&self, request: &HeaderMap, status: Status) -> Response<Body> {
        let code = status.code();
        let mut response = if classify::is_plain_grpc(request) {
            status.into_http()
        } else {
            connect_error(&status, &self.methods).into_http_response(request).map(whole)
        };
        retry::mark(&mut response, code);
        response.extensions_mut().insert(code);
        response
    }
}

/// The error that says what a status says. Its metadata become headers.
pub(super) fn connect_error(status: &Status, methods: &Methods) -> ConnectError {
    let code = ErrorCode::from_grpc_code(i32::from(status.code()).cast_unsigned()).unwrap_or(ErrorCode::Unknown);
    let mut error = ConnectError::new(code, status.message());
    if status.message().is_empty() {
        error.message = None;
    }
    for detail in details(status) {
        error = error.with_detail(described(&detail, methods));
    }
    let mut headers = metadata::of_handler(status.metadata().as_ref());
    if let Some(seconds) = retry_after(status) {
        headers.entry(header::RETRY_AFTER).or_insert(seconds);
    }
    error.with_headers(headers)
}

/// The status that says what an error of the engine says.
pub(super) fn status(error: &ConnectError) -> Status {
    let code = i32::try_from(error.code.grpc_code()).map_or(tonic::Code::Unknown, tonic::Code::from_i32);
    Status::new(code, error.message.clone().unwrap_or_default())
}

fn details(status: &Status) -> Vec<prost_types::Any> {
    tonic_types::pb::Status::decode(status.details()).map(|status| status.details).unwrap_or_default()
}

/// A detail as Connect writes it: the type without a host, the message in unpadded base64, and, where its type is known, in
/// JSON for people to read.
fn described(detail: &prost_types::Any, methods: &Methods) -> ErrorDetail {
    let name = detail.type_url.rsplit('/').next().unwrap_or_default();
    let debug = methods
        .message_type(name)
        .and_then(|message| json::from_protobuf(&message, &detail.value).ok())
        .and_then(|json| serde_json::from_slice(&json).ok());
    ErrorDetail { type_url: name.to_owned(), value: Some(STANDARD_NO_PAD.encode(&detail.value)), debug }
}

/// A `google.rpc.RetryInfo` in the words of HTTP (RFC 9110, section 10.2.3): whole seconds, and none too few.
fn retry_after(status: &Status) -> Option<HeaderValue> {
    let delay = status.get_details_retry_info()?.retry_delay?;
    Some(HeaderValue::from(delay.as_secs() + u64::from(delay.subsec_nanos() > 0)))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use http_body_util::BodyExt;
    use tonic::Code;
    use tonic_types::ErrorDetails;

    use super::*;

    fn errors() -> Errors {
        Errors::new(Methods::read([tonic_types::pb::FILE_DESCRIPTOR_SET]).unwrap())
    }

    fn unavailable() -> Status {
        let mut details = ErrorDetails::with_error_info("AWAY", "test", HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1200)));
        let mut status = Status::with_error_details(Code::Unavailable, "try again", details);
        status.metadata_mut().insert("x-own", "1".parse().unwrap());
        status
    }

    async fn answered(content_type: &'static str) -> (u16, HeaderMap, String) {
        let request = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        let answer = errors().answer(&request, unavailable());
        assert_eq!(answer.extensions().get::<Code>(), Some(&Code::Unavailable));
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn what_another_try_cannot_mend_says_so_where_the_status_is_that_of_http() {
        for (content_type, marked) in
            [("application/json", true), ("application/proto", true), ("text/plain", true), ("application/grpc", false)]
        {
            let request = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(content_type))]);
            let answer = errors().answer(&request, Status::unimplemented("not here"));
            assert_eq!(answer.headers().contains_key("x-should-retry"), marked, "{content_type}");
        }
    }

    #[tokio::test]
    async fn each_protocol_has_errors_of_its_own() {
        let (status, headers, body) = answered("application/json").await;
        assert_eq!(status, 503);
        assert_eq!(headers["retry-after"], "2", "{headers:?}");
        assert!(!headers.contains_key("x-should-retry"), "{headers:?}");
        assert_eq!(headers["x-own"], "1", "{headers:?}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["code", "details", "message"]);
        assert_eq!((&body["code"], &body["message"]), (&"unavailable".into(), &"try again".into()));
        let info = &body["details"][1];
        assert_eq!(info["type"], "google.rpc.ErrorInfo");
        assert_eq!(info["debug"], serde_json::json!({ "reason": "AWAY", "domain": "test" }));
        assert!(!info["value"].as_str().unwrap().ends_with('='), "unpadded");

        let (status, headers, body) = answered("application/connect+json").await;
        assert_eq!((status, &headers["content-type"]), (200, &HeaderValue::from_static("application/connect+json")));
        assert!(body.contains(r#""code":"unavailable""#), "{body}");

        let (status, headers, body) = answered("application/grpc-web").await;
        assert_eq!((status, &headers["content-type"]), (200, &HeaderValue::from_static("application/grpc-web+proto")));
        assert!(body.contains("grpc-status: 14\r\n"), "{body}");

        let (status, headers, _) = answered("application/grpc").await;
        assert_eq!((status, &headers["grpc-status"]), (200, &HeaderValue::from_static("14")));
        let (status, ..) = answered("text/plain").await;
        assert_eq!(status, 503);
    }
}
