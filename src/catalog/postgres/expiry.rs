//! The ring's mark and the runs that advance it: announced, committed, finished.

use tokio_postgres::Row;

use super::errors::Outcome;
use super::pool::Session;
use super::rows::{bytes, not_stored_by_us, take, take_optional, uuid};
use super::tenants::number;
use crate::catalog::stored::{int, millis};
use crate::catalog::{
    Announcement, CatalogError, ClassCount, CommittedGeneration, GuardedRow, Puncture, QueuedPuncture, ReceiptRow,
    RingMark, Run,
};
use crate::model::{Epoch, RecordingId, TenantNumber, TimePath, Timestamp};

const RUN: &str = "id, started_at, from_generation, floor_before, floor, last_puncture, ring_before, to_generation, ring_after, finished";

/// Mark and run in one statement: both of one instant.
pub(super) async fn ring_mark(db: &Session) -> Outcome<RingMark> {
    let sql = format!("SELECT {RUN}, m.generation, m.floor FROM ring_mark m LEFT JOIN run ON NOT run.finished");
    let sql = sql.replace("floor_before, floor,", "floor_before, run.floor,");
    let row = db.first(&sql, &[]).await?.ok_or_else(|| CatalogError::Damaged("the ring's mark is missing".into()))?;
    let run = take_optional::<u64>(&row, 0)?.map(|_| run_row(&row)).transpose()?;
    Ok(RingMark { generation: take(&row, 10)?, floor: take(&row, 11)?, run })
}

pub(super) async fn set_first_generation(db: &Session, generation: u64, floor: Epoch) -> Outcome<()> {
    let sql = "UPDATE ring_mark SET generation = $1, floor = $2 WHERE generation = 0";
    match db.execute(sql, &[&int(generation), &epoch(floor)]).await? {
        0 => Err(CatalogError::WrongState.into()),
        _ => Ok(()),
    }
}

pub(super) async fn catch_up(db: &Session, generation: u64, floor: Epoch) -> Outcome<()> {
    let sql = "UPDATE ring_mark SET generation = greatest(generation, $1), floor = greatest(floor, $2)";
    db.execute(sql, &[&int(generation), &epoch(floor)]).await?;
    Ok(())
}

fn epoch(epoch: Epoch) -> i32 {
    epoch.number() as i32
}

/// A run marks its punctures while it shreds; until it is finished they count as queued.
pub(super) async fn punctures(db: &Session) -> Outcome<Vec<QueuedPuncture>> {
    let sql = "SELECT id, tenant, subject, class, tree, epoch, tag FROM puncture WHERE run IS NULL
               UNION ALL SELECT id, tenant, subject, class, tree, epoch, tag FROM puncture
               WHERE run = (SELECT id FROM run WHERE NOT finished) ORDER BY id";
    db.all(sql, &[]).await?.iter().map(puncture).collect()
}

/// From `id, tenant, subject, class, tree, epoch, tag`.
pub(super) fn puncture(row: &Row) -> Outcome<QueuedPuncture> {
    let tenant = take(row, 1)?;
    let target = match take_optional(row, 2)? {
        None => Puncture::Tenant(tenant),
        Some(subject) => {
            let path = TimePath { tree: take(row, 4)?, epoch: take(row, 5)?, tag: take(row, 6)? };
            Puncture::Path { path, tenant, subject, class: take(row, 3)? }
        }
    };
    Ok(QueuedPuncture { id: take(row, 0)?, target })
}

/// Wraps that the floor passes; the recording that guards one, if there is. Held recordings are few and are looked at one by
/// one; of the others the wraps that are due and young.
pub(super) const GUARDED: [&str; 3] = [
    "SELECT w.subject, w.epoch, r.received_at, true FROM recording r
         JOIN wrap w ON w.subject IN (r.id, r.call)
     WHERE r.state = 3 AND r.state IN (0, 1, 3) AND w.run IS NULL AND w.epoch < $1
         AND (w.epoch, w.tree, w.tag) >= (SELECT epoch, tree, tag FROM shredded) AND $2::bigint IS NOT NULL LIMIT 1",
    "SELECT w.subject, w.epoch, r.received_at, false FROM wrap w JOIN recording r ON r.id = w.subject
     WHERE w.run IS NULL AND w.epoch < $1 AND w.epoch >= (SELECT epoch FROM shredded) AND w.received_at > $2
         AND (w.epoch, w.tree, w.tag) >= (SELECT epoch, tree, tag FROM shredded) AND w.class IN (1, 2)
         AND r.ends >= w.epoch AND r.received_at > $2 AND r.state NOT IN (6, 7) LIMIT 1",
    "SELECT w.subject, w.epoch, r.received_at, false FROM wrap w JOIN recording r ON r.call = w.subject
     WHERE w.run IS NULL AND w.epoch < $1 AND w.epoch >= (SELECT epoch FROM shredded) AND w.received_at > $2
         AND (w.epoch, w.tree, w.tag) >= (SELECT epoch, tree, tag FROM shredded) AND w.class IN (3, 4)
         AND r.received_at > $2 AND r.state NOT IN (6, 7) LIMIT 1",
];

