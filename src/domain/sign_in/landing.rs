//! Where somebody goes once they are signed in: to a page of ours, whoever has written the link that they followed.

use std::fmt;

use url::{Url, form_urlencoded};

/// The longest there is, in bytes: it comes along in a cookie.
const LIMIT: usize = 512;

/// A path of our own, with a query perhaps: what a browser resolves to nothing but our own origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing(String);

/// A text that may lead elsewhere, or that no page of ours has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no path of a page here")]
pub struct InvalidLanding;

impl Landing {
    /// Reads a text that anybody may have written.
    ///
    /// Browsers take `//host`, `/\host` and what has tabs or line breaks between for other hosts, so that only one way of writing a path is
    /// taken: visible ASCII without backslashes, which is the same when a browser's parser has read it, and whose path has no slash or
    /// backslash that something may decode later.
    ///
    /// # Errors
    /// [`InvalidLanding`]
    pub fn parse(text: &str) -> Result<Self, InvalidLanding> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'#'));
        if text.len() > LIMIT || !is_plain || !text.starts_with('/') {
            return Err(InvalidLanding);
        }
        let path = text.split_once('?').map_or(text, |(path, _)| path).to_ascii_lowercase();
        if path.contains("//") || ["%2f", "%5c", "%00", "%0a", "%0d", "%09"].iter().any(|code| path.contains(code)) {
            return Err(InvalidLanding);
        }
        // Nobody signs in to sign out, or to sign in again.
        if ["/sign-in", "/sign-out"].iter().any(|page| path.starts_with(page)) {
            return Err(InvalidLanding);
        }
        // As a browser reads it, at a place that there is nowhere.
        let base = Url::parse("https://landing.invalid/").map_err(|_| InvalidLanding)?;
        let read = base.join(text).map_err(|_| InvalidLanding)?;
        let is_same =
            read.origin() == base.origin() && read.as_str().strip_prefix("https://landing.invalid") == Some(text);
        if is_same { Ok(Self(without_notice(text))) } else { Err(InvalidLanding) }
    }

    /// The path, which begins with one slash.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What was done there is told by the form that has done it, and not by whoever has written the link.
fn without_notice(text: &str) -> String {
    let Some((path, query)) = text.split_once('?') else { return text.to_owned() };
    let is_notice = |part: &str| form_urlencoded::parse(part.as_bytes()).any(|(name, _)| name == "notice");
    let kept: Vec<&str> = query.split('&').filter(|part| !is_notice(part)).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

impl Default for Landing {
    /// The first page.
    fn default() -> Self {
        Self("/".to_owned())
    }
}

impl fmt::Display for Landing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_our_own_are_taken_as_they_are() {
        for path in [
            "/",
            "/settings/personal-access-tokens",
            "/audit-logs?from=2026-01-01&q=a%20b%2Fc",
            "/details/0193?x=https://a/b",
        ] {
            assert_eq!(Landing::parse(path).map(|landing| landing.to_string()), Ok(path.to_owned()));
        }
    }

    #[test]
    fn no_link_says_what_was_done() {
        for (text, leads) in [
            ("/device?notice=yes", "/device"),
            ("/device?notice", "/device"),
            ("/device?a=b&notice=yes&c", "/device?a=b&c"),
            ("/device?%6eotice=yes&a=notice", "/device?a=notice"),
        ] {
            assert_eq!(Landing::parse(text).map(|landing| landing.to_string()), Ok(leads.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_may_lead_elsewhere_is_refused() {
        for text in [
            "",
            "evil.example",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "https:evil.example",
            "https://evil.example/",
            "javascript:alert(1)",
            "/%2fevil.example",
            "/%2F/evil.example",
            "/%5Cevil.example",
            "/%5c%5cevil.example",
            "/a//evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " /settings",
            "/settings\r\nset-cookie:x=y",
            "/a/../../b",
            "/a/./b",
            "/%2e%2e/x",
            "/.//evil.example",
            "/ä",
            "/settings#x",
            "/sign-in?next=/",
            "/sign-in/acme/callback",
            "/sign-out",
            "?x",
        ] {
            assert_eq!(Landing::parse(text), Err(InvalidLanding), "{text:?}");
        }
        assert!(Landing::parse(&format!("/{}", "x".repeat(LIMIT - 1))).is_ok());
        assert!(Landing::parse(&format!("/{}", "x".repeat(LIMIT))).is_err());
    }
}
