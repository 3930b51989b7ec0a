//! Where the pages are: by which names browsers may ask for them, and what of a browser's request proves that it comes from one of
//! them.

use std::net::IpAddr;

use url::Url;

/// The pages' own place, as the operator's public URL says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    public_url: String,
    origin: String,
    authority: String,
    is_https: bool,
    is_for_this_machine: bool,
    session_cookie: String,
}

impl Site {
    /// By the public URL, without a slash at its end, and the address that the server listens on; none if it is no URL with a host.
    #[must_use]
    pub fn new(public_url: &str, listener: IpAddr) -> Option<Self> {
        let url = Url::parse(public_url).ok()?;
        let is_https = url.scheme() == "https";
        let host = url.host()?.to_string();
        let authority = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let is_for_this_machine = listener.to_canonical().is_loopback() && is_loopback(&authority);
        let mut site = Self {
            public_url: public_url.to_owned(),
            origin: url.origin().ascii_serialization(),
            authority,
            is_https,
            is_for_this_machine,
            session_cookie: String::new(),
        };
        site.session_cookie = site.cookie("session");
        Some(site)
    }

    /// What every link that leaves this machine begins with, without a slash at its end.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Scheme, host and port of the public URL, as browsers write them in `Origin`.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether browsers reach it by TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether people may sign in here at all: their cookies go in cleartext to their own machine alone.
    #[must_use]
    pub const fn keeps_cookies(&self) -> bool {
        self.is_https || self.is_for_this_machine
    }

    /// Whether nobody else is meant to reach it: it listens on loopback, and its public URL leads to the machine itself, not to a proxy.
    #[must_use]
    pub const fn is_for_this_machine(&self) -> bool {
        self.is_for_this_machine
    }

    /// The name of the cookie with which a session comes.
    #[must_use]
    pub fn session_cookie(&self) -> &str {
        &self.session_cookie
    }

    /// The name of a cookie of ours. `__Host-` makes browsers take it by TLS from this very host alone (RFC 6265bis, section 4.1.3.2). They
    /// refuse that in cleartext, so that on loopback it has the port instead: there, what listens on other ports shares all cookies.
    #[must_use]
    pub fn cookie(&self, name: &str) -> String {
        if self.is_https {
            return format!("__Host-latchkey-{name}");
        }
        let port = self.authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'));
        port.map_or_else(|| format!("latchkey-{name}"), |port| format!("latchkey-{name}-{port}"))
    }

    /// Whether a browser may ask for pages by this `Host`: that of the public URL, or a name of the machine itself. A name that
    /// somebody else's server has led here (DNS rebinding) is neither.
    #[must_use]
    pub fn is_called(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(&self.authority) || is_loopback(host)
    }

    /// Whether what an `Origin` names is the page's own, which was asked for by this `Host`.
    #[must_use]
    pub fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        origin == self.origin
            || (is_loopback(host) && origin.strip_prefix("http://").is_some_and(|own| own.eq_ignore_ascii_case(host)))
    }
}

/// Whether a `Host`, with or without a port, names the machine itself whatever name servers say (RFC 6761, section 6.3).
fn is_loopback(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => (address, port),
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.parse::<u16>().is_ok());
    let name = name.to_ascii_lowercase();
    let is_local = name == "localhost" || name.strip_suffix(".localhost").is_some_and(is_label);
    is_port && (is_local || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

/// Whether a text is the beginning of a name of a host.
fn is_label(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_site_is_called_by_its_public_name_or_by_the_machines_own() {
        let site = Site::new("https://latchkey.example/base", LOOPBACK).unwrap();
        for host in [
            "latchkey.example",
            "LATCHKEY.example",
            "localhost:8080",
            "127.0.0.1",
            "127.9.9.9:1",
            "[::1]:8080",
            "a.localhost",
        ] {
            assert!(site.is_called(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "latchkey.example:444",
            "latchkey.example.",
            "latchkey.example.evil.example",
            "localhost.evil.example",
            "evil.example@localhost",
            "localhost@evil.example",
            "10.0.0.1",
            "[::2]",
            "0x7f.1",
            "2130706433",
            "localhost/evil",
        ] {
            assert!(!site.is_called(host), "{host}");
        }
    }

    #[test]
    fn an_origin_is_the_public_one_or_that_of_the_loopback_name_asked_for() {
        let site = Site::new("https://latchkey.example", LOOPBACK).unwrap();
        assert!(site.is_own_origin("https://latchkey.example", "latchkey.example"));
        assert!(site.is_own_origin("http://localhost:8080", "localhost:8080"));
        for (origin, host) in [
            ("http://latchkey.example", "latchkey.example"),
            ("https://latchkey.example.evil.example", "latchkey.example"),
            ("https://evil.example", "evil.example"),
            ("http://localhost:3000", "localhost:8080"),
            ("https://localhost:8080", "localhost:8080"),
            ("null", "localhost:8080"),
            ("", "localhost:8080"),
        ] {
            assert!(!site.is_own_origin(origin, host), "{origin} at {host}");
        }
    }

    #[test]
    fn cookies_are_bound_to_the_host_by_tls_and_to_the_port_on_loopback() {
        let name = |url: &str| Site::new(url, LOOPBACK).unwrap().session_cookie().to_owned();
        assert_eq!(name("https://latchkey.example"), "__Host-latchkey-session");
        assert_eq!(name("https://latchkey.example:8443"), "__Host-latchkey-session");
        assert_eq!(name("http://127.0.0.1:8080"), "latchkey-session-8080");
        assert_eq!(name("http://[::1]:8080"), "latchkey-session-8080");
        assert_eq!(name("http://[::1]"), "latchkey-session");
        let keeps = |url: &str| Site::new(url, LOOPBACK).unwrap().keeps_cookies();
        assert!(keeps("https://latchkey.example") && keeps("http://localhost:1") && !keeps("http://latchkey.example"));
        let keeps = |url: &str, listener: &str| Site::new(url, listener.parse().unwrap()).unwrap().keeps_cookies();
        assert!(keeps("https://latchkey.example", "0.0.0.0") && keeps("http://localhost:1", "::ffff:127.0.0.1"));
        assert!(!keeps("http://localhost:1", "0.0.0.0") && !keeps("http://localhost:1", "::"));
    }
}
