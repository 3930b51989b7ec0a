//! Signing in and out, and who is signed in.

use std::{
    io::{self, BufRead},
    time::Duration,
};

use clap::Args;
use latchkey::pb::gitpod::v1::{
    GetAuthenticatedIdentityRequest, GetAuthenticatedIdentityResponse, GetAuthenticatedUserRequest, Principal, User,
};
use serde_json::{Value, json};

use crate::{
    connection::Connection,
    credentials::Store,
    environment::duration,
    error::Failure,
    host::Host,
    login::{self, Wish},
    output::{self, Output},
    printer::Printer,
    target::{Target, Token, TokenSource, variable},
};

/// Arguments of `gitpod login`.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The personal access token; `-` reads it from standard input [default: GITPOD_TOKEN, or else one that you say yes to in a
    /// browser]
    #[arg(long, value_name = "TOKEN", allow_hyphen_values = true, conflicts_with_all = ["no_browser", "lifetime"])]
    token: Option<String>,
    /// Print an address and a code to type there, on whichever machine, instead of opening a browser on this one
    #[arg(long)]
    no_browser: bool,
    /// How long the token from the browser is good for, such as 12h or 90d, which is the most
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30d")]
    lifetime: Duration,
}

/// Arguments of `gitpod whoami`.
#[derive(Debug, Args)]
pub(crate) struct Whoami {
    #[command(flatten)]
    output: Output,
}

/// Checks a token, here and then at the server, and stores it for that server alone.
pub(crate) async fn login(arguments: Login, target: &Target, printer: &Printer) -> Result<(), Failure> {
    let store = Store::locate()?;
    let host = target.host(|| Ok(store.current()?))?;
    let (text, source) = match arguments.token {
        Some(text) if text == "-" => (line_of_standard_input()?, TokenSource::Given),
        Some(text) => (text, TokenSource::Given),
        None => match variable("GITPOD_TOKEN") {
            Some(text) => (text, TokenSource::Variable),
            None => {
                let wish = Wish { lifetime: arguments.lifetime, no_browser: arguments.no_browser };
                let asked = login::ask(&host, &wish, printer).await?.ok_or_else(|| {
                    Failure::Usage(format!("no token was given. {}", how_to_get_a_token(&host.tokens_page())))
                })?;
                (asked.expose().to_owned(), TokenSource::Server)
            }
        },
    };
    if text.trim().is_empty() {
        return Err(Failure::Usage(format!(
            "the token is empty; is the variable or file that it came from set? {}",
            how_to_get_a_token(&host.tokens_page())
        )));
    }
    let token = Token::parse(&text, source)?;
    let shadowed = variable("GITPOD_TOKEN").is_some_and(|other| other.trim() != text.trim());
    let id = token.id();
    if let Err(failure) = keep(token, &host, &store, printer).await {
        if source == TokenSource::Server {
            printer.note(&format!(
                "Token {id} was made for this login and is not stored here; revoke it at {}",
                host.tokens_page()
            ));
        }
        return Err(failure);
    }
    if shadowed {
        printer.note("GITPOD_TOKEN holds another token, and wins over this one as long as it is set.");
    }
    Ok(())
}

/// Checks a token at the server, and stores it if it is good.
async fn keep(token: Token, host: &Host, store: &Store, printer: &Printer) -> Result<(), Failure> {
    let connection = Connection::new(host.clone(), token.clone())?;
    let (identity, user) = authenticated(&connection).await?;
    store.change(|credentials| credentials.sign_in(host.origin(), host.base(), token.into_secret()))?;
    printer.note(&format!("Signed in to {} as {}.", host.base(), name(&identity, user.as_ref())));
    Ok(())
}

