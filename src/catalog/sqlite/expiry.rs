//! The ring's mark and the runs that advance it: announced, committed, finished.

use rusqlite::{Connection, Row, params};

use super::rows::{all, execute, first, not_stored_by_us, take, take_optional};
use crate::catalog::stored::{int, millis};
use crate::catalog::{
    Announcement, CatalogError, ClassCount, CommittedGeneration, GuardedRow, Puncture, QueuedPuncture, ReceiptRow,
    Result, RingMark, Run,
};
use crate::model::{Epoch, RecordingId, TenantNumber, TimePath, Timestamp};

const RUN: &str =
    "id, started_at, from_generation, floor_before, floor, last_puncture, ring_before, to_generation, ring_after";

pub(super) fn ring_mark(db: &Connection) -> Result<RingMark> {
    let mark = first(db, "SELECT generation, floor FROM ring_mark", [], |row| Ok((take(row, 0)?, take(row, 1)?)))?;
    let (generation, floor) = mark.ok_or_else(|| CatalogError::Damaged("the ring's mark is missing".into()))?;
    Ok(RingMark { generation, floor, run: open_run(db)? })
}

pub(super) fn set_first_generation(db: &Connection, generation: u64, floor: Epoch) -> Result<()> {
    let set = execute(
        db,
        "UPDATE ring_mark SET generation = ?1, floor = ?2 WHERE generation = 0",
        params![int(generation), floor.number()],
    )?;
    if set == 0 { Err(CatalogError::WrongState) } else { Ok(()) }
}

pub(super) fn catch_up(db: &Connection, generation: u64, floor: Epoch) -> Result<()> {
    execute(
        db,
        "UPDATE ring_mark SET generation = max(generation, ?1), floor = max(floor, ?2)",
        params![int(generation), floor.number()],
    )?;
    Ok(())
}

/// A run marks its punctures while it shreds; until it is finished they count as queued.
pub(super) fn punctures(db: &Connection) -> Result<Vec<QueuedPuncture>> {
    all(
        db,
        "SELECT id, tenant, subject, class, tree, epoch, tag FROM puncture
         WHERE run IS NULL OR run = (SELECT id FROM run WHERE finished = 0) ORDER BY id",
        [],
        puncture,
    )
}

/// From `id, tenant, subject, class, tree, epoch, tag`.
pub(super) fn puncture(row: &Row) -> rusqlite::Result<QueuedPuncture> {
    let tenant = take(row, 1)?;
    let target = match row.get::<_, Option<[u8; 16]>>(2)? {
        None => Puncture::Tenant(tenant),
        Some(_) => {
            let path = TimePath { tree: take(row, 4)?, epoch: take(row, 5)?, tag: take(row, 6)? };
            Puncture::Path { path, tenant, subject: take(row, 2)?, class: take(row, 3)? }
        }
    };
    Ok(QueuedPuncture { id: take(row, 0)?, target })
}

/// Wraps that the floor passes, in the order of their index; the recording that guards one, if there is.
pub(super) const GUARDED: [&str; 2] = [
    "SELECT w.subject, w.epoch, r.received_at, r.state = 3
     FROM wrap w INDEXED BY wrap_due CROSS JOIN recording r ON r.id = w.subject
     WHERE w.run IS NULL AND w.epoch < ?1 AND w.class IN (1, 2)
         AND (r.state = 3 OR (r.received_at > ?2 AND r.state NOT IN (6, 7))) LIMIT 1",
    "SELECT w.subject, w.epoch, r.received_at, r.state = 3
     FROM wrap w INDEXED BY wrap_due CROSS JOIN recording r ON r.call = w.subject
     WHERE w.run IS NULL AND w.epoch < ?1 AND w.class IN (3, 4)
         AND (r.state = 3 OR (r.received_at > ?2 AND r.state NOT IN (6, 7))) LIMIT 1",
];

pub(super) fn guarded_row(db: &Connection, floor: Epoch, young_after: Timestamp) -> Result<Option<GuardedRow>> {
    for sql in GUARDED {
        let guarded = first(db, sql, params![floor.number(), millis(young_after)], |row| {
            Ok(GuardedRow {
                subject: take(row, 0)?,
                epoch: take(row, 1)?,
                received_at: take(row, 2)?,
                is_held: row.get(3)?,
            })
        })?;
        if guarded.is_some() {
            return Ok(guarded);
        }
    }
    Ok(None)
}

pub(super) fn announce(db: &Connection, announcement: &Announcement) -> Result<Run> {
    match open_run(db)? {
        Some(run) if run.committed.is_some() => return Err(CatalogError::WrongState),
        Some(run) => execute(db, "DELETE FROM run WHERE id = ?1", [int(run.id)])?,
        None => 0,
    };
    execute(
        db,
        "INSERT INTO run (started_at, from_generation, floor_before, floor, last_puncture, ring_before)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            millis(announcement.started_at),
            int(announcement.from_generation),
            announcement.floor_before.number(),
            announcement.floor.number(),
            int(announcement.last_puncture),
            announcement.ring_before,
        ],
    )?;
    open_run(db)?.ok_or_else(|| CatalogError::Damaged("an announced run is missing".into()))
}

