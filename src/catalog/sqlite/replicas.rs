//! The servers on the list, and what each of them holds. Whether one lives, its lock tells.

use rusqlite::{Connection, params};

use super::rows::{all, execute, first, int, millis, parse, take, take_optional};
use crate::catalog::{CatalogError, HeldCount, NEXT_SPOOLED, Replica, Result};
use crate::model::{ReplicaName, Timestamp};

pub(super) fn enter(db: &Connection, replica: &ReplicaName, url: Option<&str>) -> Result<()> {
    execute(
        db,
        "INSERT INTO replica (id, generation, url) VALUES (?1, 0, ?2)
         ON CONFLICT (id) DO UPDATE SET generation = 0, url = excluded.url, seen_at = NULL",
        params![replica.as_str(), url],
    )?;
    Ok(())
}

pub(super) fn set_generation(db: &Connection, replica: &ReplicaName, generation: u64, at: Timestamp) -> Result<()> {
    execute(
        db,
        "INSERT INTO replica (id, generation, seen_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET generation = excluded.generation, seen_at = excluded.seen_at",
        params![replica.as_str(), int(generation), millis(at)],
    )?;
    Ok(())
}

/// Each with whether it holds something; whether it lives is not known here.
pub(super) fn listed(db: &Connection) -> Result<Vec<(Replica, bool)>> {
    let sql = "SELECT id, generation, url, seen_at, EXISTS (SELECT 1 FROM recording r WHERE r.holder = replica.id)
               FROM replica ORDER BY id";
    all(db, sql, [], |row| {
        let replica = Replica {
            name: parse(row, 0, "a replica's name")?,
            generation: take(row, 1)?,
            url: row.get(2)?,
            seen_at: take_optional(row, 3)?,
            is_alive: false,
        };
        Ok((replica, row.get(4)?))
    })
}

pub(super) fn held(db: &Connection, replica: &ReplicaName) -> Result<HeldCount> {
    let sql = "SELECT count(*), min(received_at) FROM (SELECT received_at FROM recording
               WHERE holder = ?1 AND state IN (0, 1) ORDER BY state, id LIMIT ?2)";
    let held = first(db, sql, params![replica.as_str(), NEXT_SPOOLED], |row| {
        Ok(HeldCount { recordings: take(row, 0)?, oldest: take_optional(row, 1)? })
    })?;
    Ok(held.expect("an aggregate has one row"))
}

pub(super) fn adopt(db: &Connection, replica: &ReplicaName) -> Result<u64> {
    let sql = "UPDATE recording SET holder = ?1 WHERE state IN (0, 1) AND state IN (0, 1, 3) AND holder IS NULL";
    Ok(execute(db, sql, [replica.as_str()])? as u64)
}

pub(super) fn release(db: &Connection, replica: &ReplicaName) -> Result<u64> {
    let sql = "UPDATE recording SET holder = NULL WHERE holder = ?1 AND state NOT IN (0, 1)";
    Ok(execute(db, sql, [replica.as_str()])? as u64)
}

pub(super) fn forget(db: &Connection, replica: &ReplicaName) -> Result<()> {
    if held(db, replica)?.recordings > 0 {
        return Err(CatalogError::WrongState);
    }
    release(db, replica)?;
    execute(db, "DELETE FROM replica WHERE id = ?1", [replica.as_str()])?;
    Ok(())
}
