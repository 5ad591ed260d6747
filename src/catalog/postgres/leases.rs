//! Leases: locks of a session that has nothing else to do. They end with their holder's process, however that dies: the
//! server takes back what a closed connection held, and finds out within half a minute that a machine is gone.
//!
//! # Promise
//! While the lease is held its lock is held, but for the moments between the death of a connection and the next: a server that
//! restarts is entered again, as long as nobody else came first. When the lease is dropped, the lock is free.
//!
//! Each lease has a thread: it lives beside every runtime, and whoever drops it can wait for it.

use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_postgres::{Client, Config};

use super::errors::not_done;
use super::open::dial;
use super::tls::Connector;
use crate::catalog::{CatalogError, Lease, Result};

const PAUSE: Duration = Duration::from_millis(200);
/// Nobody who drops a lease waits longer; closing the connection frees the lock too, a little later.
const UNLOCK_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub(super) struct Leases {
    pub server: Config,
    pub connector: Connector,
}

struct Held {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a lease had ended in a panic");
        }
    }
}

impl Leases {
    /// `None`: another has it.
    pub async fn take(&self, kind: i32, key: i32) -> Result<Option<Lease>> {
        let failed = |error: std::io::Error| CatalogError::Unavailable(Box::new(error));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let ((stop, stopped), (tell, told)) = (oneshot::channel(), oneshot::channel());
        let leases = self.clone();
        let keep = move || runtime.block_on(leases.keep((kind, key), tell, stopped));
        let thread = std::thread::Builder::new().name("catalog-lease".into()).spawn(keep).map_err(failed)?;
        let held = Held { stop: Some(stop), thread: Some(thread) };
        match told.await {
            Ok(Ok(true)) => Ok(Some(Box::new(held))),
            Ok(Ok(false)) => Ok(None),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CatalogError::Unavailable("a lease was not taken".into())),
        }
    }

    async fn keep(self, lock: (i32, i32), tell: oneshot::Sender<Result<bool>>, mut stopped: oneshot::Receiver<()>) {
        let mut session = match self.enter(lock).await {
            Ok(Some(session)) => session,
            Ok(None) => return drop(tell.send(Ok(false))),
            Err(error) => return drop(tell.send(Err(not_done(&error)))),
        };
        if tell.send(Ok(true)).is_err() {
            return;
        }
        loop {
            tokio::select! {
                _ = &mut stopped => {
                    let unlock = session.0.batch_execute("SELECT pg_advisory_unlock_all()");
                    drop(tokio::time::timeout(UNLOCK_MAX, unlock).await);
                    return;
                }
                _ = &mut session.1 => tracing::warn!("the connection of a lease was cut; it is entered again"),
            }
            session = tokio::select! {
                _ = &mut stopped => return,
                session = self.enter_again(lock) => session,
            };
        }
    }

    async fn enter_again(&self, lock: (i32, i32)) -> (Client, tokio::task::JoinHandle<()>) {
        loop {
            match self.enter(lock).await {
                Ok(Some(session)) => {
                    tracing::info!("the lease is entered again");
                    return session;
                }
                Ok(None) => tracing::error!("another has taken the lease meanwhile; waiting for it"),
                Err(error) => {
                    tracing::debug!(error = crate::model::error::chain(&error), "no connection for a lease yet")
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn enter(
        &self,
        (kind, key): (i32, i32),
    ) -> std::result::Result<Option<(Client, tokio::task::JoinHandle<()>)>, tokio_postgres::Error> {
        let session = dial(&self.server, &self.connector).await?;
        let row = session.0.query_one("SELECT pg_try_advisory_lock($1, $2)", &[&kind, &key]).await?;
        Ok(row.get::<_, bool>(0).then_some(session))
    }
}
