//! Signing in by a provider: the way there, and back.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    body::Body,
    extract::{Path, State},
};
use http::{HeaderValue, Request, Response, StatusCode, header};
use tonic::Code;

use super::{leave_former, set_cookie, signed_in};
use crate::{
    auth::{cookie, origin},
    domain::sign_in::{ATTEMPT_LIFE, AttemptError, Landing, SignInRefusal},
    form::Form,
    service::{Begin, ResumeError, SignInOutcome, TakeUp},
    web::{
        Pages, answer,
        failure::Failure,
        frame::Frame,
        oidc::{ProviderClient, ProviderError},
    },
};

/// What the audit log calls the page that people come back to.
const CALLBACK: &str = "sign-in/{}/callback";
/// The cookie that binds the way to one browser.
const COOKIE: &str = "sign-in";
/// What to do where nothing has come to its end.
const AGAIN: &str = "Load this page once more in a moment.";
/// What to do where the attempt has.
const ANEW: &str = "Begin a new sign-in in a moment.";

/// A page on the way there: browsers hold where a form leads to against the policy of the page with the form, redirects included, and
/// nobody knows beforehand where a provider has its pages.
#[derive(Template)]
#[template(path = "sign_in/leaving.html", config = "src/web/askama.toml")]
struct Leaving<'a> {
    frame: Frame,
    provider: &'a str,
    url: &'a str,
}

/// `/sign-in/NAME` by POST: begins an attempt. Whatever the browser had begun before is over.
pub(in crate::web) async fn begin(
    State(pages): State<Pages>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let client = client(&pages, &name)?;
    let (parts, body) = request.into_parts();
    let peer = origin(&parts);
    let form = Form::read(Request::from_parts(parts, body), pages.request_bytes).await?;
    if !pages.site.keeps_cookies() {
        let message = "Nobody can sign in by this address: what is sent here can be read on the way.";
        return Err(Failure::not_signed_in(StatusCode::FORBIDDEN, Code::FailedPrecondition, message));
    }
    let landing = Landing::parse(form.text("next")).unwrap_or_default();
    let provider = client.provider();
    let (text, attempt) = match pages.sign_ins.begin(&provider.name, landing, &peer).await? {
        Begin::Begun(text, attempt) => (text, attempt),
        Begin::TooMany { retry_after } => return Err(too_many(retry_after)),
    };
    let url = client.authorization_url(&attempt).await.map_err(|error| refused(&client, &error, AGAIN))?;
    let url = url.as_str();
    let frame = Frame::public("Sign in");
    let mut response = answer::ok(&Leaving { frame, provider: &provider.display_name, url })?;
    let refresh = HeaderValue::from_str(&format!("0; url={url}")).map_err(|error| Failure::defect(&error))?;
    response.headers_mut().insert(header::REFRESH, refresh);
    set_cookie(&mut response, &pages.site, &pages.site.cookie(COOKIE), text.expose(), ATTEMPT_LIFE.as_secs());
    Ok(response)
}

