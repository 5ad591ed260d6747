//! Audit trails. Entries of all requests of this server that wait go into one transaction: a trail has one head, and whoever
//! holds its row lets no other server pass until his commit is synced.
//!
//! append -> queue -> whoever has the turn takes all that wait -> one transaction -> answers to all
//!
//! # Promise
//! As the contract says; a batch that is not committed is an error for everyone in it.
//! # Cancel safety
//! The turn is taken by a task of its own: a caller that leaves leaves his entries in the batch.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::Postgres;
use super::errors::Outcome;
use super::pool::{Pool, Session};
use super::rows::{bytes, not_stored_by_us, take, take_optional, uuid};
use super::tenants::number;
use crate::catalog::stored::{int, millis, millis_up};
use crate::catalog::trail::{CheckpointRow, DISORDER_MS, TrailHead, TrailQuery, TrailRow, Trails, chained};
use crate::catalog::{CatalogError, Result};
use crate::model::trail::Entry;
use crate::model::{TenantNumber, Timestamp};

// Limit: entries of one transaction, half a megabyte; those that wait behind it wait for two commits.
const BATCH_MAX: usize = 1_000;

type Entries = Vec<(TenantNumber, Entry)>;
/// Takes the numbers that a caller's entries got.
type Answer = oneshot::Sender<Result<Vec<u64>>>;

/// Entries that wait for the next transaction.
#[derive(Default)]
pub(super) struct Appender {
    waiting: Mutex<Vec<(Entries, Answer)>>,
    turn: tokio::sync::Mutex<()>,
}

impl Appender {
    async fn append(self: &Arc<Appender>, pool: &Pool, entries: Entries) -> Result<Vec<u64>> {
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push((entries, answer));
        let (appender, pool) = (Arc::clone(self), pool.clone());
        // For every caller one, so that nobody's entries stay behind; most of them find that another has taken theirs.
        tokio::spawn(async move {
            let _turn = appender.turn.lock().await;
            appender.write(&pool).await;
        });
        answered.await.map_err(|_| CatalogError::Unavailable("a batch of the trail was not finished".into()))?
    }

    async fn write(&self, pool: &Pool) {
        let (callers, answers) = self.take();
        if callers.is_empty() {
            return;
        }
        let counts: Vec<_> = callers.iter().map(Vec::len).collect();
        let entries: Arc<Entries> = Arc::new(callers.into_iter().flatten().collect());
        let written = pool.write(move |db| {
            let entries = Arc::clone(&entries);
            async move { append(&db, &entries).await }
        });
        match written.await {
            Ok(numbers) => {
                let mut numbers = numbers.into_iter();
                for (count, answer) in counts.into_iter().zip(answers) {
                    // A caller that left does not want to know.
                    let _ = answer.send(Ok(numbers.by_ref().take(count).collect()));
                }
            }
            Err(error) => {
                let error = Arc::new(error);
                answers.into_iter().for_each(|answer| _ = answer.send(Err(of_batch(&error))));
            }
        }
    }

    /// The oldest, whole callers at a time.
    fn take(&self) -> (Vec<Entries>, Vec<Answer>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = BATCH_MAX;
        let fits = |(entries, _): &&(Entries, _)| {
            let has_room = room > 0;
            room = room.saturating_sub(entries.len());
            has_room
        };
        let count = waiting.iter().take_while(fits).count();
        waiting.drain(..count).unzip()
    }
}

/// What each caller of a batch is told.
fn of_batch(error: &Arc<CatalogError>) -> CatalogError {
    match &**error {
        CatalogError::Full(_) => CatalogError::Full(Box::new(Arc::clone(error))),
        CatalogError::Damaged(what) => CatalogError::Damaged(what.clone()),
        _ => CatalogError::Unavailable(Box::new(Arc::clone(error))),
    }
}

#[async_trait]
impl Trails for Postgres {
    async fn append_trail(&self, entries: Vec<(TenantNumber, Entry)>) -> Result<Vec<u64>> {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        self.appender.append(&self.pool, entries).await
    }

    async fn trail(&self, query: TrailQuery) -> Result<Vec<TrailRow>> {
        let query = &query;
        self.pool.read(|db| async move { page(&db, query).await }).await
    }

    async fn trail_after(&self, tenant: TenantNumber, after: u64, limit: u32) -> Result<Vec<TrailRow>> {
        let sql = format!("SELECT {ROW} FROM trail WHERE tenant = $1 AND seq > $2 ORDER BY seq LIMIT $3");
        let sql = sql.as_str();
        let rows = |db: Session| async move {
            db.all(sql, &[&number(tenant), &int(after), &i64::from(limit)]).await?.iter().map(row).collect()
        };
        self.pool.read(rows).await
    }

