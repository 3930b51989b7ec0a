//! A new token, and its text, which is shown this once.

use askama::Template;
use axum::{body::Body, extract::State};
use http::{Response, StatusCode};
use time::Duration;
use tonic::Code;
use uuid::Uuid;

use super::{LIST, Row};
use crate::{
    domain::{
        ids::{PrincipalId, RequestId},
        token::{CreateToken, InvalidToken},
    },
    form::Form,
    service::CreatedToken,
    web::{
        Pages, answer,
        failure::Failure,
        frame::{Frame, Section},
        visit::{Posted, Visit},
    },
};

/// The days that can be chosen.
const DAYS: [i64; 3] = [30, 60, 90];

/// Whose the new token will be.
pub(in crate::web) struct Holder {
    pub(in crate::web) id: PrincipalId,
    /// What people call it; none for who makes it.
    pub(in crate::web) name: Option<String>,
    pub(in crate::web) section: Section,
    /// Where the form goes.
    pub(in crate::web) action: String,
    /// Where its tokens are.
    pub(in crate::web) page: String,
}

impl Holder {
    fn own(visit: &Visit) -> Self {
        Self {
            id: visit.actor().principal_id,
            name: None,
            section: Section::Tokens,
            action: LIST.to_owned(),
            page: LIST.to_owned(),
        }
    }
}

#[derive(Template)]
#[template(path = "tokens/new.html", config = "src/web/askama.toml")]
struct New<'a> {
    frame: Frame,
    holder: &'a Holder,
    description: String,
    problem: Option<String>,
    days: [i64; 3],
    chosen_days: i64,
    is_read_only: bool,
    /// Names this form: however often it is sent, it makes one token.
    idempotency_key: Uuid,
}

impl<'a> New<'a> {
    async fn empty(visit: &Visit, holder: &'a Holder) -> Result<Self, Failure> {
        Ok(Self {
            frame: visit.frame(holder.section, "New token").await?,
            holder,
            description: String::new(),
            problem: None,
            days: DAYS,
            chosen_days: DAYS[0],
            is_read_only: false,
            idempotency_key: RequestId::generate().uuid(),
        })
    }
}

/// `/settings/personal-access-tokens/new`
pub(in crate::web) async fn new(visit: Visit) -> Result<Response<Body>, Failure> {
    form(&visit, &Holder::own(&visit)).await
}

/// The form for a new token of whomever's.
pub(in crate::web) async fn form(visit: &Visit, holder: &Holder) -> Result<Response<Body>, Failure> {
    answer::ok(&New::empty(visit, holder).await?)
}

#[derive(Template)]
#[template(path = "tokens/created.html", config = "src/web/askama.toml")]
struct Created<'a> {
    frame: Frame,
    holder: &'a Holder,
    token: Row,
    text: &'a str,
}

/// `/settings/personal-access-tokens`, by POST.
pub(in crate::web) async fn create(
    State(pages): State<Pages>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    create_for(&pages, &visit, &form, &Holder::own(&visit), "settings/personal-access-tokens").await
}

/// Makes the token that a form asks for, for whomever, and shows its text.
pub(in crate::web) async fn create_for(
    pages: &Pages,
    visit: &Visit,
    form: &Form,
    holder: &Holder,
    rpc: &'static str,
) -> Result<Response<Body>, Failure> {
    let description = form.text("description").trim();
    let chosen = form.text("days").parse().ok().filter(|days| DAYS.contains(days));
    let is_read_only = form.text("access") == "read-only";
    let key: Option<Uuid> = form.text("idempotency_key").parse().ok();
    let asked = CreateToken::new(description, chosen.map(Duration::days), is_read_only);
    let (asked, key) = match (asked, chosen, key) {
        (Ok(asked), Some(_), Some(key)) => (asked, key),
        (asked, chosen, key) => {
            let problem = match asked {
                Err(InvalidToken::Description(problem)) => format!("The description {problem}."),
                Err(InvalidToken::ValidFor) | Ok(_) => "Choose how long the token is good for.".to_owned(),
            };
            let page = New {
                description: description.to_owned(),
                problem: Some(problem),
                chosen_days: chosen.unwrap_or(DAYS[0]),
                is_read_only,
                idempotency_key: key.unwrap_or_else(|| RequestId::generate().uuid()),
                ..New::empty(visit, holder).await?
            };
            return answer::page(StatusCode::BAD_REQUEST, Code::InvalidArgument, &page);
        }
    };
    // All else before it: a page that could not be made would be the only one with the text.
    let frame = visit.frame(holder.section, "Copy the new token").await?;
    let CreatedToken { token, text } = pages.tokens.create_once(visit.actor(), holder.id, asked, key, rpc).await?;
    answer::ok(&Created { frame, holder, token: Row::new(token), text: text.expose() })
}
