//! The operator's commands: whoever may run them on the server's machine may do anything.

use std::{borrow::Cow, io::Write, time::Duration};

use clap::Subcommand;
use time::format_description::well_known::Rfc3339;

use super::{AppError, database::data_directory, signing_keys};
use crate::{
    config::DataArgs,
    domain::{
        audit::{Action, AuditActor, AuditEvent, Subject, SubjectType},
        ids::{OrganizationId, PrincipalId, TokenId},
        page::PageRequest,
        principal::{Origin, PrincipalRecord, Role},
        text,
        token::{CreateToken, Generation, SigningKeys},
    },
    embedded::{ClusterConfig, CommandSession, Role as DatabaseRole},
    store::{MintError, NewToken, NewUser, Store, StoreConfig, TokenCreateError, TokenDelete, TokenScope, migrate},
};

/// How long a command waits for a server that is just starting, or for another command.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tokens that the operator makes count against the same limit as the user's own.
const TOKENS_PER_USER: u32 = 100;

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
    /// Make a personal access token for a user, and print it alone
    CreateToken {
        /// The user's address
        #[arg(long, value_name = "EMAIL")]
        user: String,
        /// What it is for, in 1 to 255 characters
        #[arg(long)]
        description: String,
        /// How long it is good for: 1m to 90d
        #[arg(long, default_value = "30d", value_parser = humantime::parse_duration)]
        valid_for: Duration,
        /// May only read
        #[arg(long)]
        read_only: bool,
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
        id: TokenId,
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

/// Brings the tables up to date and ends. Writes the names of the migrations that ran.
///
/// # Errors
/// [`AppError`]
pub async fn run_migrations(data: &DataArgs, out: &mut (impl Write + Send)) -> Result<(), AppError> {
    let names = if let Some(url) = data.owner_url() {
        migrate(&StoreConfig::parse(url)?).await?
    } else {
        let session = CommandSession::begin(&data_directory(data)?, ClusterConfig::default(), PATIENCE).await?;
        let config = StoreConfig::parse(&session.cluster().connection(DatabaseRole::Owner))?;
        let outcome = migrate(&config).await;
        session.end().await?;
        outcome?
    };
    for name in &names {
        print(out, &format!("{name}\n"))?;
    }
    Ok(())
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
        AdminCommand::CreateToken { user, description, valid_for, read_only } => {
            let valid_for = time::Duration::try_from(valid_for).unwrap_or(time::Duration::MAX);
            let asked = CreateToken::new(&description, Some(valid_for), read_only)
                .map_err(|error| AppError::Refused(format!("the token cannot be made as asked: {error}")))?;
            let keys = signing_keys::for_command(data, &operator.store).await?;
            let text = operator.create_token(&user, asked, &keys).await?;
            print(out, &format!("{}\n", text.expose()))
        }
        AdminCommand::ListTokens { user } => operator.list_tokens(user.as_deref(), out).await,
        AdminCommand::RevokeToken { id } => operator.revoke_token(id).await,
        AdminCommand::GenerateSigningKey { .. } => Ok(()),
        AdminCommand::ActivateGeneration { generation } => operator.activate(Generation::new(generation)).await,
        AdminCommand::RevokeGeneration { generation } => {
            let tokens = operator.revoke_generation(Generation::new(generation)).await?;
            print(out, &format!("revoked generation {generation} and {tokens} tokens made with it\n"))
        }
    }
}

struct Operator {
    store: Store,
    organization: OrganizationId,
}

impl Operator {
    fn event(
        &self,
        action: Action,
        command: impl Into<Cow<'static, str>>,
        subject_type: SubjectType,
        id: uuid::Uuid,
    ) -> AuditEvent {
        AuditEvent {
            actor: AuditActor::Operator(Origin::of_operator()),
            organization_id: self.organization,
            action,
            rpc: command.into(),
            subject: Subject { subject_type, id },
        }
    }

