//! Why nobody was recognized.

/// What went wrong at a provider, or with what it says. Its texts are for logs: they may have been written by the provider.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It is not described as it should be, or takes us for no client that may do this.
    #[error("the provider, or our client there, is not configured as it should be: {0}")]
    Configuration(String),
    /// It does not answer, or not as a provider does: another try may do better.
    #[error("the provider cannot be used right now: {0}")]
    Unavailable(String),
    /// Too many sign-ins by it are under way: another try, a moment later, may find a place.
    #[error("too many sign-ins by the provider are under way")]
    Busy,
    /// It does not take the code: it is old, was used before, or is none of its own.
    #[error("the provider does not take the code: {0}")]
    Code(String),
    /// What it says proves nothing.
    #[error("what the provider says proves nothing: {0}")]
    Proof(String),
}

impl ProviderError {
    /// A few words for logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Configuration(_) => "provider misconfigured",
            Self::Unavailable(_) => "provider unavailable",
            Self::Busy => "provider busy",
            Self::Code(_) => "code refused",
            Self::Proof(_) => "no proof",
        }
    }
}