/// Forgets the token of the server.
pub(crate) fn logout(target: &Target, printer: &Printer) -> Result<(), Failure> {
    let store = Store::locate()?;
    let host = target.host(|| Ok(store.current()?))?;
    let base = host.base();
    let forgotten = if store.path().exists() {
        store.change(|credentials| credentials.sign_out(&host.origin(), &base))?
    } else {
        None
    };
    let Some(secret) = forgotten else {
        printer.note(&format!("Nobody was signed in to {base}."));
        return Ok(());
    };
    let id = match Token::parse(secret.expose(), TokenSource::Stored) {
        Ok(token) => format!(" {}", token.id()),
        // Nothing that could be used any more, or revoked.
        Err(_) => String::new(),
    };
    printer.note(&format!(
        "Signed out of {base}. The token{id} is still good where it is known; revoke it at {} if it is not needed.",
        host.tokens_page()
    ));
    Ok(())
}

/// Shows whom the token stands for.
pub(crate) async fn whoami(arguments: Whoami, target: &Target, printer: &Printer) -> Result<(), Failure> {
    let connection = target.connect()?;
    let (identity, user) = authenticated(&connection).await?;
    let data = || {
        let mut data = output::json(&identity)?;
        if let Value::Object(fields) = &mut data {
            if let Some(user) = &user {
                fields.insert("user".to_owned(), output::json(user)?);
            }
            fields.insert("host".to_owned(), json!(connection.host().base()));
            fields.insert("tokenId".to_owned(), json!(connection.token_id().to_string()));
        }
        Ok(data)
    };
    let table = || {
        let user = user.clone().unwrap_or_default();
        let subject = identity.subject.clone().unwrap_or_default();
        output::details([
            ("Host", connection.host().base()),
            ("Kind", kind(subject.principal()).to_owned()),
            ("ID", subject.id),
            ("Name", user.name),
            ("Email", user.email),
            ("Organization", identity.organization_id.clone()),
            ("Token", connection.token_id().to_string()),
        ])
    };
    arguments.output.show(printer, data, table)
}

/// Asks whom the token stands for, and about the person if it is one.
async fn authenticated(connection: &Connection) -> Result<(GetAuthenticatedIdentityResponse, Option<User>), Failure> {
    let request = GetAuthenticatedIdentityRequest::default();
    let identity = connection.call(connection.identity().get_authenticated_identity(request)).await?;
    let user = match identity.subject.as_ref().map(latchkey::pb::gitpod::v1::Subject::principal) {
        Some(Principal::User | Principal::Account) => {
            let request = GetAuthenticatedUserRequest::default();
            connection.call(connection.users().get_authenticated_user(request)).await?.user
        }
        Some(
            Principal::Unspecified
            | Principal::Runner
            | Principal::Environment
            | Principal::ServiceAccount
            | Principal::RunnerManager,
        )
        | None => None,
    };
    Ok((identity, user))
}

fn name(identity: &GetAuthenticatedIdentityResponse, user: Option<&User>) -> String {
    let subject = identity.subject.clone().unwrap_or_default();
    match user {
        Some(User { name, email, .. }) if !name.is_empty() && !email.is_empty() && name != email => {
            format!("{name} ({email})")
        }
        Some(User { name, .. }) if !name.is_empty() => name.clone(),
        Some(User { email, .. }) if !email.is_empty() => email.clone(),
        Some(_) | None => format!("{} {}", kind(subject.principal()), subject.id),
    }
}

/// What people call a kind of principal.
pub(crate) const fn kind(principal: Principal) -> &'static str {
    match principal {
        Principal::Unspecified => "",
        Principal::Account => "account",
        Principal::User => "user",
        Principal::Runner => "runner",
        Principal::Environment => "environment",
        Principal::ServiceAccount => "service account",
        Principal::RunnerManager => "runner manager",
    }
}

fn line_of_standard_input() -> Result<String, Failure> {
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::Failed(format!("cannot read the token from standard input: {error}")))?;
    Ok(line)
}

fn how_to_get_a_token(page: &str) -> String {
    format!(
        "Make one at {page}, or on the server's machine with `latchkey admin create-token --user admin@localhost \
         --description laptop`; then run `gitpod login --token <token>`, or set GITPOD_TOKEN"
    )
}
