//! Environments: listed, looked at, started, stopped, deleted.

mod events;

use std::collections::HashMap;

use askama::Template;
use axum::{
    body::Body,
    extract::{Path, State},
};
use http::Response;

pub(super) use events::events;

use super::{
    Pages, answer, audit_logs,
    failure::Failure,
    frame::{Frame, Section},
    moment::Moment,
    paging::Paging,
    visit::{Posted, Visit},
};
use crate::domain::{
    clock::{Clock, SystemClock},
    environment::{
        ClassFilter, Content, DesiredPhase, Environment, EnvironmentFilter, EnvironmentTime, GitTarget, Phase,
        ProgressStep,
    },
    ids::{ClassId, EnvironmentId},
    page::{Order, PageRequest},
};

/// An environment on a page.
pub(super) struct Row {
    id: EnvironmentId,
    name: String,
    phase: &'static str,
    /// How it is shown: failed, or nothing besides.
    look: &'static str,
    progress: Option<String>,
    class: String,
    repository: Option<String>,
    branch: Option<String>,
    commit: Option<String>,
    failure: Option<String>,
    warning: Option<String>,
    disk: String,
    created: Moment,
    started: Option<Moment>,
    is_archived: bool,
    can_start: bool,
    can_stop: bool,
    is_going: bool,
}

impl Row {
    fn new(environment: Environment, classes: &HashMap<ClassId, String>) -> Self {
        let now = SystemClock.now();
        let Environment { content, phase, desired_phase, failure_message, .. } = environment;
        let is_going = desired_phase == DesiredPhase::Deleted;
        let is_archived = environment.archived_at.is_some();
        let (repository, target) = match content {
            Content::Empty => (None, None),
            Content::Git { source, .. } => {
                let target = match source.target {
                    GitTarget::RemoteHead => None,
                    GitTarget::RemoteBranch(name)
                    | GitTarget::LocalBranch(name)
                    | GitTarget::RemoteTag(name)
                    | GitTarget::RemoteCommit(name) => Some(name),
                };
                (Some(source.remote_url), target)
            }
        };
        Self {
            id: environment.id,
            name: environment.name,
            phase: if is_going { "deleting" } else { phase.as_str() },
            look: match (phase, &failure_message) {
                (Phase::Stopped, Some(_)) => "failed",
                (Phase::Running, _) => "good",
                (Phase::Stopped | Phase::Creating | Phase::Starting | Phase::Stopping | Phase::Deleting, _) => "",
            },
            progress: environment.progress.map(|progress| {
                let step = match progress.step {
                    ProgressStep::Counting => "Counting objects",
                    ProgressStep::Packing => "Packing objects",
                    ProgressStep::Receiving => "Receiving objects",
                    ProgressStep::Resolving => "Resolving deltas",
                    ProgressStep::Writing => "Writing files",
                };
                match progress.total {
                    0 => format!("{step}: {}", progress.done),
                    total => format!("{step}: {} of {total}", progress.done),
                }
            }),
            class: classes.get(&environment.class_id).cloned().unwrap_or_default(),
            repository,
            branch: environment.branch.or(target),
            commit: environment.commit,
            failure: failure_message,
            warning: environment.warning_message,
            disk: size(environment.disk_bytes),
            created: Moment::new(environment.created_at, now),
            started: environment.last_started_at.map(|at| Moment::new(at, now)),
            is_archived,
            can_start: desired_phase == DesiredPhase::Stopped && !is_archived,
            can_stop: desired_phase == DesiredPhase::Running,
            is_going,
        }
    }
}

