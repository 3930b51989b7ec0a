//! What the layer reads of a request.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::policy::Door;
use crate::domain::{
    bearer::{NoToken, authorization},
    credential::StoredCredential,
    principal::Credential,
    secret::Secret,
    text::is_unprintable,
    token::{CredentialKind, redacted},
};

const USER_AGENT_LIMIT: usize = 255;

/// How a token was given.
pub(super) enum Given<'a> {
    /// `Authorization: Bearer TOKEN` (RFC 6750, section 2.1).
    Bearer(&'a str),
    /// `Authorization: Basic`, as clients of OAuth write their ID and password (RFC 6749, section 2.3.1).
    Basic {
        /// Whose it is said to be.
        name: String,
        /// The password.
        token: Secret,
    },
    /// A session, in the cookie that browsers send along.
    Cookie(&'a str),
}

impl Given<'_> {
    /// What is to be verified.
    pub(super) fn token(&self) -> &str {
        match self {
            Self::Bearer(token) | Self::Cookie(token) => token,
            Self::Basic { token, .. } => token.expose(),
        }
    }

    /// Whether the name, if there is one, is that of the holder, or of the token.
    pub(super) fn names_holder(&self, stored: &StoredCredential) -> bool {
        let id = match stored.credential {
            Credential::PersonalAccessToken { id, .. } => id.uuid(),
            Credential::EnvironmentToken { id, .. } => id.uuid(),
            Credential::Session { id } => id.uuid(),
        };
        match self {
            Self::Bearer(_) | Self::Cookie(_) => true,
            Self::Basic { name, .. } => *name == stored.principal_id.to_string() || *name == id.to_string(),
        }
    }
}

/// The token in the Authorization header. The scheme may be written in any case.
pub(super) fn given(headers: &HeaderMap, door: Door) -> Result<Given<'_>, NoToken> {
    let (scheme, rest) = authorization(headers)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Given::Bearer(rest));
    }
    match door {
        Door::OAuth if scheme.eq_ignore_ascii_case("basic") => basic(rest).ok_or(NoToken::Scheme),
        Door::OAuth | Door::Rpc | Door::Page => Err(NoToken::Scheme),
    }
}

fn basic(encoded: &str) -> Option<Given<'static>> {
    let decoded = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Given::Basic { name: form_decoded(name)?, token: Secret::new(form_decoded(password)?) })
}

/// A text as a form has it.
fn form_decoded(text: &str) -> Option<String> {
    let spaced = Zeroizing::new(text.replace('+', " "));
    percent_decode_str(&spaced).decode_utf8().ok().map(String::from)
}

/// What the client calls itself: printable, of a length that can be stored, and without a token, where somebody has put one into the wrong header.
#[must_use]
pub fn user_agent(text: &[u8]) -> Option<Arc<str>> {
    // As all but all are.
    if (1..=USER_AGENT_LIMIT).contains(&text.len())
        && text.iter().all(|byte| matches!(byte, b' '..=b'~'))
        && let Ok(text) = std::str::from_utf8(text)
        && !CredentialKind::ALL.iter().any(|kind| text.contains(kind.prefix()))
    {
        return Some(text.into());
    }
    let printable: String =
        String::from_utf8_lossy(text).chars().filter(|character| !is_unprintable(*character)).collect();
    let cleaned: String = redacted(&printable).chars().take(USER_AGENT_LIMIT).collect();
    (!cleaned.is_empty()).then(|| cleaned.into())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, HeaderValue::from_static(value))).collect()
    }

    fn read(values: &[&'static str], door: Door) -> Result<(Option<String>, String), NoToken> {
        let headers = headers(values);
        given(&headers, door).map(|given| match given {
            Given::Bearer(token) => (None, token.to_owned()),
            Given::Basic { name, token } => (Some(name), token.expose().to_owned()),
            Given::Cookie(_) => unreachable!("in no header of these"),
        })
    }

    #[test]
    fn one_bearer_token_and_nothing_else() {
        let abc = Ok((None, "abc".to_owned()));
        for door in [Door::Rpc, Door::OAuth] {
            assert_eq!(read(&["Bearer abc"], door), abc);
            assert_eq!(read(&["bEARER  abc"], door), abc);
            assert_eq!(read(&[], door), Err(NoToken::Missing));
            assert_eq!(read(&["Bearer abc", "Bearer abc"], door), Err(NoToken::Repeated));
            assert_eq!(read(&["Bearer abc", "Basic YTpi"], door), Err(NoToken::Repeated));
            for other in ["Basic abc", "abc", "Bearer", "Bearerabc", "Digest YTpi"] {
                assert_eq!(read(&[other], door), Err(NoToken::Scheme), "{other}");
            }
        }
    }

    #[test]
    fn a_password_is_a_token_where_oauth_is_spoken_and_nowhere_else() {
        for (value, name, token) in [
            // a:b, a%2Bb:c%5Fd, a+b:c:d, :
            ("Basic YTpi", "a", "b"),
            ("bASIC  YTpi", "a", "b"),
            ("Basic YSUyQmI6YyU1RmQ=", "a+b", "c_d"),
            ("Basic YStiOmM6ZA==", "a b", "c:d"),
            ("Basic Og==", "", ""),
        ] {
            assert_eq!(read(&[value], Door::OAuth), Ok((Some(name.to_owned()), token.to_owned())), "{value}");
            assert_eq!(read(&[value], Door::Rpc), Err(NoToken::Scheme), "{value}");
        }
        // No colon, no base64, another alphabet, no UTF-8, before or after decoding.
        for value in ["Basic YWI=", "Basic Y", "Basic ", "Basic _-8=", "Basic /zph", "Basic YTolZmY="] {
            assert_eq!(read(&[value], Door::OAuth), Err(NoToken::Scheme), "{value}");
        }
    }
    #[test]
    fn what_a_client_calls_itself_is_kept_without_a_token_in_it() {
        let of = |text: &str| user_agent(text.as_bytes()).map(|kept| kept.to_string());
        assert_eq!(of("client/1 (x)"), Some("client/1 (x)".to_owned()));
        assert_eq!(of("a gitpod_pat_x1Y2 b"), Some("a gitpod_pat_[redacted] b".to_owned()));
        assert_eq!(of("gitpod_env_x\u{7}1Y\t2é"), Some("gitpod_env_[redacted]é".to_owned()));
        let far = format!("{}gitpod_pat_x1Y2", " ".repeat(USER_AGENT_LIMIT - 15));
        assert_eq!(of(&far).map(|kept| kept.len()), Some(USER_AGENT_LIMIT));
    }
}
