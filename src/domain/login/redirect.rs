//! Where an authorization code may be sent: to a program on the machine of the browser (RFC 8252, section 7.3).

use url::{Host, Url};

/// The longest that is taken.
const LONGEST: usize = 512;

/// `http://127.0.0.1:PORT/…` or `http://[::1]:PORT/…`, whatever the port, without a query or a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopbackRedirect(Url);

impl LoopbackRedirect {
    /// Reads one. None for every other place, also `localhost`, which may be led elsewhere (RFC 8252, section 8.3), and for other
    /// spellings of the same.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok().filter(|_| text.len() <= LONGEST)?;
        let is_loopback = match url.host()? {
            Host::Ipv4(address) => address == std::net::Ipv4Addr::LOCALHOST,
            Host::Ipv6(address) => address == std::net::Ipv6Addr::LOCALHOST,
            Host::Domain(_) => false,
        };
        let is_plain = url.scheme() == "http"
            && url.port().is_some_and(|port| port != 0)
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            // One place, one spelling: what is compared later is the text.
            && url.as_str() == text;
        (is_loopback && is_plain).then_some(Self(url))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Scheme, host and port: for a page's policy that says where its forms may lead.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    /// The place with parameters, each written as a URL has to have it.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        url.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_goes_to_the_machine_of_the_browser_alone() {
        for good in ["http://127.0.0.1:1/", "http://127.0.0.1:65535/login/callback", "http://[::1]:8085/x"] {
            assert_eq!(LoopbackRedirect::parse(good).as_ref().map(LoopbackRedirect::as_str), Some(good));
        }
        for bad in [
            "",
            "http://127.0.0.1/",
            "http://127.0.0.1:80/",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:8085",
            "https://127.0.0.1:8085/",
            "http://localhost:8085/",
            "http://127.0.0.2:8085/",
            "http://127.1:8085/",
            "http://0x7f000001:8085/",
            "http://[::ffff:127.0.0.1]:8085/",
            "http://[0:0:0:0:0:0:0:1]:8085/",
            "http://0.0.0.0:8085/",
            "http://127.0.0.1:8085/a/../b",
            "http://127.0.0.1:8085\\@evil.example/",
            "http://127.0.0.1:8085@evil.example/",
            "http://me@127.0.0.1:8085/",
            "http://127.0.0.1:8085/?a=b",
            "http://127.0.0.1:8085/#a",
            "http://127.0.0.1.evil.example:8085/",
            "http://evil.example:8085/",
            "javascript:alert(1)",
            "HTTP://127.0.0.1:8085/",
            " http://127.0.0.1:8085/",
            "http://127.0.0.1:8085/a b",
            "http://127.0.0.1:8085/\r\nx: y",
        ] {
            assert_eq!(LoopbackRedirect::parse(bad), None, "{bad}");
        }
        let long = format!("http://127.0.0.1:8085/{}", "a".repeat(LONGEST));
        assert_eq!(LoopbackRedirect::parse(&long), None);
    }

    #[test]
    fn parameters_end_nothing() {
        let redirect = LoopbackRedirect::parse("http://[::1]:8085/x").unwrap();
        assert_eq!(redirect.origin(), "http://[::1]:8085");
        assert_eq!(
            redirect.with(&[("code", "a&b=c#d"), ("state", "\r\n")]),
            "http://[::1]:8085/x?code=a%26b%3Dc%23d&state=%0D%0A"
        );
    }
}
