//! Why an environment is not what it should be, for the person whose environment it is.

use std::fmt;

use crate::environments::excerpt::{EXCERPT_LIMIT, excerpt};

/// The most characters of our own words: a host name or a branch in them may be long.
const MESSAGE_LIMIT: usize = 600;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The host is there, the repository is not.
    RepositoryNotFound,
    /// There is no such host.
    HostNotFound,
    /// The address is none that environments may reach.
    AddressRefused,
    /// The host does not take connections.
    HostUnreachable,
    /// The host wants to know who asks (as many do for repositories that do not exist).
    AuthenticationRequired,
    /// The host knows enough and says no.
    AccessDenied,
    /// The host's certificate is not trusted.
    CertificateNotTrusted,
    /// There is something at this address that is no Git repository.
    NotARepository,
    /// It took too long, or stood still.
    TimedOut,
    /// The repository has no such branch.
    BranchNotFound,
    /// The repository has no such tag.
    TagNotFound,
    /// The repository has no such commit.
    CommitNotFound,
    /// It does not fit.
    TooLarge,
    /// What is left of the disk is for others.
    NoSpace,
    /// Git ended with another error.
    GitFailed,
    /// The sandbox could not be started, or ended at once.
    SandboxFailed,
    /// The processes of the environment do not end.
    NotStopped,
    /// The environment has no files to start with.
    NotCreated,
    /// The data directory cannot be read or written.
    Storage,
}

/// What went wrong: a message in our own words and, where somebody else's text helps, an excerpt of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    kind: FailureKind,
    message: String,
    excerpt: Option<String>,
}

impl Failure {
    /// A failure. `message` says what was wrong and what to do; it is cleaned all the same, as names in it may come
    /// from outside.
    #[must_use]
    pub fn new(kind: FailureKind, message: impl AsRef<str>) -> Self {
        Self { kind, message: excerpt(message.as_ref(), MESSAGE_LIMIT), excerpt: None }
    }

    /// Adds an excerpt of a stranger's text: one line, no control characters, at most 300 characters.
    #[must_use]
    pub fn with_excerpt(mut self, text: &str) -> Self {
        let text = excerpt(text, EXCERPT_LIMIT);
        self.excerpt = (!text.is_empty()).then_some(text);
        self
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub const fn kind(&self) -> FailureKind {
        self.kind
    }

    /// Our own words.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The excerpt of a stranger's text, if there is one.
    #[must_use]
    pub fn excerpt(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)?;
        match &self.excerpt {
            Some(text) => write!(formatter, " ({text})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::environment::FAILURE_MESSAGE_LIMIT;

    #[test]
    fn a_failure_is_one_line_that_the_store_takes() {
        let failure = Failure::new(FailureKind::GitFailed, "x\n".repeat(5000)).with_excerpt(&"y\u{1b}".repeat(5000));
        let text = failure.to_string();
        assert!(text.chars().count() <= FAILURE_MESSAGE_LIMIT, "{}", text.len());
        assert!(!text.contains(char::is_control));
        assert_eq!(Failure::new(FailureKind::GitFailed, "no").with_excerpt("\r\n").to_string(), "no");
    }
}
