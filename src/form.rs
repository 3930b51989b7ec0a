//! Forms: `application/x-www-form-urlencoded`, as browsers and clients of OAuth send them, in a body or in the query of an address. Read
//! whole, within bounds, into memory that is wiped.

use std::collections::BTreeMap;

use axum::body::Body;
use http::{HeaderMap, Request, Uri, header};
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tonic::{Code, Status};
use url::form_urlencoded;
use zeroize::Zeroizing;

use crate::domain::secret::Secret;

/// Bytes of a form at the most: more than any server's token has, and any page's fields.
const LONGEST: usize = 64 * 1024;

/// Why a request brings no form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoForm {
    /// It is not called one.
    ContentType,
    /// It is packed.
    ContentEncoding,
    /// It is longer than it may be.
    TooLong,
    /// It has not come in time.
    TooSlow,
    /// It has not come whole.
    BrokenOff,
    /// A parameter comes twice: which of them would count is anybody's guess (RFC 6749, section 3.1).
    Repeated,
}

/// What a form says: each parameter once, with its value, which may be a secret.
#[derive(Debug)]
pub struct Form(BTreeMap<String, Secret>);

impl Form {
    /// Reads the form of a request, of so many bytes or fewer.
    ///
    /// # Errors
    /// [`NoForm`]
    pub async fn read(request: Request<Body>, limit: usize) -> Result<Self, NoForm> {
        let (parts, body) = request.into_parts();
        if !is_form(&parts.headers) {
            return Err(NoForm::ContentType);
        }
        if parts.headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| encoding != "identity") {
            return Err(NoForm::ContentEncoding);
        }
        Self::parse(&read(body, limit.min(LONGEST)).await?)
    }

    /// Reads the form that an address has in its query.
    ///
    /// # Errors
    /// [`NoForm::Repeated`]
    pub fn of_query(address: &Uri) -> Result<Self, NoForm> {
        Self::parse(address.query().unwrap_or_default().as_bytes())
    }

    /// Reads the bytes of a form.
    ///
    /// # Errors
    /// [`NoForm::Repeated`]
    pub fn parse(form: &[u8]) -> Result<Self, NoForm> {
        let mut fields = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(form) {
            if fields.insert(name.into_owned(), Secret::new(value.into_owned())).is_some() {
                return Err(NoForm::Repeated);
            }
        }
        Ok(Self(fields))
    }

    /// The value of a parameter. Without one it counts as left out (RFC 6749, section 3.1).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name).filter(|value| !value.expose().is_empty())
    }

    /// The same as a text; empty where it is left out.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", Secret::expose)
    }

    /// Whether a parameter is there, with a value or without one.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
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
async fn read(mut body: Body, limit: usize) -> Result<Zeroizing<Vec<u8>>, NoForm> {
    let size = body.size_hint();
    let length = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    if length(size.lower()) > limit {
        return Err(NoForm::TooLong);
    }
    // What grows would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(size.upper().map_or(limit, length).min(limit)));
    while let Some(frame) = body.frame().await {
        // Whoever keeps the time says so in the error of the body.
        let frame = frame.map_err(|error| {
            let is_late = Status::from_error(error.into()).code() == Code::DeadlineExceeded;
            if is_late { NoForm::TooSlow } else { NoForm::BrokenOff }
        })?;
        let Some(data) = frame.data_ref() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(NoForm::TooLong);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes)
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
        assert_eq!(read_from(vec![Ok("tok"), Ok("en=x")], 6).await, Err(NoForm::TooLong));
        assert_eq!(
            read_from(vec![Ok("token=x"), Err(Status::deadline_exceeded("").into())], 9).await,
            Err(NoForm::TooSlow)
        );
        assert_eq!(read_from(vec![Ok("token=x"), Err("reset".into())], 9).await, Err(NoForm::BrokenOff));
        assert_eq!(read(Body::from("token=x"), 6).await.err(), Some(NoForm::TooLong), "of a length that is said");
    }

    #[test]
    fn an_address_says_each_parameter_once() {
        let read = |address: &'static str| Form::of_query(&Uri::from_static(address));
        let query = read("/a?x=1&y=a%20b+c&%7a").unwrap();
        assert_eq!((query.text("x"), query.text("y"), query.text("z"), query.has("z")), ("1", "a b c", "", true));
        assert!(!query.has("w") && query.get("z").is_none() && !read("/a").unwrap().has(""));
        for twice in ["/a?x=1&x=2", "/a?x=1&x=1", "/a?x&x=1", "/a?x=1&y=2&%78=3"] {
            assert_eq!(read(twice).err(), Some(NoForm::Repeated), "{twice}");
        }
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
}
