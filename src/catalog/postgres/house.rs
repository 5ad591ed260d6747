//! The sweep's queue, and the counts.

use super::errors::Outcome;
use super::pool::Session;
use super::rows::{not_stored_by_us, take, take_optional, uuid};
use crate::catalog::{Counts, NEXT_SPOOLED};
use crate::model::{ObjectId, State, Timestamp};

/// More changes than this are added up: that many are read in a millisecond.
const TALLY_ROWS_MAX: i64 = 2_000;

/// Queued before: changes nothing.
pub(super) async fn to_sweep(db: &Session, object: ObjectId) -> Outcome<()> {
    db.execute("INSERT INTO sweep (object) VALUES ($1) ON CONFLICT DO NOTHING", &[&uuid(object.0)]).await?;
    Ok(())
}

pub(super) async fn objects_to_sweep(db: &Session, limit: u32) -> Outcome<Vec<ObjectId>> {
    let rows = db.all("SELECT object FROM sweep LIMIT $1", &[&i64::from(limit)]).await?;
    rows.iter().map(|row| take(row, 0)).collect()
}

pub(super) async fn swept(db: &Session, objects: &[ObjectId]) -> Outcome<()> {
    let objects: Vec<_> = objects.iter().map(|object| uuid(object.0)).collect();
    db.execute("DELETE FROM sweep WHERE object = ANY ($1)", &[&objects]).await?;
    Ok(())
}

/// The counts, and whether the tally has grown.
pub(super) async fn counts(db: &Session) -> Outcome<(Counts, bool)> {
    let rows = db.all(COUNTS, &[&i64::from(NEXT_SPOOLED)]).await?;
    let mut counts = Counts::default();
    let mut changes = 0;
    for row in rows {
        counts.tenants = take(&row, 3)?;
        counts.objects_to_sweep = take(&row, 4)?;
        counts.punctures_queued = take(&row, 5)?;
        counts.oldest_spooled = take_optional(&row, 6)?;
        let next = row.try_get::<_, Option<i64>>(7)?.map(Timestamp::from_second).transpose();
        counts.next_expiry = next.map_err(|_| not_stored_by_us(7, "an instant"))?;
        changes = row.try_get(8)?;
        let Some(state) = take_optional::<State>(&row, 0)? else { continue };
        let (recordings, bytes) = (take::<u64>(&row, 1)?, take::<u64>(&row, 2)?);
        if recordings > 0 {
            counts.recordings.push((state, recordings));
        }
        if matches!(state, State::Spooled | State::Stored | State::Held) {
            counts.live_bytes += bytes;
        }
    }
    Ok((counts, changes > TALLY_ROWS_MAX))
}

/// One statement: the counts are of one instant. What waits for the sweep is few but after a great expiry, and is counted
/// from its index.
const COUNTS: &str = "
    SELECT t.state, t.recordings, t.bytes, (SELECT count(*) FROM tenant), (SELECT count(*) FROM sweep),
        (SELECT count(*) FROM puncture WHERE run IS NULL)
            + (SELECT count(*) FROM puncture WHERE run = (SELECT id FROM run WHERE NOT finished)),
        (SELECT min(changed_at) FROM (SELECT changed_at FROM recording WHERE state = 1 AND state IN (0, 1, 3)
            ORDER BY id LIMIT $1) spooled),
        (SELECT expires_at FROM wrap WHERE run IS NULL AND epoch >= (SELECT epoch FROM shredded)
            AND (epoch, tree, tag) >= (SELECT epoch, tree, tag FROM shredded) ORDER BY epoch, tree, tag LIMIT 1),
        (SELECT count(*) FROM tally)
    FROM (VALUES (1)) one LEFT JOIN (SELECT state, sum(recordings)::bigint AS recordings, sum(bytes)::bigint AS bytes
        FROM tally GROUP BY state) t ON true
    ORDER BY t.state";

/// Adds up the changes; nobody waits for it, and it waits for nobody.
pub(super) async fn fold_tally(db: &Session) -> Outcome<()> {
    db.execute(
        "WITH old AS (DELETE FROM tally WHERE ctid = ANY (ARRAY (SELECT ctid FROM tally LIMIT 50000 FOR UPDATE SKIP LOCKED))
             RETURNING period, state, recordings, bytes)
         INSERT INTO tally SELECT period, state, sum(recordings), sum(bytes) FROM old GROUP BY period, state
             HAVING sum(recordings) <> 0 OR sum(bytes) <> 0",
        &[],
    )
    .await?;
    Ok(())
}
