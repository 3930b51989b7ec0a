//! Where a connection may go: resolves a name once, judges what it found, and names the addresses to connect to.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// To every host that may be reached.
    Everywhere,
    /// To destinations that the operator named, and nowhere else.
    NamedOnly,
}

/// Where connections may go.
#[derive(Debug, Clone)]
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
    /// Resolves a destination, once, and gives the addresses to connect to, in the resolver's order: those that may be
    /// reached. The caller connects to these and resolves no more, so a name that changes its mind gains nothing.
    ///
    /// # Errors
    /// [`Refusal::Unresolved`], [`Refusal::Address`] when none of the addresses may be reached.
    pub async fn addresses(&self, destination: &Destination) -> Result<Vec<SocketAddr>, Refusal> {
        let found = resolve(destination).await?;
        if self.named.contains(destination) {
            return Ok(found);
        }
        let interfaces = interface_addresses();
        let mut allowed = Vec::new();
        let mut first_refusal = None;
        for address in found {
            let reason = forbidden(address.ip()).or_else(|| {
                let canonical = address.ip().to_canonical();
                let own = interfaces.contains(&canonical) || self.own_addresses.contains(&canonical);
                own.then_some(Forbidden::OwnServer)
            });
            match reason {
                None => allowed.push(address),
                Some(reason) => {
                    first_refusal.get_or_insert(Refusal::Address {
                        host: destination.host.clone(),
                        address: address.ip(),
                        reason,
                    });
                }
            }
        }
        match first_refusal {
            Some(refusal) if allowed.is_empty() => Err(refusal),
            Some(_) | None => Ok(allowed),
        }
    }
}

async fn resolve(destination: &Destination) -> Result<Vec<SocketAddr>, Refusal> {
    let (host, port) = (destination.host.clone(), destination.port);
    let lookup = async {
        let place = RESOLVING.acquire().await.ok()?;
        let looked = tokio::task::spawn_blocking(move || {
            // Held until the resolver answers, also when nobody waits for that any more.
            let _place = place;
            (host.as_str(), port).to_socket_addrs().map(|found| found.take(ADDRESS_LIMIT).collect())
        });
        looked.await.ok()?.ok()
    };
    let found: Vec<SocketAddr> = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await.ok().flatten().unwrap_or_default();
    if found.is_empty() {
        return Err(Refusal::Unresolved { host: destination.host.clone() });
    }
    Ok(found)
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

    #[tokio::test]
    async fn a_name_that_leads_nowhere_says_so() {
        let error = policy(&[]).addresses(&Destination::new("no-such-host.invalid", 443)).await.unwrap_err();
        assert_eq!(error, Refusal::Unresolved { host: "no-such-host.invalid".into() });
    }
}
