//! What of a browser's request counts. A cookie comes along with whatever request any page makes a browser send; so it is asked which
//! page that was, of headers that no page can write (Fetch Metadata; the Fetch standard's `Origin`).

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};

use crate::domain::{bearer::NoToken, site::Site};

/// Why a browser's request goes no further, whoever sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// It was sent by a name that is not ours.
    Host,
    /// Another site's page sent it, or there is no telling.
    Site,
}

impl Foreign {
    /// A few words for logs and metrics.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Host => "host of another",
            Self::Site => "page of another site",
        }
    }

    /// What whoever sent it is told.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Host => "this server is not called by that name; open it by its public URL",
            Self::Site => {
                "this was not sent by a page of this site; open the page here and try again, with a browser that says where requests come from"
            }
        }
    }
}

/// By which name a request was sent: `Host`, or what HTTP/2 has in its place. None if it has two, or none.
fn host(parts: &Parts) -> Option<&str> {
    let mut headers = parts.headers.get_all(header::HOST).iter();
    let named = headers.next();
    if headers.next().is_some() {
        return None;
    }
    let named = named.map(HeaderValue::to_str).transpose().ok()?;
    match (parts.uri.authority(), named) {
        (Some(authority), Some(named)) if authority.as_str() != named => None,
        (Some(authority), _) => Some(authority.as_str()),
        (None, named) => named,
    }
}

/// The session in a browser's request.
pub(super) fn session<'a>(parts: &'a Parts, site: &Site) -> Result<Result<&'a str, NoToken>, Foreign> {
    called(parts, site)?;
    // Whoever has none has nothing to lose, and is to be told how to get one.
    let session = the_cookie(&parts.headers, site.session_cookie());
    if session.is_ok() || !reads(parts) {
        admit(parts, site)?;
    }
    Ok(session)
}

/// Whether anybody may have what is public: a page; and what a form sends from our own pages.
pub(super) fn admit_anybody(parts: &Parts, site: &Site) -> Result<(), Foreign> {
    if reads(parts) { called(parts, site).map(|_| ()) } else { admit(parts, site) }
}

/// Whether what is public and no page is for whoever asks. Programs are asked for by whatever name their operator has given the server; a
/// browser, which says where requests come from, by one of our names, so that no page of somebody else's whose name leads here (DNS
/// rebinding) gets to read what it is answered.
pub(super) fn admit_program(parts: &Parts, site: &Site) -> Result<(), Foreign> {
    let is_browsers = parts.headers.contains_key(header::ORIGIN) || parts.headers.contains_key("sec-fetch-site");
    if is_browsers { called(parts, site).map(|_| ()) } else { Ok(()) }
}

/// Whether somebody sees what is answered, who has opened a page or sent a form. Not so a script of a page that asks for what has changed.
#[must_use]
pub fn is_looked_at(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_none_or(|dest| dest == "document")
}

fn reads(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD)
}

fn called<'a>(parts: &'a Parts, site: &Site) -> Result<&'a str, Foreign> {
    host(parts).filter(|host| site.is_called(host)).ok_or(Foreign::Host)
}

/// Whether what a browser sends counts: it was sent to one of our names, and by one of our own pages; or it is somebody who comes to see a
/// page (by a link, wherever that is, or by typing), which changes nothing, and which no other page can look into.
fn admit(parts: &Parts, site: &Site) -> Result<(), Foreign> {
    let host = called(parts, site)?;
    let (from, origin) = (one(&parts.headers, "sec-fetch-site"), one(&parts.headers, header::ORIGIN.as_str()));
    let is_own = match (from, origin) {
        (Some(from), Some(origin)) => from == "same-origin" && site.is_own_origin(origin, host),
        (Some(from), None) => from == "same-origin",
        (None, Some(origin)) => site.is_own_origin(origin, host),
        (None, None) => false,
    };
    let comes_to_see = reads(parts)
        && from.is_some()
        && one(&parts.headers, "sec-fetch-mode") == Some("navigate")
        && one(&parts.headers, "sec-fetch-dest") == Some("document");
    if is_own || comes_to_see { Ok(()) } else { Err(Foreign::Site) }
}

/// The value of a header; of one that came twice, what nobody says.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { Some("") } else { Some(value.to_str().unwrap_or_default()) }
}

/// What the cookie of a session holds, if there is one.
#[must_use]
pub fn session_cookie<'a>(parts: &'a Parts, site: &Site) -> Option<&'a str> {
    cookie(parts, site.session_cookie())
}

/// What another cookie of ours holds, if there is one of that name.
#[must_use]
pub fn cookie<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    the_cookie(&parts.headers, name).ok()
}

