//! The address of the server, and whether a token may be sent there.

use url::{Host as Name, Url};

/// Where a server on this machine listens by default.
pub(crate) const DEFAULT: &str = "http://127.0.0.1:8080";

/// Why a text is no address that a token may be sent to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidHost {
    /// No URL.
    #[error("{0:?} is not the address of a server; write https://HOST or HOST:PORT")]
    NotAnAddress(String),
    /// Neither http nor https.
    #[error("an address begins with https:// or http://, not with {0}://")]
    Scheme(String),
    /// User name, password, query or fragment.
    #[error("the address of a server has no user name, password, query or fragment; write https://HOST or HOST:PORT")]
    Surplus,
    /// http:// to another machine.
    #[error(
        "{0} is another machine and http:// is not encrypted: anybody on the way could read the token; use https://, \
         or add --insecure if you know that nobody can"
    )]
    Cleartext(String),
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host(Url);

impl Host {
    /// Reads `HOST`, `HOST:PORT` or a URL, with or without a path such as `/api`. Without a scheme it is `http` for this
    /// machine, `https` for any other.
    ///
    /// # Errors
    /// [`InvalidHost`], but for [`InvalidHost::Cleartext`].
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidHost> {
        let text = text.trim();
        let not_an_address = || InvalidHost::NotAnAddress(text.to_owned());
        if text.contains("://") {
            return Self::checked(Url::parse(text).map_err(|_| not_an_address())?);
        }
        let local = Url::parse(&format!("http://{text}")).map_err(|_| not_an_address())?;
        if is_loopback(&local) {
            return Self::checked(local);
        }
        Self::checked(Url::parse(&format!("https://{text}")).map_err(|_| not_an_address())?)
    }

    fn checked(mut url: Url) -> Result<Self, InvalidHost> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidHost::Scheme(url.scheme().to_owned()));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidHost::Surplus);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// Whether a token may be sent there.
    ///
    /// # Errors
    /// [`InvalidHost::Cleartext`] for `http://` to another machine, unless `insecure` allows it.
    pub(crate) fn permit(&self, insecure: bool) -> Result<(), InvalidHost> {
        if self.is_encrypted() || is_loopback(&self.0) || insecure {
            return Ok(());
        }
        Err(InvalidHost::Cleartext(self.origin()))
    }

    /// Whether what is sent there is encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Scheme, name and port: what a token is stored for (RFC 6454).
    pub(crate) fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The same path at this origin, if the other address is of this origin too. This machine's three usual names are one
    /// here, since a server knows but one of them for its own; the other two still get nothing.
    pub(crate) fn at_own_origin(&self, other: &Self) -> Option<Self> {
        let is_this_machine = |host: &Self| matches!(host.0.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_own = self.0.origin() == other.0.origin()
            || is_this_machine(self)
                && is_this_machine(other)
                && self.0.scheme() == other.0.scheme()
                && self.0.port_or_known_default() == other.0.port_or_known_default();
        is_own.then(|| {
            let mut url = self.0.clone();
            url.set_path(other.0.path());
            Self(url)
        })
    }

    /// Where the API is: the origin and the path, without a slash at the end.
    pub(crate) fn base(&self) -> String {
        self.0.as_str().trim_end_matches('/').to_owned()
    }

    /// The page of an environment.
    pub(crate) fn environment_page(&self, id: &str) -> String {
        format!("{}/details/{id}", self.origin())
    }

    /// The page where people make tokens.
    pub(crate) fn tokens_page(&self) -> String {
        format!("{}/settings/personal-access-tokens", self.origin())
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Name::Ipv4(address)) => address.is_loopback(),
        Some(Name::Ipv6(address)) => address.is_loopback(),
        // RFC 6761, section 6.3: these names are this machine's.
        Some(Name::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> Result<String, InvalidHost> {
        Host::parse(text).map(|host| host.base())
    }

    #[test]
    fn an_address_is_read_as_people_write_it() {
        for (text, expected) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("localhost:8080/", "http://localhost:8080"),
            ("[::1]:80", "http://[::1]"),
            ("gitpod.example", "https://gitpod.example"),
            ("gitpod.example:8443/api/", "https://gitpod.example:8443/api"),
            ("HTTPS://Gitpod.Example:443/api", "https://gitpod.example/api"),
            ("http://10.0.0.1", "http://10.0.0.1"),
        ] {
            assert_eq!(base(text), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(Host::parse("gitpod.example/api").unwrap().origin(), "https://gitpod.example");
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!(base(""), Err(InvalidHost::NotAnAddress(String::new())));
        assert_eq!(base("a b"), Err(InvalidHost::NotAnAddress("a b".into())));
        assert_eq!(base("ftp://a"), Err(InvalidHost::Scheme("ftp".into())));
        for text in ["https://u@a", "https://u:p@a", "https://a?b", "https://a#b"] {
            assert_eq!(base(text), Err(InvalidHost::Surplus), "{text}");
        }
    }

    #[test]
    fn this_machine_has_three_names_and_the_one_in_use_stays() {
        let at_own_origin = |own: &str, other: &str| {
            let found = Host::parse(own).unwrap().at_own_origin(&Host::parse(other).unwrap());
            found.map(|host| host.base())
        };
        for (own, other, expected) in [
            ("https://a.example/api", "https://A.example:443/ops/1/", "https://a.example/ops/1"),
            ("http://localhost:8080", "http://127.0.0.1:8080/ops", "http://localhost:8080/ops"),
            ("http://127.0.0.1:8080/api", "http://localhost:8080/ops", "http://127.0.0.1:8080/ops"),
            ("http://[::1]:8080", "http://LOCALHOST:8080/ops", "http://[::1]:8080/ops"),
            ("http://127.0.0.1", "http://[::1]:80/ops", "http://127.0.0.1/ops"),
        ] {
            assert_eq!(at_own_origin(own, other).as_deref(), Some(expected), "{own} {other}");
        }
        for (own, other) in [
            ("http://localhost:8080", "http://127.0.0.1:8081"),
            ("http://localhost:8080", "http://127.0.0.1"),
            ("https://localhost:8080", "http://127.0.0.1:8080"),
            ("http://localhost:8080", "https://localhost:8080"),
            ("http://localhost:8080", "http://127.0.0.2:8080"),
            ("http://localhost:8080", "http://a.localhost:8080"),
            ("http://localhost:8080", "http://localhost.example:8080"),
            ("http://localhost:8080", "http://[::ffff:127.0.0.1]:8080"),
            ("http://a.example:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080", "http://a.example:8080"),
        ] {
            assert_eq!(at_own_origin(own, other), None, "{own} {other}");
        }
    }

    #[test]
    fn cleartext_stays_on_this_machine() {
        let permitted = |text: &str, insecure| Host::parse(text).unwrap().permit(insecure).is_ok();
        for text in ["http://127.0.0.1", "http://127.9.9.9:1", "http://[::1]", "http://localhost", "https://10.0.0.1"] {
            assert!(permitted(text, false), "{text}");
        }
        for text in ["http://10.0.0.1", "http://localhost.example", "http://0.0.0.0", "http://127.0.0.1.example"] {
            assert!(!permitted(text, false), "{text}");
            assert!(permitted(text, true), "{text}");
        }
    }
}
