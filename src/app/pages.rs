//! Where the pages are, how people get in at first, and that this server runs, for the operator's commands.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::{
    domain::{
        audit::{Action, AuditActor, AuditEvent, Subject, SubjectType},
        ids::{OrganizationId, ServerId, SignInLinkId},
        principal::{Origin, PrincipalRecord},
        secret::Secret,
        site::Site,
        token::SigningKeys,
    },
    store::{MintError, RunningServer, Store},
};

/// How often a server says that it runs: twice as often at least as commands take it to run.
const SEEN_EVERY: Duration = Duration::from_secs(30);

/// Where the pages are.
pub(super) struct Place {
    /// The URL that everybody knows the server by.
    pub(super) public_url: Arc<str>,
    /// The same in its parts.
    pub(super) site: Arc<Site>,
    /// Whether people sign in by links: where nobody else can reach the server, and no provider tells who they are.
    pub(super) takes_links: bool,
}

impl Place {
    /// Where the server listens, by its public URL if it has one.
    ///
    /// # Errors
    /// [`AppError::Refused`] for what is no URL.
    pub(super) fn new(
        address: SocketAddr,
        public_url: Option<String>,
        has_no_provider: bool,
    ) -> Result<Self, AppError> {
        let public_url: Arc<str> = public_url.unwrap_or_else(|| format!("http://{address}")).into();
        let site = Site::new(&public_url, address.ip())
            .ok_or_else(|| AppError::Refused(format!("{public_url} is no URL with a host")))?;
        let takes_links = site.is_for_this_machine() && has_no_provider;
        Ok(Self { public_url, site: Arc::new(site), takes_links })
    }

    /// What the operator's commands know of it.
    pub(super) fn running(&self) -> RunningServer {
        RunningServer { public_url: self.public_url.to_string(), takes_links: self.takes_links }
    }
}

/// Says that a server runs until it is told to stop, and then that it runs no more.
pub(super) async fn be_seen(store: Store, server: RunningServer, stop: CancellationToken) {
    let id = ServerId::generate();
    let mut ticks = tokio::time::interval(SEEN_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = store.server_seen(id, &server).await {
            tracing::debug!(%error, "it cannot be written that this server runs");
        }
    }
    if let Err(error) = store.server_ended(id).await {
        tracing::debug!(%error, "it cannot be written that this server ends");
    }
}

/// A link that signs a user in.
///
/// # Errors
/// [`AppError`]
pub(super) async fn sign_in_link(
    store: &Store,
    keys: &SigningKeys,
    public_url: &str,
    user: &PrincipalRecord,
    command: &'static str,
) -> Result<Secret, AppError> {
    let id = SignInLinkId::generate();
    let event = AuditEvent {
        actor: AuditActor::Operator(Origin::of_operator()),
        organization_id: user.organization_id,
        action: Action::SignInLinkCreate,
        rpc: command.into(),
        subject: Subject { subject_type: SubjectType::User, id: user.id.uuid() },
    };
    match store.sign_in_link_create(id, user.organization_id, user.id, keys, &event).await {
        Ok(text) => Ok(Secret::new(format!("{public_url}/sign-in/link?code={}", text.expose()))),
        Err(MintError::Store(error)) => Err(error.into()),
        Err(error) => Err(AppError::Refused(error.to_string())),
    }
}

/// What is said of signing in when a server starts: a link for its first admin. Nothing where there is none, or people do not sign in by
/// links, or none can be made right now: there is a command for it.
pub(super) async fn first_link(
    store: &Store,
    keys: &SigningKeys,
    place: &Place,
    organization: OrganizationId,
) -> Option<Secret> {
    if !place.takes_links {
        return None;
    }
    let link = async {
        let Some(admin) = store.first_admin(organization).await? else { return Ok(None) };
        sign_in_link(store, keys, &place.public_url, &admin, "latchkey serve").await.map(Some)
    };
    let made: Result<Option<Secret>, AppError> = link.await;
    made.unwrap_or_else(|error| {
        tracing::warn!(%error, "no link to sign in by can be made; try 'latchkey admin sign-in-link'");
        None
    })
}
