//! Where a connection may go: resolves a name once, judges what it found, and names the addresses to connect to.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::address::{Forbidden, forbidden};

/// The longest wait for a name to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Names that are looked up at once, by all environments: each takes a thread until the resolver answers, and the same
/// threads write files.
static RESOLVING: Semaphore = Semaphore::const_new(64);
/// The most addresses of one name that are tried.
const ADDRESS_LIMIT: usize = 4;

/// A host, as it is spelled in a request, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Destination {
    host: String,
    port: u16,
}

impl Destination {
    /// A destination; the host's letters and a final dot do not matter, nor do the brackets of an IPv6 address.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let bare = bare.strip_suffix('.').unwrap_or(bare);
        Self { host: bare.to_ascii_lowercase(), port }
    }

    /// The host: a name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

/// Why a connection is not made. The text is for whoever asked for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The name leads, or the address belongs, where environments may not go.
    #[error("the address {address} of host {host} is {reason}; environments may reach public addresses only")]
    Address {
        /// The host asked for.
        host: String,
        /// What it resolves to.
        address: IpAddr,
        /// Why not.
        reason: Forbidden,
    },
    /// There is no such host.
    #[error("the host {host} does not resolve to an address; check its spelling")]
    Unresolved {
        /// The host asked for.
        host: String,
    },
    /// Nobody answers there.
    #[error("no connection to {destination}: {reason}")]
    Unreachable {
        /// What was asked for.
        destination: Destination,
        /// What the operating system said.
        reason: String,
    },
    /// Plain HTTP to a host that the operator has not named, where only https is allowed.
    #[error("the host {host} was asked for over http; only https is allowed")]
    PlainHttp {
        /// The host asked for.
        host: String,
    },
}

/// Whether requests for `http://` URLs are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlainHttp {
    /// To every host that may be reached.
    Everywhere,
    /// To destinations that the operator named, and nowhere else.
    NamedOnly,
}

/// Where connections may go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Policy {
    /// Destinations that the operator named: reached whatever their address is.
    pub named: BTreeSet<Destination>,
    /// Public addresses of this server that its network interfaces do not have (those behind a translating router).
    pub own_addresses: Vec<IpAddr>,
    /// Plain HTTP.
    pub plain_http: PlainHttp,
    /// A proxy of the operator's, by which everything goes but what the operator named.
    pub upstream: Option<Destination>,
}

impl Policy {
    /// Resolves a destination, once, and gives the addresses to connect to, in the resolver's order. The caller connects to
    /// these and resolves no more, so a name that changes its mind gains nothing.
    ///
    /// # Errors
    /// [`Refusal::Unresolved`]; [`Refusal::Address`] when any of its addresses may not be reached.
    pub async fn addresses(&self, destination: &Destination) -> Result<Vec<SocketAddr>, Refusal> {
        let found = resolve(destination).await;
        self.judged(destination, found, &interface_addresses())
    }

    /// Judges what a destination resolved to. One address that may not be reached spoils the name: whoever gave such an
    /// answer is not to be followed to the others.
    fn judged(
        &self,
        destination: &Destination,
        mut found: Vec<SocketAddr>,
        interfaces: &[IpAddr],
    ) -> Result<Vec<SocketAddr>, Refusal> {
        if found.is_empty() {
            return Err(Refusal::Unresolved { host: destination.host.clone() });
        }
        if !self.named.contains(destination) {
            for address in &found {
                let reason = forbidden(address.ip()).or_else(|| {
                    let canonical = address.ip().to_canonical();
                    let own = interfaces.contains(&canonical) || self.own_addresses.contains(&canonical);
                    own.then_some(Forbidden::OwnServer)
                });
                if let Some(reason) = reason {
                    let host = destination.host.clone();
                    return Err(Refusal::Address { host, address: address.ip(), reason });
                }
            }
        }
        found.truncate(ADDRESS_LIMIT);
        Ok(found)
    }
}

/// What the system's resolver says, if it does in time.
async fn resolve(destination: &Destination) -> Vec<SocketAddr> {
    let (host, port) = (destination.host.clone(), destination.port);
    let lookup = async {
        let place = RESOLVING.acquire().await.ok()?;
        let looked = tokio::task::spawn_blocking(move || {
            // Held until the resolver answers, also when nobody waits for that any more.
            let _place = place;
            (host.as_str(), port).to_socket_addrs().map(Iterator::collect)
        });
        looked.await.ok()?.ok()
    };
    tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await.ok().flatten().unwrap_or_default()
}

