//! Which addresses an environment may reach: public ones. Pure rules.
//!
//! Sources: the IANA special-purpose registries for [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry)
//! and [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry), RFC 6890; the metadata services of the
//! large clouds.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Why an address is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forbidden {
    /// `0.0.0.0/8`, `::`: connects to this machine.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`, and the retired `fec0::/10`.
    LinkLocal,
    /// RFC 1918.
    Private,
    /// `fc00::/7`.
    UniqueLocal,
    /// `100.64.0.0/10`, between a provider and its customers.
    Shared,
    /// One to many.
    Multicast,
    /// A cloud's metadata service, which gives out credentials.
    Metadata,
    /// For documentation, measurements, protocols, tunnels and the future: no host of the internet.
    Reserved,
    /// One of this server's own.
    OwnServer,
}

impl fmt::Display for Forbidden {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Private => "private",
            Self::UniqueLocal => "unique local (private)",
            Self::Shared => "shared between carriers and customers (private)",
            Self::Multicast => "multicast",
            Self::Metadata => "a cloud metadata service",
            Self::Reserved => "reserved",
            Self::OwnServer => "one of this server's own",
        })
    }
}

/// Metadata services, by address. Some of them would be refused by range as well; all are named, so that the message
/// says what was refused.
const METADATA: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// Says why an address must not be reached; none for a public one. An IPv6 address that carries an IPv4 address is
/// judged by that, as this is where its packets may end.
#[must_use]
pub fn forbidden(address: IpAddr) -> Option<Forbidden> {
    if METADATA.contains(&address) {
        return Some(Forbidden::Metadata);
    }
    match address {
        IpAddr::V4(address) => forbidden_v4(address),
        IpAddr::V6(address) => forbidden_v6(address),
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<Forbidden> {
    match address.octets() {
        [0, ..] => Some(Forbidden::Unspecified),
        [127, ..] => Some(Forbidden::Loopback),
        [169, 254, ..] => Some(Forbidden::LinkLocal),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Forbidden::Private),
        [100, 64..=127, ..] => Some(Forbidden::Shared),
        [224..=239, ..] => Some(Forbidden::Multicast),
        [240..=255, ..]
        | [192, 0, 0, _]
        | [192, 0, 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Some(Forbidden::Reserved),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<Forbidden> {
    if address.is_unspecified() {
        return Some(Forbidden::Unspecified);
    }
    if address.is_loopback() {
        return Some(Forbidden::Loopback);
    }
    if let Some(inner) = embedded_v4(address) {
        return forbidden(IpAddr::V4(inner));
    }
    match address.segments() {
        [0xfe80..=0xfeff, ..] => Some(Forbidden::LinkLocal),
        [0xfc00..=0xfdff, ..] => Some(Forbidden::UniqueLocal),
        [0xff00..=0xffff, ..] => Some(Forbidden::Multicast),
        // Teredo and the other protocol assignments; documentation, twice.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => Some(Forbidden::Reserved),
        [0x2000..=0x3fff, ..] => None,
        // Nothing else is global unicast (RFC 4291), 64:ff9b:1::/48 (local NAT64) and 100::/64 included.
        _ => Some(Forbidden::Reserved),
    }
}

/// The IPv4 address inside of an IPv6 address: mapped (`::ffff:0:0/96`), translated (`::ffff:0:0:0/96`), compatible
/// (`::/96`), NAT64 (`64:ff9b::/96`), 6to4 (`2002::/16`), ISATAP (`…:0:5efe:a.b.c.d`, `…:200:5efe:a.b.c.d`).
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..]
        | [_, _, _, _, 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_may_be_reached() {
        use Forbidden::{
            LinkLocal, Loopback, Metadata, Multicast, Private, Reserved, Shared, UniqueLocal, Unspecified,
        };
        for (address, expected) in [
            ("1.1.1.1", None),
            ("140.82.121.3", None),
            ("172.15.255.255", None),
            ("172.32.0.0", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("192.167.255.255", None),
            ("198.17.255.255", None),
            ("223.255.255.255", None),
            ("2606:50c0:8000::153", None),
            ("2a00:1450:4001::200e", None),
            ("0.0.0.0", Some(Unspecified)),
            ("0.1.2.3", Some(Unspecified)),
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.255", Some(Loopback)),
            ("10.0.0.1", Some(Private)),
            ("172.16.0.0", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("192.168.0.1", Some(Private)),
            ("169.254.0.1", Some(LinkLocal)),
            ("169.254.169.254", Some(Metadata)),
            ("168.63.129.16", Some(Metadata)),
            ("100.100.100.200", Some(Metadata)),
            ("100.64.0.1", Some(Shared)),
            ("100.127.255.255", Some(Shared)),
            ("192.0.0.192", Some(Metadata)),
            ("192.0.0.1", Some(Reserved)),
            ("192.0.2.1", Some(Reserved)),
            ("198.18.0.1", Some(Reserved)),
            ("198.19.255.255", Some(Reserved)),
            ("198.51.100.7", Some(Reserved)),
            ("203.0.113.7", Some(Reserved)),
            ("224.0.0.1", Some(Multicast)),
            ("239.255.255.255", Some(Multicast)),
            ("240.0.0.1", Some(Reserved)),
            ("255.255.255.255", Some(Reserved)),
            ("::", Some(Unspecified)),
            ("::1", Some(Loopback)),
            ("fe80::1", Some(LinkLocal)),
            ("febf::1", Some(LinkLocal)),
            ("fec0::1", Some(LinkLocal)),
            ("fc00::1", Some(UniqueLocal)),
            ("fdff::1", Some(UniqueLocal)),
            ("fd00:ec2::254", Some(Metadata)),
            ("ff02::1", Some(Multicast)),
            ("2001:db8::1", Some(Reserved)),
            ("2001::1", Some(Reserved)),
            ("3fff::1", Some(Reserved)),
            ("100::1", Some(Reserved)),
            ("4000::1", Some(Reserved)),
            ("64:ff9b:1::1", Some(Reserved)),
            // IPv4 in disguise.
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:169.254.169.254", Some(Metadata)),
            ("::ffff:1.1.1.1", None),
            ("::ffff:0:10.0.0.1", Some(Private)),
            ("::10.0.0.1", Some(Private)),
            ("64:ff9b::10.0.0.1", Some(Private)),
            ("64:ff9b::a9fe:a9fe", Some(Metadata)),
            ("64:ff9b::1.1.1.1", None),
            ("2002:7f00:1::", Some(Loopback)),
            ("2002:a9fe:a9fe::1", Some(Metadata)),
            ("2002:c0a8:1::", Some(Private)),
            ("2606:50c0::5efe:10.0.0.1", Some(Private)),
            ("2606:50c0::200:5efe:127.0.0.1", Some(Loopback)),
        ] {
            assert_eq!(forbidden(address.parse().unwrap()), expected, "{address}");
        }
    }
}
