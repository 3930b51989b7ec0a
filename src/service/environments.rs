//! Environments: what is wanted of them. What becomes of it, the reconciler sees to.

mod changes;
mod classes;
mod commands;

use std::{collections::BTreeMap, sync::Arc};

pub use classes::default_classes;

use super::{ServiceError, Standing};
use crate::auth::Cache;
use crate::domain::{
    audit::{Action, AuditEvent, Subject, SubjectType},
    credential::Ended,
    environment::{
        ClassFilter, ClassKey, Content, DesiredPhase, Environment, EnvironmentClass, EnvironmentFilter,
        EnvironmentLimits, EnvironmentTime, NAME_LIMIT, NewEnvironment, Phase, Progress, SESSION_ID_LIMIT,
    },
    exec::Operations,
    ids::{ClassId, EnvironmentId, EnvironmentTokenId, PrincipalId, RunnerId, TokenId},
    page::{Order, Page, PageRequest},
    principal::Actor,
    secret::Secret,
    text::{self, is_unprintable},
    token::SigningKeys,
};
use crate::store::{EnvironmentChange, EnvironmentCreateError, MintError, Store, StoreError};

/// The most annotations of an environment.
const ANNOTATIONS_LIMIT: usize = 64;
/// The most bytes of them all.
const ANNOTATION_BYTES: usize = 8 * 1024;

/// What is asked for in a new environment.
#[derive(Debug, Clone)]
pub struct CreateEnvironment {
    /// The class; none for the default one.
    pub class_id: Option<ClassId>,
    /// What people will call it; none for the repository's name.
    pub name: Option<String>,
    /// What it is made from.
    pub content: Content,
    /// Running or stopped.
    pub desired_phase: DesiredPhase,
    /// The client's own notes.
    pub annotations: BTreeMap<String, String>,
    /// The session that the client says it belongs to; empty for none.
    pub session_id: String,
}

/// The use cases of environments.
#[derive(Clone)]
pub struct Environments {
    store: Store,
    standing: Standing,
    keys: Arc<SigningKeys>,
    cache: Arc<Cache>,
    local: Option<(RunnerId, Arc<dyn Operations>)>,
    limits: EnvironmentLimits,
}

impl Environments {
    /// On a store; the tokens of what is deleted here, the cache forgets at once; commands are carried out in the environments of this server's own runner.
    #[must_use]
    pub fn new(
        store: Store,
        standing: Standing,
        keys: Arc<SigningKeys>,
        cache: Arc<Cache>,
        local: Option<(RunnerId, Arc<dyn Operations>)>,
        limits: EnvironmentLimits,
    ) -> Self {
        Self { store, standing, keys, cache, local, limits }
    }

    /// Asks for an environment, and returns at once.
    ///
    /// # Errors
    /// [`ServiceError`]: exhausted at a limit of the user or of the organization.
    pub async fn create(
        &self,
        actor: &Actor,
        asked: CreateEnvironment,
        rpc: &'static str,
    ) -> Result<Environment, ServiceError> {
        let name = match asked.name {
            Some(name) => {
                text::line(&name, NAME_LIMIT).map_err(|problem| ServiceError::invalid("name", problem))?;
                name
            }
            None => default_name(&asked.content),
        };
        check_annotations(&asked.annotations)?;
        if !asked.session_id.is_empty() {
            text::line(&asked.session_id, SESSION_ID_LIMIT)
                .map_err(|problem| ServiceError::invalid("session_id", problem))?;
        }
        let id = EnvironmentId::generate();
        let new = NewEnvironment {
            id,
            organization_id: actor.organization_id,
            creator_id: actor.principal_id,
            created_by_token_id: token_of(actor)?,
            class_id: asked.class_id,
            preferred_runner: self.local.as_ref().map(|(runner, _)| *runner),
            name,
            content: asked.content,
            desired_phase: asked.desired_phase,
            annotations: asked.annotations,
            session_id: asked.session_id,
        };
        let event = AuditEvent::of(actor, Action::EnvironmentCreate, rpc, subject(id));
        self.store.environment_create(&new, &self.limits, &event).await.map_err(|error| match error {
            EnvironmentCreateError::NoSuchClass => ServiceError::invalid(
                "spec.machine.class",
                "is no environment class of your organization that is enabled; see ListEnvironmentClasses",
            ),
            EnvironmentCreateError::NoDefaultClass => ServiceError::Precondition(
                "your organization has no runner yet, so there is no default environment class; ask your operator"
                    .to_owned(),
            ),
            EnvironmentCreateError::CreatorSuspended => ServiceError::Ended(Ended::Suspended.message()),
            EnvironmentCreateError::Limit(reached) => ServiceError::Exhausted(reached.to_string()),
            EnvironmentCreateError::Store(error) => error.into(),
        })
    }

