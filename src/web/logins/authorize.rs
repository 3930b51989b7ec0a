//! `/oauth2/authorize`: what a program on the browser's own machine asks for (RFC 6749, section 4.1.1; RFC 7636; RFC 8252). The answer goes
//! to that machine alone, so that nobody has to be trusted with it.

use std::borrow::Cow;

use askama::Template;
use axum::{body::Body, extract::State};
use http::{Response, StatusCode};
use tonic::Code;

use super::words;
use crate::{
    domain::login::{CLIENT_ID, CodeChallenge, LoginAsk, LoopbackRedirect},
    web::{
        Pages, answer,
        failure::Failure,
        frame::{Frame, Section},
        visit::{Posted, Visit},
    },
};

/// What the log calls it.
const RPC: &str = "oauth2/authorize";
/// The longest state that is taken back along.
const LONGEST_STATE: usize = 512;

/// What was asked for; checked.
struct Asked {
    redirect: LoopbackRedirect,
    state: String,
    challenge: CodeChallenge,
    login: LoginAsk,
}

impl Asked {
    /// Reads it from an address or a form.
    ///
    /// # Errors
    /// What is wrong with it. That is said here and nowhere else: who has made such an address is to mend it.
    fn read<'a>(parameter: impl Fn(&str) -> &'a str) -> Result<Self, Cow<'static, str>> {
        if parameter("client_id") != CLIENT_ID {
            return Err("it names a program that is not known here: client_id".into());
        }
        let redirect = LoopbackRedirect::parse(parameter("redirect_uri")).ok_or(
            "it does not lead back to a program on this machine: redirect_uri must be http://127.0.0.1:PORT/… or http://[::1]:PORT/…",
        )?;
        if parameter("response_type") != "code" {
            return Err("response_type must be 'code'".into());
        }
        if parameter("code_challenge_method") != "S256" {
            return Err("code_challenge_method must be 'S256'".into());
        }
        let challenge = CodeChallenge::parse(parameter("code_challenge")).ok_or("code_challenge is no SHA-256")?;
        let state = parameter("state");
        if state.is_empty() || state.len() > LONGEST_STATE {
            return Err("state must be there, and not longer than 512 characters".into());
        }
        let login =
            LoginAsk::parse(parameter("host_name"), parameter("lifetime")).map_err(|problem| problem.to_string())?;
        Ok(Self { redirect, state: state.to_owned(), challenge, login })
    }

    /// The address that takes an answer back.
    fn back(&self, pages: &Pages, name: &str, value: &str) -> String {
        // The issuer, so that no program takes the answer of another server for one of this (RFC 9207).
        self.redirect.with(&[(name, value), ("state", &self.state), ("iss", pages.site.public_url())])
    }
}

#[derive(Template)]
#[template(path = "logins/authorize.html", config = "src/web/askama.toml")]
struct Authorize {
    frame: Frame,
    host_name: String,
    lifetime: String,
    place: String,
    fields: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "logins/wrong.html", config = "src/web/askama.toml")]
struct Wrong {
    frame: Frame,
    problem: Cow<'static, str>,
}

async fn wrong(visit: &Visit, problem: impl Into<Cow<'static, str>>) -> Result<Response<Body>, Failure> {
    let page = Wrong { frame: visit.frame(Section::Other, "Not understood").await?, problem: problem.into() };
    answer::page(StatusCode::BAD_REQUEST, Code::InvalidArgument, &page)
}

/// `/oauth2/authorize`
pub(in crate::web) async fn show(visit: Visit) -> Result<Response<Body>, Failure> {
    let asked = match Asked::read(|name| visit.query(name)) {
        Ok(asked) => asked,
        Err(problem) => return wrong(&visit, problem).await,
    };
    let fields = vec![
        ("client_id", CLIENT_ID.to_owned()),
        ("response_type", "code".to_owned()),
        ("redirect_uri", asked.redirect.as_str().to_owned()),
        ("state", asked.state),
        ("code_challenge", asked.challenge.text()),
        ("code_challenge_method", "S256".to_owned()),
        ("host_name", asked.login.host_name().as_str().to_owned()),
        ("lifetime", asked.login.lifetime().whole_seconds().to_string()),
    ];
    let place = asked.redirect.origin();
    let page = Authorize {
        frame: visit.frame(Section::Other, "Sign a program in?").await?,
        host_name: asked.login.host_name().to_string(),
        lifetime: words(asked.login.lifetime()),
        place: place.trim_start_matches("http://").to_owned(),
        fields,
    };
    let mut response = answer::ok(&page)?;
    answer::lead_on(&mut response, &place);
    Ok(response)
}

/// The same by POST: yes or no, which the browser takes back to the program.
pub(in crate::web) async fn say(
    State(pages): State<Pages>,
    Posted { visit, form }: Posted,
) -> Result<Response<Body>, Failure> {
    let asked = match Asked::read(|name| form.text(name)) {
        Ok(asked) => asked,
        Err(problem) => return wrong(&visit, problem).await,
    };
    let back = match form.text("answer") {
        "approve" => {
            let Asked { redirect, challenge, login, .. } = &asked;
            let code = pages.login_requests.authorize(visit.actor(), login, redirect, challenge, RPC).await?;
            asked.back(&pages, "code", code.expose())
        }
        "deny" => {
            pages.login_requests.refuse(visit.actor(), RPC).await?;
            asked.back(&pages, "error", "access_denied")
        }
        _ => return wrong(&visit, "the answer must be yes or no").await,
    };
    Ok(answer::see_other(&back))
}
