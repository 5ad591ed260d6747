//! Connections, and the one way in which a verb is carried out on them.
//!
//! # Promise
//! A verb that writes is one transaction. `Ok` is answered after its `COMMIT` was answered, or was found to have taken place.
//! * Broken before `COMMIT` was sent: nothing has happened; the verb is begun anew on another connection, with pauses that
//!   double, for [`RETRY_FOR`]; then it is `Unavailable`, and has not happened.
//! * Broken after `COMMIT` was sent: in doubt. Every transaction writes, last, a number of its own into the row of its
//!   *slot* (`verb_mark`). A new connection reads that row, which waits for the old transaction as long as the server still
//!   works on it. The number is there: the verb took place, and its answer is given. It is not: the verb is begun anew. That is
//!   asked for [`DOUBT_FOR`], since nobody else can find out; then the verb is `Unavailable`, and says that it is in doubt.
//! * Given up by the server (serialization, deadlock): begun anew.
//! # Cancel safety
//! A writing verb runs in a task of its own: whoever leaves, it is carried out whole. A connection whose transaction was
//! not ended never returns to the pool.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Client, Manager, ManagerConfig, Object, Pool as Connections, RecyclingMethod, Runtime};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};
use uuid::Uuid;

use super::errors::{Outcome, Trouble, is_refusal, not_done};
use super::settings::Settings;
use super::tls::Connector;
use crate::catalog::{CatalogError, Result};
use crate::crypto::random::random;

/// How long a verb looks for a server that answers: a restart takes seconds.
const RETRY_FOR: Duration = Duration::from_secs(10);
/// How long it is asked whether a commit took place.
const DOUBT_FOR: Duration = Duration::from_secs(60);
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long a verb waits for a connection that others use.
const WAIT_MAX: Duration = Duration::from_secs(10);

#[derive(Clone)]
pub(super) struct Pool {
    connections: Connections,
    slots: Arc<Mutex<Vec<Slot>>>,
}

/// A place in which one verb at a time is under way.
struct Slot {
    id: Uuid,
    mark: i64,
}

impl Pool {
    pub fn new(server: Config, connector: Connector, settings: &Settings) -> Result<Pool> {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let builder = Connections::builder(Manager::from_config(server, connector, recycling));
        let connections = builder
            .max_size(settings.limits.pool_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT_MAX))
            // The driver's own limit is for each host; this one is for all.
            .create_timeout(Some(2 * settings.limits.connect_timeout))
            .build()
            .map_err(|error| CatalogError::Unavailable(Box::new(error)))?;
        Ok(Pool { connections, slots: Arc::default() })
    }

    /// One transaction, carried out whole whoever waits for it.
    pub async fn write<T, F, Fut>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(Session) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Outcome<T>> + Send,
    {
        let pool = self.clone();
        let task = tokio::spawn(async move { retried(RETRY_FOR, || pool.transaction(&verb)).await });
        task.await.map_err(|_| CatalogError::Unavailable("a verb of the catalog was not finished".into()))?
    }

    /// One statement: it sees one state of the catalog, and in it everything that was acknowledged before.
    pub async fn read<T, F, Fut>(&self, verb: F) -> Result<T>
    where
        F: Fn(Session) -> Fut,
        Fut: Future<Output = Outcome<T>>,
    {
        retried(RETRY_FOR, || async {
            let session = self.session().await?;
            let outcome = verb(session.clone()).await;
            session.settle();
            outcome
        })
        .await
    }

    pub async fn session(&self) -> Outcome<Session> {
        let client = self.connections.get().await.map_err(Trouble::Cut)?;
        Ok(Session(Arc::new(Held { client: Some(client), is_settled: AtomicBool::new(false) })))
    }

    async fn transaction<T, F, Fut>(&self, verb: &F) -> Outcome<T>
    where
        F: Fn(Session) -> Fut,
        Fut: Future<Output = Outcome<T>>,
    {
        let session = self.session().await?;
        // Sent together, in this order: the first statement does not wait for the answer to BEGIN. Of statements that are
        // prepared while they are asked that could not be relied on; where their order counts, each waits for the one before.
        let (begun, outcome) = tokio::join!(session.batch("BEGIN"), verb(session.clone()));
        begun?;
        let value = match outcome {
            Ok(value) => value,
            Err(trouble) => {
                session.batch("ROLLBACK").await?;
                session.settle();
                return Err(trouble);
            }
        };
        let mut slot = self.slot();
        slot.mark += 1;
        session.execute(MARK, &[&slot.id, &slot.mark]).await?;
        // Durability: the answer to COMMIT comes after the log was synced (`synchronous_commit` is not off, see `open`).
        match session.client().batch_execute("COMMIT").await {
            Ok(()) => session.settle(),
            Err(error) if is_refusal(&error) => return Err(error.into()),
            Err(error) => {
                drop(session);
                if !self.took_place(&slot, error).await? {
                    return Err(Trouble::Lost);
                }
            }
        }
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        Ok(value)
    }

    fn slot(&self) -> Slot {
        let idle = self.slots.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Slot { id: Uuid::from_bytes(random()), mark: 0 })
    }

    async fn took_place(&self, slot: &Slot, error: tokio_postgres::Error) -> Outcome<bool> {
        let reason = not_done(&error);
        tracing::warn!(
            error = &reason as &dyn std::error::Error,
            "the connection was cut during a commit; asking whether it took place"
        );
        let found = retried(DOUBT_FOR, || async {
            let session = self.session().await?;
            let row = session.first(FOUND, &[&slot.id]).await?;
            session.settle();
            row.ok_or(Trouble::InDoubt)
        });
        let row = found.await.map_err(|_| Trouble::InDoubt)?;
        let is_there = row.get::<_, i64>(0) == slot.mark;
        tracing::info!(took_place = is_there, "the commit that was in doubt is known");
        Ok(is_there)
    }
}

