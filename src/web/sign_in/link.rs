//! Signing in by a link. Opening it signs nobody in, since programs that look into links do that too: it is kept in a cookie, so that it
//! stays in no history, and whoever has opened it is asked.

use askama::Template;
use axum::{body::Body, extract::State};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, Response, request::Parts};

use super::{leave_former, set_cookie, signed_in};
use crate::{
    auth::{cookie, origin},
    domain::{secret::Secret, sign_in::Landing},
    form::Form,
    web::{Pages, answer, failure::Failure, frame::Frame},
};

/// How long the cookie is kept: as long as a link is good at the most.
const SECONDS: u64 = 10 * 60;

#[derive(Template)]
#[template(path = "sign_in/link.html", config = "src/web/askama.toml")]
struct Link {
    frame: Frame,
    name: String,
    email: Option<String>,
}

fn kept(parts: &Parts, pages: &Pages) -> Option<Secret> {
    cookie(parts, &pages.site.cookie("sign-in-link")).map(|text| Secret::new(text.to_owned()))
}

/// Keeps where somebody wanted to go, until a link has signed them in.
pub(super) fn remember(response: &mut Response<Body>, pages: &Pages, next: &Landing) {
    // As letters that a cookie may have.
    let value = URL_SAFE_NO_PAD.encode(next.as_str());
    set_cookie(response, &pages.site, &pages.site.cookie("sign-in-next"), &value, SECONDS);
}

/// Where somebody wanted to go: a page of ours, whoever has written the cookie.
fn remembered(parts: &Parts, pages: &Pages) -> Landing {
    let text = cookie(parts, &pages.site.cookie("sign-in-next"))
        .and_then(|value| String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok());
    text.and_then(|text| Landing::parse(&text).ok()).unwrap_or_default()
}

/// `/sign-in/link`
pub(in crate::web) async fn show(
    State(pages): State<Pages>,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let (parts, _) = request.into_parts();
    let query = Form::of_query(&parts.uri)?;
    if query.has("code") {
        // Letters, digits and `_`, or no link.
        let code = query.text("code");
        let is_plain = code.len() <= 128 && code.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let code = if is_plain { code } else { "" };
        let mut response = answer::see_other("/sign-in/link");
        set_cookie(&mut response, &pages.site, &pages.site.cookie("sign-in-link"), code, SECONDS);
        return Ok(response);
    }
    let Some(text) = kept(&parts, &pages) else { return Ok(answer::see_other("/sign-in")) };
    let link = pages.sign_in_links.find(&text, &origin(&parts)).await?;
    answer::ok(&Link { frame: Frame::public("Sign in"), name: link.name, email: link.email })
}

/// The same by POST. It has no form token: there is no session yet, and the browser says that the form is of our own page.
pub(in crate::web) async fn sign_in(
    State(pages): State<Pages>,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let (parts, _) = request.into_parts();
    let Some(text) = kept(&parts, &pages) else { return Ok(answer::see_other("/sign-in")) };
    let origin = origin(&parts);
    let session = pages.sign_in_links.sign_in(&text, &origin, "sign-in/link").await?;
    leave_former(&pages, &parts, "sign-in/link").await;
    let mut response = signed_in(&pages, &session, remembered(&parts, &pages).as_str());
    set_cookie(&mut response, &pages.site, &pages.site.cookie("sign-in-next"), "", 0);
    set_cookie(&mut response, &pages.site, &pages.site.cookie("sign-in-link"), "", 0);
    Ok(response)
}
