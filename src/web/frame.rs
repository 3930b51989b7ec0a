//! What is around every page.

use super::assets::{ADDRESSES, Addresses};

/// Who looks at a page.
#[derive(Debug, Clone)]
pub(super) struct Person {
    /// What people call them.
    pub(super) name: String,
    /// Whether they manage what is the organization's.
    pub(super) is_admin: bool,
    /// Goes with every form of theirs.
    pub(super) form_token: String,
}

/// Which part of the pages it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    /// One's own tokens.
    Tokens,
    /// One's own sessions.
    Sessions,
    /// Environments.
    Environments,
    /// The audit log.
    AuditLogs,
    /// An admin's view of users.
    Users,
    /// An admin's view of invitations.
    Invitations,
    /// An admin's view of service accounts.
    ServiceAccounts,
    /// None of those that can be chosen.
    Other,
}

/// The frame of a page.
pub(super) struct Frame {
    pub(super) title: String,
    pub(super) section: Section,
    pub(super) person: Option<Person>,
    pub(super) notice: Option<&'static str>,
    pub(super) assets: &'static Addresses,
}

impl Frame {
    /// Of a page that somebody who is signed in looks at.
    pub(super) fn of(person: Person, section: Section, title: impl Into<String>) -> Self {
        Self { title: title.into(), section, person: Some(person), notice: None, assets: &ADDRESSES }
    }

    /// Of a page that anybody may look at.
    pub(super) fn public(title: impl Into<String>) -> Self {
        Self { title: title.into(), section: Section::Other, person: None, notice: None, assets: &ADDRESSES }
    }

    /// The same of another page of that part.
    pub(super) fn titled(self, title: impl Into<String>) -> Self {
        Self { title: title.into(), ..self }
    }

    /// With a word on what was done just before.
    pub(super) fn with_notice(self, notice: Option<&'static str>) -> Self {
        Self { notice, ..self }
    }

    pub(super) fn is(&self, section: Section) -> bool {
        self.section == section
    }

    pub(super) fn is_settings(&self) -> bool {
        matches!(self.section, Section::Tokens | Section::Sessions)
    }

    pub(super) fn is_admin(&self) -> bool {
        matches!(self.section, Section::Users | Section::Invitations | Section::ServiceAccounts)
    }

    pub(super) fn form_token(&self) -> &str {
        self.person.as_ref().map_or("", |person| &person.form_token)
    }
}