    async fn trail_head(&self, tenant: TenantNumber) -> Result<Option<TrailHead>> {
        self.pool
            .read(|db| async move {
                let found = db.first("SELECT seq, hash FROM trail_head WHERE tenant = $1", &[&number(tenant)]).await?;
                found.map(|row| head(&row, 0)).transpose()
            })
            .await
    }

    async fn trail_tenants(&self) -> Result<Vec<TenantNumber>> {
        self.pool
            .read(|db| async move {
                let rows = db.all("SELECT tenant FROM trail_head ORDER BY tenant", &[]).await?;
                rows.iter().map(|row| take(row, 0)).collect()
            })
            .await
    }

    async fn trail_old(&self, tenant: TenantNumber, before: Timestamp, limit: u32) -> Result<Option<TrailHead>> {
        // Nearly always nothing is old, and one row tells so.
        let first = self.pool.read(|db| async move { old(&db, tenant, before, 1).await }).await?;
        if first.is_none() {
            return Ok(None);
        }
        self.pool.read(|db| async move { old(&db, tenant, before, limit).await }).await
    }

    async fn checkpoint_trail(&self, checkpoint: CheckpointRow, replaces: Option<u64>, first: u64) -> Result<()> {
        let checkpoint = Arc::new(checkpoint);
        self.pool
            .write(move |db| {
                let checkpoint = Arc::clone(&checkpoint);
                async move { set_checkpoint(&db, &checkpoint, replaces, first).await }
            })
            .await
    }

    async fn last_checkpoint(&self, tenant: TenantNumber) -> Result<Option<CheckpointRow>> {
        let sql = "SELECT tenant, seq, jws FROM trail_checkpoint WHERE tenant = $1 ORDER BY seq DESC LIMIT 1";
        self.pool
            .read(|db| async move { db.first(sql, &[&number(tenant)]).await?.map(|row| checkpoint(&row)).transpose() })
            .await
    }

    async fn checkpoints(&self, tenant: TenantNumber) -> Result<Vec<CheckpointRow>> {
        let sql = "SELECT tenant, seq, jws FROM trail_checkpoint WHERE tenant = $1 ORDER BY seq";
        self.pool
            .read(|db| async move { db.all(sql, &[&number(tenant)]).await?.iter().map(checkpoint).collect() })
            .await
    }
}

const ROW: &str = "tenant, seq, at, action, recording, hash, text";

fn row(row: &Row) -> Outcome<TrailRow> {
    Ok(TrailRow {
        tenant: take(row, 0)?,
        seq: take(row, 1)?,
        at: take(row, 2)?,
        action: row.try_get(3)?,
        recording: take_optional(row, 4)?,
        hash: bytes(row, 5, "a hash")?.ok_or_else(|| not_stored_by_us(5, "a hash"))?,
        text: row.try_get(6)?,
    })
}

fn head(row: &Row, first: usize) -> Outcome<TrailHead> {
    let hash = bytes(row, first + 1, "a hash")?.ok_or_else(|| not_stored_by_us(first + 1, "a hash"))?;
    Ok(TrailHead { seq: take(row, first)?, hash })
}

fn checkpoint(row: &Row) -> Outcome<CheckpointRow> {
    Ok(CheckpointRow { tenant: take(row, 0)?, seq: take(row, 1)?, jws: row.try_get(2)? })
}

async fn append(db: &Session, entries: &Entries) -> Outcome<Vec<u64>> {
    let tenants: BTreeMap<i64, TenantNumber> = entries.iter().map(|(tenant, _)| (number(*tenant), *tenant)).collect();
    let mut heads = held_heads(db, &tenants).await?;
    if heads.len() < tenants.len() {
        // Invariant: of several that begin one trail, one makes its head; the others wait for him here.
        let genesis: Vec<_> = tenants.values().map(|tenant| TrailHead::genesis(*tenant).hash.to_vec()).collect();
        let numbers: Vec<_> = tenants.keys().copied().collect();
        let make = "INSERT INTO trail_head (tenant, seq, hash)
                    SELECT t, 0, h FROM unnest($1::bigint[], $2::bytea[]) AS n (t, h) ON CONFLICT DO NOTHING";
        db.execute(make, &[&numbers, &genesis]).await?;
        heads = held_heads(db, &tenants).await?;
    }
    let chained = chained(heads, entries);
    let rows = &chained.rows;
    let recordings: Vec<Option<Uuid>> = rows.iter().map(|row| row.recording.map(|id| uuid(*id.as_bytes()))).collect();
    let columns: [&(dyn ToSql + Sync); 7] = [
        &rows.iter().map(|row| number(row.tenant)).collect::<Vec<_>>(),
        &rows.iter().map(|row| int(row.seq)).collect::<Vec<_>>(),
        &rows.iter().map(|row| millis(row.at)).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.action.as_str()).collect::<Vec<_>>(),
        &recordings,
        &rows.iter().map(|row| row.hash.as_slice()).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(),
    ];
    let (numbers, seqs, hashes): (Vec<_>, Vec<_>, Vec<_>) = split(&chained.heads);
    let set: [&(dyn ToSql + Sync); 3] = [&numbers, &seqs, &hashes];
    let (inserted, moved) = tokio::join!(db.execute(INSERT, &columns), db.execute(MOVE_HEADS, &set));
    inserted?;
    moved?;
    Ok(chained.numbers)
}

