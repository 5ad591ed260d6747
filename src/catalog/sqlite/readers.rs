//! Reads: a few connections that cannot write, each read in its own snapshot.
//!
//! # Promise
//! A read sees one state of the catalog, and in it everything that was acknowledged before the read began.
//! # Cancel safety
//! A read that nobody waits for is finished and forgotten; its connection returns.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::errors::not_done;
use super::open;
use crate::catalog::{CatalogError, Result};

/// Reads at once: they are short and mostly in memory, so that more than the processors at work only wait.
const READERS_MAX: usize = 4;

#[derive(Clone)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    room: Arc<Semaphore>,
}

impl Readers {
    pub fn open(path: &Path) -> Result<Readers> {
        let idle = (0..READERS_MAX).map(|_| open::reader(path)).collect::<Result<Vec<_>>>()?;
        Ok(Readers { idle: Arc::new(Mutex::new(idle)), room: Arc::new(Semaphore::new(READERS_MAX)) })
    }

    /// A look-up of a few rows, on the calling thread where a connection is idle: 20 us in memory, half of what it costs to
    /// hand it to another thread. Readers never wait for the writer (WAL).
    pub async fn look_up<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => Lent::take(Arc::clone(&self.idle), permit).snapshot(verb),
            Err(_) => self.read(verb).await,
        }
    }

    /// A read of any length, on a thread that may block.
    pub async fn read<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let permit = Arc::clone(&self.room).acquire_owned().await.expect("the semaphore is never closed");
        let lent = Lent::take(Arc::clone(&self.idle), permit);
        let read = tokio::task::spawn_blocking(move || lent.snapshot(verb));
        read.await.map_err(|_| CatalogError::Unavailable("a read of the catalog was not finished".into()))?
    }
}

/// A connection on loan; returns when dropped, also by a panic.
struct Lent {
    db: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    fn take(idle: Arc<Mutex<Vec<Connection>>>, permit: OwnedSemaphorePermit) -> Lent {
        let db = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lent { db: Some(db.expect("there is a connection for every permit")), idle, _permit: permit }
    }

    fn snapshot<T>(&self, verb: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let db = self.db.as_ref().expect("it is taken only by drop");
        // Rolled back when dropped; there is nothing to commit.
        let _transaction = db.unchecked_transaction().map_err(not_done)?;
        verb(db)
    }
}

impl Drop for Lent {
    // Invariant: the connection is back before the permit is.
    fn drop(&mut self) {
        let db = self.db.take().expect("it is taken only here");
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(db);
    }
}
