//! The file on disk: made once, opened with every promise switched on, brought to the schema of this program.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use thiserror::Error;

use super::errors::not_done;
use crate::catalog::{CatalogError, Result};

/// Each brings the schema from its place in the list to the next number, in one transaction.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/sqlite/0001_vault.sql"),
    include_str!("../migrations/sqlite/0002_resume.sql"),
    include_str!("../migrations/sqlite/0003_holder.sql"),
    include_str!("../migrations/sqlite/0004_access.sql"),
    include_str!("../migrations/sqlite/0005_audit.sql"),
];

/// How long to wait for another process that writes: a commit takes milliseconds, a checkpoint below a second.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Set on every connection and read back: SQLite ignores what it does not know or was not built for.
const PRAGMAS: &[(&str, &str)] = &[
    ("busy_timeout", "10000"),
    ("journal_mode", "wal"),
    // Durability: 2 is FULL, a sync of the log at every commit.
    ("synchronous", "2"),
    // Secrecy: freed bytes are overwritten with zeros in the file, and sorting spills to no temporary file.
    ("secure_delete", "1"),
    ("temp_store", "2"),
    ("foreign_keys", "1"),
    // Limit: 64 MiB; what a log that grew under a long read is cut to.
    ("journal_size_limit", "67108864"),
    // Limit: 8,192 pages, 32 MiB: a page that changes often is checkpointed once for many commits.
    ("wal_autocheckpoint", "8192"),
    // Limit: 4 MiB of pages for the writer, whose commits touch many; negative means KiB.
    ("cache_size", "-4096"),
];

/// More than the statements in this folder.
const STATEMENTS_CACHED_MAX: usize = 256;

/// Why a catalog's file was refused; the source of a [`CatalogError::Unavailable`].
#[derive(Debug, Error)]
pub enum OpenError {
    #[error("there is no catalog at {}", .0.display())]
    Missing(PathBuf),
    #[error("the catalog has schema {found}, but this program knows only up to {known}: a newer one wrote it")]
    NewerSchema { found: u32, known: u32 },
    #[error("SQLite does not take {name} = {wanted}, it says {found}")]
    Pragma { name: &'static str, wanted: &'static str, found: String },
    #[error("{} cannot be made or opened", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Makes an empty file with mode 0600 if there is none. SQLite gives the log beside it the same mode.
pub(super) fn create_file(path: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(file) => sync_made(&file, path).map_err(|source| refused_file(path, source)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(refused_file(path, source)),
    }
}

fn sync_made(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Durability: without this, a power cut could take the file's name back, and with it every commit in the file.
    File::open(directory)?.sync_all()
}

/// The connection that writes, with the schema up to date.
pub(super) fn writer(path: &Path) -> Result<Connection> {
    let mut db = connect(path)?;
    migrate(&mut db)?;
    Ok(db)
}

/// A connection that cannot write.
pub(super) fn reader(path: &Path) -> Result<Connection> {
    let db = connect(path)?;
    set(&db, "query_only", "1")?;
    // Limit: 1 MiB of pages; what is read again comes from the operating system's cache.
    set(&db, "cache_size", "-1024")?;
    Ok(db)
}

fn connect(path: &Path) -> Result<Connection> {
    if !path.exists() {
        return Err(refused(OpenError::Missing(path.to_owned())));
    }
    // Readers open for writing too: whoever comes first after a crash recovers the log.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(not_done)?;
    db.busy_timeout(BUSY_TIMEOUT).map_err(not_done)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_CACHED_MAX);
    for (name, value) in PRAGMAS {
        set(&db, name, value)?;
    }
    Ok(db)
}

fn set(db: &Connection, name: &'static str, wanted: &'static str) -> Result<()> {
    db.execute_batch(&format!("PRAGMA {name} = {wanted}")).map_err(not_done)?;
    let found = pragma(db, name)?;
    if found != wanted {
        return Err(refused(OpenError::Pragma { name, wanted, found }));
    }
    Ok(())
}

pub(super) fn pragma(db: &Connection, name: &str) -> Result<String> {
    let value = db.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, Value>(0)).map_err(not_done)?;
    Ok(match value {
        Value::Text(text) => text,
        Value::Integer(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

fn migrate(db: &mut Connection) -> Result<()> {
    loop {
        // Invariant: the version is read inside the transaction, so that of two processes only one migrates.
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(not_done)?;
        let version = transaction.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)).map_err(not_done)?;
        let known = MIGRATIONS.len() as u32;
        if version > known {
            return Err(refused(OpenError::NewerSchema { found: version, known }));
        }
        let Some(migration) = MIGRATIONS.get(version as usize) else { return Ok(()) };
        transaction.execute_batch(migration).map_err(not_done)?;
        transaction.execute_batch(&format!("PRAGMA user_version = {}", version + 1)).map_err(not_done)?;
        transaction.commit().map_err(not_done)?;
    }
}

pub(super) fn refused_file(path: &Path, source: io::Error) -> CatalogError {
    let is_full = source.kind() == io::ErrorKind::StorageFull;
    let error = OpenError::File { path: path.to_owned(), source };
    if is_full { CatalogError::Full(Box::new(error)) } else { refused(error) }
}

fn refused(error: OpenError) -> CatalogError {
    CatalogError::Unavailable(Box::new(error))
}
