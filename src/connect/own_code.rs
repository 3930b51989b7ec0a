//! The code of an answer that the engine gave by itself, without a handler: some protocols say it in the body alone.

use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use serde::Deserialize;
use tonic::{Code, body::Body};

use super::framing::HEADER;

/// The flag of what follows the messages, in gRPC-Web and in streams of Connect's.
const TRAILERS_OF_GRPC_WEB: u8 = 0x80;
const END_OF_CONNECT: u8 = 2;

/// The answer, with its code left with it.
pub(super) fn mark(response: Response<Body>) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    let of_head = parts.headers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()));
    let code = match (of_head, of_status(parts.status)) {
        (Some(code), _) | (None, Some(code)) => code,
        (None, None) => {
            // What the engine says by itself is said at once, and is all that it says.
            let first = body.frame().now_or_never().flatten().and_then(Result::ok);
            let code = first.as_ref().and_then(of_frame).unwrap_or(Code::Unknown);
            let first = stream::iter(first.map(Ok));
            body = Body::new(StreamBody::new(first.chain(BodyStream::new(body))));
            code
        }
    };
    parts.extensions.insert(code);
    Response::from_parts(parts, body)
}

/// Where the status is that of HTTP.
fn of_status(status: StatusCode) -> Option<Code> {
    Some(match status {
        StatusCode::OK => return None,
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::TOO_MANY_REQUESTS => Code::ResourceExhausted,
        StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED => Code::Unimplemented,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        StatusCode::INTERNAL_SERVER_ERROR => Code::Internal,
        _ => Code::Unknown,
    })
}

fn of_frame(frame: &Frame<Bytes>) -> Option<Code> {
    if let Some(trailers) = frame.trailers_ref() {
        return of_trailers(trailers);
    }
    let (header, text) = frame.data_ref()?.split_at_checked(HEADER)?;
    match header[0] {
        TRAILERS_OF_GRPC_WEB => {
            let lines = std::str::from_utf8(text).ok()?.lines();
            let status = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| *name == "grpc-status")?;
            Some(Code::from_bytes(status.1.trim().as_bytes()))
        }
        END_OF_CONNECT => {
            #[derive(Deserialize)]
            struct End {
                error: Option<ErrorOfEnd>,
            }
            #[derive(Deserialize)]
            struct ErrorOfEnd {
                code: connectrpc::ErrorCode,
            }
            let End { error } = serde_json::from_slice(text).ok()?;
            Some(error.map_or(Code::Ok, |error| Code::from_i32(error.code.grpc_code().cast_signed())))
        }
        _ => None,
    }
}

fn of_trailers(trailers: &HeaderMap) -> Option<Code> {
    trailers.get("grpc-status").map(|code| Code::from_bytes(code.as_bytes()))
}