    /// One environment of the actor's; as an admin, of the organization's.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn get(&self, actor: &Actor, id: EnvironmentId) -> Result<Environment, ServiceError> {
        let found = self.store.environment_get(actor.organization_id, creator(actor), id).await?;
        let mut environment = found.ok_or_else(|| ServiceError::not_found("environment", id))?;
        environment.progress = self.progress(&environment);
        Ok(environment)
    }

    /// A page of environments, in the order of a time: the actor's own, or as an admin those of the creators asked for; and how many
    /// there are on all pages, if that is asked for.
    ///
    /// # Errors
    /// [`ServiceError`]: denied when a member asks for others'.
    pub async fn list(
        &self,
        actor: &Actor,
        mut filter: EnvironmentFilter,
        order: (EnvironmentTime, Order),
        page: &PageRequest,
        count: bool,
    ) -> Result<(Page<Environment>, Option<i64>), ServiceError> {
        if filter.creator_ids.is_empty() {
            // An admin's script that stops all that it lists must not stop everybody's.
            filter.creator_ids = vec![actor.principal_id];
        }
        if !actor.is_admin() && filter.creator_ids.iter().any(|id| *id != actor.principal_id) {
            return Err(ServiceError::Denied("only admins may list the environments of others".to_owned()));
        }
        let mut environments = self.store.environment_list(actor.organization_id, &filter, order, page).await?;
        for environment in &mut environments.entries {
            environment.progress = self.progress(environment);
        }
        let count = match count {
            true => Some(self.store.environment_count(actor.organization_id, &filter).await?),
            false => None,
        };
        Ok((environments, count))
    }

    /// Says where an environment is to be, and returns at once. Deleting one that is being deleted is no error.
    ///
    /// # Errors
    /// [`ServiceError`]: exhausted when it is to run and as many run as may.
    pub async fn desire(
        &self,
        actor: &Actor,
        id: EnvironmentId,
        desired: DesiredPhase,
        rpc: &'static str,
    ) -> Result<(), ServiceError> {
        let action = match desired {
            DesiredPhase::Running => Action::EnvironmentStart,
            DesiredPhase::Stopped => Action::EnvironmentStop,
            DesiredPhase::Deleted => Action::EnvironmentDelete,
        };
        let event = AuditEvent::of(actor, action, rpc, subject(id));
        let change = self
            .store
            .environment_desire(actor.organization_id, creator(actor), id, desired, &self.limits, &event)
            .await;
        match (desired, &change) {
            // Others' are not forgotten at anybody's word.
            (DesiredPhase::Deleted, Ok(EnvironmentChange::NotFound)) => {}
            // Its tokens end with it: before anybody is told of it, whatever came of it.
            (DesiredPhase::Deleted, _) => self.cache.forget_environment(id),
            (DesiredPhase::Running | DesiredPhase::Stopped, _) => {}
        }
        changes::outcome(id, change?)
    }

    /// A page of the classes of the actor's organization, smallest first.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn classes(
        &self,
        actor: &Actor,
        filter: &ClassFilter,
        page: &PageRequest<ClassKey>,
    ) -> Result<Page<EnvironmentClass, ClassKey>, ServiceError> {
        // There are few: cut into pages here rather than by the database.
        let mut classes = self.store.class_list(actor.organization_id).await?;
        classes.retain(|class| filter.matches(class) && page.after().is_none_or(|after| class.key() > after));
        Ok(page.page(classes, EnvironmentClass::key))
    }

    /// A class of the actor's organization.
    ///
    /// # Errors
    /// [`ServiceError`]: not found.
    pub async fn class(&self, actor: &Actor, id: ClassId) -> Result<EnvironmentClass, ServiceError> {
        let classes = self.store.class_list(actor.organization_id).await?;
        let found = classes.into_iter().find(|class| class.id == id);
        found.ok_or_else(|| ServiceError::not_found("environment class", id))
    }

    /// Makes a credential for the operations of one environment: for its creator alone, since it runs commands as them.
    ///
    /// # Errors
    /// [`ServiceError`]
    pub async fn access_token(
        &self,
        actor: &Actor,
        id: EnvironmentId,
        rpc: &'static str,
    ) -> Result<Secret, ServiceError> {
        let environment = self
            .store
            .environment_get(actor.organization_id, Some(actor.principal_id), id)
            .await?
            .filter(|environment| environment.desired_phase != DesiredPhase::Deleted)
            .ok_or_else(|| ServiceError::not_found("environment", id))?;
        let event = AuditEvent::of(actor, Action::EnvironmentTokenCreate, rpc, subject(id));
        let token_id = EnvironmentTokenId::generate();
        let parent = token_of(actor)?;
        let made = self.store.environment_token_create(token_id, environment.id, parent, &self.keys, &event).await;
        made.map_err(|error| match error {
            // It went since it was looked at.
            MintError::Store(StoreError::Constraint(_)) => ServiceError::not_found("environment", id),
            error @ (MintError::NoActiveKey
            | MintError::KeyNotHere(_)
            | MintError::ParentEnded(_)
            | MintError::Random
            | MintError::Store(_)) => error.into(),
        })
    }

    /// How far an environment's files have come, if it is this server that fetches them: what changes every second is told by
    /// who knows it, and not worth a write to the database each time.
    fn progress(&self, environment: &Environment) -> Option<Progress> {
        match &self.local {
            Some((runner, operations)) if *runner == environment.runner_id && environment.phase == Phase::Creating => {
                operations.progress(environment.id)
            }
            Some(_) | None => None,
        }
    }
}

