//! Providers with whose accounts people sign in: a file, since there is more to say of each than flags hold.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_norway::{Mapping, Value};
use url::{Host, Url};

use crate::domain::{
    sign_in::{Provider, ProviderName, is_loopback},
    text,
};

const FLAG: &str = "--oidc-providers";
/// A file of more is none that anybody has written by hand.
const FILE_LIMIT: u64 = 1 << 20;
const FIELDS: [&str; 9] = [
    "name",
    "display_name",
    "issuer",
    "client_id",
    "client_secret_file",
    "scopes",
    "groups_claim",
    "admin_groups",
    "allowed_domains",
];

/// Reads the file that is named. Without one there are no providers.
pub(super) fn check(path: Option<&Path>, mistakes: &mut Vec<String>) -> Vec<Provider> {
    // An empty variable names none.
    let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else { return Vec::new() };
    let mut found = Vec::new();
    let providers = match read(path) {
        Ok(text) => parse(&text, path.parent().unwrap_or(Path::new(".")), &mut found),
        Err(error) => {
            found.push(error);
            Vec::new()
        }
    };
    mistakes.extend(found.into_iter().map(|mistake| format!("{FLAG} {}: {mistake}", path.display())));
    providers
}

fn read(path: &Path) -> Result<String, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > FILE_LIMIT {
        return Err(format!("has {length} bytes, the most are {FILE_LIMIT}"));
    }
    fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Reads the text of a file whose relative paths are taken from `directory`.
fn parse(text: &str, directory: &Path, mistakes: &mut Vec<String>) -> Vec<Provider> {
    let entries = match serde_norway::from_str::<Value>(text) {
        Ok(Value::Sequence(entries)) if !entries.is_empty() => entries,
        Ok(_) => {
            mistakes.push("must be a list with a provider at the least: '- name: …'".to_owned());
            return Vec::new();
        }
        // It names the line and the column.
        Err(error) => {
            mistakes.push(format!("is not YAML: {error}"));
            return Vec::new();
        }
    };
    let mut names = BTreeSet::new();
    let mut issuers = BTreeSet::new();
    let mut providers = Vec::new();
    for (number, entry) in (1..).zip(&entries) {
        let named = entry.get("name").and_then(Value::as_str).map(|name| format!(" ({name})")).unwrap_or_default();
        let mut fields = Fields { place: format!("provider {number}{named}"), mapping: entry.as_mapping(), mistakes };
        let Some(provider) = fields.provider(directory) else { continue };
        if !names.insert(provider.name.clone()) {
            fields.mistake("name", "another provider has it");
        }
        // People are known by issuer and subject: by two providers with one issuer, they would be let in by the laxer one.
        if !issuers.insert(provider.issuer.clone()) {
            fields.mistake("issuer", "another provider has it");
        }
        providers.push(provider);
    }
    providers
}

/// The fields of one provider, and where it is.
struct Fields<'a> {
    place: String,
    mapping: Option<&'a Mapping>,
    mistakes: &'a mut Vec<String>,
}

