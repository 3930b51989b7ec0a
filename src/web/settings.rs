//! Where people arrive.

use askama::Template;
use axum::{body::Body, extract::State};
use http::Response;

use super::{
    Pages, answer,
    failure::Failure,
    frame::{Frame, Section},
    visit::Visit,
};

/// `/` and `/settings` are the tokens.
pub(super) async fn start(State(_): State<Pages>, _: Visit) -> Response<Body> {
    answer::see_other("/settings/personal-access-tokens")
}

#[derive(Template)]
#[template(path = "projects.html", config = "src/web/askama.toml")]
struct Projects {
    frame: Frame,
}

/// Where old links to the settings lead, whose path is in the fragment: no server hears of it.
pub(super) async fn projects(visit: Visit) -> Result<Response<Body>, Failure> {
    answer::ok(&Projects { frame: visit.frame(Section::Other, "Projects").await? })
}
