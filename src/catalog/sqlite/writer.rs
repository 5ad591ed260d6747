//! The writer: verbs queue, one thread carries out all that wait in one transaction, and answers after its commit.
//!
//! # Promise
//! `Ok` is answered after the commit, never before. A verb that fails takes back its own changes and nobody else's. When
//! the commit fails, every verb of the group gets its error, and none of them has happened.
//! # Cancel safety
//! A caller that leaves before its verb is queued leaves nothing. Afterwards the verb is carried out whole.
//!
//! Groups need no delay to form: while one commit waits for the disk, the next group queues.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, Error};
use tokio::sync::{mpsc, oneshot};

use super::errors::{is_io, not_committed};
use crate::catalog::{CatalogError, Result};

/// Verbs that wait before callers have to: some 100 ms of work.
const QUEUE_MAX: usize = 1024;
/// Verbs in one commit: keeps the first of them from waiting long for the last.
const GROUP_MAX: usize = 256;
/// A failed write with less room than this on the disk failed for lack of room: SQLite's largest single step is 32 KiB.
const ROOM_MIN_BYTES: u64 = 64 * 1024;

/// The writing half of the catalog. Dropping it finishes what is queued.
pub(super) struct Writer {
    /// `Some` until dropped.
    queue: Option<mpsc::Sender<Box<dyn Verb>>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    pub fn start(db: Connection, path: &Path) -> Result<Writer> {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let work = Work { db, path: path.to_owned(), commits: Arc::clone(&commits) };
        let thread = thread::Builder::new()
            .name("catalog-writer".into())
            .spawn(move || work.serve(waiting))
            .map_err(|error| CatalogError::Unavailable(Box::new(error)))?;
        Ok(Writer { queue: Some(queue), thread: Some(thread), commits })
    }

    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub async fn write<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let queued = Queued { verb: Some(verb), outcome: None, answer };
        let queue = self.queue.as_ref().expect("it is taken only by drop");
        queue.send(Box::new(queued)).await.map_err(|_| writer_gone())?;
        answered.await.map_err(|_| writer_gone())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        let ended = self.thread.take().expect("it is taken only here").join();
        if ended.is_err() {
            tracing::error!("the catalog's writer had ended in a panic");
        }
    }
}

fn writer_gone() -> CatalogError {
    CatalogError::Unavailable("the catalog's writer has ended".into())
}

/// A verb in the queue, whatever it returns.
trait Verb: Send {
    /// Carries it out and keeps the outcome to itself; the error tells the writer to take its changes back.
    fn carry_out(&mut self, db: &Connection) -> std::result::Result<(), &CatalogError>;
    /// After the commit: gives the outcome to the caller, or why there is none.
    fn answer(self: Box<Self>, committed: &std::result::Result<(), Arc<Error>>);
}

struct Queued<T, F> {
    verb: Option<F>,
    outcome: Option<Result<T>>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T, F> Verb for Queued<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T> + Send + 'static,
{
    fn carry_out(&mut self, db: &Connection) -> std::result::Result<(), &CatalogError> {
        let verb = self.verb.take().expect("each verb is carried out once");
        // What a panic leaves half done in the database is rolled back; nothing else is shared.
        let outcome = catch_unwind(AssertUnwindSafe(|| verb(db))).unwrap_or_else(|panic| Err(panicked(&*panic)));
        self.outcome.insert(outcome).as_ref().map(|_| ())
    }

    fn answer(self: Box<Self>, committed: &std::result::Result<(), Arc<Error>>) {
        let answer = match (committed, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => unreachable!("a group is committed after all its verbs were carried out"),
            (Err(error), _) => Err(not_committed(error)),
        };
        // A caller that left does not want to know.
        let _ = self.answer.send(answer);
    }
}

fn panicked(panic: &(dyn Any + Send)) -> CatalogError {
    let kind = if panic.is::<&str>() || panic.is::<String>() { "with a message" } else { "without a message" };
    tracing::error!(kind, "a verb of the catalog panicked; its changes are taken back");
    CatalogError::Unavailable("a verb of the catalog panicked".into())
}

/// What the thread owns.
struct Work {
    db: Connection,
    path: PathBuf,
    commits: Arc<AtomicU64>,
}

impl Work {
    fn serve(self, mut waiting: mpsc::Receiver<Box<dyn Verb>>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        // Zero only once every sender is gone and the queue is empty.
        while waiting.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
            let committed = self.commit(&mut group).map_err(|error| Arc::new(self.explained(error)));
            if let Err(error) = &committed {
                tracing::warn!(%error, verbs = group.len(), "a group of the catalog was not committed");
                self.roll_back();
            }
            for verb in group.drain(..) {
                verb.answer(&committed);
            }
        }
    }

    /// One transaction for all; an error means that none of it happened.
    fn commit(&self, group: &mut [Box<dyn Verb>]) -> rusqlite::Result<()> {
        self.execute("BEGIN IMMEDIATE")?;
        for verb in group {
            self.execute("SAVEPOINT verb")?;
            if let Err(error) = verb.carry_out(&self.db) {
                if self.db.is_autocommit() {
                    // SQLite took back the whole transaction, not only this verb.
                    return Err(given_up(error));
                }
                self.execute("ROLLBACK TO verb")?;
            }
            self.execute("RELEASE verb")?;
        }
        // Durability: returns after the log was synced.
        self.execute("COMMIT")?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn roll_back(&self) {
        if self.db.is_autocommit() {
            return;
        }
        if let Err(error) = self.execute("ROLLBACK") {
            tracing::error!(%error, "a group of the catalog was not rolled back");
        }
    }

    fn execute(&self, sql: &str) -> rusqlite::Result<()> {
        self.db.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    /// SQLite tells a full disk from a broken one only where it writes pages; where it grows shared memory or syncs, it
    /// does not. Then the disk is asked.
    fn explained(&self, error: Error) -> Error {
        let is_full = is_io(&error)
            && rustix::fs::statvfs(&self.path)
                .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) < ROOM_MIN_BYTES);
        if is_full { failure(rusqlite::ffi::SQLITE_FULL) } else { error }
    }
}

/// What the rest of a group is told when one verb's failure ended the transaction of all.
fn given_up(error: &CatalogError) -> Error {
    match error {
        CatalogError::Full(_) => failure(rusqlite::ffi::SQLITE_FULL),
        _ => failure(rusqlite::ffi::SQLITE_IOERR),
    }
}

fn failure(code: i32) -> Error {
    Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
}
