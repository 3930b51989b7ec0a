//! `gitpod token`: making, looking at, describing and revoking personal access tokens.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use latchkey::{
    domain::{ids::TokenId, secret::Secret},
    pb::gitpod::v1::{
        CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest, GetPersonalAccessTokenRequest,
        ListPersonalAccessTokensRequest, PersonalAccessToken, UpdatePersonalAccessTokenRequest,
    },
};

use crate::{
    connection::Connection,
    environment::duration,
    error::Failure,
    output::{self, Format, Output},
    pages::fetch_all,
    printer::Printer,
    target::Target,
};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token and print it; it is shown this once
    Create(Create),
    /// List your tokens, the newest first
    #[command(visible_alias = "ls")]
    List(List),
    /// Show what is known about a token
    Get(Get),
    /// Change what a token is said to be for
    Update(Update),
    /// Revoke tokens: from then on they are refused
    #[command(visible_alias = "delete")]
    Revoke(Revoke),
}

/// Arguments of `create`.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What the token is for
    #[arg(long, value_name = "TEXT")]
    description: String,
    /// How long it is good for, such as 12h or 90d, which is the most [default: 30d]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    valid_for: Option<Duration>,
    /// Let it read only: it cannot create, change or delete anything
    #[arg(long)]
    read_only: bool,
    /// Print the token and what is known about it in this form, instead of the token alone
    #[arg(short = 'o', long = "output", value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    output: Output,
}

/// Arguments of `get`.
#[derive(Debug, Args)]
pub(crate) struct Get {
    /// ID of the token
    id: TokenId,
    #[command(flatten)]
    output: Output,
}

/// Arguments of `update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// ID of the token
    id: TokenId,
    /// What the token is for
    #[arg(long, value_name = "TEXT")]
    description: String,
}

/// Arguments of `revoke`.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// IDs of the tokens
    #[arg(required = true, value_name = "ID")]
    ids: Vec<TokenId>,
}

/// Carries a command out.
pub(crate) async fn run(command: TokenCommand, target: &Target, printer: &Printer) -> Result<ExitCode, Failure> {
    let connection = target.connect()?;
    match command {
        TokenCommand::Create(arguments) => create(arguments, &connection, printer).await?,
        TokenCommand::List(arguments) => list(arguments, &connection, printer).await?,
        TokenCommand::Get(arguments) => get(arguments, &connection, printer).await?,
        TokenCommand::Update(arguments) => update(arguments, &connection, printer).await?,
        TokenCommand::Revoke(arguments) => return Ok(revoke(arguments, &connection, printer).await),
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(arguments: Create, connection: &Connection, printer: &Printer) -> Result<(), Failure> {
    let valid_for = arguments
        .valid_for
        .map(prost_types::Duration::try_from)
        .transpose()
        .map_err(|_| Failure::Usage("--valid-for is too long".to_owned()))?;
    let request = CreatePersonalAccessTokenRequest {
        user_id: String::new(),
        description: arguments.description,
        valid_for,
        read_only: arguments.read_only,
    };
    let answer = connection.call(connection.tokens().create_personal_access_token(request)).await?;
    let known = answer.personal_access_token.clone().unwrap_or_default();
    let printed = match arguments.format {
        Some(format @ (Format::Json | Format::Yaml)) => {
            Output::from(format).show(printer, || output::json(&answer), String::new)
        }
        Some(Format::Table) | None => printer.data(Secret::new(answer.token).expose()),
    };
    if let Err(failure) = printed {
        return Err(Failure::Failed(format!(
            "the token was made and could not be shown ({failure}), and is not shown again; revoke it: `gitpod token \
             revoke {}`",
            known.id
        )));
    }
    let expires = output::moment(known.expires_at.as_ref());
    printer.note(&format!("Token {}, good until {expires}. Copy it now: it is not shown again.", known.id));
    Ok(())
}

async fn list(arguments: List, connection: &Connection, printer: &Printer) -> Result<(), Failure> {
    let tokens = fetch_all(None, async |pagination| {
        let request = ListPersonalAccessTokensRequest { pagination: Some(pagination), filter: None };
        let page = connection.call(connection.tokens().list_personal_access_tokens(request)).await?;
        Ok((page.personal_access_tokens, page.pagination))
    })
    .await?;
    let rows = || {
        tokens.iter().map(|token| {
            [
                token.id.clone(),
                token.description.clone(),
                output::moment(token.created_at.as_ref()),
                output::expiry(token.expires_at.as_ref()),
                last_used(token),
                rights(token).to_owned(),
            ]
        })
    };
    let header = ["ID", "DESCRIPTION", "CREATED", "EXPIRES", "LAST USED", "RIGHTS"];
    arguments.output.show(printer, || output::json_array(&tokens), || output::table(header, rows()))?;
    if tokens.is_empty() && arguments.output.is_table() {
        printer.note("There are no tokens.");
    }
    Ok(())
}

async fn get(arguments: Get, connection: &Connection, printer: &Printer) -> Result<(), Failure> {
    let request = GetPersonalAccessTokenRequest { personal_access_token_id: arguments.id.to_string() };
    let answer = connection.call(connection.tokens().get_personal_access_token(request)).await?;
    let token =
        answer.pat.ok_or_else(|| Failure::Failed(format!("the server said nothing about token {}", arguments.id)))?;
    let table = || {
        output::details([
            ("ID", token.id.clone()),
            ("Description", token.description.clone()),
            ("Acts as", token.user_id.clone()),
            ("Created by", token.creator.clone().unwrap_or_default().id),
            ("Created", output::moment(token.created_at.as_ref())),
            ("Expires", output::expiry(token.expires_at.as_ref())),
            ("Last used", last_used(&token)),
            ("Rights", rights(&token).to_owned()),
        ])
    };
    arguments.output.show(printer, || output::json(&token), table)
}

async fn update(arguments: Update, connection: &Connection, printer: &Printer) -> Result<(), Failure> {
    let request = UpdatePersonalAccessTokenRequest {
        personal_access_token_id: arguments.id.to_string(),
        description: Some(arguments.description),
    };
    connection.call(connection.tokens().update_personal_access_token(request)).await?;
    printer.note(&format!("Token {} has its new description.", arguments.id));
    Ok(())
}

/// Revokes each; every failure is told, the exit code is that of the first one.
async fn revoke(arguments: Revoke, connection: &Connection, printer: &Printer) -> ExitCode {
    let mut exit_code = None;
    for id in arguments.ids {
        let request = DeletePersonalAccessTokenRequest { personal_access_token_id: id.to_string() };
        match connection.call(connection.tokens().delete_personal_access_token(request)).await {
            Ok(_) => printer.note(&format!("Token {id} is revoked.")),
            Err(failure) => {
                printer.note(&format!("token {id}:"));
                printer.failure(&failure);
                exit_code.get_or_insert(failure.exit_code());
            }
        }
    }
    exit_code.map_or(ExitCode::SUCCESS, ExitCode::from)
}

fn last_used(token: &PersonalAccessToken) -> String {
    match &token.last_used {
        Some(time) => output::moment(Some(time)),
        None => "never".to_owned(),
    }
}

const fn rights(token: &PersonalAccessToken) -> &'static str {
    if token.read_only { "read only" } else { "all" }
}