/// `/sign-in/NAME/callback`: somebody comes back from a provider.
pub(in crate::web) async fn callback(
    State(pages): State<Pages>,
    Path(name): Path<String>,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let (parts, _) = request.into_parts();
    let client = client(&pages, &name)?;
    let provider = client.provider();
    let answer = Form::of_query(&parts.uri).ok().and_then(|query| Answer::read(&query)).ok_or_else(not_understood)?;
    let kept = cookie(&parts, &pages.site.cookie(COOKIE)).ok_or_else(not_begun)?;
    let peer = origin(&parts);
    let attempt = pages.sign_ins.resume(kept, &provider.name, &answer.state, &peer).await.map_err(not_resumed)?;
    // What fails before anything is sent leaves the attempt as it is, so that whoever loads the page once more may get further.
    let answered = match &answer.outcome {
        Ok(code) => Ok((code, client.ready(peer.peer).await.map_err(|error| refused(&client, &error, AGAIN))?)),
        Err(error) => Err(error),
    };
    // Whatever the provider says to it: what was seen in a log or a history is good for nothing.
    let taken_up = match pages.sign_ins.take_up(&attempt, &peer, CALLBACK).await? {
        TakeUp::First => Ok(()),
        TakeUp::Again => Err(not_let_in(SignInRefusal::AttemptEnded)),
    };
    let outcome = async {
        taken_up?;
        let (code, ready) = answered.map_err(|error| refused_there(&client, error))?;
        let claimed = ready.identify(&attempt, code, answer.issuer.as_deref()).await;
        let claimed = claimed.map_err(|error| match &error {
            // Whoever makes codes up is told to wait, as whoever makes tokens up.
            ProviderError::Code(_) => pages
                .sign_ins
                .count_guess(&peer)
                .map_or_else(|| refused(&client, &error, ANEW), |wait| Failure::too_many_tries(wait.as_secs() + 1)),
            ProviderError::Unavailable(_)
            | ProviderError::Configuration(_)
            | ProviderError::Busy
            | ProviderError::Proof(_) => refused(&client, &error, ANEW),
        })?;
        match pages.sign_ins.finish(provider, &claimed, &peer, CALLBACK).await? {
            SignInOutcome::SignedIn(_, session) => {
                leave_former(&pages, &parts, CALLBACK).await;
                Ok(signed_in(&pages, &session, attempt.landing.as_str()))
            }
            SignInOutcome::Refused { why, .. } => Err(not_let_in(why)),
        }
    };
    // The browser's attempt is over, whatever came of it.
    let mut response = outcome.await.unwrap_or_else(Failure::answer);
    set_cookie(&mut response, &pages.site, &pages.site.cookie(COOKIE), "", 0);
    Ok(response)
}

fn client(pages: &Pages, name: &str) -> Result<Arc<ProviderClient>, Failure> {
    let name = name.parse().map_err(|_| Failure::not_found())?;
    pages.providers.get(&name).cloned().ok_or_else(Failure::not_found)
}

/// What a provider answers through the browser (RFC 6749, section 4.1.2).
struct Answer {
    state: String,
    issuer: Option<String>,
    /// A code, or what went wrong.
    outcome: Result<String, String>,
}

impl Answer {
    fn read(query: &Form) -> Option<Self> {
        let one = |name: &str| query.get(name).map(|value| value.expose().to_owned());
        let outcome = match (one("code"), one("error")) {
            (Some(code), None) => Ok(code),
            (None, Some(error)) => Err(error),
            (None, None) | (Some(_), Some(_)) => return None,
        };
        Some(Self { state: one("state")?, issuer: one("iss"), outcome })
    }
}

fn bad_request(message: &'static str) -> Failure {
    Failure::not_signed_in(StatusCode::BAD_REQUEST, Code::InvalidArgument, message)
}

fn not_let_in(why: SignInRefusal) -> Failure {
    Failure::not_signed_in(StatusCode::FORBIDDEN, Code::PermissionDenied, why.message())
}

fn not_understood() -> Failure {
    bad_request("What came back from the provider is no answer to a sign-in. Begin a new one.")
}

fn not_begun() -> Failure {
    bad_request(
        "This sign-in was not begun in this browser, or another one was begun since, or it took longer than ten minutes. Begin a new one here.",
    )
}

fn too_many(retry_after: Duration) -> Failure {
    Failure::too_many_sign_ins(retry_after.as_secs() + 1)
}

fn not_resumed(error: ResumeError) -> Failure {
    match error {
        ResumeError::Attempt(error) => {
            tracing::debug!(%error, "somebody came back from a provider without an attempt");
            match error {
                AttemptError::Malformed | AttemptError::Forged | AttemptError::KeyNotHere(_) | AttemptError::TooOld => {
                    not_begun()
                }
            }
        }
        ResumeError::OfAnother => not_begun(),
        ResumeError::TooMany { retry_after } => too_many(retry_after),
        ResumeError::Service(error) => error.into(),
    }
}

