//! Who visits a page, with what; and what a form of ours has sent.

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, request::Parts};
use ring::digest;
use subtle::ConstantTimeEq;

use super::{
    Pages,
    failure::Failure,
    frame::{Frame, Person, Section},
};
use crate::{
    auth::{Caller, session_cookie},
    domain::{page::PageRequest, principal::Actor},
    form::Form,
};

/// The field of a form that proves that it is of a page of ours, made for this session.
const FORM_TOKEN: &str = "form_token";

/// Somebody who is signed in, at a page.
pub(super) struct Visit {
    pages: Pages,
    caller: Caller,
    form_token: String,
    query: Form,
    comes_from_here: bool,
}

impl Visit {
    pub(super) fn actor(&self) -> &Actor {
        self.caller.actor()
    }

    /// A parameter of the query; empty where it is left out.
    pub(super) fn query(&self, name: &str) -> &str {
        self.query.text(name)
    }

    /// What was done just before, by a form that has led here: a link of somebody else's says it in vain.
    pub(super) fn notice(&self) -> &str {
        if self.comes_from_here { self.query("notice") } else { "" }
    }

    /// Which page of a list is asked for. An address that was changed by hand, or is of another list, leads to the first one.
    pub(super) fn page(&self) -> PageRequest {
        PageRequest::parse(0, self.query("page_token")).unwrap_or_else(|_| PageRequest::first())
    }

    /// The frame of a page, which says who looks at it: asked for where there is one, and not by what is posted or streams.
    ///
    /// # Errors
    /// [`Failure`]
    pub(super) async fn frame(&self, section: Section, title: impl Into<String>) -> Result<Frame, Failure> {
        let name = self.pages.users.own(self.actor()).await?.name;
        let (is_admin, form_token) = (self.actor().is_admin(), self.form_token.clone());
        Ok(Frame::of(Person { name, is_admin, form_token }, section, title))
    }
}

impl FromRequestParts<Pages> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, pages: &Pages) -> Result<Self, Failure> {
        // None would mean that a page was registered outside the auth layer: refuse whatever it is.
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller =
            caller.ok_or_else(|| Failure::defect(&"a request reached a page without passing the auth layer"))?;
        let cookie =
            session_cookie(parts, &pages.site).ok_or_else(|| Failure::defect(&"a session came without its cookie"))?;
        let form_token = form_token(cookie);
        let query = Form::of_query(&parts.uri)?;
        let comes_from_here = parts.headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
        Ok(Self { pages: pages.clone(), caller, form_token, query, comes_from_here })
    }
}

/// The same, with a form that a page of ours has made for this very session.
pub(super) struct Posted {
    pub(super) visit: Visit,
    pub(super) form: Form,
}

impl FromRequest<Pages> for Posted {
    type Rejection = Failure;

    async fn from_request(request: Request<Body>, pages: &Pages) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let visit = Visit::from_request_parts(&mut parts, pages).await?;
        let form = Form::read(Request::from_parts(parts, body), pages.request_bytes).await?;
        let is_ours = form.text(FORM_TOKEN).as_bytes().ct_eq(visit.form_token.as_bytes());
        if bool::from(is_ours) { Ok(Self { visit, form }) } else { Err(Failure::foreign_form()) }
    }
}

/// What goes with every form of a session: nobody who does not have the session's cookie can tell it, and it tells nothing of that.
fn form_token(cookie: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"latchkey form token ");
    context.update(cookie.as_bytes());
    URL_SAFE_NO_PAD.encode(context.finish())
}