const MARK: &str = "INSERT INTO verb_mark (slot, mark) VALUES ($1, $2)
    ON CONFLICT (slot) DO UPDATE SET mark = excluded.mark, at = now()";

/// Waits for a transaction that still holds the row.
const FOUND: &str = "INSERT INTO verb_mark (slot, mark) VALUES ($1, 0)
    ON CONFLICT (slot) DO UPDATE SET at = now() RETURNING mark";

/// Tries until it is done, is refused, or time is up.
async fn retried<T, F, Fut>(retry_for: Duration, attempt: F) -> Result<T>
where
    F: Fn() -> Fut,
    Fut: Future<Output = Outcome<T>>,
{
    let (deadline, mut pause) = (Instant::now() + retry_for, PAUSE_MIN);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(trouble) if trouble.passes() && Instant::now() + pause < deadline => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            Err(trouble) => return Err(trouble.not_done(WAIT_MAX)),
        }
    }
}

/// A connection on loan. Clones are of the same one.
#[derive(Clone)]
pub(super) struct Session(Arc<Held>);

struct Held {
    client: Option<Client>,
    is_settled: AtomicBool,
}

impl Session {
    fn client(&self) -> &Client {
        self.0.client.as_ref().expect("it is taken only by drop")
    }

    /// No transaction is open: the connection may return to the pool.
    pub fn settle(&self) {
        self.0.is_settled.store(true, Ordering::Relaxed);
    }

    /// Statements without parameters, that are not kept prepared.
    pub async fn batch(&self, sql: &str) -> Outcome<()> {
        Ok(self.client().batch_execute(sql).await?)
    }

    /// Returns how many rows were changed.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Outcome<u64> {
        let statement = self.client().prepare_cached(sql).await?;
        Ok(self.client().execute(&statement, params).await?)
    }

    pub async fn first(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Outcome<Option<Row>> {
        let statement = self.client().prepare_cached(sql).await?;
        Ok(self.client().query_opt(&statement, params).await?)
    }

    pub async fn all(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Outcome<Vec<Row>> {
        let statement = self.client().prepare_cached(sql).await?;
        Ok(self.client().query(&statement, params).await?)
    }

    /// [`Session::all`] for a text that is not asked again.
    pub async fn all_once(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Outcome<Vec<Row>> {
        Ok(self.client().query(sql, params).await?)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_settled.load(Ordering::Relaxed) {
            // The server rolls back what a connection leaves that is closed.
            drop(self.client.take().map(Object::take));
        }
    }
}
