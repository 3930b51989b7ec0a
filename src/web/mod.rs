//! The pages: settings, and signing in to them. Rendered here, from templates that escape whatever people have written; every task works
//! without JavaScript.

mod admin;
mod answer;
mod assets;
mod audit_logs;
mod environments;
mod failure;
mod frame;
mod logins;
mod moment;
pub mod oidc;
mod paging;
mod sessions;
mod settings;
mod sign_in;
mod tokens;
mod visit;

use std::{ops::Deref, sync::Arc};

use axum::{
    Router,
    routing::{get, post},
};

use crate::domain::{session::SessionLimits, site::Site};
use crate::service::{
    AuditLogs, Environments, Events, Invitations, LoginRequests, ServiceAccounts, Sessions, SignInLinks, SignIns,
    Tokens, Users,
};
use oidc::Providers;

pub use failure::{not_found, refuse};

/// What the pages are made of.
pub struct Parts {
    /// Where they are.
    pub site: Arc<Site>,
    /// Who is there.
    pub users: Users,
    /// Whom providers let in.
    pub invitations: Invitations,
    /// Programs of the organization.
    pub service_accounts: ServiceAccounts,
    /// Their tokens.
    pub tokens: Tokens,
    /// Their sessions.
    pub sessions: Sessions,
    /// What runs for them.
    pub environments: Environments,
    /// What becomes of that.
    pub events: Events,
    /// What was done.
    pub audit_logs: AuditLogs,
    /// How they get in where there is no provider.
    pub sign_in_links: SignInLinks,
    /// With whose accounts they sign in.
    pub providers: Providers,
    /// How that is done.
    pub sign_ins: SignIns,
    /// What programs ask them for.
    pub login_requests: LoginRequests,
    /// How long people stay signed in.
    pub session_limits: SessionLimits,
    /// Bytes of a form at the most.
    pub request_bytes: usize,
}

/// Serves the pages. Cheap to clone.
#[derive(Clone)]
pub struct Pages(Arc<Parts>);

impl Deref for Pages {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Pages {
    /// Of these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

/// The pages, each of which has a policy (`auth/policy/pages.rs`). Nothing here asks who calls: the auth layer in front of it has.
pub fn router(pages: Pages) -> Router {
    Router::new()
        .route("/", get(settings::start))
        .route("/projects", get(settings::projects))
        .route("/settings", get(settings::start))
        .route("/settings/personal-access-tokens", get(tokens::list).post(tokens::create))
        .route("/settings/personal-access-tokens/new", get(tokens::new))
        .route("/settings/personal-access-tokens/{id}", get(tokens::show).post(tokens::update))
        .route("/settings/personal-access-tokens/{id}/revoke", get(tokens::confirm_revocation).post(tokens::revoke))
        .route("/settings/sessions", get(sessions::list))
        .route("/settings/sessions/{id}/revoke", post(sessions::revoke))
        .route("/environments", get(environments::list))
        .route("/environments/events", get(environments::events))
        .route("/details/{id}", get(environments::show))
        .route("/details/{id}/start", post(environments::start))
        .route("/details/{id}/stop", post(environments::stop))
        .route("/details/{id}/delete", get(environments::confirm_deletion).post(environments::delete))
        .route("/audit-logs", get(audit_logs::list))
        .route("/admin/users", get(admin::users::list))
        .route("/admin/users/{id}", get(admin::users::show))
        .route("/admin/users/{id}/suspend", get(admin::users::confirm_suspension).post(admin::users::suspend))
        .route("/admin/users/{id}/unsuspend", post(admin::users::unsuspend))
        .route("/admin/invitations", get(admin::invitations::list).post(admin::invitations::create))
        .route("/admin/invitations/withdraw", post(admin::invitations::withdraw))
        .route("/admin/service-accounts", get(admin::service_accounts::list).post(admin::service_accounts::create))
        .route("/admin/service-accounts/{id}", get(admin::service_accounts::show))
        .route("/admin/service-accounts/{id}/tokens", post(admin::service_accounts::create_token))
        .route("/admin/service-accounts/{id}/tokens/new", get(admin::service_accounts::new_token))
        .route("/sign-in", get(sign_in::show))
        .route("/sign-in/link", get(sign_in::link::show).post(sign_in::link::sign_in))
        .route("/sign-in/{provider}", post(sign_in::provider::begin))
        .route("/sign-in/{provider}/callback", get(sign_in::provider::callback))
        .route("/sign-out", get(sign_in::confirm_sign_out).post(sign_in::sign_out))
        .route("/device", get(logins::device::show).post(logins::device::ask))
        .route("/device/answer", post(logins::device::say))
        .route("/oauth2/authorize", get(logins::authorize::show).post(logins::authorize::say))
        .route("/assets/{name}", get(assets::serve))
        .with_state(pages)
}
