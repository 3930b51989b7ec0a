//! What can go wrong with PostgreSQL, sorted by what the caller can do about it.

use diesel::result::{DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError};

/// An error of the store. Its texts are for logs; people get the message of the use case.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// PostgreSQL does not answer, or not in time: the same call may succeed later.
    #[error("PostgreSQL is not available: {0}")]
    Unavailable(String),
    /// PostgreSQL stopped answering while it was to commit: nobody here knows whether it did.
    #[error("whether PostgreSQL has written it is not known: {0}")]
    InDoubt(String),
    /// A row that was looked for is not there.
    #[error("no such row")]
    NoRow,
    /// A constraint of the database refused a write.
    #[error("the database refused the write: constraint {0}")]
    Constraint(String),
    /// A row holds what no version of this program writes.
    #[error("unreadable row: {0}")]
    Corrupt(String),
    /// This program and the database do not agree: a defect.
    #[error("query failed: {0}")]
    Query(String),
}

/// What PostgreSQL says, in English, while it goes down, comes up, or ends a query that takes too long. Its codes do not
/// pass through diesel.
const PASSING: [&str; 7] = [
    "terminating connection",
    "the database system is",
    "canceling statement due to",
    "sorry, too many clients",
    "remaining connection slots",
    "could not extend file",
    "deadlock detected",
];

impl StoreError {
    /// A query on a connection that turned out to be closed, or prepared before the tables changed: nothing was read, and
    /// another connection may do better at once.
    pub(super) fn is_stale(error: &DieselError) -> bool {
        let DieselError::DatabaseError(kind, information) = error else { return false };
        match kind {
            DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection => true,
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::ReadOnlyTransaction
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::ExclusionViolation
            | _ => {
                information.message().starts_with("terminating connection")
                    || information.message() == "cached plan must not change result type"
            }
        }
    }

    /// Names the constraint that a write broke, if it is that.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint(name) => Some(name),
            Self::NoRow | Self::Unavailable(_) | Self::InDoubt(_) | Self::Corrupt(_) | Self::Query(_) => None,
        }
    }
}

impl From<DieselError> for StoreError {
    fn from(error: DieselError) -> Self {
        if let DieselError::DatabaseError(kind, information) = error {
            return Self::from_database(&kind, information.as_ref());
        }
        if let DieselError::DeserializationError(error) = error {
            return Self::Corrupt(error.to_string());
        }
        if matches!(error, DieselError::NotFound) {
            return Self::NoRow;
        }
        if let DieselError::RollbackErrorOnCommit { commit_error, .. } = error {
            return Self::from(*commit_error);
        }
        if matches!(error, DieselError::BrokenTransactionManager) {
            return Self::Unavailable("the transaction broke off".to_owned());
        }
        Self::Query(error.to_string())
    }
}

impl StoreError {
    fn from_database(kind: &DatabaseErrorKind, information: &(dyn DatabaseErrorInformation + Send + Sync)) -> Self {
        let message = information.message().to_owned();
        match kind {
            DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::ReadOnlyTransaction
            | DatabaseErrorKind::SerializationFailure => Self::Unavailable(message),
            _ if PASSING.iter().any(|start| message.starts_with(start)) => Self::Unavailable(message),
            DatabaseErrorKind::NotNullViolation => {
                Self::Constraint(information.column_name().map_or(message, str::to_owned))
            }
            DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::ExclusionViolation
            | _ => match information.constraint_name() {
                Some(name) => Self::Constraint(name.to_owned()),
                None => Self::Query(message),
            },
        }
    }
}

/// Errors of a transaction.
pub(super) trait TransactionError: From<StoreError> {
    /// Whether PostgreSQL did not answer: the connection is most likely good for nothing more.
    fn is_unavailable(&self) -> bool;

    /// The same, of a transaction whose work was done: what is unavailable then has left the commit in doubt.
    fn at_commit(self) -> Self;
}

impl TransactionError for StoreError {
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::InDoubt(_) => true,
            Self::NoRow | Self::Constraint(_) | Self::Corrupt(_) | Self::Query(_) => false,
        }
    }

    fn at_commit(self) -> Self {
        match self {
            Self::Unavailable(detail) => Self::InDoubt(detail),
            Self::InDoubt(_) | Self::NoRow | Self::Constraint(_) | Self::Corrupt(_) | Self::Query(_) => self,
        }
    }
}

/// An error of an operation that may have come to pass all the same, with what it has touched of what verification reads: whoever
/// remembers that has to forget it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unsettled<E, I> {
    /// What went wrong.
    pub error: E,
    /// What it has touched, if it came as far.
    pub touched: Option<I>,
}

impl<E: From<StoreError>, I> From<StoreError> for Unsettled<E, I> {
    fn from(error: StoreError) -> Self {
        Self { error: error.into(), touched: None }
    }
}

/// Turns 'no row' into none; diesel's own way needs diesel's error.
pub(super) fn not_found<T>(error: StoreError) -> Result<Option<T>, StoreError> {
    if matches!(error, StoreError::NoRow) { Ok(None) } else { Err(error) }
}
