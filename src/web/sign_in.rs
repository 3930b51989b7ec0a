//! Signing in, and out again.

pub(super) mod link;
pub(super) mod provider;

use askama::Template;
use axum::{body::Body, extract::State};
use http::{HeaderValue, Response, Uri, header, request::Parts};

use super::{
    Pages, answer,
    failure::Failure,
    frame::{Frame, Section},
    visit::{Posted, Visit},
};
use crate::auth::{origin, session_cookie};
use crate::domain::{
    secret::Secret,
    sign_in::{Landing, Provider},
    site::Site,
};
use crate::form::Form;

#[derive(Template)]
#[template(path = "sign_in/show.html", config = "src/web/askama.toml")]
struct SignIn<'a> {
    frame: Frame,
    providers: Vec<&'a Provider>,
    next: Landing,
    takes_links: bool,
    keeps_cookies: bool,
    public_url: String,
}

/// `/sign-in`
pub(super) async fn show(State(pages): State<Pages>, address: Uri) -> Result<Response<Body>, Failure> {
    let next = Landing::parse(Form::of_query(&address)?.text("next")).unwrap_or_default();
    let takes_links = pages.sign_in_links.is_open();
    let mut response = answer::ok(&SignIn {
        frame: Frame::public("Sign in"),
        providers: pages.providers.iter().collect(),
        next: next.clone(),
        takes_links,
        keeps_cookies: pages.site.keeps_cookies(),
        public_url: pages.site.public_url().to_owned(),
    })?;
    // A link comes from elsewhere, and says nothing of where somebody wanted to go.
    if takes_links && next != Landing::default() {
        link::remember(&mut response, &pages, &next);
    }
    Ok(response)
}

#[derive(Template)]
#[template(path = "sign_in/out.html", config = "src/web/askama.toml")]
struct SignOut {
    frame: Frame,
}

/// `/sign-out`, for whoever comes there by its address.
pub(super) async fn confirm_sign_out(visit: Visit) -> Result<Response<Body>, Failure> {
    answer::ok(&SignOut { frame: visit.frame(Section::Other, "Sign out").await? })
}

/// The same by POST.
pub(super) async fn sign_out(
    State(pages): State<Pages>,
    Posted { visit, .. }: Posted,
) -> Result<Response<Body>, Failure> {
    if let Some(id) = visit.actor().credential.session_id() {
        pages.sessions.revoke(visit.actor(), id, "sign-out").await?;
    }
    Ok(signed_out(&pages.site))
}

/// Whoever signs in anew leaves the session that the browser had. They are signed in all the same if it cannot be ended now: it ends by
/// itself.
pub(super) async fn leave_former(pages: &Pages, parts: &Parts, rpc: &'static str) {
    let Some(former) = session_cookie(parts, &pages.site) else { return };
    if let Err(error) = pages.sessions.leave(&Secret::new(former.to_owned()), &origin(parts), rpc).await {
        tracing::warn!(?error, "a session that somebody has left cannot be ended right now");
    }
}

/// Takes the cookie away.
pub(super) fn signed_out(site: &Site) -> Response<Body> {
    let mut response = answer::see_other("/sign-in");
    set_cookie(&mut response, site, site.session_cookie(), "", 0);
    response
}

/// Gives the browser what it is known by from now on, and sends it to where it wanted to go.
pub(super) fn signed_in(pages: &Pages, session: &Secret, next: &str) -> Response<Body> {
    let mut response = answer::see_other(next);
    let seconds = pages.session_limits.lifetime.as_secs();
    set_cookie(&mut response, &pages.site, pages.site.session_cookie(), session.expose(), seconds);
    response
}

/// A cookie for the pages alone: no script reads it, and no other site's form sends it.
pub(super) fn set_cookie(response: &mut Response<Body>, site: &Site, name: &str, value: &str, seconds: u64) {
    let secure = if site.is_https() { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}");
    // Names and values are of letters, digits and hyphens.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
