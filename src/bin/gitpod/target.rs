//! Which server a command is for, and with which token.

use std::env;

use clap::Args;
use latchkey::domain::{
    secret::Secret,
    token::{CredentialKind, Malformed, Presented},
};
use uuid::Uuid;

use crate::{
    connection::Connection,
    credentials::{Credentials, Store},
    error::Failure,
    host::{self, Host},
};

/// Which server, and how.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// Address of the server, such as https://gitpod.example or localhost:8080 [default: GITPOD_HOST, or else the
    /// server of the last login, or else http://127.0.0.1:8080]
    #[arg(long, global = true, value_name = "URL")]
    host: Option<String>,
    /// Send the token over http:// to another machine, where anybody on the way can read it
    #[arg(long, global = true)]
    insecure: bool,
}

impl Target {
    /// The server's address, if the command line or the environment gives one, else the one signed in to last.
    ///
    /// # Errors
    /// [`Failure::Host`], or what is wrong with the stored tokens.
    pub(crate) fn host(&self, stored: impl FnOnce() -> Result<Option<String>, Failure>) -> Result<Host, Failure> {
        let given = self.host.clone().or_else(|| variable("GITPOD_HOST"));
        let text = match given {
            Some(text) => text,
            None => stored()?.unwrap_or_else(|| host::DEFAULT.to_owned()),
        };
        let host = Host::parse(&text)?;
        host.permit(self.insecure)?;
        Ok(host)
    }

    /// Prepares the way to the server, with the token of `GITPOD_TOKEN` or else the one stored for that server.
    /// Nothing is sent before the first call.
    ///
    /// # Errors
    /// When there is no such token, or something is wrong with it, the address or the stored tokens.
    pub(crate) fn connect(&self) -> Result<Connection, Failure> {
        // Read once, and only if it is needed: with a token and a host from outside no file has to exist.
        let mut stored = None;
        let host = self.host(|| Ok(stored.insert(read_stored()?).current().map(str::to_owned)))?;
        if let Some(text) = variable("GITPOD_TOKEN") {
            return Connection::new(host, Token::parse(&text, TokenSource::Variable)?);
        }
        let credentials = match stored {
            Some(credentials) => credentials,
            None => read_stored()?,
        };
        let secret = credentials.token(&host.origin()).ok_or_else(|| Failure::NotSignedIn { host: host.base() })?;
        Connection::new(host, Token::parse(secret.expose(), TokenSource::Stored)?)
    }
}

fn read_stored() -> Result<Credentials, Failure> {
    Ok(Store::locate()?.read()?)
}

/// An environment variable; an empty one counts as none (CI systems set those whose secret is missing).
pub(crate) fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// Where a token came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// The command line or standard input.
    Given,
    /// `GITPOD_TOKEN`.
    Variable,
    /// A login before.
    Stored,
    /// The server, just now.
    Server,
}

impl TokenSource {
    /// For a sentence that speaks of the token: empty, or with a space before.
    pub(crate) const fn phrase(self) -> &'static str {
        match self {
            Self::Given | Self::Server => "",
            Self::Variable => " in GITPOD_TOKEN",
            Self::Stored => " of the last login",
        }
    }
}

/// A token in the right form.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    secret: Secret,
    id: Uuid,
    source: TokenSource,
}

impl Token {
    /// Reads a personal access token.
    ///
    /// # Errors
    /// What is wrong with it, as far as that can be told without the server.
    pub(crate) fn parse(text: &str, source: TokenSource) -> Result<Self, Failure> {
        let text = text.trim();
        let presented =
            Presented::parse(text).map_err(|problem| Failure::MalformedToken { source_name: source, problem })?;
        match presented.kind() {
            CredentialKind::PersonalAccessToken => {
                Ok(Self { secret: Secret::new(text.to_owned()), id: presented.id(), source })
            }
            CredentialKind::EnvironmentToken => Err(Failure::EnvironmentToken(source)),
            CredentialKind::Session | CredentialKind::SignInLink | CredentialKind::LoginCode => {
                Err(Failure::MalformedToken { source_name: source, problem: Malformed::Prefix })
            }
        }
    }

    /// Its ID, as lists and audit logs have it.
    pub(crate) const fn id(&self) -> Uuid {
        self.id
    }

    /// Where it came from.
    pub(crate) const fn source(&self) -> TokenSource {
        self.source
    }

    /// The token itself, to be stored or sent.
    pub(crate) fn into_secret(self) -> Secret {
        self.secret
    }
}
