//! The sweep's queue, and the counts.

use rusqlite::Connection;

use super::errors::not_done;
use super::rows::{all, execute, first, not_stored_by_us, take, take_optional};
use crate::catalog::{Counts, NEXT_SPOOLED, Result};
use crate::model::{ObjectId, State, Timestamp};

/// Queued before: changes nothing.
pub(super) fn to_sweep(db: &Connection, object: ObjectId) -> Result<()> {
    execute(db, "INSERT OR IGNORE INTO sweep (object) VALUES (?1)", [object.0])?;
    Ok(())
}

pub(super) fn objects_to_sweep(db: &Connection, limit: u32) -> Result<Vec<ObjectId>> {
    all(db, "SELECT object FROM sweep LIMIT ?1", [limit], |row| take(row, 0))
}

pub(super) fn swept(db: &Connection, objects: &[ObjectId]) -> Result<()> {
    let mut delete = db.prepare_cached("DELETE FROM sweep WHERE object = ?1").map_err(not_done)?;
    for object in objects {
        delete.execute([object.0]).map_err(not_done)?;
    }
    Ok(())
}

pub(super) fn counts(db: &Connection) -> Result<Counts> {
    let tally = all(db, "SELECT state, recordings, bytes FROM tally ORDER BY state", [], |row| {
        Ok((take::<State>(row, 0)?, take::<u64>(row, 1)?, take::<u64>(row, 2)?))
    })?;
    let is_live = |state| matches!(state, State::Spooled | State::Stored | State::Held);
    Ok(Counts {
        tenants: count(db, "SELECT count(*) FROM tenant")?,
        live_bytes: tally.iter().filter(|(state, ..)| is_live(*state)).map(|(.., bytes)| bytes).sum(),
        recordings: tally
            .into_iter()
            .filter(|(_, count, _)| *count > 0)
            .map(|(state, count, _)| (state, count))
            .collect(),
        objects_to_sweep: count(db, "SELECT count(*) FROM sweep")?,
        punctures_queued: count(
            db,
            "SELECT count(*) FROM puncture WHERE run IS NULL OR run = (SELECT id FROM run WHERE finished = 0)",
        )?,
        oldest_spooled: oldest_spooled(db)?,
        next_expiry: next_expiry(db)?,
    })
}

fn count(db: &Connection, sql: &str) -> Result<u64> {
    Ok(first(db, sql, [], |row| take(row, 0))?.expect("an aggregate has one row"))
}

fn oldest_spooled(db: &Connection) -> Result<Option<Timestamp>> {
    let sql = "SELECT min(changed_at) FROM (SELECT changed_at FROM recording WHERE state = 1 AND state IN (0, 1, 3)
        ORDER BY id LIMIT ?1)";
    Ok(first(db, sql, [NEXT_SPOOLED], |row| take_optional(row, 0))?.flatten())
}

/// Wraps end in their epoch, so that the earliest end is in the first epoch that has one.
fn next_expiry(db: &Connection) -> Result<Option<Timestamp>> {
    let sql = "SELECT expires_at FROM wrap WHERE run IS NULL ORDER BY epoch, expires_at LIMIT 1";
    first(db, sql, [], |row| Timestamp::from_second(row.get(0)?).map_err(|_| not_stored_by_us(0, "an instant")))
}
