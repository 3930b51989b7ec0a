//! Users: who there is, and who may act.

use askama::Template;
use axum::{
    body::Body,
    extract::{Path, State},
};
use http::Response;

use super::Row;
use crate::{
    domain::ids::PrincipalId,
    web::{
        Pages, answer,
        failure::Failure,
        frame::{Frame, Section},
        paging::Paging,
        tokens::ActiveTokens,
        visit::{Posted, Visit},
    },
};

#[derive(Template)]
#[template(path = "admin/users.html", config = "src/web/askama.toml")]
struct List {
    frame: Frame,
    users: Vec<Row>,
    paging: Paging,
}

/// `/admin/users`
pub(in crate::web) async fn list(State(pages): State<Pages>, visit: Visit) -> Result<Response<Body>, Failure> {
    let page = visit.page();
    let found = pages.users.list(visit.actor(), &page).await?;
    answer::ok(&List {
        frame: visit.frame(Section::Users, "Users").await?,
        users: found.entries.into_iter().map(Row::new).collect(),
        paging: Paging::new("/admin/users", &page, found.next),
    })
}

#[derive(Template)]
#[template(path = "admin/user.html", config = "src/web/askama.toml")]
struct Show {
    frame: Frame,
    user: Row,
    is_self: bool,
    active: ActiveTokens,
}

async fn found(pages: &Pages, visit: &Visit, id: &str) -> Result<Row, Failure> {
    let id: PrincipalId = id.parse().map_err(|_| Failure::not_found())?;
    Ok(Row::new(pages.users.look_after(visit.actor(), id).await?))
}

/// `/admin/users/{}`
pub(in crate::web) async fn show(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response<Body>, Failure> {
    let user = found(&pages, &visit, &id).await?;
    let active = ActiveTokens::of(&pages, &visit, user.id, &format!("/admin/users/{}", user.id)).await?;
    // As far as it is so: an address says whatever somebody has written.
    let notice = match visit.notice() {
        "suspended" if user.is_suspended => Some("The user is suspended: nothing is done in their name from now on."),
        "unsuspended" if !user.is_suspended => Some("The user may act again."),
        _ => None,
    };
    answer::ok(&Show {
        frame: visit.frame(Section::Users, user.name.clone()).await?.with_notice(notice),
        is_self: user.id == visit.actor().principal_id,
        user,
        active,
    })
}

#[derive(Template)]
#[template(path = "admin/suspend.html", config = "src/web/askama.toml")]
struct Suspend {
    frame: Frame,
    user: Row,
}

/// `/admin/users/{}/suspend`
pub(in crate::web) async fn confirm_suspension(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response<Body>, Failure> {
    let user = found(&pages, &visit, &id).await?;
    answer::ok(&Suspend { frame: visit.frame(Section::Users, "Suspend a user").await?, user })
}

/// The same by POST.
pub(in crate::web) async fn suspend(
    pages: State<Pages>,
    id: Path<String>,
    posted: Posted,
) -> Result<Response<Body>, Failure> {
    let id = set_suspended(pages, id, posted, true, "admin/users/{}/suspend").await?;
    Ok(answer::see_other(&format!("/admin/users/{id}?notice=suspended")))
}

/// `/admin/users/{}/unsuspend`
pub(in crate::web) async fn unsuspend(
    pages: State<Pages>,
    id: Path<String>,
    posted: Posted,
) -> Result<Response<Body>, Failure> {
    let id = set_suspended(pages, id, posted, false, "admin/users/{}/unsuspend").await?;
    Ok(answer::see_other(&format!("/admin/users/{id}?notice=unsuspended")))
}

async fn set_suspended(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Posted { visit, .. }: Posted,
    suspended: bool,
    rpc: &'static str,
) -> Result<PrincipalId, Failure> {
    let id: PrincipalId = id.parse().map_err(|_| Failure::not_found())?;
    pages.users.set_suspended(visit.actor(), id, suspended, rpc).await?;
    Ok(id)
}