pub(super) async fn guarded_row(db: &Session, floor: Epoch, young_after: Timestamp) -> Outcome<Option<GuardedRow>> {
    for sql in GUARDED {
        if let Some(row) = db.first(sql, &[&epoch(floor), &millis(young_after)]).await? {
            return Ok(Some(GuardedRow {
                subject: take(&row, 0)?,
                epoch: take(&row, 1)?,
                received_at: take(&row, 2)?,
                is_held: row.try_get(3)?,
            }));
        }
    }
    Ok(None)
}

pub(super) async fn announce(db: &Session, announcement: &Announcement) -> Outcome<Run> {
    let open = db.first(&format!("SELECT {RUN} FROM run WHERE NOT finished FOR UPDATE"), &[]).await?;
    match open.map(|row| run_row(&row)).transpose()? {
        Some(run) if run.committed.is_some() => return Err(CatalogError::WrongState.into()),
        Some(run) => db.execute("DELETE FROM run WHERE id = $1", &[&int(run.id)]).await?,
        None => 0,
    };
    forget_died(db).await?;
    let sql = format!(
        "INSERT INTO run (started_at, from_generation, floor_before, floor, last_puncture, ring_before)
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING {RUN}"
    );
    let row = db
        .first(
            &sql,
            &[
                &millis(announcement.started_at),
                &int(announcement.from_generation),
                &epoch(announcement.floor_before),
                &epoch(announcement.floor),
                &int(announcement.last_puncture),
                &announcement.ring_before.as_slice(),
            ],
        )
        .await?;
    run_row(&row.ok_or_else(|| CatalogError::Damaged("an announced run is missing".into()))?)
}

/// What the run before had destroyed stands in its receipts. A dump that reads the table keeps it from being emptied, and not
/// the run from going on: the next one empties it.
async fn forget_died(db: &Session) -> Outcome<()> {
    db.batch("SAVEPOINT before; SET LOCAL lock_timeout = '200ms'").await?;
    match db.batch("TRUNCATE died").await {
        Ok(()) => db.batch("SET LOCAL lock_timeout TO DEFAULT; RELEASE SAVEPOINT before").await,
        Err(trouble) if trouble.is_of_locks() => db.batch("ROLLBACK TO SAVEPOINT before").await,
        Err(trouble) => Err(trouble),
    }
}

pub(super) async fn commit_generation(db: &Session, id: u64, committed: CommittedGeneration) -> Outcome<()> {
    let (run, is_finished) = run(db, id).await?;
    match run.committed {
        Some(before) if before == committed => return Ok(()),
        Some(_) => return Err(CatalogError::WrongState.into()),
        None if is_finished => return Err(CatalogError::WrongState.into()),
        None => {}
    }
    let sql = "UPDATE run SET to_generation = $2, ring_after = $3 WHERE id = $1";
    db.execute(sql, &[&int(id), &int(committed.generation), &committed.ring_after.as_slice()]).await?;
    catch_up(db, committed.generation, run.floor).await
}

pub(super) async fn run_tenants(db: &Session, run: u64) -> Outcome<Vec<TenantNumber>> {
    let rows = db.all("SELECT DISTINCT tenant FROM run_class WHERE run = $1 ORDER BY tenant", &[&int(run)]).await?;
    rows.iter().map(|row| take(row, 0)).collect()
}

pub(super) async fn run_classes(db: &Session, run: u64, tenant: TenantNumber) -> Outcome<Vec<ClassCount>> {
    let sql =
        "SELECT class, count, first_epoch, last_epoch FROM run_class WHERE run = $1 AND tenant = $2 ORDER BY class";
    let rows = db.all(sql, &[&int(run), &number(tenant)]).await?;
    let count = |row: &Row| {
        Ok(ClassCount {
            class: take(row, 0)?,
            count: take(row, 1)?,
            first_epoch: take(row, 2)?,
            last_epoch: take(row, 3)?,
        })
    };
    rows.iter().map(count).collect()
}

