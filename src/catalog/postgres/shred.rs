//! Shredding: the mark moves over what has died, and no row is touched that died of its term.
//!
//! # Promise
//! A call does at most `limit` wraps in one transaction and takes up where the last one ended, whoever made it. Wraps lie in
//! the order of their paths; the mark is a path, and everything below it is dead. Moving it on is one row; beside that, a call
//! writes a line for each recording that has died (its object, for the sweep; its id and digest, for the receipt), in bulk.
//! What is punctured before its time has no order, and is marked row by row. Held recordings are passed and stay alive.
//!
//! Of a call and a verb that changes a recording which is just due, one sees the other (`Lock::Shred`).

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Row;
use uuid::Uuid;

use super::errors::Outcome;
use super::pool::Session;
use super::rows::{Place, uuid};
use super::tenants::number;
use super::{Lock, ending, expiry, locked};
use crate::catalog::stored::{int, millis};
use crate::catalog::{CatalogError, Puncture, QueuedPuncture, Run};
use crate::model::{TenantNumber, Timestamp};

/// Whether a wrap `w` belongs to a held recording, or to the call of one. Both indexes hold few of them.
macro_rules! held {
    () => {
        "EXISTS (SELECT 1 FROM recording h WHERE h.state = 3 AND h.state IN (0, 1, 3) AND (h.id = w.subject OR h.call = w.subject))"
    };
}

/// The next wraps in order: the mark passes them. `$1` run, `$2..$4` the mark, `$5` the floor, `$6` how many.
pub(super) const PASS: &str = concat!(
    "WITH passed AS MATERIALIZED (
         SELECT w.subject, w.class, w.tenant, w.epoch, w.tree, w.tag FROM wrap w
         WHERE w.run IS NULL AND w.epoch >= $2 AND w.epoch < $5 AND (w.epoch, w.tree, w.tag) >= ($2, $3, $4)
         ORDER BY w.epoch, w.tree, w.tag LIMIT $6
     ), dead AS MATERIALIZED (
         SELECT w.* FROM passed w WHERE NOT ",
    held!(),
    "
     ), closed AS MATERIALIZED (
         SELECT r.id, r.tenant, r.state, r.gone, r.ends, r.object, r.digest, coalesce(r.plain_len, 0) AS bytes
         FROM dead w JOIN recording r ON r.id = w.subject AND r.ends = w.epoch AND r.ends_tree = w.tree AND r.ends_tag = w.tag
         WHERE w.class IN (1, 2)
     ), told AS (
         INSERT INTO died (run, tenant, id, digest) SELECT $1, tenant, id, digest FROM closed
     ), queued AS (
         INSERT INTO sweep (object) SELECT object FROM closed ON CONFLICT DO NOTHING
     ), counted AS (
         INSERT INTO tally
         SELECT ends / 672, state, -count(*), -sum(bytes) FROM closed WHERE NOT gone GROUP BY 1, 2
         UNION ALL SELECT ends / 672, 5, count(*), sum(bytes) FROM closed WHERE NOT gone GROUP BY 1
     ), classes AS (
         INSERT INTO run_class AS c (run, tenant, class, count, first_epoch, last_epoch)
         SELECT $1, tenant, class, count(*), min(epoch), max(epoch) FROM dead GROUP BY tenant, class
         ON CONFLICT (run, tenant, class) DO UPDATE SET count = c.count + excluded.count,
             first_epoch = least(c.first_epoch, excluded.first_epoch), last_epoch = greatest(c.last_epoch, excluded.last_epoch)
     )
     SELECT (SELECT count(*) FROM passed), (SELECT count(*) FROM dead), l.epoch, l.tree, l.tag + 1
     FROM (VALUES (1)) one LEFT JOIN
         (SELECT epoch, tree, tag FROM passed ORDER BY epoch DESC, tree DESC, tag DESC LIMIT 1) l ON true"
);

const QUEUED: &str = "SELECT id, tenant, subject, class, tree, epoch, tag FROM puncture
     WHERE run IS NULL AND id <= $1 ORDER BY id LIMIT $2";

