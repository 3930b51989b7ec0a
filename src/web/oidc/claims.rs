//! Who somebody is, by what was proven: the ID token, and what the provider says besides to whoever has the access token.

use serde_json::{Map, Value};

use super::{
    error::ProviderError,
    wire::{TokenClaims, UserInfo},
};
use crate::domain::sign_in::{ClaimedIdentity, Provider};

/// Where OpenID Connect Core 1.0 (section 5.6.2) has the names of claims that are elsewhere.
const ELSEWHERE: &str = "_claim_names";

/// Whether an ID token says all that is needed.
pub(super) fn is_whole(provider: &Provider, token: &TokenClaims) -> bool {
    let has_address = token.email().is_some() && token.email_verified().is_some();
    let has_name = token.name().is_some() || token.preferred_username().is_some();
    let has_groups =
        provider.admin_groups.is_empty() || token.additional_claims().0.contains_key(&provider.groups_claim);
    has_address && has_name && has_groups
}

/// Takes what is needed from the ID token, or else from what is said besides. An address and whether it is verified come from one of the
/// two, so that nobody vouches for what somebody else says.
pub(super) fn identity(
    provider: &Provider,
    token: &TokenClaims,
    besides: Option<&UserInfo>,
) -> Result<ClaimedIdentity, ProviderError> {
    let of_token = token.email().zip(token.email_verified());
    let of_besides = || besides.and_then(|besides| besides.email().zip(besides.email_verified()));
    let email = of_token.or_else(of_besides).map(|(email, is_verified)| (email.as_str(), is_verified));
    let groups = match groups(provider, &token.additional_claims().0)? {
        Some(groups) => groups,
        None => match besides {
            Some(besides) => groups_besides(provider, besides)?,
            None => Vec::new(),
        },
    };
    let name = name(token, besides);
    let (issuer, subject) = (token.issuer().as_str().to_owned(), token.subject().as_str().to_owned());
    ClaimedIdentity::new(issuer, subject, email, name.as_deref(), groups)
        .map_err(|error| ProviderError::Proof(error.to_string()))
}

fn groups_besides(provider: &Provider, besides: &UserInfo) -> Result<Vec<String>, ProviderError> {
    Ok(groups(provider, &besides.additional_claims().0)?.unwrap_or_default())
}

fn name(token: &TokenClaims, besides: Option<&UserInfo>) -> Option<String> {
    let of = |claim: Option<&openidconnect::LocalizedClaim<openidconnect::EndUserName>>| {
        claim.and_then(|names| names.get(None)).map(|name| name.as_str().to_owned())
    };
    of(token.name())
        .or_else(|| of(besides.and_then(|besides| besides.name())))
        .or_else(|| token.preferred_username().map(|name| name.as_str().to_owned()))
        .or_else(|| besides.and_then(|besides| besides.preferred_username()).map(|name| name.as_str().to_owned()))
}

/// The groups, if they are said here. Whoever would lose a role by what cannot be read is rather not let in.
fn groups(provider: &Provider, claims: &Map<String, Value>) -> Result<Option<Vec<String>>, ProviderError> {
    if provider.admin_groups.is_empty() {
        return Ok(None);
    }
    let unreadable =
        |problem: &str| Err(ProviderError::Proof(format!("the claim {} {problem}", provider.groups_claim)));
    if claims.get(ELSEWHERE).is_some_and(|names| names.get(&provider.groups_claim).is_some()) {
        return unreadable("is elsewhere, as with very many groups; have the provider send fewer");
    }
    match claims.get(&provider.groups_claim) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(group)) => Ok(Some(vec![group.clone()])),
        Some(Value::Array(groups)) => {
            let texts: Option<Vec<String>> = groups.iter().map(|group| group.as_str().map(str::to_owned)).collect();
            texts.map_or_else(|| unreadable("must be a list of texts"), |texts| Ok(Some(texts)))
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => unreadable("must be a list of texts"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn provider(admin_groups: &[&str]) -> Provider {
        Provider {
            name: "acme".parse().unwrap(),
            display_name: "Acme".to_owned(),
            issuer: "https://login.acme.example".to_owned(),
            client_id: "latchkey".to_owned(),
            client_secret_file: None,
            scopes: Vec::new(),
            groups_claim: "roles".to_owned(),
            admin_groups: admin_groups.iter().map(|group| (*group).to_owned()).collect(),
            allowed_domains: Vec::new(),
        }
    }

    #[test]
    fn groups_are_read_or_nobody_is_let_in() {
        let read = |claims: Value| groups(&provider(&["ops"]), claims.as_object().unwrap());
        assert_eq!(read(json!({ "roles": ["a", "ops"] })), Ok(Some(vec!["a".to_owned(), "ops".to_owned()])));
        assert_eq!(read(json!({ "roles": "ops" })), Ok(Some(vec!["ops".to_owned()])));
        assert_eq!(read(json!({ "roles": [] })), Ok(Some(Vec::new())));
        assert_eq!((read(json!({ "groups": ["ops"] })), read(json!({ "roles": null }))), (Ok(None), Ok(None)));
        for unreadable in [
            json!({ "roles": ["ops", 1] }),
            json!({ "roles": { "ops": true } }),
            json!({ "_claim_names": { "roles": "src" } }),
        ] {
            assert!(read(unreadable.clone()).is_err(), "{unreadable}");
        }
        // Where they have no say, nobody minds what they are.
        assert_eq!(groups(&provider(&[]), json!({ "roles": 1 }).as_object().unwrap()), Ok(None));
    }
}