/// The addresses of this machine's network interfaces, read anew as they may change. Empty if they cannot be read: the
/// ranges still hold.
fn interface_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(named: &[(&str, u16)]) -> Policy {
        Policy {
            named: named.iter().map(|(host, port)| Destination::new(host, *port)).collect(),
            own_addresses: vec!["1.2.3.4".parse().unwrap()],
            plain_http: PlainHttp::Everywhere,
            upstream: None,
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_where_it_leads() {
        let policy = policy(&[("localhost", 4000)]);
        let reason = async |host: &str, port| match policy.addresses(&Destination::new(host, port)).await {
            Err(Refusal::Address { reason, .. }) => Some(reason),
            Err(other) => panic!("{host}: {other}"),
            Ok(_) => None,
        };
        assert_eq!(reason("localhost", 80).await, Some(Forbidden::Loopback));
        assert_eq!(reason("LOCALHOST.", 4001).await, Some(Forbidden::Loopback));
        assert_eq!(reason("LocalHost", 4000).await, None, "named by the operator, with this port");
        assert_eq!(reason("[::1]", 80).await, Some(Forbidden::Loopback));
        // Spellings that only the resolver knows for addresses.
        for spelling in ["0x7f.1", "2130706433", "127.1", "017700000001"] {
            assert_eq!(reason(spelling, 80).await, Some(Forbidden::Loopback), "{spelling}");
        }
        assert_eq!(reason("1.2.3.4", 80).await, Some(Forbidden::OwnServer));
        assert_eq!(reason("::ffff:1.2.3.4", 80).await, Some(Forbidden::OwnServer));
        assert_eq!(reason("1.2.3.5", 80).await, None);
    }

    #[test]
    fn one_address_that_is_forbidden_spoils_a_name() {
        use Forbidden::{Metadata, OwnServer, Private, UniqueLocal};
        let policy = policy(&[("mirror.example", 443)]);
        let interfaces = ["5.6.7.8".parse().unwrap()];
        let judged = |host: &str, addresses: &[&str]| {
            let found = addresses.iter().map(|address| SocketAddr::new(address.parse().unwrap(), 443)).collect();
            policy.judged(&Destination::new(host, 443), found, &interfaces)
        };
        for (addresses, culprit, why) in [
            (&["10.0.0.1"] as &[&str], "10.0.0.1", Private),
            (&["169.254.169.254"], "169.254.169.254", Metadata),
            (&["fd00:ec2::254"], "fd00:ec2::254", Metadata),
            (&["1.1.1.1", "10.0.0.1"], "10.0.0.1", Private),
            (&["192.168.0.1", "1.1.1.1"], "192.168.0.1", Private),
            (&["1.1.1.1", "2606:50c0:8000::153", "169.254.169.254"], "169.254.169.254", Metadata),
            (&["1.1.1.1", "fd12::1"], "fd12::1", UniqueLocal),
            (&["1.1.1.1", "1.2.3.4"], "1.2.3.4", OwnServer),
            (&["1.1.1.1", "::ffff:5.6.7.8"], "::ffff:5.6.7.8", OwnServer),
            // Beyond those that would be tried.
            (&["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4", "10.0.0.1"], "10.0.0.1", Private),
        ] {
            let refusal = judged("name.example", addresses).unwrap_err();
            let address = culprit.parse().unwrap();
            assert_eq!(
                refusal,
                Refusal::Address { host: "name.example".into(), address, reason: why },
                "{addresses:?}"
            );
            // The operator knows better.
            assert_eq!(judged("mirror.example", addresses).unwrap().len(), addresses.len().min(ADDRESS_LIMIT));
        }
        let public = ["1.1.1.1", "2606:50c0:8000::153"];
        let allowed: Vec<String> =
            judged("name.example", &public).unwrap().iter().map(|one| one.ip().to_string()).collect();
        assert_eq!(allowed, public, "in the resolver's order");
        assert_eq!(judged("name.example", &[]).unwrap_err(), Refusal::Unresolved { host: "name.example".into() });
    }

    #[tokio::test]
    async fn a_name_that_leads_nowhere_says_so() {
        let error = policy(&[]).addresses(&Destination::new("no-such-host.invalid", 443)).await.unwrap_err();
        assert_eq!(error, Refusal::Unresolved { host: "no-such-host.invalid".into() });
    }
}