/// Members see what they made; admins all of the organization.
fn creator(actor: &Actor) -> Option<PrincipalId> {
    (!actor.is_admin()).then_some(actor.principal_id)
}

/// The token that something is made with, and dies with: a session ends when somebody goes home.
fn token_of(actor: &Actor) -> Result<TokenId, ServiceError> {
    actor.credential.token_id().ok_or_else(|| {
        ServiceError::Precondition("this is made with a personal access token, and not in a session".to_owned())
    })
}

const fn subject(id: EnvironmentId) -> Subject {
    Subject { subject_type: SubjectType::Environment, id: id.uuid() }
}

/// Notes, not files: whoever lists environments reads them all.
fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    let invalid = |problem: String| Err(ServiceError::invalid("annotations", problem));
    if annotations.len() > ANNOTATIONS_LIMIT {
        return invalid(format!("has {} entries, the most are {ANNOTATIONS_LIMIT}", annotations.len()));
    }
    for (key, value) in annotations {
        if let Err(problem) = text::line(key, 255) {
            return invalid(format!("a key {problem}"));
        }
        if value.contains('\0') {
            return invalid(format!("the value of {key:?} must not contain NUL"));
        }
    }
    let bytes: usize = annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > ANNOTATION_BYTES {
        return invalid(format!("has {bytes} bytes, the most are {ANNOTATION_BYTES}"));
    }
    Ok(())
}

fn default_name(content: &Content) -> String {
    let name: String =
        content.name().chars().filter(|character| !is_unprintable(*character)).take(NAME_LIMIT).collect();
    if name.trim().is_empty() { "environment".to_owned() } else { name }
}
