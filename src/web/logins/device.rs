//! `/device`: what a program on another machine asks for (RFC 8628). The code is typed here and stands in no address: whoever sends somebody
//! a link cannot have it typed by that.

use askama::Template;
use axum::{body::Body, extract::State};
use http::{Response, StatusCode};
use tonic::Code;

use super::words;
use crate::{
    domain::{
        clock::{Clock, SystemClock},
        login::PendingLogin,
    },
    form::Form,
    service::ServiceError,
    web::{
        Pages, answer,
        failure::Failure,
        frame::{Frame, Section},
        moment::Moment,
        visit::{Posted, Visit},
    },
};

#[derive(Template)]
#[template(path = "logins/type.html", config = "src/web/askama.toml")]
struct Type {
    frame: Frame,
    /// What was typed, and what is wrong with it.
    code: String,
    problem: Option<String>,
}

/// `/device`
pub(in crate::web) async fn show(visit: Visit) -> Result<Response<Body>, Failure> {
    let notice = match visit.notice() {
        "yes" => Some("The program is signed in. Go on there; you can close this page."),
        "no" => Some("The program was told no."),
        _ => None,
    };
    let frame = visit.frame(Section::Other, "Sign a program in").await?.with_notice(notice);
    answer::ok(&Type { frame, code: String::new(), problem: None })
}

#[derive(Template)]
#[template(path = "logins/ask.html", config = "src/web/askama.toml")]
struct Ask {
    frame: Frame,
    user_code: String,
    host_name: String,
    peer: Option<String>,
    user_agent: Option<String>,
    lifetime: String,
    created: Moment,
}

/// What somebody has typed, by POST: who asks, and for what.
pub(in crate::web) async fn ask(
    State(pages): State<Pages>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    match pages.login_requests.find(visit.actor(), form.text("user_code"), "device").await {
        Ok(pending) => answer::ok(&asked(&visit, pending).await?),
        Err(error) => again(&visit, &form, error).await,
    }
}

async fn asked(visit: &Visit, pending: PendingLogin) -> Result<Ask, Failure> {
    Ok(Ask {
        frame: visit.frame(Section::Other, "Sign a program in?").await?,
        user_code: pending.user_code.expose(),
        host_name: pending.asked.host_name().to_string(),
        peer: pending.peer.map(|peer| peer.to_string()),
        user_agent: pending.user_agent.map(|agent| agent.to_string()),
        lifetime: words(pending.asked.lifetime()),
        created: Moment::new(pending.created_at, SystemClock.now()),
    })
}

/// `/device/answer`, by POST: yes or no.
pub(in crate::web) async fn say(
    State(pages): State<Pages>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    let (approves, said) = match form.text("answer") {
        "approve" => (true, "yes"),
        "deny" => (false, "no"),
        _ => return Ok(answer::see_other("/device")),
    };
    match pages.login_requests.answer(visit.actor(), form.text("user_code"), approves, "device/answer").await {
        Ok(_) => Ok(answer::see_other(&format!("/device?notice={said}"))),
        Err(error) => again(&visit, &form, error).await,
    }
}

/// The page to type a code on, with what was wrong with the last one.
async fn again(visit: &Visit, form: &Form, error: ServiceError) -> Result<Response<Body>, Failure> {
    let (status, code, problem) = match error {
        ServiceError::Invalid { problem, .. } => {
            (StatusCode::BAD_REQUEST, Code::InvalidArgument, format!("That {problem}."))
        }
        ServiceError::Exhausted(_) => {
            let problem = "Too many codes were typed that no program shows. Wait ten minutes, and look closely then.";
            (StatusCode::TOO_MANY_REQUESTS, Code::ResourceExhausted, problem.to_owned())
        }
        error @ (ServiceError::NotFound { .. }
        | ServiceError::Denied(_)
        | ServiceError::Ended(_)
        | ServiceError::Precondition(_)
        | ServiceError::Unsupported(_)
        | ServiceError::TimedOut(_)
        | ServiceError::Cancelled(_)
        | ServiceError::Unavailable { .. }
        | ServiceError::InDoubt(_)
        | ServiceError::Internal(_)) => return Err(error.into()),
    };
    let frame = visit.frame(Section::Other, "Sign a program in").await?;
    answer::page(status, code, &Type { frame, code: form.text("user_code").to_owned(), problem: Some(problem) })
}
