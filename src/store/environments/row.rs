//! Rows of `environments`, to and from the domain.

use diesel::{Insertable, Queryable, Selectable};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::environment::{Content, DesiredPhase, Environment, GitSource, GitTarget, NewEnvironment, Phase};
use crate::store::{StoreError, columns, schema::environments};

#[derive(Queryable, Selectable)]
#[diesel(table_name = environments, check_for_backend(diesel::pg::Pg))]
pub(super) struct EnvironmentRow {
    id: Uuid,
    organization_id: Uuid,
    creator_id: Uuid,
    runner_id: Uuid,
    class_id: Uuid,
    name: String,
    context_url: Option<String>,
    remote_url: Option<String>,
    upstream_url: Option<String>,
    target: Option<String>,
    target_name: Option<String>,
    checkout_location: Option<String>,
    desired_phase: String,
    phase: String,
    epoch: i64,
    status_version: i64,
    content_ready: bool,
    branch: Option<String>,
    commit: Option<String>,
    failure_message: Option<String>,
    warning_message: Option<String>,
    created_at: OffsetDateTime,
    last_started_at: Option<OffsetDateTime>,
    annotations: serde_json::Value,
    session_id: String,
    disk_bytes: i64,
    archived_at: Option<OffsetDateTime>,
}

impl EnvironmentRow {
    pub(super) fn environment(self, creator_kind: &str) -> Result<Environment, StoreError> {
        let content = match (self.remote_url, self.target) {
            (Some(remote_url), Some(target)) => Content::Git {
                source: GitSource {
                    remote_url,
                    upstream_url: self.upstream_url,
                    target: git_target(&target, self.target_name)?,
                    checkout_location: self.checkout_location,
                },
                context_url: self.context_url,
            },
            (None, _) | (_, None) => Content::Empty,
        };
        Ok(Environment {
            id: self.id.into(),
            organization_id: self.organization_id.into(),
            creator_id: self.creator_id.into(),
            creator_kind: columns::principal_kind(creator_kind)?,
            runner_id: self.runner_id.into(),
            class_id: self.class_id.into(),
            name: self.name,
            content,
            desired_phase: columns::desired_phase(&self.desired_phase)?,
            phase: columns::phase(&self.phase)?,
            epoch: self.epoch,
            status_version: self.status_version,
            content_ready: self.content_ready,
            branch: self.branch,
            commit: self.commit,
            failure_message: self.failure_message,
            warning_message: self.warning_message,
            annotations: serde_json::from_value(self.annotations)
                .map_err(|error| StoreError::Corrupt(format!("environments.annotations: {error}")))?,
            session_id: self.session_id,
            disk_bytes: self.disk_bytes,
            progress: None,
            created_at: self.created_at,
            last_started_at: self.last_started_at,
            archived_at: self.archived_at,
        })
    }
}

#[derive(Insertable)]
#[diesel(table_name = environments)]
pub(super) struct NewRow<'a> {
    id: Uuid,
    organization_id: Uuid,
    creator_id: Uuid,
    created_by_token_id: Uuid,
    runner_id: Uuid,
    class_id: Uuid,
    name: &'a str,
    context_url: Option<&'a str>,
    remote_url: Option<&'a str>,
    upstream_url: Option<&'a str>,
    target: Option<&'static str>,
    target_name: Option<&'a str>,
    checkout_location: Option<&'a str>,
    desired_phase: &'static str,
    phase: &'static str,
    annotations: serde_json::Value,
    session_id: &'a str,
}

impl<'a> NewRow<'a> {
    pub(super) fn new(new: &'a NewEnvironment, class_id: Uuid, runner_id: Uuid) -> Self {
        let (source, context_url) = match &new.content {
            Content::Empty => (None, None),
            Content::Git { source, context_url } => (Some(source), context_url.as_deref()),
        };
        let (target, target_name) = source.map(|source| git_target_text(&source.target)).unzip();
        let phase = match new.desired_phase {
            DesiredPhase::Running => Phase::Creating,
            DesiredPhase::Stopped | DesiredPhase::Deleted => Phase::Stopped,
        };
        Self {
            id: new.id.uuid(),
            organization_id: new.organization_id.uuid(),
            creator_id: new.creator_id.uuid(),
            created_by_token_id: new.created_by_token_id.uuid(),
            runner_id,
            class_id,
            name: &new.name,
            context_url,
            remote_url: source.map(|source| source.remote_url.as_str()),
            upstream_url: source.and_then(|source| source.upstream_url.as_deref()),
            target,
            target_name: target_name.flatten(),
            checkout_location: source.and_then(|source| source.checkout_location.as_deref()),
            desired_phase: new.desired_phase.as_str(),
            phase: phase.as_str(),
            annotations: new.annotations.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            session_id: &new.session_id,
        }
    }
}

fn git_target(target: &str, name: Option<String>) -> Result<GitTarget, StoreError> {
    match (target, name) {
        ("remote_head", None) => Ok(GitTarget::RemoteHead),
        ("remote_branch", Some(name)) => Ok(GitTarget::RemoteBranch(name)),
        ("local_branch", Some(name)) => Ok(GitTarget::LocalBranch(name)),
        ("remote_commit", Some(name)) => Ok(GitTarget::RemoteCommit(name)),
        ("remote_tag", Some(name)) => Ok(GitTarget::RemoteTag(name)),
        (other, _) => Err(columns::unknown("environments.target", other)),
    }
}

fn git_target_text(target: &GitTarget) -> (&'static str, Option<&str>) {
    match target {
        GitTarget::RemoteHead => ("remote_head", None),
        GitTarget::RemoteBranch(name) => ("remote_branch", Some(name)),
        GitTarget::LocalBranch(name) => ("local_branch", Some(name)),
        GitTarget::RemoteCommit(name) => ("remote_commit", Some(name)),
        GitTarget::RemoteTag(name) => ("remote_tag", Some(name)),
    }
}
