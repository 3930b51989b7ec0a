//! The way to the server: what is sent, where to, and for how long an answer is waited for.

use std::{error::Error, future::Future, time::Duration};

use latchkey::{
    domain::secret::Secret,
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
    error::{Failure, RpcFailure, causes},
    host::Host,
    target::{Token, TokenSource},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long any call but a command in an environment may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection is given up when the server answers no ping for the two together.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// The most bytes of an answer: twice 8 MiB of a command's output, each byte replaced by three at the worst.
const ANSWER_LIMIT: usize = 64 * 1024 * 1024;

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
        let base = host.base().parse::<Uri>().map_err(|error| unusable(&host, &error))?;
        Ok(Self {
            token_id: token.id(),
            source: token.source(),
            bearer: Bearer::new(&token.into_secret())?,
            channel: way(&host)?,
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

    /// Where the operations of an environment are, at this server's own origin, by the address that the server gave.
    ///
    /// # Errors
    /// [`Failure::Failed`] when that is another server's: the environment's token must not go there.
    pub(crate) fn own_address(&self, ops: &str) -> Result<Uri, Failure> {
        let given = Host::parse(ops)?;
        let Some(address) = self.host.at_own_origin(&given) else {
            return Err(Failure::Failed(format!(
                "{} says that commands go to {}, another server; no token is sent there. If both are the same server, \
                 use the name that it calls itself by: --host {}",
                self.host.origin(),
                given.origin(),
                given.origin(),
            )));
        };
        address
            .base()
            .parse()
            .map_err(|_| Failure::Failed(format!("{} gave an address that cannot be used: {ops}", self.host.base())))
    }

    /// The operations of one environment, with a token of its own, at an address of
    /// [`Connection::own_address`].
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

/// The way to a server, for whatever is sent there. Nothing is sent yet.
///
/// # Errors
/// When TLS cannot be set up.
pub(crate) fn way(host: &Host) -> Result<Channel, Failure> {
    let mut endpoint = Endpoint::from_shared(host.origin())
        .and_then(|endpoint| endpoint.user_agent(concat!("gitpod/", env!("CARGO_PKG_VERSION"))))
        .map_err(|error| unusable(host, &error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .http2_adaptive_window(true);
    if host.is_encrypted() {
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(tls).map_err(|error| {
            Failure::Failed(format!(
                "cannot tell which certificates this machine trusts: {}; install the package ca-certificates",
                causes(&error)
            ))
        })?;
    }
    Ok(endpoint.connect_lazy())
}

fn unusable(host: &Host, error: &(dyn Error + 'static)) -> Failure {
    Failure::Failed(format!("cannot prepare the way to {}: {}", host.base(), causes(error)))
}
