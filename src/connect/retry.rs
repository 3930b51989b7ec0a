//! Whether it is worth asking again. Some clients ask again on their own after 409, 429 and every status from 500 up, whatever was
//! asked for, unless the answer has `x-should-retry: false`: a failure that stays is then met three times, and what was made, with
//! an answer that went wrong, is made twice.
//!
//! | code | HTTP | again? | because |
//! |---|---|---|---|
//! | UNAVAILABLE that says when to come again | 503 | yes | it was not done, and may go well soon |
//! | UNAVAILABLE else | 503 | no | it may have been done |
//! | RESOURCE_EXHAUSTED that says when to come again | 429 | yes | the server asks for it |
//! | RESOURCE_EXHAUSTED else | 429 | no | too long a message, or a limit on what one may have: time does not mend that |
//! | ABORTED | 409 | no | what went before it must be done anew, not this alone |
//! | ALREADY_EXISTS | 409 | no | it will exist the next time too |
//! | DEADLINE_EXCEEDED | 504 | no | it may have been done; and the client's time is over |
//! | UNKNOWN, INTERNAL, DATA_LOSS | 500 | no | nobody knows whether it was done |
//! | UNIMPLEMENTED | 501, 404 | no | it will not be there the next time either |
//! | all others | 400 to 499 | no | the request, or who sends it, must change; nobody asks again by themselves |
//!
//! Only errors that have a status of HTTP are marked: those of Connect's unary calls. Clients of the other protocols go by the code.

use http::{HeaderName, HeaderValue, Response, header};
use tonic::Code;

static SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Marks an answer that another try cannot mend.
pub(super) fn mark<B>(response: &mut Response<B>, code: Code) {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return;
    }
    // A handler may know better.
    if response.headers().contains_key(&SHOULD_RETRY) {
        return;
    }
    let says_when = response.headers().contains_key(header::RETRY_AFTER);
    let may_be_mended = match code {
        Code::Unavailable | Code::ResourceExhausted => says_when,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => false,
    };
    if !may_be_mended {
        response.headers_mut().insert(SHOULD_RETRY.clone(), HeaderValue::from_static("false"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(status: u16, code: Code, headers: &[(&'static str, &'static str)]) -> Option<HeaderValue> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let mut response = response.body(()).unwrap();
        mark(&mut response, code);
        response.headers().get(&SHOULD_RETRY).cloned()
    }

    #[test]
    fn what_another_try_cannot_mend_is_marked() {
        for (status, code) in [
            (409, Code::AlreadyExists),
            (409, Code::Aborted),
            (429, Code::ResourceExhausted),
            (500, Code::Unknown),
            (500, Code::Internal),
            (500, Code::DataLoss),
            (501, Code::Unimplemented),
            (404, Code::Unimplemented),
            (504, Code::DeadlineExceeded),
            (400, Code::InvalidArgument),
            (415, Code::Unknown),
            (503, Code::Unavailable),
        ] {
            assert_eq!(marked(status, code, &[]), Some(HeaderValue::from_static("false")), "{status} {code:?}");
        }
    }

    #[test]
    fn what_time_may_mend_is_left_to_the_client() {
        assert_eq!(marked(503, Code::Unavailable, &[("retry-after", "1")]), None);
        assert_eq!(marked(429, Code::ResourceExhausted, &[("retry-after", "1")]), None);
    }

    #[test]
    fn what_a_handler_says_of_it_stands() {
        assert_eq!(marked(409, Code::Aborted, &[("x-should-retry", "true")]), Some(HeaderValue::from_static("true")));
    }

    #[test]
    fn what_has_no_status_of_its_own_is_not_marked() {
        // gRPC, gRPC-Web and streams: the code is further on.
        assert_eq!(marked(200, Code::Internal, &[]), None);
        assert_eq!(marked(200, Code::Ok, &[]), None);
    }
}
