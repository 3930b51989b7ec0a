//! Providers: who is believed when they say who somebody is.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// The most characters that a name has.
const NAME_LIMIT: usize = 63;

/// What a provider is called in URLs, in invitations and in the audit log: lowercase letters, digits and single hyphens between them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderName(String);

/// A text that is no provider's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 63 lowercase letters and digits, with single hyphens between them, such as github or our-login")]
pub struct InvalidProviderName;

impl ProviderName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderName {
    type Err = InvalidProviderName;

    fn from_str(text: &str) -> Result<Self, InvalidProviderName> {
        let is_part =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        // A page of its own beside those of providers.
        let is_taken = text == "link";
        if text.len() > NAME_LIMIT || is_taken || !text.split('-').all(is_part) {
            return Err(InvalidProviderName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ProviderName {
    type Error = InvalidProviderName;

    fn try_from(text: String) -> Result<Self, InvalidProviderName> {
        text.parse()
    }
}

impl From<ProviderName> for String {
    fn from(name: ProviderName) -> Self {
        name.0
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a URL leads to this machine, whatever name servers say: there, providers may go without TLS.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A provider, as the operator describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// What it is called.
    pub name: ProviderName,
    /// What people call it: on its button.
    pub display_name: String,
    /// Its issuer identifier, byte for byte as its tokens have it.
    pub issuer: String,
    /// What we are called there.
    pub client_id: String,
    /// Where our secret is; none if the provider knows us as a public client.
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// The claim that has somebody's groups.
    pub groups_claim: String,
    /// Groups whose members are admins. If there are none, the provider has no say in who is one.
    pub admin_groups: Vec<String>,
    /// Domains whose people need no invitation.
    pub allowed_domains: Vec<String>,
}

impl Provider {
    /// Whether it decides who is an admin; and if so, whether somebody with these groups is one.
    #[must_use]
    pub fn says_admin(&self, groups: &[String]) -> Option<bool> {
        if self.admin_groups.is_empty() {
            return None;
        }
        Some(self.admin_groups.iter().any(|group| groups.contains(group)))
    }

    /// Whether whoever has this address needs no invitation. The whole domain counts: what ends with it is somebody else's.
    #[must_use]
    pub fn allows(&self, email: &str) -> bool {
        let Some((_, domain)) = email.rsplit_once('@') else { return false };
        self.allowed_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(admin_groups: &[&str], allowed_domains: &[&str]) -> Provider {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Provider {
            name: "acme".parse().unwrap(),
            display_name: "Acme".to_owned(),
            issuer: "https://login.acme.example".to_owned(),
            client_id: "latchkey".to_owned(),
            client_secret_file: None,
            scopes: owned(&["openid"]),
            groups_claim: "groups".to_owned(),
            admin_groups: owned(admin_groups),
            allowed_domains: owned(allowed_domains),
        }
    }

    #[test]
    fn names_are_slugs() {
        for name in ["a", "github", "our-login-2", &"x".repeat(63)] {
            assert!(name.parse::<ProviderName>().is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "a--b", "GitHub", "a_b", "a/b", "ä", "link", &"x".repeat(64)] {
            assert_eq!(name.parse::<ProviderName>(), Err(InvalidProviderName), "{name}");
        }
    }

    #[test]
    fn an_address_is_of_an_allowed_domain_or_not_at_all() {
        let acme = provider(&[], &["acme.example"]);
        assert!(acme.allows("ann@acme.example") && acme.allows("ann@ACME.example"));
        for other in [
            "ann@evil-acme.example",
            "ann@acme.example.evil.example",
            "ann@sub.acme.example",
            "ann@acme.example@evil.example",
            "acme.example",
            "ann@",
        ] {
            assert!(!acme.allows(other), "{other}");
        }
        assert!(!provider(&[], &[]).allows("ann@acme.example"));
    }

    #[test]
    fn groups_are_compared_whole_and_without_admin_groups_say_nothing() {
        let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let acme = provider(&["ops", "root"], &[]);
        assert_eq!(acme.says_admin(&groups(&["dev", "ops"])), Some(true));
        assert_eq!(acme.says_admin(&groups(&["ops2", "Ops", " ops"])), Some(false));
        assert_eq!(acme.says_admin(&[]), Some(false));
        assert_eq!(provider(&[], &[]).says_admin(&groups(&["ops"])), None);
    }
}