pub(super) fn commit_generation(db: &Connection, id: u64, committed: CommittedGeneration) -> Result<()> {
    let (run, is_finished) = run(db, id)?;
    match run.committed {
        Some(before) if before == committed => return Ok(()),
        Some(_) => return Err(CatalogError::WrongState),
        None if is_finished => return Err(CatalogError::WrongState),
        None => {}
    }
    execute(
        db,
        "UPDATE run SET to_generation = ?2, ring_after = ?3 WHERE id = ?1",
        params![int(id), int(committed.generation), committed.ring_after],
    )?;
    catch_up(db, committed.generation, run.floor)
}

pub(super) fn run_tenants(db: &Connection, run: u64) -> Result<Vec<TenantNumber>> {
    all(db, "SELECT DISTINCT tenant FROM wrap WHERE run = ?1 ORDER BY tenant", [int(run)], |row| take(row, 0))
}

pub(super) fn run_classes(db: &Connection, run: u64, tenant: TenantNumber) -> Result<Vec<ClassCount>> {
    let sql = "SELECT class, count(*), min(epoch), max(epoch) FROM wrap WHERE run = ?1 AND tenant = ?2
               GROUP BY class ORDER BY class";
    all(db, sql, params![int(run), tenant.0], |row| {
        Ok(ClassCount {
            class: take(row, 0)?,
            count: take(row, 1)?,
            first_epoch: take(row, 2)?,
            last_epoch: take(row, 3)?,
        })
    })
}

pub(super) fn run_recordings(
    db: &Connection,
    run: u64,
    tenant: TenantNumber,
    after: Option<RecordingId>,
    limit: u32,
) -> Result<Vec<(RecordingId, Option<[u8; 32]>)>> {
    let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
    let sql = "SELECT id, digest FROM recording WHERE run = ?1 AND tenant = ?2 AND id > ?3 ORDER BY id LIMIT ?4";
    all(db, sql, params![int(run), tenant.0, after, limit], |row| Ok((take(row, 0)?, row.get(1)?)))
}

pub(super) fn finish_run(db: &Connection, id: u64, receipts: &[ReceiptRow]) -> Result<()> {
    let (run, is_finished) = run(db, id)?;
    if is_finished {
        return Ok(());
    }
    if run.committed.is_none() {
        return Err(CatalogError::WrongState);
    }
    for receipt in receipts {
        let next = last_receipt(db, receipt.tenant)?.map_or(1, |last| last.number + 1);
        if receipt.run != id || receipt.number != next {
            return Err(CatalogError::WrongState);
        }
        execute(
            db,
            "INSERT INTO receipt (tenant, number, run, jws) VALUES (?1, ?2, ?3, ?4)",
            params![receipt.tenant.0, int(receipt.number), int(id), receipt.jws],
        )?;
    }
    execute(
        db,
        "UPDATE puncture SET run = ?1 WHERE run IS NULL AND id <= ?2",
        params![int(id), int(run.last_puncture)],
    )?;
    execute(db, "UPDATE run SET finished = 1 WHERE id = ?1", [int(id)])?;
    Ok(())
}

const RECEIPT: &str = "tenant, run, number, jws";

pub(super) fn receipts(db: &Connection, tenant: TenantNumber) -> Result<Vec<ReceiptRow>> {
    all(db, &format!("SELECT {RECEIPT} FROM receipt WHERE tenant = ?1 ORDER BY number"), [tenant.0], receipt)
}

pub(super) fn last_receipt(db: &Connection, tenant: TenantNumber) -> Result<Option<ReceiptRow>> {
    let sql = format!("SELECT {RECEIPT} FROM receipt WHERE tenant = ?1 ORDER BY number DESC LIMIT 1");
    first(db, &sql, [tenant.0], receipt)
}

fn receipt(row: &Row) -> rusqlite::Result<ReceiptRow> {
    Ok(ReceiptRow { tenant: take(row, 0)?, run: take(row, 1)?, number: take(row, 2)?, jws: row.get(3)? })
}

fn open_run(db: &Connection) -> Result<Option<Run>> {
    first(db, &format!("SELECT {RUN} FROM run WHERE finished = 0"), [], run_row)
}

/// A run, and whether it is finished.
pub(super) fn run(db: &Connection, id: u64) -> Result<(Run, bool)> {
    let sql = format!("SELECT {RUN}, finished FROM run WHERE id = ?1");
    first(db, &sql, [int(id)], |row| Ok((run_row(row)?, row.get(9)?)))?.ok_or(CatalogError::NotFound)
}

fn run_row(row: &Row) -> rusqlite::Result<Run> {
    let committed = match (take_optional(row, 7)?, row.get(8)?) {
        (Some(generation), Some(ring_after)) => Some(CommittedGeneration { generation, ring_after }),
        (None, None) => None,
        _ => return Err(not_stored_by_us(8, "a committed generation")),
    };
    Ok(Run {
        id: take(row, 0)?,
        started_at: take(row, 1)?,
        from_generation: take(row, 2)?,
        floor_before: take(row, 3)?,
        floor: take(row, 4)?,
        last_puncture: take(row, 5)?,
        ring_before: row.get(6)?,
        committed,
    })
}