/// What the provider told the browser. Of its words none is shown: any page can send a browser here.
fn refused_there(client: &ProviderClient, error: &str) -> Failure {
    let provider = &client.provider().display_name;
    let error: String = error.chars().take(64).flat_map(char::escape_debug).collect();
    tracing::info!(provider = %client.provider().name, error, "a provider has refused somebody");
    match error.as_str() {
        "access_denied" => {
            let message = format!("{provider} has not let you in, or you have changed your mind. Begin a new sign-in.");
            Failure::not_signed_in(StatusCode::FORBIDDEN, Code::PermissionDenied, message)
        }
        "server_error" | "temporarily_unavailable" => not_there(client, ANEW),
        _ => {
            let message = format!(
                "{provider} has refused the sign-in. If that goes on, ask your operator: the server's log says more."
            );
            Failure::not_signed_in(StatusCode::BAD_GATEWAY, Code::FailedPrecondition, message)
        }
    }
}

fn not_there(client: &ProviderClient, then: &str) -> Failure {
    let provider = &client.provider().display_name;
    let message = format!("{provider} cannot be reached right now, or does not answer as it should. {then}");
    Failure::not_signed_in(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, message)
}

/// What came of asking the provider, and what to do then.
fn refused(client: &ProviderClient, error: &ProviderError, then: &str) -> Failure {
    let provider = client.provider();
    metrics::counter!("latchkey_sign_in_failures_total", "reason" => error.reason()).increment(1);
    tracing::warn!(provider = %provider.name, %error, "nobody was recognized");
    match error {
        ProviderError::Unavailable(_) => not_there(client, then),
        ProviderError::Configuration(_) => {
            let message = format!(
                "{} does not know this server as it should, so nobody can sign in by it. Ask your operator: the server's log says more.",
                provider.display_name
            );
            Failure::not_signed_in(StatusCode::BAD_GATEWAY, Code::FailedPrecondition, message)
        }
        ProviderError::Busy => {
            let message = format!("Too many people are signing in at this moment. {then}");
            Failure::not_signed_in(StatusCode::SERVICE_UNAVAILABLE, Code::ResourceExhausted, message)
        }
        ProviderError::Code(_) => {
            let message = format!("{} does not take this sign-in any more. Begin a new one.", provider.display_name);
            Failure::not_signed_in(StatusCode::BAD_REQUEST, Code::InvalidArgument, message)
        }
        ProviderError::Proof(_) => {
            let message = format!(
                "What {} says does not prove who you are. Ask your operator: the server's log says more.",
                provider.display_name
            );
            Failure::not_signed_in(StatusCode::BAD_GATEWAY, Code::FailedPrecondition, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_each_parameter_once() {
        let read = |query: &str| {
            let answer = Form::parse(query.as_bytes()).ok().and_then(|query| Answer::read(&query));
            answer.map(|answer| (answer.state, answer.issuer, answer.outcome))
        };
        assert_eq!(read("state=s&code=c"), Some(("s".to_owned(), None, Ok("c".to_owned()))));
        let denied = Some(("s".to_owned(), Some("i".to_owned()), Err("access_denied".to_owned())));
        assert_eq!(read("error=access_denied&iss=i&state=s&code=&x=1"), denied);
        for query in [
            "",
            "code=c",
            "state=s",
            "state=s&code=c&error=e",
            "state=s&state=s&code=c",
            "state=s&code=c&code=c",
            "state=s&code=c&iss=i&iss=i",
            "state=s&error=e&error=e",
            "state=s&code=c&x=1&x=2",
            "state=&code=c",
            "state=s&code=",
        ] {
            assert_eq!(read(query), None, "{query}");
        }
    }
}