    async fn create_user(&self, email: &str, name: &str, admin: bool) -> Result<PrincipalId, AppError> {
        let refused = |problem: &str| AppError::Refused(format!("the address {email:?} {problem}"));
        let is_address = email.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty());
        if text::line(email, 254).is_err() || email.contains(char::is_whitespace) || !is_address {
            return Err(refused("is not an e-mail address"));
        }
        text::line(name, 255).map_err(|problem| AppError::Refused(format!("the name {problem}")))?;
        let id = PrincipalId::generate();
        let role = if admin { Role::Admin } else { Role::Member };
        let user =
            NewUser { id, organization_id: self.organization, email: email.to_owned(), name: name.to_owned(), role };
        let event = self.event(Action::UserCreate, "latchkey admin create-user", SubjectType::User, id.uuid());
        if self.store.user_create(&user, &event).await? { Ok(id) } else { Err(refused("belongs to a user already")) }
    }

    async fn user(&self, email: &str) -> Result<PrincipalRecord, AppError> {
        self.store.user_by_email(self.organization, email).await?.ok_or_else(|| {
            AppError::Refused(format!(
                "there is no user {email}; add one with 'latchkey admin create-user --email {email}'"
            ))
        })
    }

    async fn create_token(
        &self,
        email: &str,
        asked: CreateToken,
        keys: &SigningKeys,
    ) -> Result<crate::domain::secret::Secret, AppError> {
        let user = self.user(email).await?;
        let id = TokenId::generate();
        let new = NewToken {
            id,
            organization_id: self.organization,
            principal_id: user.id,
            creator_id: user.id,
            created_by_token_id: None,
            asked,
            limit: TOKENS_PER_USER,
        };
        let event =
            self.event(Action::TokenCreate, "latchkey admin create-token", SubjectType::PersonalAccessToken, id.uuid());
        match self.store.token_create(&new, keys, &event).await {
            Ok((_, text)) => Ok(text),
            Err(TokenCreateError::Mint(MintError::Store(error))) => Err(error.into()),
            Err(TokenCreateError::Limit(limit)) => Err(AppError::Refused(format!(
                "{email} has {limit} tokens that are neither revoked nor expired, the most there may be; revoke one first"
            ))),
            Err(error) => Err(AppError::Refused(error.to_string())),
        }
    }

    async fn list_tokens(&self, email: Option<&str>, out: &mut (impl Write + Send)) -> Result<(), AppError> {
        let user = match email {
            Some(email) => Some(self.user(email).await?.id),
            None => None,
        };
        let time = |at: time::OffsetDateTime| {
            at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_else(|_| at.to_string())
        };
        let mut page = PageRequest::first();
        loop {
            let tokens = self.store.token_list(self.organization, user.as_slice(), &page).await?;
            for token in tokens.entries {
                let access = if token.read_only { "read-only" } else { "read-write" };
                let last_used = token.last_used.map_or_else(|| "never".to_owned(), |last| time(last.at));
                let (created, expires) = (time(token.created_at), time(token.expires_at));
                print(
                    out,
                    &format!(
                        "{}\t{}\t{access}\tcreated {created}\texpires {expires}\tlast used {last_used}\t{}\n",
                        token.id, token.principal_id, token.description
                    ),
                )?;
            }
            match tokens.next {
                None => return Ok(()),
                Some(next) => page = page.following(next),
            }
        }
    }

    async fn revoke_token(&self, id: TokenId) -> Result<(), AppError> {
        let event =
            self.event(Action::TokenRevoke, "latchkey admin revoke-token", SubjectType::PersonalAccessToken, id.uuid());
        match self.store.token_delete(id, TokenScope::Organization(self.organization), &event).await? {
            TokenDelete::Revoked | TokenDelete::Already => Ok(()),
            TokenDelete::NotFound => Err(AppError::Refused(format!(
                "there is no token with ID {id}; 'latchkey admin list-tokens' lists them"
            ))),
        }
    }

    async fn activate(&self, generation: Generation) -> Result<(), AppError> {
        let event = self
            .generation_event(Action::GenerationActivate, format!("latchkey admin activate-generation {generation}"));
        if self.store.signing_key_activate(generation, &event).await? {
            return Ok(());
        }
        Err(AppError::Refused(format!(
            "generation {generation} is not known, or is revoked; start every server with it first"
        )))
    }

    async fn revoke_generation(&self, generation: Generation) -> Result<usize, AppError> {
        let event =
            self.generation_event(Action::GenerationRevoke, format!("latchkey admin revoke-generation {generation}"));
        if !self.store.signing_key_revoke(generation, &event).await? {
            return Err(AppError::Refused(format!("no signing key of generation {generation} is known")));
        }
        let mut tokens = 0;
        loop {
            match self.store.signing_key_tokens_revoke(generation).await? {
                0 => return Ok(tokens),
                some => tokens += some,
            }
        }
    }

    fn generation_event(&self, action: Action, command: String) -> AuditEvent {
        self.event(action, command, SubjectType::Organization, self.organization.uuid())
    }
}

fn print(out: &mut impl Write, text: &str) -> Result<(), AppError> {
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| AppError::Refused(format!("the result cannot be written: {error}")))
}