/// A wrap that was wrapped again since is at another path, and stays.
const AT_PATHS: &str = concat!(
    "UPDATE wrap w SET sealed = NULL, run = $1
     FROM unnest($2::uuid[], $3::integer[], $4::integer[], $5::bigint[]) AS u (subject, tree, epoch, tag)
     WHERE w.subject = u.subject AND w.tree = u.tree AND w.epoch = u.epoch AND w.tag = u.tag AND w.run IS NULL
         AND (w.epoch, w.tree, w.tag) >= (SELECT epoch, tree, tag FROM shredded) AND NOT ",
    held!(),
    " RETURNING w.subject, w.class, w.tenant, w.epoch"
);

pub(super) const OF_TENANT: &str = concat!(
    "UPDATE wrap v SET sealed = NULL, run = $1
     FROM (SELECT w.epoch, w.tree, w.tag FROM wrap w
         WHERE w.run IS NULL AND w.tenant = $2 AND w.epoch >= (SELECT epoch FROM shredded)
             AND (w.epoch, w.tree, w.tag) >= (SELECT epoch, tree, tag FROM shredded) AND NOT ",
    held!(),
    " LIMIT $3) w
     WHERE v.run IS NULL AND v.epoch = w.epoch AND v.tree = w.tree AND v.tag = w.tag
     RETURNING v.subject, v.class, v.tenant, v.epoch"
);

pub(super) async fn shred(db: &Session, id: u64, limit: u32, at: Timestamp) -> Outcome<u64> {
    let (run, is_finished) = expiry::run(db, id).await?;
    if is_finished {
        return Ok(0);
    }
    if run.committed.is_none() {
        return Err(CatalogError::WrongState.into());
    }
    locked(db, Lock::Shred).await?;
    let mut shredder = Shredder { db, run: &run, at, room: limit, killed: Vec::new() };
    shredder.pass().await?;
    shredder.carry_out_punctures().await?;
    shredder.close().await?;
    Ok(u64::from(limit - shredder.room))
}

/// A wrap that was killed by a puncture.
struct Killed {
    subject: Uuid,
    class: i16,
    tenant: i64,
    epoch: i32,
}

struct Shredder<'a> {
    db: &'a Session,
    run: &'a Run,
    at: Timestamp,
    /// Wraps that this call may still do.
    room: u32,
    killed: Vec<Killed>,
}

