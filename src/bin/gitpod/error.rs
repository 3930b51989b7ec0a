//! What can go wrong, what is said about it, and the exit code that it has.

use std::{error::Error, fmt, io, time::Duration};

use humantime::format_duration;
use latchkey::domain::token::Malformed;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{credentials::CredentialsError, host::InvalidHost, interrupt::Interrupt, target::TokenSource};

/// Exit code: it failed.
pub(crate) const FAILED: u8 = 1;
/// Exit code: the command line makes no sense.
pub(crate) const USAGE: u8 = 2;
/// Exit code: nobody is signed in, or the server refused.
pub(crate) const REFUSED: u8 = 3;
/// Exit code: what was named does not exist.
pub(crate) const NOT_FOUND: u8 = 4;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense; the text says what to write instead.
    #[error("{0}")]
    Usage(String),
    /// The address of the server is none, or not one that a token may go to.
    #[error(transparent)]
    Host(#[from] InvalidHost),
    /// There is no token for this server.
    #[error("not signed in to {host}; sign in with `gitpod login --host {host}`, or set GITPOD_TOKEN")]
    NotSignedIn {
        /// Address of the server.
        host: String,
    },
    /// A text is no token; known without asking the server.
    #[error("that token{from} is incomplete or mistyped: {problem}; copy it again, or make a new one", from = .source_name.phrase())]
    MalformedToken {
        /// Where the text came from.
        source_name: TokenSource,
        /// What is wrong with it.
        problem: Malformed,
    },
    /// A token, but one for a single environment.
    #[error("that token{from} is for one environment alone; a personal access token begins with gitpod_pat_", from = .0.phrase())]
    EnvironmentToken(TokenSource),
    /// The stored tokens cannot be read or written.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The server, or the way to it, answered with an error.
    #[error(transparent)]
    Rpc(Box<RpcFailure>),
    /// The server took the call and never answered.
    #[error("{host} did not answer within {}; try again later", format_duration(*.after))]
    Unanswered {
        /// Address of the server.
        host: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// What was asked for did not come about; the text says why and what to do.
    #[error("{0}")]
    Failed(String),
    /// Somebody, or the server, has said no.
    #[error("{0}")]
    Refused(String),
    /// What was named does not exist, or no longer.
    #[error("{0}")]
    NotFound(String),
    /// Standard output takes no more.
    #[error("cannot write the output: {0}")]
    Output(io::Error),
    /// A person or the system ended the command; the text says what goes on without it.
    #[error("{text}")]
    Interrupted {
        /// How.
        by: Interrupt,
        /// What goes on.
        text: String,
    },
}

impl Failure {
    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Host(_) => USAGE,
            Self::NotSignedIn { .. } | Self::MalformedToken { .. } | Self::EnvironmentToken(_) | Self::Refused(_) => {
                REFUSED
            }
            Self::Rpc(failure) => failure.exit_code(),
            Self::Credentials(_) | Self::Unanswered { .. } | Self::Failed(_) => FAILED,
            Self::NotFound(_) => NOT_FOUND,
            // Whoever closed the pipe has read all that it wanted, such as `head`.
            Self::Output(_) if self.is_silent() => 0,
            Self::Output(_) => FAILED,
            Self::Interrupted { by, .. } => by.exit_code(),
        }
    }

    /// Whether nothing needs to be said.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// The code that the server, or the way to it, answered with.
    pub(crate) fn rpc_code(&self) -> Option<Code> {
        match self {
            Self::Rpc(failure) => Some(failure.status.code()),
            Self::Usage(_)
            | Self::Host(_)
            | Self::NotSignedIn { .. }
            | Self::MalformedToken { .. }
            | Self::EnvironmentToken(_)
            | Self::Credentials(_)
            | Self::Unanswered { .. }
            | Self::Failed(_)
            | Self::Refused(_)
            | Self::NotFound(_)
            | Self::Output(_)
            | Self::Interrupted { .. } => None,
        }
    }

    /// Whether the same call may well succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Unanswered { .. })
            || matches!(self.rpc_code(), Some(Code::Unavailable | Code::DeadlineExceeded))
    }
}

/// A call that ended in an error.
#[derive(Debug)]
pub(crate) struct RpcFailure {
    /// Address of the server.
    pub(crate) host: String,
    /// Where the token that was sent came from.
    pub(crate) token: TokenSource,
    /// The error.
    pub(crate) status: Status,
}

impl RpcFailure {
    fn exit_code(&self) -> u8 {
        match self.status.code() {
            Code::Unauthenticated | Code::PermissionDenied => REFUSED,
            Code::NotFound => NOT_FOUND,
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::InvalidArgument
            | Code::DeadlineExceeded
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => FAILED,
        }
    }

    /// What failed on this side of the wire: an error that the server sent has no source.
    fn transport_problem(&self) -> Option<String> {
        self.status.source().map(causes)
    }

    fn message(&self) -> String {
        match self.status.message() {
            "" => self.status.code().description().to_owned(),
            message => message.to_owned(),
        }
    }
}

/// An error and what caused it, each said once. The transport's own words say nothing; their causes do.
pub(crate) fn causes(error: &(dyn Error + 'static)) -> String {
    let mut causes: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if text != "transport error" && !causes.iter().any(|cause| cause.contains(&text)) {
            causes.push(text);
        }
        next = error.source();
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

impl Error for RpcFailure {}

impl fmt::Display for RpcFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, message) = (&self.host, self.message());
        if let Some(problem) = self.transport_problem() {
            return write!(
                formatter,
                "cannot reach {host}: {problem}; is the server running, and is this its address?"
            );
        }
        match self.status.code() {
            Code::Unauthenticated => write!(
                formatter,
                "{host} refused the token{}: {message}; sign in again: `gitpod login`",
                self.token.phrase()
            )?,
            Code::PermissionDenied => write!(formatter, "{host} refused: {message}")?,
            Code::Unavailable => write!(formatter, "{host} cannot answer now: {message}; try again later")?,
            Code::Unimplemented => write!(
                formatter,
                "{host} does not offer this ({message}); is it the address of the API, and as new as this client?"
            )?,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => {
                write!(formatter, "{host} failed to answer as it should: {message}")?;
            }
            Code::NotFound
            | Code::Cancelled
            | Code::InvalidArgument
            | Code::DeadlineExceeded
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange => formatter.write_str(&message)?,
        }
        for violation in self.status.get_details_bad_request().into_iter().flat_map(|details| details.field_violations)
        {
            if !message.contains(&violation.description) {
                write!(formatter, "\n  {}: {}", violation.field, violation.description)?;
            }
        }
        Ok(())
    }
}