pub(super) async fn run_recordings(
    db: &Session,
    run: u64,
    tenant: TenantNumber,
    after: Option<RecordingId>,
    limit: u32,
) -> Outcome<Vec<(RecordingId, Option<[u8; 32]>)>> {
    let after = after.map(|id| uuid(*id.as_bytes()));
    let sql = "SELECT id, digest FROM died WHERE run = $1 AND tenant = $2
                   AND id >= coalesce($3, '00000000-0000-0000-0000-000000000000'::uuid) AND id IS DISTINCT FROM $3
               ORDER BY id LIMIT $4";
    let rows = db.all(sql, &[&int(run), &number(tenant), &after, &i64::from(limit)]).await?;
    rows.iter().map(|row| Ok((take(row, 0)?, bytes(row, 1, "a digest")?))).collect()
}

pub(super) async fn finish_run(db: &Session, id: u64, receipts: &[ReceiptRow]) -> Outcome<()> {
    let (run, is_finished) = run(db, id).await?;
    if is_finished {
        return Ok(());
    }
    if run.committed.is_none() {
        return Err(CatalogError::WrongState.into());
    }
    for receipt in receipts {
        let next = last_receipt(db, receipt.tenant).await?.map_or(1, |last| last.number + 1);
        if receipt.run != id || receipt.number != next {
            return Err(CatalogError::WrongState.into());
        }
        let sql = "INSERT INTO receipt (tenant, number, run, jws) VALUES ($1, $2, $3, $4)";
        db.execute(sql, &[&number(receipt.tenant), &int(receipt.number), &int(id), &receipt.jws]).await?;
    }
    let sql = "UPDATE puncture SET run = $1 WHERE run IS NULL AND id <= $2";
    db.execute(sql, &[&int(id), &int(run.last_puncture)]).await?;
    db.execute("UPDATE run SET finished = true WHERE id = $1", &[&int(id)]).await?;
    Ok(())
}

const RECEIPT: &str = "tenant, run, number, jws";

pub(super) async fn receipts(db: &Session, tenant: TenantNumber) -> Outcome<Vec<ReceiptRow>> {
    let sql = format!("SELECT {RECEIPT} FROM receipt WHERE tenant = $1 ORDER BY number");
    db.all(&sql, &[&number(tenant)]).await?.iter().map(receipt).collect()
}

pub(super) async fn last_receipt(db: &Session, tenant: TenantNumber) -> Outcome<Option<ReceiptRow>> {
    let sql = format!("SELECT {RECEIPT} FROM receipt WHERE tenant = $1 ORDER BY number DESC LIMIT 1");
    db.first(&sql, &[&number(tenant)]).await?.map(|row| receipt(&row)).transpose()
}

fn receipt(row: &Row) -> Outcome<ReceiptRow> {
    Ok(ReceiptRow { tenant: take(row, 0)?, run: take(row, 1)?, number: take(row, 2)?, jws: row.try_get(3)? })
}

/// A run, and whether it is finished; its row is held until the end of the transaction.
pub(super) async fn run(db: &Session, id: u64) -> Outcome<(Run, bool)> {
    let row = db.first(&format!("SELECT {RUN} FROM run WHERE id = $1 FOR UPDATE"), &[&int(id)]).await?;
    let row = row.ok_or(CatalogError::NotFound)?;
    Ok((run_row(&row)?, row.try_get(9)?))
}

fn run_row(row: &Row) -> Outcome<Run> {
    let committed = match (take_optional(row, 7)?, bytes(row, 8, "a commitment")?) {
        (Some(generation), Some(ring_after)) => Some(CommittedGeneration { generation, ring_after }),
        (None, None) => None,
        _ => return Err(not_stored_by_us(8, "a committed generation").into()),
    };
    Ok(Run {
        id: take(row, 0)?,
        started_at: take(row, 1)?,
        from_generation: take(row, 2)?,
        floor_before: take(row, 3)?,
        floor: take(row, 4)?,
        last_puncture: take(row, 5)?,
        ring_before: bytes(row, 6, "a commitment")?.ok_or_else(|| not_stored_by_us(6, "a commitment"))?,
        committed,
    })
}
