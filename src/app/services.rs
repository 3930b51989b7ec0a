//! What is served: the use cases, and the APIs and pages that make them of requests.

use std::sync::Arc;

use super::{http, pages::Place};
use crate::{
    auth::{Cache, Guesses, Verifier},
    config::Limits,
    domain::{
        clock::SystemClock,
        exec::Operations,
        ids::{OrganizationId, RunnerId},
        token::SigningKeys,
    },
    grpc::{
        EnvironmentApi, EnvironmentOpsApi, EnvoyApi, EventApi, IdentityApi, RunnerApi, RunnerConfigurationApi,
        TokenApi, UserApi,
    },
    oauth::OAuthApi,
    service::{
        AuditLogs, Environments, Events, Introspection, Invitations, LoginRequests, ProxiedRequests, QueuedRecorder,
        Revocations, Runners, ServiceAccounts, Sessions, SignInLinks, SignInParts, SignIns, Standing,
        StoredCredentials, Tokens, Users,
    },
    store::Store,
    web::{self, Pages, oidc::Providers},
};

/// What they all stand on.
pub(super) struct Foundation {
    pub(super) store: Store,
    pub(super) keys: Arc<SigningKeys>,
    pub(super) cache: Arc<Cache>,
    pub(super) verifier: Arc<Verifier<StoredCredentials>>,
    pub(super) guesses: Arc<Guesses>,
    pub(super) recorder: QueuedRecorder,
    pub(super) organization: OrganizationId,
    pub(super) limits: Limits,
}

/// Each by the way it is called.
pub(super) struct Services {
    pub(super) grpc: http::Services,
    pub(super) oauth: OAuthApi,
    pub(super) pages: Pages,
}

impl Foundation {
    /// Makes all of them; `runner` is the one of this machine, and how commands are run on it.
    pub(super) fn services(
        &self,
        place: &Place,
        providers: Providers,
        standing: Standing,
        events: Events,
        runner: Option<(RunnerId, Arc<dyn Operations>)>,
    ) -> Services {
        let own_runner = runner.as_ref().map(|(id, _)| *id);
        let environments = Environments::new(
            self.store.clone(),
            standing,
            Arc::clone(&self.keys),
            Arc::clone(&self.cache),
            runner,
            self.limits.environments,
        );
        let tokens = Tokens::new(
            self.store.clone(),
            Arc::clone(&self.keys),
            Arc::clone(&self.cache),
            self.limits.tokens_per_user,
        );
        let login_requests = LoginRequests::new(
            self.store.clone(),
            Arc::clone(&self.keys),
            Arc::clone(&self.cache),
            Arc::clone(&self.guesses),
            self.limits.tokens_per_user,
        );
        let introspection = Introspection::new(Arc::clone(&self.verifier));
        let users = Users::new(self.store.clone(), Arc::clone(&self.cache));
        let audit_logs = AuditLogs::new(self.store.clone());
        let oauth = OAuthApi::new(
            introspection.clone(),
            Revocations::new(tokens.clone(), Arc::clone(&self.verifier)),
            login_requests.clone(),
            Arc::clone(&place.public_url),
            self.limits.request_bytes,
        );
        let pages = Pages::new(web::Parts {
            site: Arc::clone(&place.site),
            users: users.clone(),
            invitations: Invitations::new(self.store.clone()),
            service_accounts: ServiceAccounts::new(self.store.clone()),
            tokens: tokens.clone(),
            sessions: Sessions::new(self.store.clone(), Arc::clone(&self.cache), Arc::clone(&self.verifier)),
            environments: environments.clone(),
            events: events.clone(),
            audit_logs: audit_logs.clone(),
            sign_in_links: self.sign_in_links(place),
            providers,
            sign_ins: self.sign_ins(),
            login_requests,
            session_limits: self.limits.sessions,
            request_bytes: self.limits.request_bytes,
        });
        let proxied =
            ProxiedRequests::new(Arc::clone(&self.verifier), self.recorder.clone(), Arc::clone(&self.guesses));
        let tokens = TokenApi::new(tokens, introspection);
        let grpc = http::Services {
            users: UserApi::new(users, tokens.clone()),
            tokens,
            identity: IdentityApi,
            events: EventApi::new(events, audit_logs),
            environments: EnvironmentApi::new(environments.clone(), Arc::clone(&place.public_url)),
            runners: RunnerApi::new(Runners::new(self.store.clone(), own_runner)),
            runner_configuration: RunnerConfigurationApi::new(environments.clone()),
            operations: EnvironmentOpsApi::new(environments),
            envoy: EnvoyApi::new(proxied),
        };
        Services { grpc, oauth, pages }
    }

    fn sign_in_links(&self, place: &Place) -> SignInLinks {
        SignInLinks::new(
            self.store.clone(),
            Arc::clone(&self.keys),
            Arc::clone(&self.guesses),
            self.limits.sessions,
            place.takes_links,
        )
    }

    fn sign_ins(&self) -> SignIns {
        SignIns::new(SignInParts {
            store: self.store.clone(),
            keys: Arc::clone(&self.keys),
            cache: Arc::clone(&self.cache),
            guesses: Arc::clone(&self.guesses),
            recorder: self.recorder.clone(),
            organization: self.organization,
            limits: self.limits.sessions,
            clock: Arc::new(SystemClock),
        })
    }
}