/// Bytes for people.
fn size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = bytes.max(0).saturating_mul(10);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1024, unit + 1);
    }
    if unit == 0 {
        format!("{} bytes", tenths / 10)
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

async fn classes(pages: &Pages, visit: &Visit) -> Result<HashMap<ClassId, String>, Failure> {
    let first = PageRequest::largest();
    let found = pages.environments.classes(visit.actor(), &ClassFilter::default(), &first).await?;
    Ok(found.entries.into_iter().map(|class| (class.id, class.display_name)).collect())
}

#[derive(Template)]
#[template(path = "environments/list.html", config = "src/web/askama.toml")]
struct List {
    frame: Frame,
    archived: bool,
    environments: Vec<Row>,
    paging: Paging,
}

/// `/environments`
pub(super) async fn list(State(pages): State<Pages>, visit: Visit) -> Result<Response<Body>, Failure> {
    let page = visit.page();
    let archived = visit.query("archived") == "true";
    let filter = EnvironmentFilter { archived: Some(archived), ..EnvironmentFilter::default() };
    let order = (EnvironmentTime::Creation, Order::Descending);
    let (found, _) = pages.environments.list(visit.actor(), filter, order, &page, false).await?;
    let classes = classes(&pages, &visit).await?;
    let notice = (visit.notice() == "deleted").then_some("The environment is being deleted.");
    answer::ok(&List {
        frame: visit.frame(Section::Environments, "Environments").await?.with_notice(notice),
        archived,
        environments: found.entries.into_iter().map(|environment| Row::new(environment, &classes)).collect(),
        paging: Paging::new(&format!("/environments?archived={archived}"), &page, found.next),
    })
}

#[derive(Template)]
#[template(path = "environments/show.html", config = "src/web/askama.toml")]
struct Show {
    frame: Frame,
    environment: Row,
    log: Vec<audit_logs::Row>,
    log_goes_on: bool,
}

async fn found(pages: &Pages, visit: &Visit, id: &str) -> Result<Row, Failure> {
    let id: EnvironmentId = id.parse().map_err(|_| Failure::not_found())?;
    let environment = pages.environments.get(visit.actor(), id).await?;
    Ok(Row::new(environment, &classes(pages, visit).await?))
}

/// `/details/{}`
pub(super) async fn show(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response<Body>, Failure> {
    let environment = found(&pages, &visit, &id).await?;
    let (log, log_goes_on) = audit_logs::of_subject(&pages, &visit, environment.id.uuid()).await?;
    let frame = visit.frame(Section::Environments, environment.name.clone()).await?;
    answer::ok(&Show { frame, environment, log, log_goes_on })
}

#[derive(Template)]
#[template(path = "environments/delete.html", config = "src/web/askama.toml")]
struct Delete {
    frame: Frame,
    environment: Row,
}

/// `/details/{}/delete`
pub(super) async fn confirm_deletion(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response<Body>, Failure> {
    let environment = found(&pages, &visit, &id).await?;
    answer::ok(&Delete { frame: visit.frame(Section::Environments, "Delete an environment").await?, environment })
}

/// The same by POST.
pub(super) async fn delete(pages: State<Pages>, id: Path<String>, posted: Posted) -> Result<Response<Body>, Failure> {
    desire(pages, id, posted, DesiredPhase::Deleted, "details/{}/delete").await?;
    Ok(answer::see_other("/environments?notice=deleted"))
}

/// `/details/{}/start`
pub(super) async fn start(pages: State<Pages>, id: Path<String>, posted: Posted) -> Result<Response<Body>, Failure> {
    let id = desire(pages, id, posted, DesiredPhase::Running, "details/{}/start").await?;
    Ok(answer::see_other(&format!("/details/{id}")))
}

/// `/details/{}/stop`
pub(super) async fn stop(pages: State<Pages>, id: Path<String>, posted: Posted) -> Result<Response<Body>, Failure> {
    let id = desire(pages, id, posted, DesiredPhase::Stopped, "details/{}/stop").await?;
    Ok(answer::see_other(&format!("/details/{id}")))
}

async fn desire(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Posted { visit, .. }: Posted,
    desired: DesiredPhase,
    rpc: &'static str,
) -> Result<EnvironmentId, Failure> {
    let id: EnvironmentId = id.parse().map_err(|_| Failure::not_found())?;
    pages.environments.desire(visit.actor(), id, desired, rpc).await?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_with_one_digit_after_the_point() {
        for (bytes, told) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 * 1024 * 1024 * 1024, "10.0 GiB"),
            (-1, "0 bytes"),
        ] {
            assert_eq!(size(bytes), told);
        }
    }
}
