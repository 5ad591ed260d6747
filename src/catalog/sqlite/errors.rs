//! From what SQLite says to what a caller can do about it.
//!
//! # Secrecy
//! SQLite's messages name tables and columns, never values.

use std::sync::Arc;

use rusqlite::{Error, ErrorCode, ffi};

use crate::catalog::CatalogError;

/// A statement was not carried out, for a reason that the verb does not know better.
pub(super) fn not_done(error: Error) -> CatalogError {
    match reaction(&error) {
        Reaction::MakeRoom => CatalogError::Full(Box::new(error)),
        Reaction::TryLater => CatalogError::Unavailable(Box::new(error)),
        Reaction::Repair => CatalogError::Damaged(error.to_string()),
    }
    .counted()
}

/// As [`not_done`], for the many verbs of a group that share one failed commit.
pub(super) fn not_committed(error: &Arc<Error>) -> CatalogError {
    match reaction(error) {
        Reaction::MakeRoom => CatalogError::Full(Box::new(Arc::clone(error))),
        Reaction::TryLater => CatalogError::Unavailable(Box::new(Arc::clone(error))),
        Reaction::Repair => CatalogError::Damaged(error.to_string()),
    }
    .counted()
}

/// A unique index that is not the primary key refused the row.
pub(super) fn is_taken(error: &Error) -> bool {
    is_constraint(error, ffi::SQLITE_CONSTRAINT_UNIQUE)
}

/// The row's primary key is there already.
pub(super) fn is_there(error: &Error) -> bool {
    is_constraint(error, ffi::SQLITE_CONSTRAINT_PRIMARYKEY)
}

/// The row belongs to one that is not there.
pub(super) fn is_orphan(error: &Error) -> bool {
    is_constraint(error, ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// Input or output failed; a full disk is one of the reasons.
pub(super) fn is_io(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

fn is_constraint(error: &Error, extended_code: i32) -> bool {
    matches!(error, Error::SqliteFailure(failure, _) if failure.extended_code == extended_code)
}

enum Reaction {
    MakeRoom,
    TryLater,
    Repair,
}

fn reaction(error: &Error) -> Reaction {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Reaction::MakeRoom,
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::SchemaChanged
            | ErrorCode::Unknown,
        ) => Reaction::Repair,
        Some(_) => Reaction::TryLater,
        // Not from SQLite but from reading a row: a value that no verb writes.
        None => Reaction::Repair,
    }
}