impl Fields<'_> {
    fn mistake(&mut self, field: &str, problem: &str) {
        self.mistakes.push(format!("{}: {field}: {problem}", self.place));
    }

    fn provider(&mut self, directory: &Path) -> Option<Provider> {
        let Some(mapping) = self.mapping else {
            self.mistakes.push(format!("{}: must have fields: {}", self.place, FIELDS.join(", ")));
            return None;
        };
        for key in mapping.keys() {
            match key.as_str() {
                Some(known) if FIELDS.contains(&known) => {}
                Some(other) => self.mistake(other, &format!("is no field; there are {}", FIELDS.join(", "))),
                None => self.mistake("a field", "must have a name"),
            }
        }
        let name = self.needed("name").and_then(|text| self.read("name", &text, |text| text.parse::<ProviderName>()));
        let issuer = self.needed("issuer").and_then(|text| self.read("issuer", &text, issuer));
        let client_id = self.needed("client_id").and_then(|text| self.read("client_id", &text, line));
        let display_name = self.text("display_name").map(|text| self.read("display_name", &text, short_line));
        let secret = self.text("client_secret_file").map(|text| self.read("client_secret_file", &text, line));
        let groups_claim = self.text("groups_claim").map(|text| self.read("groups_claim", &text, line));
        let scopes = self.list("scopes", scope);
        if scopes.as_ref().is_some_and(|scopes| !scopes.iter().any(|scope| scope == "openid")) {
            self.mistake("scopes", "must have openid among them");
        }
        let admin_groups = self.list("admin_groups", line).unwrap_or_default();
        let allowed_domains = self.list("allowed_domains", domain).unwrap_or_default();
        // What was said wrongly has been told; here it only has to be something.
        let name = name?;
        Some(Provider {
            display_name: display_name.flatten().unwrap_or_else(|| name.as_str().to_owned()),
            name,
            issuer: issuer?,
            client_id: client_id?,
            client_secret_file: secret.flatten().map(|path| directory.join(PathBuf::from(path))),
            scopes: scopes.unwrap_or_else(|| ["openid", "email", "profile"].map(str::to_owned).to_vec()),
            groups_claim: groups_claim.flatten().unwrap_or_else(|| "groups".to_owned()),
            admin_groups,
            allowed_domains,
        })
    }

    fn needed(&mut self, field: &'static str) -> Option<String> {
        if self.mapping.is_some_and(|mapping| !mapping.contains_key(field)) {
            self.mistake(field, "is missing");
        }
        self.text(field)
    }

    fn text(&mut self, field: &'static str) -> Option<String> {
        let value = self.mapping?.get(field)?;
        let text = value.as_str().map(str::to_owned);
        if text.is_none() {
            self.mistake(field, "must be a text");
        }
        text
    }

    fn list(&mut self, field: &'static str, read: impl Fn(&str) -> Result<String, String>) -> Option<Vec<String>> {
        let value = self.mapping?.get(field)?;
        let texts = value.as_sequence().map(|texts| texts.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        let Some(Some(texts)) = texts else {
            self.mistake(field, "must be a list of texts, such as [a, b]");
            return None;
        };
        Some(texts.into_iter().filter_map(|text| self.read(field, text, &read)).collect())
    }

    fn read<T, E: ToString>(
        &mut self,
        field: &'static str,
        text: &str,
        read: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        read(text).map_err(|error| self.mistake(field, &format!("{text:?} {}", error.to_string()))).ok()
    }
}

