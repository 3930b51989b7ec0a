//! What the operator's commands do: each act with its entry in the audit log, as `operator`.

use std::{borrow::Cow, io::Write};

use time::{Date, OffsetDateTime};

use super::{AppError, admin::print};
use crate::{
    domain::{
        audit::{Action, AuditActor, AuditEvent, Subject, SubjectType},
        clock::to_the_second,
        ids::{OrganizationId, PrincipalId, TokenId},
        page::PageRequest,
        principal::{Origin, PrincipalKind, PrincipalRecord, Role},
        secret::Secret,
        sign_in::{ProviderName, is_address},
        text,
        token::{CreateToken, Generation, SigningKeys},
    },
    store::{
        AuditDrop, MintError, NewInvitation, NewServiceAccount, NewToken, NewUser, Store, StoreError, TokenCreateError,
        TokenDelete, TokenScope, Withdrawal,
    },
};

/// Does what the operator asked for, and logs it.
pub(super) struct Operator {
    pub(super) store: Store,
    pub(super) organization: OrganizationId,
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

    pub(super) async fn create_user(&self, email: &str, name: &str, admin: bool) -> Result<PrincipalId, AppError> {
        let refused = |problem: &str| AppError::Refused(format!("the address {email:?} {problem}"));
        let is_address = email.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty());
        if text::line(email, 254).is_err() || email.contains(char::is_whitespace) || !is_address {
            return Err(refused("is not an e-mail address"));
        }
        text::line(name, 255).map_err(|problem| AppError::Refused(format!("--name {problem}")))?;
        let id = PrincipalId::generate();
        let role = if admin { Role::Admin } else { Role::Member };
        let user =
            NewUser { id, organization_id: self.organization, email: email.to_owned(), name: name.to_owned(), role };
        let event = self.event(Action::UserCreate, "latchkey admin create-user", SubjectType::User, id.uuid());
        if self.store.user_create(&user, &event).await? { Ok(id) } else { Err(refused("belongs to a user already")) }
    }

    pub(super) async fn create_service_account(&self, name: &str, service: bool) -> Result<PrincipalId, AppError> {
        text::line(name, 255).map_err(|problem| AppError::Refused(format!("--name {problem}")))?;
        let id = PrincipalId::generate();
        let role = if service { Role::Service } else { Role::Member };
        let new = NewServiceAccount { id, organization_id: self.organization, name: name.to_owned(), role };
        let command = "latchkey admin create-service-account";
        let event = self.event(Action::ServiceAccountCreate, command, SubjectType::ServiceAccount, id.uuid());
        self.store.service_account_create(&new, &event).await?;
        Ok(id)
    }

    /// Invites whoever has an address at a provider. Returns until when that is good.
    pub(super) async fn invite(
        &self,
        email: &str,
        provider: ProviderName,
        admin: bool,
    ) -> Result<OffsetDateTime, AppError> {
        if !is_address(email) {
            return Err(AppError::Refused(format!("the address {email:?} is not an e-mail address")));
        }
        let (email, name) = (email.to_owned(), email.to_owned());
        let new = NewInvitation { organization_id: self.organization, provider, email, name, admin };
        let (of, id) = (SubjectType::Organization, self.organization.uuid());
        let event = self.event(Action::InvitationCreate, "latchkey admin invite", of, id);
        let invited = self.store.invitation_create(&new, &event).await?;
        // The operator may.
        invited.map(|invited| invited.expires_at).ok_or_else(|| AppError::Refused("nobody was invited".to_owned()))
    }

    pub(super) async fn withdraw_invitation(&self, email: &str, provider: &ProviderName) -> Result<(), AppError> {
        let (of, id) = (SubjectType::Organization, self.organization.uuid());
        let event = self.event(Action::InvitationWithdraw, "latchkey admin withdraw-invitation", of, id);
        match self.store.invitation_withdraw(self.organization, provider, email, &event).await? {
            Withdrawal::Withdrawn => Ok(()),
            // The operator may.
            Withdrawal::NotFound | Withdrawal::ActorNoAdmin => {
                Err(AppError::Refused(format!("there is no open invitation of {email} at {provider}")))
            }
        }
    }

    pub(super) async fn service_account(&self, id: PrincipalId) -> Result<PrincipalRecord, AppError> {
        let found = self.store.principal_get(self.organization, id).await?;
        found.filter(|found| found.kind == PrincipalKind::ServiceAccount).ok_or_else(|| {
            AppError::Refused(format!(
                "there is no service account {id}; add one with 'latchkey admin create-service-account --name NAME'"
            ))
        })
    }

    pub(super) async fn user(&self, email: &str) -> Result<PrincipalRecord, AppError> {
        self.store.user_by_email(self.organization, email).await?.ok_or_else(|| {
            AppError::Refused(format!(
                "there is no user {email}; add one with 'latchkey admin create-user --email {email}'"
            ))
        })
    }

    pub(super) async fn first_admin(&self) -> Result<PrincipalRecord, AppError> {
        self.store.first_admin(self.organization).await?.ok_or_else(|| {
            AppError::Refused(
                "there is no admin who can act; add one with 'latchkey admin create-user --admin --email EMAIL'"
                    .to_owned(),
            )
        })
    }

    /// Where people use links that sign them in.
    pub(super) async fn links_public_url(&self) -> Result<String, AppError> {
        match self.store.server_running().await? {
            Some(server) if server.takes_links => Ok(server.public_url),
            Some(server) => Err(AppError::Refused(format!(
                "people do not sign in by links at {}: others can reach it, or there is an OpenID provider",
                server.public_url
            ))),
            None => Err(AppError::Refused(
                "no server runs on this database, so that a link would lead nowhere; start one with 'latchkey serve'"
                    .to_owned(),
            )),
        }
    }

    pub(super) async fn create_token(
        &self,
        holder: &PrincipalRecord,
        asked: CreateToken,
        limit: u32,
        keys: &SigningKeys,
    ) -> Result<Secret, AppError> {
        let id = TokenId::generate();
        let new = NewToken {
            id,
            organization_id: self.organization,
            principal_id: holder.id,
            creator_id: holder.id,
            created_with: None,
            idempotency_key: None,
            asked,
            limit,
        };
        let event =
            self.event(Action::TokenCreate, "latchkey admin create-token", SubjectType::PersonalAccessToken, id.uuid());
        match self.store.token_create(&new, keys, &event).await {
            Ok((_, text)) => Ok(text),
            Err(TokenCreateError::Mint(MintError::Store(error))) => Err(error.into()),
            Err(TokenCreateError::Limit(limit)) => Err(AppError::Refused(format!(
                "{} has {limit} tokens that are neither revoked nor expired, the most there may be; revoke one first",
                holder.email.as_ref().unwrap_or(&holder.name)
            ))),
            Err(error) => Err(AppError::Refused(error.to_string())),
        }
    }

    pub(super) async fn list_tokens(&self, email: Option<&str>, out: &mut (impl Write + Send)) -> Result<(), AppError> {
        let user = match email {
            Some(email) => Some(self.user(email).await?.id),
            None => None,
        };
        let mut page = PageRequest::first();
        loop {
            let tokens = self.store.token_list(self.organization, user.as_slice(), &page).await?;
            for token in tokens.entries {
                let access = if token.read_only { "read-only" } else { "read-write" };
                let last_used = token.last_used.map_or_else(|| "never".to_owned(), |last| to_the_second(last.at));
                let (created, expires) = (to_the_second(token.created_at), to_the_second(token.expires_at));
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

    pub(super) async fn revoke_token(&self, id: TokenId) -> Result<(), AppError> {
        let event =
            self.event(Action::TokenRevoke, "latchkey admin revoke-token", SubjectType::PersonalAccessToken, id.uuid());
        match self.store.token_delete(id, TokenScope::Organization(self.organization), &event).await? {
            TokenDelete::Revoked | TokenDelete::Already => Ok(()),
            TokenDelete::NotFound => Err(AppError::Refused(format!(
                "there is no token with ID {id}; 'latchkey admin list-tokens' lists them"
            ))),
        }
    }

    pub(super) async fn activate(&self, generation: Generation) -> Result<(), AppError> {
        let event = self
            .generation_event(Action::GenerationActivate, format!("latchkey admin activate-generation {generation}"));
        if self.store.signing_key_activate(generation, &event).await? {
            return Ok(());
        }
        Err(AppError::Refused(format!(
            "generation {generation} is not known, or is revoked; start every server with it first"
        )))
    }

    pub(super) async fn revoke_generation(&self, generation: Generation) -> Result<usize, AppError> {
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

    /// Drops the audit log's months before `before`. Returns what was dropped.
    pub(super) async fn drop_audit_logs(&self, before: Date) -> Result<AuditDrop, AppError> {
        let command =
            format!("latchkey admin drop-audit-logs --before {}-{:02}", before.year(), u8::from(before.month()));
        let event = self.event(Action::AuditLogsDrop, command, SubjectType::Organization, self.organization.uuid());
        match self.store.audit_drop(before, &event).await {
            Ok(Some(dropped)) => Ok(dropped),
            Ok(None) => Err(AppError::Refused(
                "the current month is not over: --before takes this month at the latest".to_owned(),
            )),
            Err(StoreError::Unavailable(detail)) => Err(AppError::Refused(format!(
                "nothing was dropped, since the audit log is in use right now; try again ({detail})"
            ))),
            Err(error) => Err(error.into()),
        }
    }

    fn generation_event(&self, action: Action, command: String) -> AuditEvent {
        self.event(action, command, SubjectType::Organization, self.organization.uuid())
    }
}