impl Shredder<'_> {
    /// Moves the mark. Ends early only when there is no room left, so that 0 wraps done means that none is left to do.
    async fn pass(&mut self) -> Outcome<()> {
        let mark = self.db.first("SELECT epoch, tree, tag FROM shredded", &[]).await?;
        let mark = mark.map(|row| Place::take(&row, 0)).transpose()?.flatten();
        let mut mark = mark.ok_or_else(|| CatalogError::Damaged("the mark of what is shredded is missing".into()))?;
        let floor = Place { epoch: self.run.floor.number() as i32, tree: 0, tag: 0 };
        while self.room > 0 && mark < floor {
            let (run, count) = (int(self.run.id), i64::from(self.room));
            let row = self.db.first(PASS, &[&run, &mark.epoch, &mark.tree, &mark.tag, &floor.epoch, &count]).await?;
            let row = row.ok_or_else(|| CatalogError::Damaged("a look has no answer".into()))?;
            let (passed, dead) = (row.try_get::<_, i64>(0)?, row.try_get::<_, i64>(1)?);
            mark = if passed < count { floor } else { Place::take(&row, 2)?.unwrap_or(floor) };
            self.room -= u32::try_from(dead).map_err(|_| CatalogError::Damaged("a count is too great".into()))?;
        }
        let sql = "UPDATE shredded SET epoch = $1, tree = $2, tag = $3 WHERE (epoch, tree, tag) < ($1, $2, $3)";
        self.db.execute(sql, &[&mark.epoch, &mark.tree, &mark.tag]).await?;
        let sql = "UPDATE run SET shredded_at = $2, to_epoch = $3, to_tree = $4, to_tag = $5 WHERE id = $1";
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&int(self.run.id), &millis(self.at), &mark.epoch, &mark.tree, &mark.tag];
        self.db.execute(sql, &params).await?;
        Ok(())
    }

    /// Ends early only when there is no room left, as [`Shredder::pass`] does.
    async fn carry_out_punctures(&mut self) -> Outcome<()> {
        while self.room > 0 {
            let queued = self.db.all(QUEUED, &[&int(self.run.last_puncture), &i64::from(self.room)]).await?;
            if queued.is_empty() {
                break;
            }
            let queued = queued.iter().map(expiry::puncture).collect::<Outcome<Vec<_>>>()?;
            let (mut done, mut tenants) = (self.null_paths(&queued).await?, Vec::new());
            tenants.extend(queued.iter().filter_map(|queued| match queued.target {
                Puncture::Tenant(tenant) => Some((queued.id, tenant)),
                Puncture::Path { .. } => None,
            }));
            for (id, tenant) in tenants {
                if self.null_tenant(tenant).await? {
                    done.push(int(id));
                }
            }
            let sql = "UPDATE puncture SET run = $1 WHERE id = ANY ($2)";
            self.db.execute(sql, &[&int(self.run.id), &done]).await?;
        }
        Ok(())
    }

    /// At most as many as there is room for: each puncture is of one wrap.
    async fn null_paths(&mut self, queued: &[QueuedPuncture]) -> Outcome<Vec<i64>> {
        let (mut ids, mut subjects) = (Vec::new(), Vec::new());
        let (mut trees, mut epochs, mut tags) = (Vec::new(), Vec::new(), Vec::new());
        for QueuedPuncture { id, target } in queued {
            if let Puncture::Path { path, subject, .. } = target {
                let place = Place::of(path);
                ids.push(int(*id));
                subjects.push(uuid(subject.0));
                trees.push(place.tree);
                epochs.push(place.epoch);
                tags.push(place.tag);
            }
        }
        let run = int(self.run.id);
        let rows = self.db.all(AT_PATHS, &[&run, &subjects, &trees, &epochs, &tags]).await?;
        self.kill(&rows)?;
        Ok(ids)
    }

    /// Whether the puncture is done; not when there is no room for it.
    async fn null_tenant(&mut self, tenant: TenantNumber) -> Outcome<bool> {
        if self.room == 0 {
            return Ok(false);
        }
        let room = i64::from(self.room);
        let rows = self.db.all(OF_TENANT, &[&int(self.run.id), &number(tenant), &room]).await?;
        self.kill(&rows)?;
        Ok(self.room > 0)
    }

    fn kill(&mut self, rows: &[Row]) -> Outcome<()> {
        for row in rows {
            self.killed.push(Killed {
                subject: row.try_get(0)?,
                class: row.try_get(1)?,
                tenant: row.try_get(2)?,
                epoch: row.try_get(3)?,
            });
        }
        self.room -= rows.len() as u32;
        Ok(())
    }

    async fn close(&self) -> Outcome<()> {
        self.count_killed().await?;
        let (mut recordings, mut calls) = (BTreeSet::new(), BTreeSet::new());
        for killed in &self.killed {
            if killed.class <= 2 {
                recordings.insert(killed.subject)
            } else {
                calls.insert(killed.subject)
            };
        }
        self.close_recordings(recordings.into_iter().collect()).await?;
        self.close_calls(calls.into_iter().collect()).await
    }

    async fn count_killed(&self) -> Outcome<()> {
        let mut counts = BTreeMap::new();
        for killed in &self.killed {
            let (count, first, last) =
                counts.entry((killed.tenant, killed.class)).or_insert((0_i64, killed.epoch, killed.epoch));
            *count += 1;
            *first = killed.epoch.min(*first);
            *last = killed.epoch.max(*last);
        }
        for ((tenant, class), (count, first, last)) in counts {
            self.db
                .execute(
                    "INSERT INTO run_class AS c (run, tenant, class, count, first_epoch, last_epoch)
                     VALUES ($1, $2, $3, $4, $5, $6)
                     ON CONFLICT (run, tenant, class) DO UPDATE SET count = c.count + excluded.count,
                         first_epoch = least(c.first_epoch, excluded.first_epoch),
                         last_epoch = greatest(c.last_epoch, excluded.last_epoch)",
                    &[&int(self.run.id), &tenant, &class, &count, &first, &last],
                )
                .await?;
        }
        Ok(())
    }

    /// With its last audio wrap a recording loses all that could be searched or read, and its object. Where another lives on,
    /// the row moves to where that one ends.
    async fn close_recordings(&self, ids: Vec<Uuid>) -> Outcome<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT r.id, r.ends, r.ends_tree, r.ends_tag, l.epoch, l.tree, l.tag
                           FROM recording r {LAST_ALIVE} WHERE r.id = ANY ($1) FOR UPDATE OF r"
        );
        let (mut dead, mut places) = (Vec::new(), Vec::new());
        for row in self.db.all(&sql, &[&ids]).await? {
            let (id, ends): (Uuid, i32) = (row.try_get(0)?, row.try_get(1)?);
            match (Place::take(&row, 1)?, Place::take(&row, 4)?) {
                (_, None) => {
                    dead.push(id);
                    places.push(ends);
                }
                (place, last) if place == last => {}
                (_, Some(last)) => {
                    let sql =
                        "UPDATE recording SET ends = $3, ends_tree = $4, ends_tag = $5 WHERE id = $1 AND ends = $2";
                    self.db.execute(sql, &[&id, &ends, &last.epoch, &last.tree, &last.tag]).await?;
                    let sql = "UPDATE content SET ends = $3 WHERE id = $1 AND ends = $2";
                    self.db.execute(sql, &[&id, &ends, &last.epoch]).await?;
                }
            }
        }
        let run = int(self.run.id);
        self.db.execute(CLOSE, &[&run, &dead, &places, &millis(self.at)]).await?;
        self.db.execute(ending::FORGET, &[&dead, &places]).await?;
        Ok(())
    }

    async fn close_calls(&self, ids: Vec<Uuid>) -> Outcome<()> {
        if ids.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "SELECT r.id, r.ends, r.ends_tree, r.ends_tag, l.epoch, l.tree, l.tag
                           FROM call r {LAST_ALIVE} WHERE r.id = ANY ($1)"
        );
        for row in self.db.all(&sql, &[&ids]).await? {
            let (id, ends): (Uuid, i32) = (row.try_get(0)?, row.try_get(1)?);
            match (Place::take(&row, 1)?, Place::take(&row, 4)?) {
                (_, None) => {
                    let sql = "UPDATE call SET blob = NULL WHERE id = $1 AND ends = $2";
                    self.db.execute(sql, &[&id, &ends]).await?;
                }
                (place, last) if place == last => {}
                (_, Some(last)) => {
                    let sql = "UPDATE call SET ends = $3, ends_tree = $4, ends_tag = $5 WHERE id = $1 AND ends = $2";
                    self.db.execute(sql, &[&id, &ends, &last.epoch, &last.tree, &last.tag]).await?;
                    let sql = "UPDATE recording SET call_ends = $2 WHERE call = $1";
                    self.db.execute(sql, &[&id, &last.epoch]).await?;
                }
            }
        }
        Ok(())
    }
}

const LAST_ALIVE: &str = "LEFT JOIN LATERAL (SELECT w.epoch, w.tree, w.tag FROM wrap w
        WHERE w.subject = r.id AND w.run IS NULL AND w.epoch >= (SELECT epoch FROM shredded)
            AND (w.epoch, w.tree, w.tag) >= (SELECT epoch, tree, tag FROM shredded)
        ORDER BY w.epoch DESC, w.tree DESC, w.tag DESC LIMIT 1) l ON true";

const CLOSE: &str = "
    WITH closed AS (
        UPDATE recording r SET state = CASE WHEN r.gone THEN r.state ELSE 5 END, gone = true, holder = NULL,
            changed_at = CASE WHEN r.gone THEN r.changed_at ELSE $4 END
        FROM unnest($2::uuid[], $3::integer[]) AS u (id, ends) WHERE r.id = u.id AND r.ends = u.ends
        RETURNING r.id, r.tenant, r.digest, r.object
    ), told AS (
        INSERT INTO died (run, tenant, id, digest) SELECT $1, tenant, id, digest FROM closed
    )
    INSERT INTO sweep (object) SELECT object FROM closed ON CONFLICT DO NOTHING";
