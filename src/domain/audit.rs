//! The audit log: who did what, to what, with which token, from where, and whether it was let through.

mod entry;

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use super::ids::{OrganizationId, PrincipalId, RequestId, SessionId, TokenId};
use super::principal::{Actor, Origin, PrincipalKind};

pub use entry::{AuditEntry, AuditFilter, Doer};

/// What was done. Written to the log as `noun_verb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// A personal access token was made.
    TokenCreate,
    /// A personal access token got another description.
    TokenUpdate,
    /// A personal access token was revoked.
    TokenRevoke,
    /// An environment was asked for.
    EnvironmentCreate,
    /// An environment was told to run.
    EnvironmentStart,
    /// An environment was told to stop.
    EnvironmentStop,
    /// An environment was told to go, with its files.
    EnvironmentDelete,
    /// An environment got another name.
    EnvironmentUpdate,
    /// An environment was put aside.
    EnvironmentArchive,
    /// An environment was put back.
    EnvironmentUnarchive,
    /// A token for one environment was made.
    EnvironmentTokenCreate,
    /// A command was run in an environment.
    EnvironmentExec,
    /// A command in an environment was cancelled.
    EnvironmentExecCancel,
    /// A user was added.
    UserCreate,
    /// A service account was added.
    ServiceAccountCreate,
    /// A user may act no more, for now.
    UserSuspend,
    /// A user may act again.
    UserUnsuspend,
    /// A user became an admin, or is none any more.
    UserRoleChange,
    /// Somebody was let in, or refused, by an account of theirs elsewhere.
    SignIn,
    /// Somebody was invited to sign in as a user.
    InvitationCreate,
    /// Somebody signed in by an invitation.
    InvitationRedeem,
    /// An invitation was taken back.
    InvitationWithdraw,
    /// Somebody signed in.
    SessionCreate,
    /// Somebody signed out, or a session was ended from another one.
    SessionRevoke,
    /// A link was made that signs somebody in.
    SignInLinkCreate,
    /// Somebody has said yes to what a program asked for that wants to act for them.
    LoginApprove,
    /// Somebody has said no to it.
    LoginDeny,
    /// The program got its token; or its code was refused, and came to its end with that or had before.
    LoginRedeem,
    /// Somebody has typed a code that no program shows.
    LoginCodeRefuse,
    /// A signing key was made the one that new tokens are made with.
    GenerationActivate,
    /// A signing key and every token made with it were revoked.
    GenerationRevoke,
    /// Months of the audit log were dropped.
    AuditLogsDrop,
    /// Something was read; aggregated.
    Read,
    /// A credential was refused.
    CredentialRefuse,
    /// An RPC was refused to a caller that is known.
    PermissionDeny,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 35] = [
        Self::TokenCreate,
        Self::TokenUpdate,
        Self::TokenRevoke,
        Self::EnvironmentCreate,
        Self::EnvironmentStart,
        Self::EnvironmentStop,
        Self::EnvironmentDelete,
        Self::EnvironmentUpdate,
        Self::EnvironmentArchive,
        Self::EnvironmentUnarchive,
        Self::EnvironmentTokenCreate,
        Self::EnvironmentExec,
        Self::EnvironmentExecCancel,
        Self::UserCreate,
        Self::ServiceAccountCreate,
        Self::UserSuspend,
        Self::UserUnsuspend,
        Self::UserRoleChange,
        Self::SignIn,
        Self::InvitationCreate,
        Self::InvitationRedeem,
        Self::InvitationWithdraw,
        Self::SessionCreate,
        Self::SessionRevoke,
        Self::SignInLinkCreate,
        Self::LoginApprove,
        Self::LoginDeny,
        Self::LoginRedeem,
        Self::LoginCodeRefuse,
        Self::GenerationActivate,
        Self::GenerationRevoke,
        Self::AuditLogsDrop,
        Self::Read,
        Self::CredentialRefuse,
        Self::PermissionDeny,
    ];

    /// As the log has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TokenCreate => "token_create",
            Self::TokenUpdate => "token_update",
            Self::TokenRevoke => "token_revoke",
            Self::EnvironmentCreate => "environment_create",
            Self::EnvironmentStart => "environment_start",
            Self::EnvironmentStop => "environment_stop",
            Self::EnvironmentDelete => "environment_delete",
            Self::EnvironmentUpdate => "environment_update",
            Self::EnvironmentArchive => "environment_archive",
            Self::EnvironmentUnarchive => "environment_unarchive",
            Self::EnvironmentTokenCreate => "environment_token_create",
            Self::EnvironmentExec => "environment_exec",
            Self::EnvironmentExecCancel => "environment_exec_cancel",
            Self::UserCreate => "user_create",
            Self::ServiceAccountCreate => "service_account_create",
            Self::UserSuspend => "user_suspend",
            Self::UserUnsuspend => "user_unsuspend",
            Self::UserRoleChange => "user_role_change",
            Self::SignIn => "sign_in",
            Self::InvitationCreate => "invitation_create",
            Self::InvitationRedeem => "invitation_redeem",
            Self::InvitationWithdraw => "invitation_withdraw",
            Self::SessionCreate => "session_create",
            Self::SessionRevoke => "session_revoke",
            Self::SignInLinkCreate => "sign_in_link_create",
            Self::LoginApprove => "login_approve",
            Self::LoginDeny => "login_deny",
            Self::LoginRedeem => "login_redeem",
            Self::LoginCodeRefuse => "login_code_refuse",
            Self::GenerationActivate => "generation_activate",
            Self::GenerationRevoke => "generation_revoke",
            Self::AuditLogsDrop => "audit_logs_drop",
            Self::Read => "read",
            Self::CredentialRefuse => "credential_refuse",
            Self::PermissionDeny => "permission_deny",
        }
    }
}

