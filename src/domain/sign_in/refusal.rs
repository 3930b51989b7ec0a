//! Why somebody whom a provider has recognized is not let in.

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInRefusal {
    /// This try has come to its end already.
    AttemptEnded,
    /// Nobody knows them here, and nobody has invited them.
    NotInvited,
    /// The same, and there is no knowing whether somebody has: the provider does not say that their address is theirs.
    NotVerified,
    /// They would be a new user, with the address of another one.
    EmailTaken,
    /// They may not act, for now.
    Suspended,
}

impl SignInRefusal {
    /// Every one.
    pub const ALL: [Self; 5] =
        [Self::AttemptEnded, Self::NotInvited, Self::NotVerified, Self::EmailTaken, Self::Suspended];

    /// A few words for logs and the audit log.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::AttemptEnded => "attempt ended",
            Self::NotInvited => "not invited",
            Self::NotVerified => "e-mail not verified",
            Self::EmailTaken => "e-mail of another user",
            Self::Suspended => "suspended",
        }
    }

    /// What they are told.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::AttemptEnded => "You have come back from this sign-in before. Begin a new one.",
            Self::NotInvited => {
                "Your account there is not known here. Ask an admin of your organization for an invitation to the e-mail address of \
                 that account; an invitation is good for seven days, and for one sign-in."
            }
            Self::NotVerified => {
                "Your account there is not known here, and the provider does not say that its e-mail address is verified. Verify the \
                 address there and sign in again, or ask an admin of your organization."
            }
            Self::EmailTaken => {
                "There is a user with the e-mail address of your account already. If that is you, ask an admin of your organization \
                 for an invitation: an address alone proves nothing."
            }
            Self::Suspended => "Your account here is suspended. Ask an admin of your organization.",
        }
    }
}
