//! Who asks, where a proxy asks for them: by `X-Forwarded-For`, and only if the proxy is one that the operator named.
//!
//! A proxy adds the address at the other end of its connection at the right. What is left of it came from there, and may say anything.
//! So it is read from the right for as long as each next address is a proxy that is believed; the first that is none is who asks.
//! What cannot be read is believed of nobody: then it is the proxy that passed it on who asks. `Forwarded` (RFC 7239) is not
//! looked at: a proxy that writes one of the two passes the other on as its client wrote it, and of two that differ nobody knows which.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderName, Request};
use tower::{Layer, Service};

use crate::{auth::Peer, config::TrustedProxies};

const HEADER: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Proxies behind each other, at the most: what goes through more goes in circles.
const CHAIN: usize = 32;

/// Puts [`ForwardedService`] in front of a service.
#[derive(Debug, Clone)]
pub(super) struct ForwardedLayer {
    trusted: Arc<TrustedProxies>,
}

impl ForwardedLayer {
    /// Believes these alone.
    pub(super) fn new(trusted: TrustedProxies) -> Self {
        Self { trusted: Arc::new(trusted) }
    }
}

impl<Inner> Layer<Inner> for ForwardedLayer {
    type Service = ForwardedService<Inner>;

    fn layer(&self, inner: Inner) -> Self::Service {
        ForwardedService { trusted: Arc::clone(&self.trusted), inner }
    }
}

/// Makes the [`Peer`] of a request the one that it was forwarded for.
#[derive(Debug, Clone)]
pub(super) struct ForwardedService<Inner> {
    trusted: Arc<TrustedProxies>,
    inner: Inner,
}

impl<Inner: Service<Request<B>>, B> Service<Request<B>> for ForwardedService<Inner> {
    type Response = Inner::Response;
    type Error = Inner::Error;
    type Future = Inner::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if !self.trusted.is_empty()
            && let Some(Peer(connected)) = request.extensions().get()
        {
            let peer = Peer(who_asks(&self.trusted, *connected, request.headers()));
            request.extensions_mut().insert(peer);
        }
        self.inner.call(request)
    }
}

fn who_asks(trusted: &TrustedProxies, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
    let lines: Vec<&[u8]> = headers.get_all(HEADER).iter().map(|line| line.as_bytes()).collect();
    // Several headers are one list, in their order (RFC 9110, 5.3).
    let mut from_the_right = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    let mut peer = connected;
    for _ in 0..CHAIN {
        if !trusted.contains(peer) {
            break;
        }
        let Some(next) = from_the_right.next().and_then(address) else { break };
        peer = next;
    }
    peer
}

/// An address as proxies write it, with the port that some add.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?.trim_matches([' ', '\t']);
    let address = match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        Some(bracketed) => IpAddr::V6(bracketed.parse().ok()?),
        None => text.parse().ok().or_else(|| match text.parse().ok()? {
            // A zone means something on the proxy's machine alone.
            SocketAddr::V6(address) if address.scope_id() != 0 => None,
            address @ (SocketAddr::V4(_) | SocketAddr::V6(_)) => Some(address.ip()),
        })?,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(connected: &str, lines: &[&[u8]]) -> String {
        let trusted: TrustedProxies = serde_json::from_str(r#"["10.0.0.0/8", "fd00::/8"]"#).unwrap();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(HEADER, http::HeaderValue::from_bytes(line).unwrap());
        }
        who_asks(&trusted, connected.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn an_address_is_taken_as_proxies_write_it_and_nothing_else_is() {
        for (written, address) in [
            ("192.0.2.7", Some("192.0.2.7")),
            (" \t192.0.2.7 ", Some("192.0.2.7")),
            ("192.0.2.7:65535", Some("192.0.2.7")),
            ("2001:db8::7", Some("2001:db8::7")),
            ("[2001:db8::7]", Some("2001:db8::7")),
            ("[2001:db8::7]:443", Some("2001:db8::7")),
            ("::ffff:192.0.2.7", Some("192.0.2.7")),
            ("[::ffff:192.0.2.7]:1", Some("192.0.2.7")),
            // Without brackets a port is a part of the address.
            ("2001:db8::7:443", Some("2001:db8::7:443")),
            ("", None),
            (" ", None),
            ("unknown", None),
            ("_hidden", None),
            ("\"192.0.2.7\"", None),
            ("for=192.0.2.7", None),
            ("[192.0.2.7]", None),
            ("[192.0.2.7]:80", None),
            ("[2001:db8::7", None),
            ("2001:db8::7]", None),
            ("[[2001:db8::7]]", None),
            ("[fe80::1%2]:80", None),
            ("fe80::1%eth0", None),
            ("192.0.2.7:", None),
            ("192.0.2.7:65536", None),
            ("192.0.2.7:-1", None),
            ("192.0.2.7 192.0.2.8", None),
            ("192.0.2", None),
            ("192.0.2.007", None),
            ("192.0.2.256", None),
            ("0xc0000207", None),
            ("3221225991", None),
            ("192.0.2.7/32", None),
            ("192.0.2.7;", None),
            ("localhost", None),
        ] {
            let found = self::address(written.as_bytes()).map(|address| address.to_string());
            assert_eq!(found.as_deref(), address, "{written:?}");
        }
    }

    #[test]
    fn who_asks_is_the_rightmost_that_is_no_proxy() {
        let cases: &[(&str, &[&[u8]], &str)] = &[
            // Nobody is believed who is no proxy.
            ("192.0.2.1", &[b"198.51.100.1"], "192.0.2.1"),
            ("192.0.2.1", &[b"10.0.0.1"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &[b""], "10.0.0.1"),
            ("10.0.0.1", &[b"198.51.100.1"], "198.51.100.1"),
            ("fd00::1", &[b"[2001:db8::1]:80"], "2001:db8::1"),
            // What is left of it may say anything.
            ("10.0.0.1", &[b"203.0.113.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &[b"10.0.0.9, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &[b"garbage,,, 198.51.100.1"], "198.51.100.1"),
            // A chain, in one header or in several.
            ("10.0.0.1", &[b"203.0.113.1, 198.51.100.1, fd00::2, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &[b"203.0.113.1", b"198.51.100.1", b"10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &[b"203.0.113.1", b"198.51.100.1, 10.0.0.2:80", b"[fd00::2]"], "198.51.100.1"),
            // Proxies alone: the first of them asks for itself.
            ("10.0.0.1", &[b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What cannot be read: whoever passed it on.
            ("10.0.0.1", &[b"198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[b"198.51.100.1", b""], "10.0.0.1"),
            ("10.0.0.1", &[b"198.51.100.1,"], "10.0.0.1"),
            ("10.0.0.1", &[b"198.51.100.1, garbage, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[b"198.51.100.1, \xff"], "10.0.0.1"),
        ];
        for (connected, lines, expected) in cases {
            let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
            assert_eq!(asks(connected, lines), *expected, "{connected} {shown:?}");
        }
    }

    #[test]
    fn a_chain_is_followed_only_so_far() {
        let proxies = |number: usize| format!("198.51.100.1{}", ", 10.0.0.2".repeat(number)).into_bytes();
        assert_eq!(asks("10.0.0.1", &[&proxies(CHAIN - 1)]), "198.51.100.1");
        assert_eq!(asks("10.0.0.1", &[&proxies(CHAIN)]), "10.0.0.2");
    }
}
