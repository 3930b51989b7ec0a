//! Proxies that are believed when they say for whom they ask.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

const FLAG: &str = "--trusted-proxy";

/// Networks of proxies. None of them by default: whoever is at the other end of a connection is who asks.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads addresses and networks.
    pub(super) fn check(texts: &[String], mistakes: &mut Vec<String>) -> Self {
        let mut networks = Vec::new();
        // An empty variable names none.
        for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            match read(text) {
                Ok(network) => networks.push(network),
                Err(mistake) => mistakes.push(format!("{FLAG} {text}: {mistake}")),
            }
        }
        Self(networks)
    }

    /// Whether nobody is believed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that address, in its canonical form, is one of a proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn read(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| "must be an address or a network, such as 192.0.2.1, 10.0.0.0/8 or fd00::/8")?;
    let is_mapped = matches!(network.addr(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    if is_mapped {
        return Err("write it as the address of IPv4 that it stands for".to_owned());
    }
    if network.prefix_len() == 0 {
        return Err("everybody could say that they ask for somebody else; name the networks of your proxies".to_owned());
    }
    // It may be meant to be that address alone.
    if network.addr() != network.network() {
        return Err(format!("is one address of {}; write that, or the address alone", network.trunc()));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(text: &str) -> Result<TrustedProxies, String> {
        let mut mistakes = Vec::new();
        let texts: Vec<String> = text.split(',').map(str::to_owned).collect();
        let proxies = TrustedProxies::check(&texts, &mut mistakes);
        if mistakes.is_empty() { Ok(proxies) } else { Err(mistakes.join("\n")) }
    }

    #[test]
    fn addresses_and_networks_of_both_kinds_are_taken() {
        let proxies = checked("192.0.2.1, 10.0.0.0/8,2001:db8::/32,::1").unwrap();
        for (address, is_one) in [
            ("192.0.2.1", true),
            ("192.0.2.2", false),
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::1", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(proxies.contains(address.parse().unwrap()), is_one, "{address}");
        }
        assert!(checked("").unwrap().is_empty());
    }

    #[test]
    fn what_may_mean_more_or_less_than_it_says_is_refused() {
        for (text, mistake) in [
            ("proxy", "must be an address or a network"),
            ("10.0.0.0/33", "must be an address or a network"),
            ("10.0.0.1:80", "must be an address or a network"),
            ("[::1]", "must be an address or a network"),
            ("10.0.0.1/8", "one address of 10.0.0.0/8"),
            ("2001:db8::1/64", "one address of 2001:db8::/64"),
            ("0.0.0.0/0", "everybody"),
            ("::/0", "everybody"),
            ("::ffff:10.0.0.0/104", "of IPv4"),
        ] {
            let mistakes = checked(text).expect_err(text);
            assert!(mistakes.starts_with(FLAG) && mistakes.contains(mistake), "{text}: {mistakes}");
        }
        assert_eq!(checked("proxy,10.0.0.0/8,x").unwrap_err().lines().count(), 2);
    }
}
