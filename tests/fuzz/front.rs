//! What stands in front of the handlers, given any bytes: paths, queries, headers, envelopes, compression and JSON, in every
//! protocol. Whatever comes is answered, in the protocol that was spoken, and nothing breaks off.
//!
//! An input is three lines and a body: what is sent (a method of HTTP and a content type), where to (path and query), with which
//! other headers (`name: value`, separated by tabs), and what. The services of the contract are known here, but nobody serves
//! them, so that whatever is read well comes to UNIMPLEMENTED; health is served.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt, Full};
use latchkey::connect::Connect;
use tonic::{Code, service::Routes};
use tower::Service;

/// What may be asked of a front for one input: longer than this, and it is standing still.
const SOON: Duration = Duration::from_secs(10);
/// Bytes of a message, at the most.
const LIMIT: usize = 64 * 1024;

/// The front, and what runs it.
pub(crate) struct Front {
    connect: Connect,
    runtime: tokio::runtime::Runtime,
}

impl Front {
    /// Ready for any input.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (_reporter, health) = tonic_health::server::health_reporter();
        let descriptors = [
            latchkey::pb::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_types::pb::FILE_DESCRIPTOR_SET,
        ];
        let connect = Connect::new(Routes::new(health), descriptors).expect("descriptors of ours");
        let connect = connect.with_message_limit(LIMIT).with_json_lines_keep_alive(Duration::from_millis(1));
        Self { connect, runtime }
    }

    /// Gives it one input; returns the code that it answered with, if the input makes a request.
    pub(crate) fn take(&self, input: &[u8]) -> Option<Code> {
        let request = request(input)?;
        let mut connect = self.connect.clone();
        self.runtime.block_on(async {
            let answering = async {
                let Ok(response) = connect.call(request).await;
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
            Some(code)
        })
    }
}

fn request(input: &[u8]) -> Option<Request<Full<Bytes>>> {
    let mut parts = input.splitn(4, |byte| *byte == b'\n');
    let (sent, path, headers) = (parts.next()?, parts.next()?, parts.next()?);
    let body = Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let mut request = Request::new(Full::new(body));
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