/// What kind of thing something was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectType {
    /// A personal access token.
    PersonalAccessToken,
    /// An environment.
    Environment,
    /// A user.
    User,
    /// A service account.
    ServiceAccount,
    /// An organization: what has no narrower subject.
    Organization,
    /// A session of somebody in a browser.
    Session,
    /// What a program asked for that wants to act for somebody.
    LoginRequest,
}

impl SubjectType {
    /// Every type.
    pub const ALL: [Self; 7] = [
        Self::PersonalAccessToken,
        Self::Environment,
        Self::User,
        Self::ServiceAccount,
        Self::Organization,
        Self::Session,
        Self::LoginRequest,
    ];

    /// As the log has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PersonalAccessToken => "personal_access_token",
            Self::Environment => "environment",
            Self::User => "user",
            Self::ServiceAccount => "service_account",
            Self::Organization => "organization",
            Self::Session => "session",
            Self::LoginRequest => "login_request",
        }
    }
}

/// What something was done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Its kind.
    pub subject_type: SubjectType,
    /// Its ID.
    pub id: uuid::Uuid,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditActor {
    /// A caller.
    Principal(Actor),
    /// A user in whose name somebody is there with no credential: who signs in, or a program that brings a code of theirs.
    SigningIn(PrincipalId, Origin),
    /// Whoever may run `latchkey admin` on the server's machine.
    Operator(Origin),
}

/// An act that changes state, to be written in the transaction that changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// Who.
    pub actor: AuditActor,
    /// The organization it concerns.
    pub organization_id: OrganizationId,
    /// What.
    pub action: Action,
    /// The full name of the RPC (`package.Service/Method`), or the operator's command.
    pub rpc: Cow<'static, str>,
    /// To what.
    pub subject: Subject,
}

impl AuditEvent {
    /// An act of a caller in its own organization.
    #[must_use]
    pub fn of(actor: &Actor, action: Action, rpc: &'static str, subject: Subject) -> Self {
        Self {
            organization_id: actor.organization_id,
            actor: AuditActor::Principal(actor.clone()),
            action,
            rpc: Cow::Borrowed(rpc),
            subject,
        }
    }

    /// The same, claiming no session: none was opened, or whoever was there is in none.
    #[must_use]
    pub fn in_no_session(self) -> Self {
        let actor = match self.actor {
            AuditActor::Principal(actor) => AuditActor::SigningIn(actor.principal_id, actor.origin),
            actor @ (AuditActor::SigningIn(..) | AuditActor::Operator(_)) => actor,
        };
        Self { actor, ..self }
    }
}

/// Whether it was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It was done.
    Succeeded,
    /// It was refused.
    Denied,
}

impl Outcome {
    /// As the log has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Denied => "denied",
        }
    }
}

/// Something that changed no state and is logged all the same: a read, or a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The organization it concerns; none for a stranger's.
    pub organization_id: Option<OrganizationId>,
    /// Whose credential it was, when that is proven.
    pub principal: Option<(PrincipalId, PrincipalKind)>,
    /// Which token it was, when that is proven.
    pub token_id: Option<TokenId>,
    /// Which session it was, when that is proven and it was one.
    pub session_id: Option<SessionId>,
    /// What.
    pub action: Action,
    /// The full name of the RPC (`package.Service/Method`); empty for what is none of ours.
    pub rpc: &'static str,
    /// Whether it was let through.
    pub outcome: Outcome,
    /// Why it was refused; empty otherwise.
    pub reason: &'static str,
    /// From where.
    pub peer: Option<IpAddr>,
    /// What the client calls itself.
    pub user_agent: Option<Arc<str>>,
    /// Names the request.
    pub request_id: RequestId,
}
