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
    service::{CreatedOnce, CreatedToken, ServiceError},
    web::{
        Pages, answer,
        failure::{self, Failure},
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
    /// What is wrong with what was asked for, and whether that is the description.
    problem: Option<String>,
    is_about_description: bool,
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
            is_about_description: false,
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

/// The same form once more: by a second click, or a reload.
#[derive(Template)]
#[template(path = "tokens/made.html", config = "src/web/askama.toml")]
struct Made<'a> {
    frame: Frame,
    holder: &'a Holder,
    /// What it has made, if that is still known.
    token: Option<Row>,
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
    // Before the token is made: a page that could not be would be the only one with its text.
    let mut form_again = New {
        description: description.to_owned(),
        chosen_days: chosen.unwrap_or(DAYS[0]),
        is_read_only,
        idempotency_key: key.unwrap_or_else(|| RequestId::generate().uuid()),
        ..New::empty(visit, holder).await?
    };
    let (asked, key) = match (asked, chosen, key) {
        (Ok(asked), Some(_), Some(key)) => (asked, key),
        (asked, ..) => {
            let (problem, is_about_description) = match asked {
                Err(InvalidToken::Description(problem)) => (format!("The description {problem}."), true),
                Err(InvalidToken::ValidFor) | Ok(_) => ("Choose how long the token is good for.".to_owned(), false),
            };
            let page = New { problem: Some(problem), is_about_description, ..form_again };
            return answer::page(StatusCode::BAD_REQUEST, Code::InvalidArgument, &page);
        }
    };
    match pages.tokens.create_once(visit.actor(), holder.id, asked, key, rpc).await {
        Ok(CreatedOnce::Now(CreatedToken { token, text })) => {
            let frame = form_again.frame.titled("Copy the new token");
            answer::ok(&Created { frame, holder, token: Row::new(token), text: text.expose() })
        }
        Ok(CreatedOnce::Before(token)) => {
            let token = match token {
                Some(id) => Some(Row::new(pages.tokens.get_of_any_state(visit.actor(), id).await?)),
                None => None,
            };
            let frame = form_again.frame.titled("Made already");
            answer::page(StatusCode::CONFLICT, Code::FailedPrecondition, &Made { frame, holder, token })
        }
        Err(ServiceError::Exhausted(message)) => {
            form_again.problem = Some(failure::sentence(&message));
            answer::page(StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, &form_again)
        }
        Err(error) => Err(error.into()),
    }
}
