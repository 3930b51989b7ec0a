//! Personal access tokens: listed, made, described anew, revoked.

mod new;

use askama::Template;
use axum::{
    body::Body,
    extract::{Path, State},
};
use http::{Response, StatusCode};
use time::Duration;
use tonic::Code;

pub(super) use new::{Holder, create, create_for, form, new};

use super::{
    Pages, answer,
    failure::Failure,
    frame::{Frame, Section},
    moment::Moment,
    paging::Paging,
    visit::{Posted, Visit},
};
use crate::domain::{
    clock::{Clock, SystemClock, is_expired},
    ids::{PrincipalId, TokenId},
    token::{Token, TokenDescription, TokenState},
};

/// The list.
const LIST: &str = "/settings/personal-access-tokens";
/// A token that ends sooner is one to be warned of.
const SOON: Duration = Duration::days(7);
/// How many of those are named.
const ENDING: usize = 5;

/// A token on a page.
pub(super) struct Row {
    pub(super) id: TokenId,
    pub(super) description: String,
    pub(super) is_read_only: bool,
    pub(super) state: TokenState,
    pub(super) created: Moment,
    pub(super) expires: Moment,
    pub(super) expires_soon: bool,
    pub(super) revoked: Option<Moment>,
    pub(super) last_used: Option<(Moment, Option<String>)>,
}

impl Row {
    pub(super) fn new(token: Token) -> Self {
        let now = SystemClock.now();
        let state = match token.revoked_at {
            Some(_) => TokenState::Revoked,
            None if is_expired(token.expires_at, now) => TokenState::Expired,
            None => TokenState::Active,
        };
        Self {
            id: token.id,
            description: token.description,
            is_read_only: token.read_only,
            state,
            created: Moment::new(token.created_at, now),
            expires: Moment::new(token.expires_at, now),
            expires_soon: state == TokenState::Active && token.expires_at - now < SOON,
            revoked: token.revoked_at.map(|at| Moment::new(at, now)),
            last_used: token.last_used.map(|last| (Moment::new(last.at, now), last.peer.map(|peer| peer.to_string()))),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.state == TokenState::Active
    }

    pub(super) fn state(&self) -> &'static str {
        name(self.state)
    }
}

const fn name(state: TokenState) -> &'static str {
    match state {
        TokenState::Active => "active",
        TokenState::Expired => "expired",
        TokenState::Revoked => "revoked",
    }
}

/// A page of the active tokens of somebody whom an admin looks after.
pub(super) struct ActiveTokens {
    pub(super) tokens: Vec<Row>,
    pub(super) paging: Paging,
}

impl ActiveTokens {
    /// Those of the page that is asked for, at this address.
    pub(super) async fn of(pages: &Pages, visit: &Visit, holder: PrincipalId, at: &str) -> Result<Self, Failure> {
        let page = visit.page();
        let found = pages.tokens.list_of_state(visit.actor(), holder, TokenState::Active, &page).await?;
        Ok(Self {
            tokens: found.entries.into_iter().map(Row::new).collect(),
            paging: Paging::new(at, &page, found.next),
        })
    }
}

#[derive(Template)]
#[template(path = "tokens/list.html", config = "src/web/askama.toml")]
struct List {
    frame: Frame,
    state: TokenState,
    tokens: Vec<Row>,
    /// The first of those that end soon, on whatever page they are, and whether there are more.
    ending: Vec<Row>,
    more_end: bool,
    paging: Paging,
}

/// `/settings/personal-access-tokens`
pub(super) async fn list(State(pages): State<Pages>, visit: Visit) -> Result<Response<Body>, Failure> {
    let asked = visit.query("state");
    let state = TokenState::ALL.into_iter().find(|state| name(*state) == asked).unwrap_or(TokenState::Active);
    let page = visit.page();
    let found = pages.tokens.list_of_state(visit.actor(), visit.actor().principal_id, state, &page).await?;
    let tokens: Vec<Row> = found.entries.into_iter().map(Row::new).collect();
    let mut ending = match state {
        TokenState::Active => pages.tokens.ending(visit.actor(), SOON, ENDING + 1).await?,
        TokenState::Expired | TokenState::Revoked => Vec::new(),
    };
    let more_end = ending.len() > ENDING;
    ending.truncate(ENDING);
    let notice = match visit.notice() {
        "revoked" => Some("The token is revoked. Whoever uses it is refused from now on."),
        _ => None,
    };
    answer::ok(&List {
        frame: visit.frame(Section::Tokens, "Personal access tokens").await?.with_notice(notice),
        state,
        ending: ending.into_iter().map(Row::new).collect(),
        more_end,
        tokens,
        paging: Paging::new(&format!("{LIST}?state={}", name(state)), &page, found.next),
    })
}

#[derive(Template)]
#[template(path = "tokens/show.html", config = "src/web/askama.toml")]
struct Show {
    frame: Frame,
    token: Row,
    /// What is in the field, and what is wrong with it.
    description: String,
    problem: Option<String>,
}

async fn found(pages: &Pages, visit: &Visit, id: &str) -> Result<Row, Failure> {
    let id: TokenId = id.parse().map_err(|_| Failure::not_found())?;
    Ok(Row::new(pages.tokens.get_of_any_state(visit.actor(), id).await?))
}

/// `/settings/personal-access-tokens/{}`
pub(super) async fn show(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response<Body>, Failure> {
    let token = found(&pages, &visit, &id).await?;
    let notice = (visit.notice() == "updated").then_some("The description is saved.");
    let frame = visit.frame(Section::Tokens, token.description.clone()).await?.with_notice(notice);
    answer::ok(&Show { frame, description: token.description.clone(), token, problem: None })
}

/// The same by POST: another description.
pub(super) async fn update(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    let token = found(&pages, &visit, &id).await?;
    let description = form.text("description").trim();
    match TokenDescription::new(description) {
        Ok(description) => {
            let rpc = "settings/personal-access-tokens/{}";
            pages.tokens.update(visit.actor(), token.id, Some(&description), rpc).await?;
            Ok(answer::see_other(&format!("{LIST}/{}?notice=updated", token.id)))
        }
        Err(problem) => {
            let frame = visit.frame(Section::Tokens, token.description.clone()).await?;
            let problem = Some(format!("The description {problem}."));
            let page = Show { frame, token, description: description.to_owned(), problem };
            answer::page(StatusCode::BAD_REQUEST, Code::InvalidArgument, &page)
        }
    }
}

#[derive(Template)]
#[template(path = "tokens/revoke.html", config = "src/web/askama.toml")]
struct Revoke {
    frame: Frame,
    token: Row,
}

/// `/settings/personal-access-tokens/{}/revoke`
pub(super) async fn confirm_revocation(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    visit: Visit,
) -> Result<Response<Body>, Failure> {
    let token = found(&pages, &visit, &id).await?;
    if token.state == TokenState::Revoked {
        return Ok(answer::see_other(&format!("{LIST}/{}", token.id)));
    }
    answer::ok(&Revoke { frame: visit.frame(Section::Tokens, "Revoke a token").await?, token })
}

/// The same by POST.
pub(super) async fn revoke(
    State(pages): State<Pages>,
    Path(id): Path<String>,
    Posted { visit, .. }: Posted,
) -> Result<Response<Body>, Failure> {
    let id: TokenId = id.parse().map_err(|_| Failure::not_found())?;
    pages.tokens.delete(visit.actor(), id, "settings/personal-access-tokens/{}/revoke").await?;
    Ok(answer::see_other(&format!("{LIST}?notice=revoked")))
}