const INSERT: &str = "
    INSERT INTO trail (tenant, seq, at, action, recording, hash, text)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::uuid[], $6::bytea[], $7::text[])";
const MOVE_HEADS: &str = "
    UPDATE trail_head h SET seq = n.seq, hash = n.hash
    FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS n (tenant, seq, hash) WHERE h.tenant = n.tenant";

fn split(heads: &BTreeMap<TenantNumber, TrailHead>) -> (Vec<i64>, Vec<i64>, Vec<Vec<u8>>) {
    let numbers = heads.keys().map(|tenant| number(*tenant)).collect();
    let seqs = heads.values().map(|head| int(head.seq)).collect();
    (numbers, seqs, heads.values().map(|head| head.hash.to_vec()).collect())
}

/// In one order for everyone, so that no two wait for each other. Read after they were locked: a head that another server
/// has just moved is read as he left it.
async fn held_heads(db: &Session, tenants: &BTreeMap<i64, TenantNumber>) -> Outcome<BTreeMap<TenantNumber, TrailHead>> {
    let numbers: Vec<_> = tenants.keys().copied().collect();
    let sql = "SELECT tenant, seq, hash FROM trail_head WHERE tenant = ANY ($1) ORDER BY tenant FOR UPDATE";
    let rows = db.all(sql, &[&numbers]).await?;
    rows.iter().map(|row| Ok((take(row, 0)?, head(row, 1)?))).collect()
}

async fn old(db: &Session, tenant: TenantNumber, before: Timestamp, limit: u32) -> Outcome<Option<TrailHead>> {
    let sql = "SELECT seq, hash, at FROM trail WHERE tenant = $1 ORDER BY seq LIMIT $2";
    let mut last = None;
    for row in &db.all(sql, &[&number(tenant), &i64::from(limit)]).await? {
        if row.try_get::<_, i64>(2)? >= millis_up(before) {
            break;
        }
        last = Some(head(row, 0)?);
    }
    Ok(last)
}

async fn page(db: &Session, query: &TrailQuery) -> Outcome<Vec<TrailRow>> {
    let tenant = number(query.tenant);
    let recording = query.recording.map(|id| uuid(*id.as_bytes()));
    let action = query.action.map(|action| action.as_str());
    let (from, to) = (query.from.map(millis_up), query.to.map(millis_up));
    let (from_loose, to_loose) = (from.map(|from| from - DISORDER_MS), to.map(|to| to + DISORDER_MS));
    let (below, limit) = (query.below.map(int), i64::from(query.limit));
    let mut sql = format!("SELECT {ROW} FROM trail WHERE tenant = $1");
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&tenant];
    let mut push = |condition: &str, value| {
        values.push(value);
        sql.push_str(&condition.replace("{}", &format!("${}", values.len())));
    };
    if recording.is_some() {
        push(" AND recording = {}", &recording);
    }
    if action.is_some() {
        push(" AND action = {}", &action);
    }
    // The index by time says between which numbers to look; the entry's own time decides.
    if from.is_some() {
        push(
            " AND seq >= (SELECT seq FROM trail WHERE tenant = $1 AND at >= {} ORDER BY at, seq LIMIT 1)",
            &from_loose,
        );
        push(" AND at >= {}", &from);
    }
    if to.is_some() {
        push(
            " AND seq <= (SELECT seq FROM trail WHERE tenant = $1 AND at < {} ORDER BY at DESC, seq DESC LIMIT 1)",
            &to_loose,
        );
        push(" AND at < {}", &to);
    }
    if below.is_some() {
        push(" AND seq < {}", &below);
    }
    push(" ORDER BY seq DESC LIMIT {}", &limit);
    db.all(&sql, &values).await?.iter().map(row).collect()
}

async fn set_checkpoint(db: &Session, row: &CheckpointRow, replaces: Option<u64>, first: u64) -> Outcome<()> {
    let (tenant, first) = (number(row.tenant), int(first));
    let old = "DELETE FROM trail_checkpoint WHERE tenant = $1 AND (seq = $2 OR seq < $3)";
    db.execute(old, &[&tenant, &replaces.map(int), &first]).await?;
    let set = "INSERT INTO trail_checkpoint (tenant, seq, jws) VALUES ($1, $2, $3)
               ON CONFLICT (tenant, seq) DO UPDATE SET jws = excluded.jws";
    db.execute(set, &[&tenant, &int(row.seq), &row.jws]).await?;
    db.execute("DELETE FROM trail WHERE tenant = $1 AND seq < $2", &[&tenant, &first]).await?;
    Ok(())
}