fn line(text: &str) -> Result<String, String> {
    text::line(text, 255).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn short_line(text: &str) -> Result<String, String> {
    text::line(text, 63).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// RFC 6749, section 3.3.
fn scope(text: &str) -> Result<String, String> {
    let is_scope =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
    if is_scope { Ok(text.to_owned()) } else { Err("must be a scope, such as email".to_owned()) }
}

fn domain(text: &str) -> Result<String, String> {
    let is_domain = text.contains('.')
        && !text.contains('@')
        && matches!(Host::parse(text), Ok(Host::Domain(read)) if read == text);
    if is_domain { Ok(text.to_owned()) } else { Err("must be a domain in lowercase, such as acme.example".to_owned()) }
}

/// Kept byte by byte, as tokens have it.
fn issuer(text: &str) -> Result<String, String> {
    let problem = "must be an https URL without a query, byte by byte as the provider's tokens have it in 'iss' (http on loopback alone)";
    let url = Url::parse(text).ok().filter(|url| {
        let is_plain =
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        let is_written_so = url.as_str().trim_end_matches('/') == text.trim_end_matches('/');
        is_plain && is_written_so && (url.scheme() == "https" || url.scheme() == "http" && is_loopback(url))
    });
    url.map(|_| text.to_owned()).ok_or_else(|| problem.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Provider>, Vec<String>> {
        let mut mistakes = Vec::new();
        let providers = parse(text, Path::new("/etc/latchkey"), &mut mistakes);
        if mistakes.is_empty() { Ok(providers) } else { Err(mistakes) }
    }

    #[test]
    fn what_is_not_said_is_as_by_default() {
        let text = "- {name: acme, issuer: 'https://login.acme.example/', client_id: latchkey}";
        let providers = parsed(text).unwrap();
        let acme = &providers[0];
        assert_eq!((acme.display_name.as_str(), acme.issuer.as_str()), ("acme", "https://login.acme.example/"));
        assert_eq!(acme.scopes, ["openid", "email", "profile"]);
        assert_eq!((acme.groups_claim.as_str(), &acme.client_secret_file), ("groups", &None));
        assert!(acme.admin_groups.is_empty() && acme.allowed_domains.is_empty());
    }

    #[test]
    fn everything_can_be_said() {
        let text = "
- name: acme
  display_name: Acme Login
  issuer: http://127.0.0.1:9000/realm
  client_id: latchkey
  client_secret_file: acme-secret
  scopes: [openid, groups]
  groups_claim: roles
  admin_groups: [ops]
  allowed_domains: [acme.example]
- name: other
  issuer: https://other.example
  client_id: x
  client_secret_file: /run/secrets/other
";
        let providers = parsed(text).unwrap();
        assert_eq!(providers[0].client_secret_file.as_deref(), Some(Path::new("/etc/latchkey/acme-secret")));
        assert_eq!(providers[1].client_secret_file.as_deref(), Some(Path::new("/run/secrets/other")));
        assert_eq!(
            (&providers[0].admin_groups[..], &providers[0].scopes[..]),
            (&["ops".to_owned()][..], &["openid".to_owned(), "groups".to_owned()][..])
        );
        assert_eq!(providers[0].allowed_domains, ["acme.example"]);
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let text = "
- name: Acme
  issuer: http://login.acme.example
  client_id: 7
  scopes: [email]
  allowed_domains: ['@acme.example', Acme.example, acme]
  admin_group: ops
- issuer: https://a.example?x
- nothing
- {name: a, issuer: 'https://a.example', client_id: x}
- {name: a, issuer: 'https://a.example', client_id: x, admin_groups: ops}
";
        let mistakes = parsed(text).unwrap_err();
        for (place, problem) in [
            ("provider 1 (Acme): name: \"Acme\"", "lowercase"),
            ("provider 1 (Acme): issuer:", "https URL"),
            ("provider 1 (Acme): client_id:", "must be a text"),
            ("provider 1 (Acme): scopes:", "openid"),
            ("provider 1 (Acme): allowed_domains: \"@acme.example\"", "domain"),
            ("provider 1 (Acme): allowed_domains: \"Acme.example\"", "domain"),
            ("provider 1 (Acme): allowed_domains: \"acme\"", "domain"),
            ("provider 1 (Acme): admin_group:", "no field"),
            ("provider 2: name:", "missing"),
            ("provider 2: client_id:", "missing"),
            ("provider 2: issuer:", "without a query"),
            ("provider 3: ", "must have fields"),
            ("provider 5 (a): name:", "another"),
            ("provider 5 (a): issuer:", "another"),
            ("provider 5 (a): admin_groups:", "list"),
        ] {
            let told = mistakes.iter().filter(|told| told.starts_with(place) && told.contains(problem)).count();
            assert_eq!(told, 1, "{place} {problem}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 15, "{mistakes:#?}");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "[]", "name: acme", "- [", "- {name: a, name: b}"] {
            assert_eq!(parsed(text).unwrap_err().len(), 1, "{text}");
        }
        let mut mistakes = Vec::new();
        assert!(check(Some(Path::new("/nowhere/providers.yaml")), &mut mistakes).is_empty());
        assert!(mistakes[0].starts_with("--oidc-providers /nowhere/providers.yaml: "), "{mistakes:?}");
        assert!(check(Some(Path::new("")), &mut Vec::new()).is_empty() && check(None, &mut Vec::new()).is_empty());
    }

    #[test]
    fn issuers_are_https_or_on_loopback() {
        for text in [
            "https://a.example",
            "https://a.example/",
            "https://a.example/b/",
            "http://localhost:1",
            "http://[::1]:2/x",
            "http://127.0.0.2",
        ] {
            assert_eq!(issuer(text), Ok(text.to_owned()));
        }
        for text in [
            "http://a.example",
            "https://A.example",
            "https://a.example:443",
            "https://u@a.example",
            "https://a.example/#",
            "ftp://a.example",
            "a.example",
            "http://localhost.evil.example",
        ] {
            assert!(issuer(text).is_err(), "{text}");
        }
    }
}
