//! The operator's commands: whoever may run them on the server's machine may do anything.

use std::{io::Write, time::Duration};

use clap::{ArgGroup, Subcommand};
use time::Date;

use super::{AppError, database::data_directory, operator::Operator, pages, signing_keys};
use crate::{
    config::DataArgs,
    domain::{
        clock::to_the_second,
        ids::{InvalidId, PrincipalId, TokenId},
        sign_in::ProviderName,
        token::{CreateToken, CredentialKind, Generation, InvalidToken, Presented, SigningKeys},
    },
    embedded::{ClusterConfig, CommandSession, Role as DatabaseRole},
    store::{Store, StoreConfig, build_indexes, migrate},
};

/// How long a command waits for a server that is just starting, or for another command.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the operator can do.
#[derive(Debug, Clone, Subcommand)]
pub enum AdminCommand {
    /// Add a user
    CreateUser {
        /// The user's address, by which other commands name the user
        #[arg(long)]
        email: String,
        /// What people call the user [default: the address]
        #[arg(long)]
        name: Option<String>,
        /// May manage what is the organization's
        #[arg(long)]
        admin: bool,
    },
    /// Invite somebody to sign in by a provider as the user with an address, who is added if there is none; good for seven days and one
    /// sign-in
    Invite {
        /// The address that the provider has to vouch for
        #[arg(long)]
        email: String,
        /// What --oidc-providers calls the provider
        #[arg(long, value_name = "NAME")]
        provider: ProviderName,
        /// The user is an admin from now on; a provider with admin_groups says itself at each sign-in who is one
        #[arg(long)]
        admin: bool,
    },
    /// Take an invitation back that is still open
    WithdrawInvitation {
        /// Its address
        #[arg(long)]
        email: String,
        /// Its provider
        #[arg(long, value_name = "NAME")]
        provider: ProviderName,
    },
    /// Add a service account: a principal that is a program of yours
    CreateServiceAccount {
        /// What people call it
        #[arg(long)]
        name: String,
        /// May ask about the tokens of everybody in the organization: for services that are called with them
        #[arg(long)]
        service: bool,
    },
    /// Make a personal access token for a user or a service account, and print it alone
    #[command(group = ArgGroup::new("holder").required(true))]
    CreateToken {
        /// The user's address
        #[arg(long, value_name = "EMAIL", group = "holder")]
        user: Option<String>,
        /// The service account's ID
        #[arg(long, value_name = "ID", group = "holder")]
        service_account: Option<PrincipalId>,
        /// What it is for, in 1 to 255 characters
        #[arg(long)]
        description: String,
        /// How long it is good for: 1m to 90d
        #[arg(long, default_value = "30d", value_parser = humantime::parse_duration)]
        valid_for: Duration,
        /// May only read
        #[arg(long)]
        read_only: bool,
        /// Live tokens that a user may have at the most: what the server is told
        #[arg(long, env = "LATCHKEY_TOKENS_PER_USER", value_name = "N", default_value_t = 100,
            value_parser = clap::value_parser!(u32).range(1..=100_000))]
        tokens_per_user: u32,
    },
    /// List the tokens of a user, or of everybody, newest first
    ListTokens {
        /// The user's address [default: everybody's]
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
    },
    /// Revoke a token at once
    RevokeToken {
        /// Its ID
        #[arg(value_parser = token_id)]
        id: TokenId,
    },
    /// Make a link that signs somebody in with a browser, once, in the next ten minutes: where there is no OpenID provider
    SignInLink {
        /// The user's address [default: that of the first admin]
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
    },
    /// Drop the audit log's entries of whole months: all that is older
    DropAuditLogs {
        /// The first month that stays, such as 2026-09
        #[arg(long, value_name = "YYYY-MM", value_parser = month)]
        before: Date,
    },
    /// Print a new signing key, as a line for the file of signing keys
    GenerateSigningKey {
        /// Its number: one that was never used
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
        generation: u8,
    },
    /// Make new tokens with a signing key that every server has
    ActivateGeneration {
        /// Its number
        #[arg(value_parser = clap::value_parser!(u8).range(1..))]
        generation: u8,
    },
    /// Revoke a signing key and every token made with it, at once; works without the key
    RevokeGeneration {
        /// Its number
        #[arg(value_parser = clap::value_parser!(u8).range(1..))]
        generation: u8,
    },
}

/// Carries a command out, beside a running server or without one. Writes its result to `out`.
///
/// # Errors
/// [`AppError`]
pub async fn run(data: &DataArgs, command: AdminCommand, out: &mut (impl Write + Send)) -> Result<(), AppError> {
    if let AdminCommand::GenerateSigningKey { generation } = command {
        let line = SigningKeys::generate_line(Generation::new(generation))
            .map_err(|_| signing_keys::SigningKeyError::Random)?;
        return print(out, line.expose());
    }
    if let Some(url) = data.owner_url() {
        return act(data, &StoreConfig::parse(url)?, command, out).await;
    }
    let session = CommandSession::begin(&data_directory(data)?, ClusterConfig::default(), PATIENCE).await?;
    let outcome = match StoreConfig::parse(&session.cluster().connection(DatabaseRole::Owner)) {
        Ok(config) => act(data, &config, command, out).await,
        Err(error) => Err(error.into()),
    };
    session.end().await?;
    outcome
}

