//! Where somebody is signed in.

use askama::Template;
use axum::{
    body::Body,
    extract::{Path, State},
};
use http::Response;

use super::{
    Pages, answer,
    failure::Failure,
    frame::{Frame, Section},
    moment::Moment,
    paging::Paging,
    sign_in,
    visit::{Posted, Visit},
};
use crate::domain::{
    clock::{Clock, SystemClock},
    ids::SessionId,
};

struct Row {
    id: SessionId,
    is_this: bool,
    signed_in_by: String,
    created: Moment,
    expires: Moment,
    last_used: Moment,
    peer: Option<String>,
    user_agent: Option<String>,
}

#[derive(Template)]
#[template(path = "sessions.html", config = "src/web/askama.toml")]
struct Sessions {
    frame: Frame,
    sessions: Vec<Row>,
    paging: Paging,
}

/// `/settings/sessions`
pub(super) async fn list(State(pages): State<Pages>, visit: Visit) -> Result<Response<Body>, Failure> {
    let now = SystemClock.now();
    let this = visit.actor().credential.session_id();
    let page = visit.page();
    let found = pages.sessions.list(visit.actor(), &page).await?;
    let rows = found.entries.into_iter().map(|session| Row {
        is_this: Some(session.id) == this,
        id: session.id,
        signed_in_by: session.signed_in_by,
        created: Moment::new(session.created_at, now),
        expires: Moment::new(session.expires_at, now),
        last_used: Moment::new(session.last_used_at, now),
        peer: session.peer.map(|peer| peer.to_string()),
        user_agent: session.user_agent,
    });
    let notice = (visit.notice() == "ended").then_some("The session has ended.");
    let frame = visit.frame(Section::Sessions, "Sessions").await?.with_notice(notice);
    answer::ok(&Sessions {
        frame,
        sessions: rows.collect(),
        paging: Paging::new("/settings/sessions", &page, found.next),
    })
}

/// `/settings/sessions/{}/revoke`
pub(super) async fn revoke(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Posted { visit, .. }: Posted,
) -> Result<Response<Body>, Failure> {
    let id: SessionId = id.parse().map_err(|_| Failure::not_found())?;
    pages.sessions.revoke(visit.actor(), id, "settings/sessions/{}/revoke").await?;
    if visit.actor().credential.session_id() == Some(id) {
        return Ok(sign_in::signed_out(&pages.site));
    }
    Ok(answer::see_other("/settings/sessions?notice=ended"))
}
