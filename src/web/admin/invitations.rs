//! Invitations: whom a provider lets in for the first time, as a user who is there.

use askama::Template;
use axum::{body::Body, extract::State};
use http::{Response, StatusCode};
use tonic::Code;

use crate::{
    domain::{
        clock::{Clock, SystemClock},
        sign_in::ProviderName,
    },
    service::ServiceError,
    web::{
        Pages, answer,
        failure::Failure,
        frame::{Frame, Section},
        moment::Moment,
        paging::Paging,
        visit::{Posted, Visit},
    },
};

const LIST: &str = "/admin/invitations";

struct Row {
    email: String,
    provider: String,
    expires: Moment,
}

#[derive(Template)]
#[template(path = "admin/invitations.html", config = "src/web/askama.toml")]
struct List {
    frame: Frame,
    invitations: Vec<Row>,
    /// Names, and what people call them.
    providers: Vec<(String, String)>,
    /// What was asked for, and what is wrong with it.
    email: String,
    chosen: String,
    problem: Option<String>,
    paging: Paging,
}

async fn page(pages: &Pages, visit: &Visit) -> Result<List, Failure> {
    let now = SystemClock.now();
    let page = visit.page();
    let found = pages.invitations.list(visit.actor(), &page).await?;
    let notice = match visit.notice() {
        "invited" => Some("They are invited: tell them to sign in here within a week."),
        "withdrawn" => Some("The invitation is taken back."),
        _ => None,
    };
    Ok(List {
        frame: visit.frame(Section::Invitations, "Invitations").await?.with_notice(notice),
        invitations: found
            .entries
            .into_iter()
            .map(|one| Row {
                email: one.email,
                provider: one.provider.to_string(),
                expires: Moment::new(one.expires_at, now),
            })
            .collect(),
        providers: pages
            .providers
            .iter()
            .map(|provider| (provider.name.to_string(), provider.display_name.clone()))
            .collect(),
        email: String::new(),
        chosen: String::new(),
        problem: None,
        paging: Paging::new(LIST, &page, found.next),
    })
}

/// `/admin/invitations`
pub(in crate::web) async fn list(State(pages): State<Pages>, visit: Visit) -> Result<Response<Body>, Failure> {
    answer::ok(&page(&pages, &visit).await?)
}

/// The same by POST: another one. Inviting somebody again takes the place of the invitation before.
pub(in crate::web) async fn create(
    State(pages): State<Pages>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    let email = form.text("email").trim();
    let provider = provider(&pages, form.text("provider"))?;
    let chosen = provider.to_string();
    match pages.invitations.create(visit.actor(), provider, email, "admin/invitations").await {
        Ok(_) => Ok(answer::see_other(&format!("{LIST}?notice=invited"))),
        Err(ServiceError::Invalid { problem, .. }) => {
            let problem = Some(format!("The e-mail {problem}."));
            let page = List { email: email.to_owned(), chosen, problem, ..page(&pages, &visit).await? };
            answer::page(StatusCode::BAD_REQUEST, Code::InvalidArgument, &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// `/admin/invitations/withdraw`
pub(in crate::web) async fn withdraw(
    State(pages): State<Pages>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    let provider: ProviderName = form.text("provider").parse().map_err(|_| Failure::not_found())?;
    pages.invitations.withdraw(visit.actor(), &provider, form.text("email"), "admin/invitations/withdraw").await?;
    Ok(answer::see_other(&format!("{LIST}?notice=withdrawn")))
}

/// One of those that people can sign in by.
fn provider(pages: &Pages, name: &str) -> Result<ProviderName, Failure> {
    let name = name.parse().map_err(|_| Failure::not_found())?;
    pages.providers.get(&name).map(|client| client.provider().name.clone()).ok_or_else(Failure::not_found)
}