/// Brings the tables up to date, builds the indexes that are missing, and ends. Writes the names of the migrations that ran.
///
/// # Errors
/// [`AppError`]
pub async fn run_migrations(data: &DataArgs, out: &mut (impl Write + Send)) -> Result<(), AppError> {
    if let Some(url) = data.owner_url() {
        return bring_up_to_date(&StoreConfig::parse(url)?, out).await;
    }
    let session = CommandSession::begin(&data_directory(data)?, ClusterConfig::default(), PATIENCE).await?;
    let config = StoreConfig::parse(&session.cluster().connection(DatabaseRole::Owner))?;
    let outcome = bring_up_to_date(&config, out).await;
    session.end().await?;
    outcome
}

async fn bring_up_to_date(owner: &StoreConfig, out: &mut (impl Write + Send)) -> Result<(), AppError> {
    for name in migrate(owner).await? {
        print(out, &format!("{name}\n"))?;
    }
    // Somebody else may be at it.
    build_indexes(owner).await.map(drop).map_err(|error| {
        AppError::Refused(format!("the tables are up to date, but an index is not built: {error}; run this again"))
    })
}

async fn act(
    data: &DataArgs,
    config: &StoreConfig,
    command: AdminCommand,
    out: &mut (impl Write + Send),
) -> Result<(), AppError> {
    migrate(config).await?;
    let store = Store::owning(config.clone())?;
    let organization = store.organization_ensure("Latchkey").await?;
    let operator = Operator { store, organization };
    match command {
        AdminCommand::CreateUser { email, name, admin } => {
            let id = operator.create_user(&email, name.as_deref().unwrap_or(&email), admin).await?;
            print(out, &format!("{id}\n"))
        }
        AdminCommand::Invite { email, provider, admin } => {
            let until = operator.invite(&email, provider.clone(), admin).await?;
            print(out, &format!("{email} may sign in by {provider} until {}\n", to_the_second(until)))
        }
        AdminCommand::WithdrawInvitation { email, provider } => operator.withdraw_invitation(&email, &provider).await,
        AdminCommand::CreateServiceAccount { name, service } => {
            let id = operator.create_service_account(&name, service).await?;
            print(out, &format!("{id}\n"))
        }
        AdminCommand::CreateToken { user, service_account, description, valid_for, read_only, tokens_per_user } => {
            let valid_for = time::Duration::try_from(valid_for).unwrap_or(time::Duration::MAX);
            let asked = CreateToken::new(&description, Some(valid_for), read_only)
                .map_err(|error| AppError::Refused(format!("{} {error}", flag(&error))))?;
            let keys = signing_keys::for_command(data, &operator.store).await?;
            let holder = match (&user, service_account) {
                (Some(email), _) => operator.user(email).await?,
                (None, Some(id)) => operator.service_account(id).await?,
                // The arguments are held to one of the two.
                (None, None) => return Err(AppError::Refused("name a user or a service account".to_owned())),
            };
            let text = operator.create_token(&holder, asked, tokens_per_user, &keys).await?;
            print(out, &format!("{}\n", text.expose()))
        }
        AdminCommand::ListTokens { user } => operator.list_tokens(user.as_deref(), out).await,
        AdminCommand::RevokeToken { id } => operator.revoke_token(id).await,
        AdminCommand::SignInLink { user } => {
            let public_url = operator.links_public_url().await?;
            let user = match user {
                Some(email) => operator.user(&email).await?,
                None => operator.first_admin().await?,
            };
            let keys = signing_keys::for_command(data, &operator.store).await?;
            let command = "latchkey admin sign-in-link";
            let link = pages::sign_in_link(&operator.store, &keys, &public_url, &user, command).await?;
            print(out, &format!("{}\n", link.expose()))
        }
        AdminCommand::DropAuditLogs { before } => {
            let dropped = operator.drop_audit_logs(before).await?;
            for month in &dropped.months {
                print(out, &format!("dropped {month}\n"))?;
            }
            if dropped.others > 0 {
                print(out, &format!("dropped {} entries of months without a partition\n", dropped.others))?;
            }
            Ok(())
        }
        AdminCommand::GenerateSigningKey { .. } => Ok(()),
        AdminCommand::ActivateGeneration { generation } => operator.activate(Generation::new(generation)).await,
        AdminCommand::RevokeGeneration { generation } => {
            let tokens = operator.revoke_generation(Generation::new(generation)).await?;
            print(out, &format!("revoked generation {generation} and {tokens} tokens made with it\n"))
        }
    }
}

pub(super) fn print(out: &mut impl Write, text: &str) -> Result<(), AppError> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| AppError::Refused(format!("the result cannot be written: {error}")))
}

/// The flag that says what is wrong.
const fn flag(error: &InvalidToken) -> &'static str {
    match error {
        InvalidToken::Description(_) => "--description",
        InvalidToken::ValidFor => "--valid-for",
    }
}

/// Reads the ID of a token. Whoever has found a token somewhere is told what it is called.
fn token_id(text: &str) -> Result<TokenId, String> {
    text.parse().map_err(|error: InvalidId| match Presented::parse(text) {
        Ok(token) if token.kind() == CredentialKind::PersonalAccessToken => {
            format!("is a token and not its ID, which is {}", token.id())
        }
        Ok(_) | Err(_) => error.to_string(),
    })
}

/// Reads a month as its first day.
fn month(text: &str) -> Result<Date, String> {
    let day = time::macros::format_description!("[year]-[month]-[day]");
    Date::parse(&format!("{text}-01"), day).map_err(|_| "must be a year and a month, such as 2026-09".to_owned())
}
