//! What a provider says of somebody: another system's text, cut down to what is kept.

use crate::domain::text;

/// The longest subject identifier (OpenID Connect Core 1.0, section 2).
pub const SUBJECT_LIMIT: usize = 255;
/// The longest name that is kept.
pub const NAME_LIMIT: usize = 255;
/// The longest address there is (RFC 5321, section 4.5.3.1.3, without the brackets).
const EMAIL_LIMIT: usize = 254;
/// The longest group that is compared.
const GROUP_LIMIT: usize = 512;
/// Groups that are read.
const GROUPS_LIMIT: usize = 2000;

/// Why what a provider says is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaims {
    /// The subject is no identifier.
    #[error("the subject must have 1 to 255 visible ASCII characters")]
    Subject,
    /// More groups than anybody reads. Whoever is an admin by one that was passed over would lose the role.
    #[error("there are more than 2000 groups, or one of them is too long; have the provider send fewer")]
    Groups,
}

/// Whom a provider has recognized, by a token that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedIdentity {
    /// Who says so.
    pub issuer: String,
    /// By which that issuer knows them: never given to anybody else.
    pub subject: String,
    /// Their address, if it is one and the provider says that it has verified it. It may be another one tomorrow, and somebody else's.
    pub verified_email: Option<String>,
    /// What they are called.
    pub name: Option<String>,
    /// What they belong to there.
    pub groups: Vec<String>,
}

impl ClaimedIdentity {
    /// Takes what a verified token says. Nothing in it is taken as it is: a subject is compared byte by byte, so it has to be plain; a name
    /// is shown, so what is invisible in it goes; an address counts only if it is one.
    ///
    /// # Errors
    /// [`InvalidClaims`]
    pub fn new(
        issuer: String,
        subject: String,
        email: Option<(&str, bool)>,
        name: Option<&str>,
        groups: Vec<String>,
    ) -> Result<Self, InvalidClaims> {
        if subject.is_empty()
            || subject.len() > SUBJECT_LIMIT
            || !subject.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return Err(InvalidClaims::Subject);
        }
        if groups.len() > GROUPS_LIMIT || groups.iter().any(|group| group.len() > GROUP_LIMIT) {
            return Err(InvalidClaims::Groups);
        }
        let verified_email = email
            .filter(|(address, is_verified)| *is_verified && is_address(address))
            .map(|(address, _)| address.to_owned());
        Ok(Self { issuer, subject, verified_email, name: name.and_then(clean), groups })
    }
}

/// Whether a text is an address that invitations may be made for.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let parts = text.rsplit_once('@');
    // Addresses are compared by PostgreSQL's `lower`, which knows ASCII alone: two that look alike must not be two.
    text.len() <= EMAIL_LIMIT
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !local.contains('@'))
}

/// A name on one line: what is invisible becomes a space, and the rest is cut off.
fn clean(name: &str) -> Option<String> {
    let visible: String = name
        .chars()
        .take(4 * NAME_LIMIT)
        .map(|character| if text::is_unprintable(character) { ' ' } else { character })
        .collect();
    let words: Vec<&str> = visible.split_whitespace().collect();
    let name: String = words.join(" ").chars().take(NAME_LIMIT).collect();
    let name = name.trim_end().to_owned();
    text::line(&name, NAME_LIMIT).is_ok().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed(subject: &str, email: Option<(&str, bool)>, name: &str) -> Result<ClaimedIdentity, InvalidClaims> {
        ClaimedIdentity::new("https://i.example".to_owned(), subject.to_owned(), email, Some(name), Vec::new())
    }

    #[test]
    fn an_address_counts_if_it_is_verified_and_one() {
        let email = |email| claimed("x", Some(email), "n").unwrap().verified_email;
        assert_eq!(email(("ann@acme.example", true)), Some("ann@acme.example".to_owned()));
        for other in [
            "",
            "ann",
            "@acme.example",
            "ann@",
            "a b@acme.example",
            "a@b@acme.example",
            "ann@\u{e4}cme.example",
            "ann\n@a.example",
        ] {
            assert_eq!(email((other, true)), None, "{other:?}");
        }
        assert_eq!(email(("ann@acme.example", false)), None);
        assert_eq!(email((&format!("{}@a.example", "x".repeat(250)), true)), None);
    }

    #[test]
    fn names_are_cleaned_and_cut() {
        let name = |name: &str| claimed("x", None, name).unwrap().name;
        assert_eq!(name("  Ann \u{202E}\n<b>  Lee\u{0} "), Some("Ann <b> Lee".to_owned()));
        assert_eq!(name("\u{200E}\n "), None);
        assert_eq!(name(&"\u{e4}".repeat(100_000)), Some("\u{e4}".repeat(255)));
    }

    #[test]
    fn subjects_are_plain_and_groups_are_few() {
        for subject in ["", "a\nb", "\u{e4}", &"x".repeat(256)] {
            assert_eq!(claimed(subject, None, "n"), Err(InvalidClaims::Subject), "{subject:?}");
        }
        assert!(claimed(&"x".repeat(255), None, "n").is_ok());
        let groups = |groups| ClaimedIdentity::new("i".to_owned(), "x".to_owned(), None, None, groups).err();
        assert_eq!(groups(vec!["g".to_owned(); 2000]), None);
        assert_eq!(groups(vec!["g".to_owned(); 2001]), Some(InvalidClaims::Groups));
        assert_eq!(groups(vec!["g".repeat(513)]), Some(InvalidClaims::Groups));
    }
}