/// The one cookie of that name. Of two, one may have been planted by whoever else can set cookies for the host: neither counts.
fn the_cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, NoToken> {
    let mut found = None;
    for value in headers.get_all(header::COOKIE) {
        for pair in value.to_str().unwrap_or_default().split(';') {
            if let Some((key, text)) = pair.trim().split_once('=')
                && key == name
                && found.replace(text).is_some()
            {
                return Err(NoToken::Repeated);
            }
        }
    }
    found.ok_or(NoToken::Missing)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/settings");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn admitted(method: &str, headers: &[(&str, &str)]) -> Result<(), Foreign> {
        admit(&parts(method, headers), &Site::new("https://latchkey.example", [127, 0, 0, 1].into()).unwrap())
    }

    const HOST: (&str, &str) = ("host", "latchkey.example");
    const OWN: (&str, &str) = ("origin", "https://latchkey.example");

    #[test]
    fn a_form_counts_from_our_own_pages_alone() {
        assert_eq!(admitted("POST", &[HOST, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(admitted("POST", &[HOST, OWN]), Ok(()));
        assert_eq!(admitted("POST", &[HOST, OWN, ("sec-fetch-site", "same-origin")]), Ok(()));
        let evil = ("origin", "https://evil.example");
        let navigates = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        for others in [
            &[HOST][..],
            &[HOST, evil],
            &[HOST, ("origin", "null")],
            &[HOST, OWN, evil],
            &[HOST, evil, ("sec-fetch-site", "same-origin")],
            &[HOST, OWN, ("sec-fetch-site", "cross-site")],
            &[HOST, OWN, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
            &[HOST, ("sec-fetch-site", "same-site"), navigates[0], navigates[1]],
            &[HOST, ("sec-fetch-site", "cross-site"), navigates[0], navigates[1]],
            &[HOST, ("sec-fetch-site", "none"), navigates[0], navigates[1]],
        ] {
            assert_eq!(admitted("POST", others), Err(Foreign::Site), "{others:?}");
        }
    }

    #[test]
    fn whoever_comes_to_see_a_page_may_come_from_anywhere_and_nothing_else_looks_in() {
        let (navigate, document) = (("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"));
        for from in ["none", "cross-site", "same-site", "same-origin"] {
            assert_eq!(admitted("GET", &[HOST, ("sec-fetch-site", from), navigate, document]), Ok(()), "{from}");
        }
        assert_eq!(admitted("GET", &[HOST, ("sec-fetch-site", "same-origin")]), Ok(()), "events");
        let cross = ("sec-fetch-site", "cross-site");
        for others in [
            &[HOST, cross, navigate, ("sec-fetch-dest", "iframe")][..],
            &[HOST, cross, ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
            &[HOST, cross, ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty"), ("origin", "https://evil.example")],
            &[HOST, navigate, document],
            &[HOST],
        ] {
            assert_eq!(admitted("GET", others), Err(Foreign::Site), "{others:?}");
        }
    }

    #[test]
    fn pages_are_asked_for_by_our_own_names() {
        let own = ("sec-fetch-site", "same-origin");
        for host in ["evil.example", "latchkey.example.evil.example", ""] {
            assert_eq!(admitted("GET", &[("host", host), own]), Err(Foreign::Host), "{host}");
        }
        assert_eq!(admitted("GET", &[own]), Err(Foreign::Host));
        assert_eq!(admitted("GET", &[HOST, ("host", "evil.example"), own]), Err(Foreign::Host));
        assert_eq!(admitted("GET", &[("host", "localhost:8080"), own]), Ok(()));
        let mut both = parts("GET", &[HOST, own]);
        both.uri = "http://evil.example/settings".parse().unwrap();
        assert_eq!(host(&both), None);
    }

    #[test]
    fn one_cookie_of_a_name_counts() {
        let read = |values: &[&str]| {
            let headers: Vec<(&str, &str)> = values.iter().map(|value| ("cookie", *value)).collect();
            the_cookie(&parts("GET", &headers).headers, "latchkey-session").map(str::to_owned)
        };
        assert_eq!(read(&["a=b; latchkey-session=x; c=d"]), Ok("x".to_owned()));
        assert_eq!(read(&["a=b", "latchkey-session=x"]), Ok("x".to_owned()));
        assert_eq!(read(&["xlatchkey-session=x; latchkey-sessionx=y"]), Err(NoToken::Missing));
        assert_eq!(read(&[]), Err(NoToken::Missing));
        assert_eq!(read(&["latchkey-session=x; latchkey-session=x"]), Err(NoToken::Repeated));
        assert_eq!(read(&["latchkey-session=x", "latchkey-session=y"]), Err(NoToken::Repeated));
    }
}
