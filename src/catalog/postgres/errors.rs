//! From what PostgreSQL says to what a caller, or the pool, can do about it.
//!
//! # Secrecy
//! Its messages name tables, columns and constraints; values stand in the details, which are left out.

use std::time::Duration;

use deadpool_postgres::{PoolError, TimeoutType};
use thiserror::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::catalog::CatalogError;

/// Why a verb was not carried out, inside of this backend.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The verb itself refuses; asking again would not help.
    Refused(CatalogError),
    /// A statement failed.
    Failed(tokio_postgres::Error),
    /// There is no connection.
    Cut(PoolError),
    /// A commit that was in doubt did not take place.
    Lost,
    /// The server did not answer in time whether a commit took place.
    InDoubt,
}

pub(super) type Outcome<T> = Result<T, Trouble>;

impl From<CatalogError> for Trouble {
    fn from(error: CatalogError) -> Trouble {
        Trouble::Refused(error)
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Trouble {
        Trouble::Failed(error)
    }
}

/// A message without values.
#[derive(Debug, Error)]
enum Said {
    #[error("PostgreSQL says: {message} ({code})")]
    Statement { code: String, message: String },
    #[error("the connection to PostgreSQL is cut: {0}")]
    Cut(String),
    #[error("no connection to PostgreSQL within {} s: raise postgres.pool_max, or look what keeps the database busy", .0.as_secs())]
    Busy(Duration),
    #[error("the connection to PostgreSQL was cut during a commit, and whether it took place could not be asked")]
    InDoubt,
}

impl Trouble {
    /// Whether the same verb, begun anew, may succeed: the transaction was given up by the server, or the connection is gone.
    pub fn passes(&self) -> bool {
        match self {
            Trouble::Refused(_) | Trouble::InDoubt => false,
            Trouble::Cut(PoolError::Backend(error)) | Trouble::Failed(error) => match error.as_db_error() {
                Some(said) => gives_up(said.code()) || is_away(said.code()) || is_fatal(said),
                None => true,
            },
            Trouble::Cut(PoolError::Timeout(TimeoutType::Create)) | Trouble::Lost => true,
            Trouble::Cut(_) => false,
        }
    }

    pub fn not_done(self, waited: Duration) -> CatalogError {
        let failed = match self {
            Trouble::Refused(error) => return error,
            Trouble::Failed(error) | Trouble::Cut(PoolError::Backend(error)) => not_done(&error),
            Trouble::Cut(_) => CatalogError::Unavailable(Box::new(Said::Busy(waited))),
            Trouble::Lost => {
                CatalogError::Unavailable(Box::new(Said::Cut("during a commit, which did not take place".into())))
            }
            Trouble::InDoubt => CatalogError::Unavailable(Box::new(Said::InDoubt)),
        };
        failed.counted()
    }

    /// The constraint's table, when a unique index refused a row.
    pub fn taken_in(&self) -> Option<&str> {
        let Trouble::Failed(error) = self else { return None };
        let said = error.as_db_error().filter(|said| *said.code() == SqlState::UNIQUE_VIOLATION)?;
        said.table()
    }

    pub fn is_orphan(&self) -> bool {
        matches!(self, Trouble::Failed(error) if error.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION))
    }

    /// Others held a lock for longer than a statement would wait.
    pub fn is_of_locks(&self) -> bool {
        matches!(self, Trouble::Failed(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE))
    }

    /// A statement behind one that failed, in the same transaction.
    pub fn is_echo(&self) -> bool {
        matches!(self, Trouble::Failed(error) if error.code() == Some(&SqlState::IN_FAILED_SQL_TRANSACTION))
    }
}

/// Whether a verb was not done because others held a lock for as long as it was tried.
pub(super) fn is_locked(error: &CatalogError) -> bool {
    let CatalogError::Unavailable(source) = error else { return false };
    matches!(source.downcast_ref(), Some(Said::Statement { code, .. }) if code == SqlState::LOCK_NOT_AVAILABLE.code())
}

/// The error of a `COMMIT` after which it is certain that nothing was committed.
pub(super) fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|said| !is_fatal(said))
}

fn is_fatal(said: &DbError) -> bool {
    matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic))
        || matches!(said.severity(), "FATAL" | "PANIC")
}

fn gives_up(code: &SqlState) -> bool {
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::LOCK_NOT_AVAILABLE].contains(code)
}

/// The server is going down, coming up, or has no room for another connection.
pub(super) fn is_away(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::TOO_MANY_CONNECTIONS,
        SqlState::CONNECTION_FAILURE,
        SqlState::CONNECTION_EXCEPTION,
        SqlState::CONNECTION_DOES_NOT_EXIST,
    ]
    .contains(code)
}

pub(super) fn not_done(error: &tokio_postgres::Error) -> CatalogError {
    let Some(said) = error.as_db_error() else {
        return CatalogError::Unavailable(Box::new(Said::Cut(crate::model::error::chain(error))));
    };
    let source = Box::new(Said::Statement { code: said.code().code().to_owned(), message: said.message().to_owned() });
    match &said.code().code()[..2] {
        _ if [SqlState::DISK_FULL, SqlState::OUT_OF_MEMORY].contains(said.code()) => CatalogError::Full(source),
        // Constraints, types, tables that are missing, damage: what no verb writes.
        "21" | "22" | "23" | "42" | "XX" => CatalogError::Damaged(source.to_string()),
        _ => CatalogError::Unavailable(source),
    }
}
