//! The way to the server: which server, with which token, and for how long an answer is waited for.

use std::{env, error::Error, future::Future, time::Duration};

use clap::Args;
use latchkey::{
    domain::{
        secret::Secret,
        token::{CredentialKind, Presented},
    },
    pb::{
        gitpod::v1::{
            environment_service_client::EnvironmentServiceClient, event_service_client::EventServiceClient,
            identity_service_client::IdentityServiceClient, token_service_client::TokenServiceClient,
            user_service_client::UserServiceClient,
        },
        supervisor::v1::environment_ops_service_client::EnvironmentOpsServiceClient,
    },
};
use tonic::{
    Request, Response, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, ClientTlsConfig, Endpoint, Uri},
};
use uuid::Uuid;

use crate::{
    credentials::{Credentials, Store},
    error::{Failure, RpcFailure, causes},
    host::{self, Host},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long any call but a command in an environment may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection is given up when the server answers no ping for the two together.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of an answer: twice 8 MiB of a command's output, each byte replaced by three at the worst.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

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
        }
    }

    /// Its ID, as lists and audit logs have it.
    pub(crate) const fn id(&self) -> Uuid {
        self.id
    }

    /// The token itself, to be stored.
    pub(crate) fn into_secret(self) -> Secret {
        self.secret
    }
}

/// Puts the token into each request.
#[derive(Clone)]
pub(crate) struct Bearer(AsciiMetadataValue);

impl Bearer {
    fn new(secret: &Secret) -> Result<Self, Failure> {
        let mut value = AsciiMetadataValue::try_from(format!("Bearer {}", secret.expose()))
            .map_err(|_| Failure::Failed("the server gave a token that cannot be sent".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authorized = InterceptedService<Channel, Bearer>;

/// The way to one server, with one token. HTTP redirects are not followed: the token goes to this server alone.
pub(crate) struct Connection {
    host: Host,
    token_id: Uuid,
    source: TokenSource,
    bearer: Bearer,
    channel: Channel,
    base: Uri,
}

impl Connection {
    /// Prepares the way. Nothing is sent before the first call.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn new(host: Host, token: Token) -> Result<Self, Failure> {
        let unusable = |error: &(dyn Error + 'static)| {
            Failure::Failed(format!("cannot prepare the way to {}: {}", host.base(), causes(error)))
        };
        let mut endpoint = Endpoint::from_shared(host.origin())
            .and_then(|endpoint| endpoint.user_agent(concat!("gitpod/", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| unusable(&error))?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .http2_adaptive_window(true);
        if host.is_encrypted() {
            let tls = ClientTlsConfig::new().with_native_roots();
            endpoint = endpoint.tls_config(tls).map_err(|error| unusable(&error))?;
        }
        let base = host.base().parse::<Uri>().map_err(|error| unusable(&error))?;
        Ok(Self {
            token_id: token.id(),
            source: token.source,
            bearer: Bearer::new(&token.secret)?,
            channel: endpoint.connect_lazy(),
            base,
            host,
        })
    }

    /// The server.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// ID of the token that is sent.
    pub(crate) const fn token_id(&self) -> Uuid {
        self.token_id
    }

    fn authorized(&self) -> Authorized {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// Environments and their classes.
    pub(crate) fn environments(&self) -> EnvironmentServiceClient<Authorized> {
        EnvironmentServiceClient::with_origin(self.authorized(), self.base.clone())
            .max_decoding_message_size(ANSWER_LIMIT)
    }

    /// Tokens.
    pub(crate) fn tokens(&self) -> TokenServiceClient<Authorized> {
        TokenServiceClient::with_origin(self.authorized(), self.base.clone())
    }

    /// The audit log.
    pub(crate) fn events(&self) -> EventServiceClient<Authorized> {
        EventServiceClient::with_origin(self.authorized(), self.base.clone())
    }

    /// Whom the token stands for.
    pub(crate) fn identity(&self) -> IdentityServiceClient<Authorized> {
        IdentityServiceClient::with_origin(self.authorized(), self.base.clone())
    }

    /// The user behind the token.
    pub(crate) fn users(&self) -> UserServiceClient<Authorized> {
        UserServiceClient::with_origin(self.authorized(), self.base.clone())
    }

    /// Checks that an address the server gave for an environment's operations is the server's own.
    ///
    /// # Errors
    /// [`Failure::Failed`] when it is not: its token must not go there.
    pub(crate) fn own_address(&self, ops: &str) -> Result<Uri, Failure> {
        let address = Host::parse(ops)?;
        if address.origin() != self.host.origin() {
            return Err(Failure::Failed(format!(
                "{} says that commands go to {}, another server; no token is sent there. If both are the same server, \
                 use the name that it calls itself by: --host {}",
                self.host.origin(),
                address.origin(),
                address.origin(),
            )));
        }
        address
            .base()
            .parse()
            .map_err(|_| Failure::Failed(format!("{} gave an address that cannot be used: {ops}", self.host.base())))
    }

    /// The operations of one environment, with a token of its own, at an address that [`Connection::own_address`] let
    /// through.
    ///
    /// # Errors
    /// When the token cannot be sent.
    pub(crate) fn operations(
        &self,
        address: Uri,
        token: &Secret,
    ) -> Result<EnvironmentOpsServiceClient<Authorized>, Failure> {
        let service = InterceptedService::new(self.channel.clone(), Bearer::new(token)?);
        Ok(EnvironmentOpsServiceClient::with_origin(service, address).max_decoding_message_size(ANSWER_LIMIT))
    }

    /// Waits for the answer to a call.
    ///
    /// # Errors
    /// [`Failure::Rpc`], or [`Failure::Unanswered`] after a minute.
    pub(crate) async fn call<T>(
        &self,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        self.call_within(CALL_TIMEOUT, self.source, answer).await
    }

    /// Waits for the answer to a call for as long as `longest`.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(crate) async fn call_within<T>(
        &self,
        longest: Duration,
        token: TokenSource,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        let host = || self.host.base();
        match tokio::time::timeout(longest, answer).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Failure::Rpc(Box::new(RpcFailure { host: host(), token, status }))),
            Err(_) => Err(Failure::Unanswered { host: host(), after: longest }),
        }
    }
}
