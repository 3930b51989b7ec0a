//! Runners, and what can be said of a repository before anything is made from it.

use super::ServiceError;
use crate::domain::{
    environment::{Content, GitSource},
    ids::RunnerId,
    page::{Page, PageRequest},
    principal::Actor,
    runner::Runner,
};
use crate::store::Store;

/// The use cases of runners.
#[derive(Debug, Clone)]
pub struct Runners {
    store: Store,
    own: Option<RunnerId>,
}

impl Runners {
    /// On a store; `own` is this server's runner.
    #[must_use]
    pub const fn new(store: Store, own: Option<RunnerId>) -> Self {
        Self { store, own }
    }

    /// Whether a runner is this server's, which is all that it knows of any.
    #[must_use]
    pub fn is_own(&self, id: RunnerId) -> bool {
        self.own == Some(id)
    }

    /// A runner of the actor's organization.
    ///
    /// # Errors
    /// [`ServiceError`]: not found.
    pub async fn get(&self, actor: &Actor, id: RunnerId) -> Result<Runner, ServiceError> {
        let found = self.store.runner_get(actor.organization_id, id).await?;
        found.ok_or_else(|| ServiceError::not_found("runner", id))
    }

    /// A page of the runners of the actor's organization.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn list(&self, actor: &Actor, page: &PageRequest) -> Result<Page<Runner>, ServiceError> {
        Ok(self.store.runner_list(actor.organization_id, page).await?)
    }

    /// What a context URL means, to a runner if one is named.
    ///
    /// # Errors
    /// [`ServiceError`]: invalid; not found for a runner that there is not.
    pub async fn context(
        &self,
        actor: &Actor,
        runner: Option<RunnerId>,
        context_url: &str,
    ) -> Result<GitSource, ServiceError> {
        let invalid = |problem: String| ServiceError::Invalid { field: "context_url", problem };
        let content = Content::from_context_url(context_url).map_err(|error| invalid(error.to_string()))?;
        self.check(actor, runner).await?;
        match content {
            Content::Git { source, .. } => Ok(source),
            Content::Empty => Err(invalid("names no repository".to_owned())),
        }
    }

    /// Checks that environments can be made from repositories of a host, as far as signing in goes: they always can.
    ///
    /// # Errors
    /// [`ServiceError`]: invalid for what is no host; not found for a runner that there is not.
    pub async fn host(&self, actor: &Actor, runner: Option<RunnerId>, host: &str) -> Result<(), ServiceError> {
        let is_host = !host.contains(['/', '?', '#', '@', '\\'])
            && Content::from_context_url(&format!("https://{host}/repository")).is_ok();
        if !is_host {
            let problem = "is not the name of a host; write it as in https://HOST/PATH".to_owned();
            return Err(ServiceError::Invalid { field: "host", problem });
        }
        self.check(actor, runner).await
    }

    async fn check(&self, actor: &Actor, runner: Option<RunnerId>) -> Result<(), ServiceError> {
        match runner {
            Some(id) => self.get(actor, id).await.map(drop),
            None => Ok(()),
        }
    }
}
