//! What a program asks for that wants to act for somebody: a token, on a machine that it names, for some time. A person says yes or no
//! to it in a browser, on that machine (RFC 8252) or on another one (RFC 8628).

mod pkce;
mod redirect;

use std::{fmt, net::IpAddr, sync::Arc};

use time::{Duration, OffsetDateTime};

use super::{
    secret::Secret,
    token::{CreateToken, DEFAULT_VALID_FOR, InvalidToken, UserCode},
};

pub use pkce::{CodeChallenge, CodeVerifier};
pub use redirect::LoopbackRedirect;

/// The one client that there is: the program `gitpod`, which can keep no secret of its own (RFC 6749, section 2.1).
pub const CLIENT_ID: &str = "gitpod-cli";
/// How long a person has to say yes or no to what is asked on another machine.
pub const DEVICE_PATIENCE: Duration = Duration::minutes(5);
/// How long an authorization code is good for: it is sent back at once.
pub const CODE_PATIENCE: Duration = Duration::minutes(1);
/// How often a program may ask what has come of it.
pub const POLL_INTERVAL: Duration = Duration::seconds(5);

/// The most characters of a host's name (RFC 1035, section 2.3.4).
const HOST_NAME_LIMIT: usize = 63;

/// What a machine calls itself, which anybody may claim: letters, digits, points, hyphens and underscores, so that it says nothing else to
/// whoever reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// What is left of a text, cut to 63 characters.
    #[must_use]
    pub fn cleaned(text: &str) -> Self {
        let is_one = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-' | '_');
        Self(text.chars().filter(is_one).take(HOST_NAME_LIMIT).collect())
    }

    /// The name; empty if there is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_empty() { "a machine without a name" } else { &self.0 })
    }
}

/// A lifetime that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("lifetime must be a number of seconds between 60 and 7776000, which is 90 days")]
pub struct InvalidLifetime;

/// What is asked for; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginAsk {
    host_name: HostName,
    token: CreateToken,
}

impl LoginAsk {
    /// A token for a machine, good for so many seconds; without that, for [`DEFAULT_VALID_FOR`].
    ///
    /// # Errors
    /// [`InvalidToken::ValidFor`]
    pub fn new(host_name: HostName, lifetime_seconds: Option<u32>) -> Result<Self, InvalidToken> {
        let lifetime = lifetime_seconds.map_or(DEFAULT_VALID_FOR, |seconds| Duration::seconds(seconds.into()));
        let token = CreateToken::new(&format!("gitpod on {host_name}"), Some(lifetime), false)?;
        Ok(Self { host_name, token })
    }

    /// The same from the texts of a request's two parameters, `host_name` and `lifetime`, which are ours (no standard has them). Empty is left
    /// out; a number is digits and nothing else, so that it has one reading.
    ///
    /// # Errors
    /// [`InvalidLifetime`]
    pub fn parse(host_name: &str, lifetime: &str) -> Result<Self, InvalidLifetime> {
        let is_number = lifetime.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = match lifetime {
            "" => None,
            text => Some(text.parse().ok().filter(|_| is_number).ok_or(InvalidLifetime)?),
        };
        // A name is cleaned, so that it makes no description that is none.
        Self::new(HostName::cleaned(host_name), seconds).map_err(|_| InvalidLifetime)
    }

    /// Where.
    #[must_use]
    pub const fn host_name(&self) -> &HostName {
        &self.host_name
    }

    /// The token that is made of it: named after the machine, and good for everything.
    #[must_use]
    pub const fn token(&self) -> &CreateToken {
        &self.token
    }

    /// For how long.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.token.valid_for()
    }
}

/// What a program is given that asks on one machine to be answered on another.
#[derive(Debug)]
pub struct DeviceCodes {
    /// What it comes back with.
    pub device_code: Secret,
    /// What it shows.
    pub user_code: UserCode,
}

/// What comes with a code that a program brings to get its token.
#[derive(Debug, Clone, Copy)]
pub enum LoginProof<'a> {
    /// Nothing: the code was told to the program alone.
    Device,
    /// The code went through a browser.
    Redirect {
        /// Where it was sent.
        uri: &'a str,
        /// What proves that it was brought by who asked.
        verifier: &'a CodeVerifier,
    },
}

/// What waits for somebody's yes or no, as it is shown to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingLogin {
    /// The code that names it.
    pub user_code: UserCode,
    /// What is asked for.
    pub asked: LoginAsk,
    /// From where it was asked for.
    pub peer: Option<IpAddr>,
    /// What the program calls itself.
    pub user_agent: Option<Arc<str>>,
    /// When it was asked for.
    pub created_at: OffsetDateTime,
    /// Until when it waits.
    pub expires_at: OffsetDateTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::token::{LONGEST_VALID_FOR, SHORTEST_VALID_FOR};

    #[test]
    fn a_host_name_says_nothing_but_a_name() {
        let cleaned = |text: &str| HostName::cleaned(text).as_str().to_owned();
        assert_eq!(cleaned("build-7.example_x"), "build-7.example_x");
        assert_eq!(cleaned("a<script>b</script> c\n\u{202E}d"), "ascriptbscriptcd");
        assert_eq!(cleaned(&"x".repeat(300)), "x".repeat(63));
        assert_eq!(HostName::cleaned("\u{e9} ").to_string(), "a machine without a name");
    }

    #[test]
    fn a_token_is_named_after_its_machine_and_lives_as_long_as_any_may() {
        let ask = |seconds| LoginAsk::new(HostName::cleaned("laptop"), seconds);
        let by_default = ask(None).unwrap();
        assert_eq!((by_default.token().description(), by_default.lifetime()), ("gitpod on laptop", Duration::days(30)));
        assert!(!by_default.token().read_only());
        assert_eq!(ask(Some(60)).unwrap().lifetime(), Duration::MINUTE);
        assert_eq!(ask(Some(90 * 86_400)).unwrap().lifetime(), Duration::days(90));
        for bad in [0, 59, 90 * 86_400 + 1, u32::MAX] {
            assert_eq!(ask(Some(bad)), Err(InvalidToken::ValidFor), "{bad}");
        }
    }

    #[test]
    fn a_lifetime_is_digits_or_left_out() {
        let lifetime = |text| LoginAsk::parse("laptop <x>", text).map(|ask| ask.lifetime());
        assert_eq!(LoginAsk::parse("laptop <x>", "").unwrap().token().description(), "gitpod on laptopx");
        for (text, expected) in [
            ("", DEFAULT_VALID_FOR),
            ("60", Duration::MINUTE),
            ("0060", Duration::MINUTE),
            ("7776000", Duration::days(90)),
        ] {
            assert_eq!(lifetime(text), Ok(expected), "{text}");
        }
        for text in
            ["+60", "-60", " 60", "60 ", "6e1", "60.0", "0x3c", "1h", "x", "٦٠", "0", "59", "7776001", "99999999999"]
        {
            assert_eq!(lifetime(text), Err(InvalidLifetime), "{text}");
        }
        // It says the very bounds.
        let (shortest, longest) = (SHORTEST_VALID_FOR.whole_seconds(), LONGEST_VALID_FOR.whole_seconds());
        assert!(InvalidLifetime.to_string().contains(&format!("between {shortest} and {longest}")));
    }
}
