//! What stands in a request.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{HeaderMap, Request, header};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tonic::{Code, Status};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::domain::secret::Secret;

/// Bytes of a form at the most: more than any server's token has.
const LONGEST: usize = 64 * 1024;

/// Why a request makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Problem {
    /// There is something in the query.
    Query,
    /// It is not called a form.
    ContentType,
    /// It is packed.
    ContentEncoding,
    /// It is longer than it may be.
    TooLong,
    /// It has not come in time.
    TooSlow,
    /// It has not come whole.
    BrokenOff,
    /// A parameter comes twice: which of them would count is anybody's guess.
    Repeated,
    /// A second way to authenticate (RFC 6749, section 2.3; RFC 6750, section 2).
    OtherCredential,
    /// No token.
    NoToken,
}

/// Nothing is in the query: whoever puts a token there is told so, by whatever method it comes.
pub(super) fn only_in_body(request: &Request<Body>) -> Result<(), Problem> {
    if request.uri().query().is_none_or(str::is_empty) { Ok(()) } else { Err(Problem::Query) }
}

/// The token of a request; of its other parameters, none says more than the token itself.
pub(super) async fn token(request: Request<Body>, limit: usize) -> Result<Secret, Problem> {
    let (parts, body) = request.into_parts();
    if !is_form(&parts.headers) {
        return Err(Problem::ContentType);
    }
    if parts.headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
        return Err(Problem::ContentEncoding);
    }
    token_in(&read(body, limit.min(LONGEST)).await?)
}

/// `application/x-www-form-urlencoded`, said once; with no parameter but the character set that it has anyhow, which browsers add.
fn is_form(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next().and_then(|value| value.to_str().ok()), values.next()) else {
        return false;
    };
    let (kind, parameter) = value.split_once(';').map_or((value, None), |(kind, rest)| (kind, Some(rest.trim())));
    let is_utf8 = |parameter: &str| {
        ["charset=utf-8", "charset=\"utf-8\""].iter().any(|known| parameter.eq_ignore_ascii_case(known))
    };
    kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") && parameter.is_none_or(is_utf8)
}

/// The whole body, in one place of memory that is wiped afterwards.
async fn read(mut body: Body, limit: usize) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let size = body.size_hint();
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    if length(size.lower()) > limit {
        return Err(Problem::TooLong);
    }
    // What grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.upper().map_or(limit, length).min(limit)));
    while let Some(frame) = body.frame().await {
        // Whoever keeps the time says so in the error of the body.
        let frame = frame.map_err(|error| {
            let is_late = Status::from_error(error.into()).code() == Code::DeadlineExceeded;
            if is_late { Problem::TooSlow } else { Problem::BrokenOff }
        })?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(Problem::TooLong);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
}

fn token_in(form: &[u8]) -> Result<Secret, Problem> {
    let mut token = None;
    let mut names = BTreeSet::new();
    let mut has_other_credential = false;
    for (name, value) in form_urlencoded::parse(form) {
        match name.as_ref() {
            // Without a value it counts as left out (RFC 6749, section 3.1).
            "token" if !value.is_empty() => token = Some(Secret::new(value.into_owned())),
            "client_secret" | "client_assertion" | "access_token" => has_other_credential = true,
            _ => {}
        }
        if !names.insert(name) {
            return Err(Problem::Repeated);
        }
    }
    if has_other_credential {
        return Err(Problem::OtherCredential);
    }
    token.ok_or(Problem::NoToken)
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http::HeaderValue;

    use super::*;

    #[tokio::test]
    async fn a_body_is_read_to_its_end_or_not_at_all() {
        let read_from = async |parts: Vec<Result<&'static str, axum::BoxError>>, limit| {
            read(Body::from_stream(stream::iter(parts)), limit).await.map(|bytes| bytes.to_vec())
        };
        assert_eq!(read_from(vec![Ok("tok"), Ok("en=x")], 7).await, Ok(b"token=x".to_vec()));
        assert_eq!(read_from(vec![Ok("tok"), Ok("en=x")], 6).await, Err(Problem::TooLong));
        assert_eq!(
            read_from(vec![Ok("token=x"), Err(Status::deadline_exceeded("").into())], 9).await,
            Err(Problem::TooSlow)
        );
        assert_eq!(read_from(vec![Ok("token=x"), Err("reset".into())], 9).await, Err(Problem::BrokenOff));
        assert_eq!(read(Body::from("token=x"), 6).await.err(), Some(Problem::TooLong), "of a length that is said");
    }

    #[test]
    fn forms_are_known_by_their_whole_type() {
        let is = |values: &[&'static str]| {
            let value = |value: &&'static str| (header::CONTENT_TYPE, HeaderValue::from_static(value));
            is_form(&values.iter().map(value).collect())
        };
        let form = "application/x-www-form-urlencoded";
        for value in [
            form,
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded;charset=UTF-8",
            "application/x-www-form-urlencoded; charset=\"utf-8\"",
        ] {
            assert!(is(&[value]), "{value}");
        }
        for value in [
            "",
            "application/json",
            "application/x-www-form-urlencoded2",
            "application/x-www-form-urlencoded, application/json",
            "application/x-www-form-urlencoded;charset=utf-16",
            "application/x-www-form-urlencoded;charset=utf-8;a=b",
            "application/x-www-form-urlencoded;",
            "x application/x-www-form-urlencoded",
        ] {
            assert!(!is(&[value]), "{value}");
        }
        assert!(!is(&[]) && !is(&[form, form]));
    }

    #[test]
    fn one_token_and_nothing_twice() {
        let read = |form: &str| token_in(form.as_bytes()).map(|token| token.expose().to_owned());
        for (form, token) in [
            ("token=abc", "abc"),
            ("token_type_hint=refresh_token&token=abc&x=y", "abc"),
            ("token=a%5Fb%2Bc+d&&", "a_b+c d"),
            ("%74oken=abc&client_id=me&token_type_hint=", "abc"),
            ("token=%ff", "\u{fffd}"),
        ] {
            assert_eq!(read(form), Ok(token.to_owned()), "{form}");
        }
        for (form, problem) in [
            ("", Problem::NoToken),
            ("token", Problem::NoToken),
            ("token=", Problem::NoToken),
            ("Token=abc", Problem::NoToken),
            ("{\"token\":\"abc\"}", Problem::NoToken),
            ("token=abc&token=abc", Problem::Repeated),
            ("token=&token=abc", Problem::Repeated),
            ("token=abc&%74oken=abc", Problem::Repeated),
            ("token=abc&x=1&x=2", Problem::Repeated),
            ("token=abc&client_secret=x", Problem::OtherCredential),
            ("access_token=x&token=abc", Problem::OtherCredential),
        ] {
            assert_eq!(read(form), Err(problem), "{form}");
        }
    }
}
