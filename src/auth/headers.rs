//! What the layer reads of a request.

use crate::domain::text::is_unprintable;

const USER_AGENT_LIMIT: usize = 255;

/// Why there is no token in the headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoToken {
    /// No Authorization header.
    Missing,
    /// More than one: which of them would count is anybody's guess.
    Repeated,
    /// Another scheme than Bearer, or no text.
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

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, section 2.1), of all values that the header has. The scheme may be written
/// in any case.
///
/// # Errors
/// [`NoToken`]
pub fn bearer<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<&'a str, NoToken> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(NoToken::Missing)?;
    if values.next().is_some() {
        return Err(NoToken::Repeated);
    }
    let (scheme, token) =
        std::str::from_utf8(value).ok().and_then(|text| text.split_once(' ')).ok_or(NoToken::Scheme)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim_matches(' ')) } else { Err(NoToken::Scheme) }
}

/// What the client calls itself: printable, and of a length that can be stored.
#[must_use]
pub fn user_agent(text: &[u8]) -> Option<String> {
    let cleaned: String = String::from_utf8_lossy(text)
        .chars()
        .filter(|character| !is_unprintable(*character))
        .take(USER_AGENT_LIMIT)
        .collect();
    (!cleaned.is_empty()).then_some(cleaned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers<'a>(values: &[&'a str]) -> Vec<&'a [u8]> {
        values.iter().map(|value| value.as_bytes()).collect()
    }

    #[test]
    fn one_bearer_token_and_nothing_else() {
        assert_eq!(bearer(headers(&["Bearer abc"])), Ok("abc"));
        assert_eq!(bearer(headers(&["bEARER  abc"])), Ok("abc"));
        assert_eq!(bearer(headers(&[])), Err(NoToken::Missing));
        assert_eq!(bearer(headers(&["Bearer abc", "Bearer abc"])), Err(NoToken::Repeated));
        for other in ["Basic abc", "abc", "Bearer", "Bearerabc"] {
            assert_eq!(bearer(headers(&[other])), Err(NoToken::Scheme), "{other}");
        }
    }
}
