//! The servers on the list, and what each of them holds. Whether one lives, its lock tells (`leases`).

use tokio_postgres::Row;

use super::errors::Outcome;
use super::pool::Session;
use super::rows::{parse, take, take_optional};
use super::{LIVES, REPLICA_LOCK};
use crate::catalog::stored::{int, millis};
use crate::catalog::{CatalogError, HeldCount, NEXT_SPOOLED, Replica};
use crate::model::{ReplicaName, Timestamp};

/// Of a lock's two numbers, the first is its kind; its holder is a session that lives.
const IS_ALIVE: &str = "EXISTS (SELECT 1 FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.classid = $1::integer::oid AND l.objid = replica.slot::oid)";

/// Whether a replica holds something that lives: nothing else can grow, or go to the store.
fn holds(replica: &str) -> String {
    format!("EXISTS (SELECT 1 FROM recording r WHERE r.holder = {replica} AND {LIVES})")
}

/// The key of a server's lock; its row is made when there is none.
pub(super) async fn slot(db: &Session, replica: &ReplicaName) -> Outcome<i32> {
    let sql = "INSERT INTO replica (id, generation) VALUES ($1, 0)
               ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING slot";
    let row = db.first(sql, &[&replica.as_str()]).await?;
    Ok(row.ok_or_else(|| CatalogError::Damaged("a replica has no row".into()))?.try_get(0)?)
}

/// The key of the lock of a server that is on the list.
pub(super) async fn known_slot(db: &Session, replica: &ReplicaName) -> Outcome<Option<i32>> {
    let row = db.first("SELECT slot FROM replica WHERE id = $1", &[&replica.as_str()]).await?;
    row.map(|row| Ok(row.try_get(0)?)).transpose()
}

/// Whoever has the lock tells where he is; the dead who hold nothing go off the list.
pub(super) async fn enter(db: &Session, replica: &ReplicaName, slot: i32, url: Option<&str>) -> Outcome<()> {
    let sql = format!("DELETE FROM replica WHERE id <> $2 AND NOT {IS_ALIVE} AND NOT {}", holds("replica.id"));
    db.execute(&sql, &[&REPLICA_LOCK, &replica.as_str()]).await?;
    // Somebody else who entered may have taken the row off before the lock was held.
    let sql = "INSERT INTO replica (id, slot, generation, url) VALUES ($1, $2, 0, $3)
               ON CONFLICT (id) DO UPDATE SET slot = excluded.slot, generation = 0, url = excluded.url, seen_at = NULL";
    db.execute(sql, &[&replica.as_str(), &slot, &url]).await?;
    Ok(())
}

pub(super) async fn set_generation(db: &Session, replica: &ReplicaName, generation: u64, at: Timestamp) -> Outcome<()> {
    let sql = "INSERT INTO replica (id, generation, seen_at) VALUES ($1, $2, $3)
               ON CONFLICT (id) DO UPDATE SET generation = excluded.generation, seen_at = excluded.seen_at";
    db.execute(sql, &[&replica.as_str(), &int(generation), &millis(at)]).await?;
    Ok(())
}

pub(super) async fn listed(db: &Session) -> Outcome<Vec<Replica>> {
    let sql = format!(
        "SELECT id, generation, url, seen_at, is_alive FROM (SELECT *, {IS_ALIVE} AS is_alive FROM replica) told
         WHERE is_alive OR {} ORDER BY id COLLATE \"C\"",
        holds("told.id")
    );
    let replica = |row: &Row| {
        Ok(Replica {
            name: parse(row, 0, "a replica's name")?,
            generation: take(row, 1)?,
            url: row.try_get(2)?,
            seen_at: take_optional(row, 3)?,
            is_alive: row.try_get(4)?,
        })
    };
    db.all(&sql, &[&REPLICA_LOCK]).await?.iter().map(replica).collect()
}

pub(super) async fn held(db: &Session, replica: &ReplicaName) -> Outcome<HeldCount> {
    let sql = format!(
        "SELECT count(*), min(received_at) FROM (SELECT r.received_at FROM recording r
         WHERE r.holder = $1 AND r.state IN (0, 1) AND {LIVES} LIMIT $2) held"
    );
    let row = db.first(&sql, &[&replica.as_str(), &i64::from(NEXT_SPOOLED)]).await?;
    let row = row.ok_or_else(|| CatalogError::Damaged("a count has no answer".into()))?;
    Ok(HeldCount { recordings: take(&row, 0)?, oldest: take_optional(&row, 1)? })
}

pub(super) async fn adopt(db: &Session, replica: &ReplicaName) -> Outcome<u64> {
    let sql = format!(
        "UPDATE recording r SET holder = $1
         WHERE r.state IN (0, 1) AND r.state IN (0, 1, 3) AND r.holder IS NULL AND {LIVES}"
    );
    db.execute(&sql, &[&replica.as_str()]).await
}

pub(super) async fn release(db: &Session, replica: &ReplicaName) -> Outcome<u64> {
    let sql = "UPDATE recording SET holder = NULL WHERE holder = $1 AND state NOT IN (0, 1)";
    db.execute(sql, &[&replica.as_str()]).await
}

pub(super) async fn forget(db: &Session, replica: &ReplicaName) -> Outcome<()> {
    if held(db, replica).await?.recordings > 0 {
        return Err(CatalogError::WrongState.into());
    }
    release(db, replica).await?;
    db.execute("DELETE FROM replica WHERE id = $1", &[&replica.as_str()]).await?;
    Ok(())
}

/// The time of the database's machine.
pub(super) async fn now(db: &Session) -> Outcome<Option<Timestamp>> {
    let row = db.first("SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint", &[]).await?;
    row.map(|row| take(&row, 0)).transpose()
}
