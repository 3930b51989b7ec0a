//! The token in a request's headers.

use http::{HeaderMap, HeaderValue, header};

/// Why there is no token in the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoToken {
    /// No Authorization header.
    Missing,
    /// More than one: which of them would count is anybody's guess.
    Repeated,
    /// Another scheme than is taken there, or not written as it should be.
    Scheme,
}

impl NoToken {
    /// A few words for logs and metrics.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "no credentials",
            Self::Repeated => "more than one authorization header",
            Self::Scheme => "not a bearer token",
        }
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1). The scheme may be written in any case.
///
/// # Errors
/// [`NoToken`]
pub fn bearer(headers: &HeaderMap) -> Result<&str, NoToken> {
    let (scheme, token) = authorization(headers)?;
    bearing(scheme, token)
}

/// The same, of all values that the header has, some of which a proxy may have joined with commas. No bearer token has a comma, so that there one parts two;
/// other schemes have parameters with commas between, and are one header all the same.
///
/// # Errors
/// [`NoToken`]
pub fn bearer_of_joined<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<&'a str, NoToken> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(NoToken::Missing)?;
    if values.next().is_some() {
        return Err(NoToken::Repeated);
    }
    if !value.contains(&b',') {
        let (scheme, token) = authorization_of([value])?;
        return bearing(scheme, token);
    }
    let begins_one = |part: &[u8]| {
        part.trim_ascii()
            .split(|byte| *byte == b' ')
            .next()
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
    };
    Err(if value.split(|byte| *byte == b',').any(begins_one) { NoToken::Repeated } else { NoToken::Scheme })
}

fn bearing<'a>(scheme: &str, token: &'a str) -> Result<&'a str, NoToken> {
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token) } else { Err(NoToken::Scheme) }
}

/// The scheme of the one Authorization header, and what stands behind it.
///
/// # Errors
/// [`NoToken`]
pub fn authorization(headers: &HeaderMap) -> Result<(&str, &str), NoToken> {
    authorization_of(headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes))
}

fn authorization_of<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<(&'a str, &'a str), NoToken> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(NoToken::Missing)?;
    if values.next().is_some() {
        return Err(NoToken::Repeated);
    }
    let (scheme, rest) =
        std::str::from_utf8(value).ok().and_then(|text| text.split_once(' ')).ok_or(NoToken::Scheme)?;
    Ok((scheme, rest.trim_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn one_bearer_token_and_nothing_else() {
        assert_eq!(bearer(&headers(&["Bearer abc"])), Ok("abc"));
        assert_eq!(bearer(&headers(&["bEARER  abc"])), Ok("abc"));
        assert_eq!(bearer(&headers(&[])), Err(NoToken::Missing));
        assert_eq!(bearer(&headers(&["Bearer abc", "Bearer abc"])), Err(NoToken::Repeated));
        for other in ["Basic abc", "abc", "Bearer", "Bearerabc"] {
            assert_eq!(bearer(&headers(&[other])), Err(NoToken::Scheme), "{other}");
        }
    }

    #[test]
    fn a_comma_parts_two_tokens_but_not_the_parameters_of_another_scheme() {
        let of = |values: &[&'static str]| bearer_of_joined(values.iter().map(|value| value.as_bytes()));
        assert_eq!(of(&[]), Err(NoToken::Missing));
        assert_eq!(of(&["bearer a"]), Ok("a"));
        for repeated in [
            &["Bearer a", "Bearer a"][..],
            &["Digest a", "Digest a"],
            &["Bearer a,Bearer b"],
            &["Bearer a,"],
            &[",Bearer a"],
            &["Bearer a, b"],
            &["Basic YTpi,Bearer a"],
            &["Digest a=b, c=d, bearer e"],
        ] {
            assert_eq!(of(repeated), Err(NoToken::Repeated), "{repeated:?}");
        }
        for other in ["Digest a=b, c=\"d\"", "Digest a=bearer, c=d", "Basic YTpi", "Bearerx a,b", "a,b", ",", ""] {
            assert_eq!(of(&[other]), Err(NoToken::Scheme), "{other}");
        }
    }
}
