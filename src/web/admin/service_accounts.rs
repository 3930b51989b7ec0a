//! Service accounts, and their tokens.

use askama::Template;
use axum::{
    body::Body,
    extract::{Path, State},
};
use http::{Response, StatusCode};
use tonic::Code;

use super::Row;
use crate::{
    domain::ids::PrincipalId,
    service::ServiceError,
    web::{
        Pages, answer,
        failure::Failure,
        frame::{Frame, Section},
        paging::Paging,
        tokens::{self, ActiveTokens, Holder},
        visit::{Posted, Visit},
    },
};

#[derive(Template)]
#[template(path = "admin/service_accounts.html", config = "src/web/askama.toml")]
struct List {
    frame: Frame,
    accounts: Vec<Row>,
    name: String,
    asks: bool,
    problem: Option<String>,
    paging: Paging,
}

async fn page(pages: &Pages, visit: &Visit) -> Result<List, Failure> {
    let page = visit.page();
    let found = pages.service_accounts.list(visit.actor(), &page).await?;
    Ok(List {
        frame: visit.frame(Section::ServiceAccounts, "Service accounts").await?,
        accounts: found.entries.into_iter().map(Row::new).collect(),
        name: String::new(),
        asks: false,
        problem: None,
        paging: Paging::new("/admin/service-accounts", &page, found.next),
    })
}

/// `/admin/service-accounts`
pub(in crate::web) async fn list(State(pages): State<Pages>, visit: Visit) -> Result<Response<Body>, Failure> {
    answer::ok(&page(&pages, &visit).await?)
}

/// The same by POST: another one.
pub(in crate::web) async fn create(
    State(pages): State<Pages>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    let (name, asks) = (form.text("name").trim(), form.has("asks"));
    match pages.service_accounts.create(visit.actor(), name, asks, "admin/service-accounts").await {
        Ok(id) => Ok(answer::see_other(&format!("/admin/service-accounts/{id}"))),
        Err(ServiceError::Invalid { problem, .. }) => {
            let problem = Some(format!("The name {problem}."));
            let page = List { name: name.to_owned(), asks, problem, ..page(&pages, &visit).await? };
            answer::page(StatusCode::BAD_REQUEST, Code::InvalidArgument, &page)
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "admin/service_account.html", config = "src/web/askama.toml")]
struct Show {
    frame: Frame,
    account: Row,
    active: ActiveTokens,
}

async fn found(pages: &Pages, visit: &Visit, id: &str) -> Result<Row, Failure> {
    let id: PrincipalId = id.parse().map_err(|_| Failure::not_found())?;
    Ok(Row::new(pages.service_accounts.get(visit.actor(), id).await?))
}

/// `/admin/service-accounts/{}`
pub(in crate::web) async fn show(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response<Body>, Failure> {
    let account = found(&pages, &visit, &id).await?;
    let active =
        ActiveTokens::of(&pages, &visit, account.id, &format!("/admin/service-accounts/{}", account.id)).await?;
    let frame = visit.frame(Section::ServiceAccounts, account.name.clone()).await?;
    answer::ok(&Show { frame, account, active })
}

/// `/admin/service-accounts/{}/tokens/new`
pub(in crate::web) async fn new_token(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response<Body>, Failure> {
    let account = found(&pages, &visit, &id).await?;
    tokens::form(&visit, &holder(account)).await
}

/// `/admin/service-accounts/{}/tokens`, by POST.
pub(in crate::web) async fn create_token(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    let account = found(&pages, &visit, &id).await?;
    tokens::create_for(&pages, &visit, &form, &holder(account), "admin/service-accounts/{}/tokens").await
}

fn holder(account: Row) -> Holder {
    let page = format!("/admin/service-accounts/{}", account.id);
    Holder {
        id: account.id,
        name: Some(account.name),
        section: Section::ServiceAccounts,
        action: format!("{page}/tokens"),
        page,
    }
}
