//! Shredding: the rows follow their keys, some at a time.
//!
//! # Promise
//! A call does at most `limit` wraps in one transaction and takes up where the last one ended, whoever made it: what is
//! done has `run` set and is in no index that this reads. Held recordings are never touched.

use std::collections::BTreeSet;

use rusqlite::{Connection, Row, params};

use super::rows::{all, execute, first, int, millis, take};
use super::{expiry, house};
use crate::catalog::{CatalogError, Puncture, QueuedPuncture, Result};
use crate::model::{Class, ObjectId, State, SubjectId, TenantNumber, TimePath, Timestamp};

/// Whether a wrap `w` belongs to a held recording, or to the call of one.
macro_rules! held {
    () => {
        "(SELECT 1 FROM recording h WHERE h.id = w.subject AND h.state = 3
          UNION ALL SELECT 1 FROM recording h WHERE h.call = w.subject AND h.state = 3)"
    };
}

pub(super) const DUE: &str = concat!(
    "SELECT w.subject, w.class FROM wrap w INDEXED BY wrap_due
     WHERE w.run IS NULL AND w.epoch < ?1 AND NOT EXISTS ",
    held!(),
    " ORDER BY w.epoch LIMIT ?2"
);
pub(super) const OF_TENANT: &str = concat!(
    "SELECT w.subject, w.class FROM wrap w INDEXED BY wrap_by_tenant
     WHERE w.run IS NULL AND w.tenant = ?1 AND NOT EXISTS ",
    held!(),
    " LIMIT ?2"
);
/// A wrap that was wrapped again since is at another path, and stays.
const AT_PATH: &str = concat!(
    "SELECT w.subject, w.class FROM wrap w
     WHERE w.subject = ?1 AND w.class = ?2 AND w.tree = ?3 AND w.epoch = ?4 AND w.tag = ?5
         AND w.run IS NULL AND NOT EXISTS ",
    held!()
);
pub(super) const QUEUED: &str = "SELECT id, tenant, subject, class, tree, epoch, tag FROM puncture
     WHERE run IS NULL AND id <= ?1 ORDER BY id LIMIT ?2";

type Wrap = (SubjectId, Class);

pub(super) fn shred(db: &Connection, id: u64, limit: u32, at: Timestamp) -> Result<u64> {
    let (run, is_finished) = expiry::run(db, id)?;
    if is_finished {
        return Ok(0);
    }
    if run.committed.is_none() {
        return Err(CatalogError::WrongState);
    }
    let mut shredder = Shredder { db, run: id, at, room: limit, subjects: BTreeSet::new() };
    let due = all(db, DUE, params![run.floor.number(), limit], wrap)?;
    shredder.null(&due)?;
    shredder.carry_out_punctures(run.last_puncture)?;
    shredder.close_subjects()?;
    Ok(u64::from(limit - shredder.room))
}

fn wrap(row: &Row) -> rusqlite::Result<Wrap> {
    Ok((take(row, 0)?, take(row, 1)?))
}

struct Shredder<'a> {
    db: &'a Connection,
    run: u64,
    at: Timestamp,
    /// Wraps that this call may still do.
    room: u32,
    /// What has lost a wrap; the flag tells recordings from calls.
    subjects: BTreeSet<(SubjectId, bool)>,
}

impl Shredder<'_> {
    fn null(&mut self, wraps: &[Wrap]) -> Result<()> {
        for (subject, class) in wraps {
            execute(
                self.db,
                "UPDATE wrap SET sealed = NULL, run = ?3 WHERE subject = ?1 AND class = ?2",
                params![subject.0, *class as u8, int(self.run)],
            )?;
            self.subjects.insert((*subject, Class::AUDIO.contains(class)));
            self.room -= 1;
        }
        Ok(())
    }

    /// Ends early only when there is no room left, so that 0 wraps done means that none is left to do.
    fn carry_out_punctures(&mut self, last: u64) -> Result<()> {
        while self.room > 0 {
            let queued = all(self.db, QUEUED, params![int(last), self.room], expiry::puncture)?;
            if queued.is_empty() {
                break;
            }
            for QueuedPuncture { id, target } in queued {
                let is_done = match target {
                    Puncture::Path { path, subject, class, .. } => self.null_path(path, subject, class)?,
                    Puncture::Tenant(tenant) => self.null_tenant(tenant)?,
                };
                if is_done {
                    execute(self.db, "UPDATE puncture SET run = ?2 WHERE id = ?1", params![int(id), int(self.run)])?;
                }
            }
        }
        Ok(())
    }

    /// Whether the puncture is done; not when there is no room for it.
    fn null_path(&mut self, path: TimePath, subject: SubjectId, class: Class) -> Result<bool> {
        if self.room == 0 {
            return Ok(false);
        }
        let key = params![subject.0, class as u8, path.tree.0, path.epoch.number(), int(path.tag.number())];
        let found = first(self.db, AT_PATH, key, wrap)?;
        self.null(found.as_slice())?;
        Ok(true)
    }

    fn null_tenant(&mut self, tenant: TenantNumber) -> Result<bool> {
        if self.room == 0 {
            return Ok(false);
        }
        let found = all(self.db, OF_TENANT, params![tenant.0, self.room], wrap)?;
        self.null(&found)?;
        Ok(self.room > 0)
    }

    fn close_subjects(&self) -> Result<()> {
        for (subject, is_recording) in &self.subjects {
            if *is_recording { self.close_recording(*subject)? } else { self.close_call(*subject)? }
        }
        Ok(())
    }

    /// With its last audio wrap a recording loses all that could be searched or read, and its object.
    fn close_recording(&self, subject: SubjectId) -> Result<()> {
        let sql = "SELECT gone, object FROM recording WHERE id = ?1 AND run IS NULL
                   AND NOT EXISTS (SELECT 1 FROM wrap WHERE subject = ?1 AND run IS NULL)";
        let last = first(self.db, sql, [subject.0], |row| Ok((row.get::<_, bool>(0)?, take::<ObjectId>(row, 1)?)))?;
        let Some((is_gone, object)) = last else { return Ok(()) };
        house::to_sweep(self.db, object)?;
        if !is_gone {
            execute(
                self.db,
                "UPDATE recording SET state = ?2, gone = 1, changed_at = ?3 WHERE id = ?1",
                params![subject.0, State::Shredded as u8, millis(self.at)],
            )?;
        }
        execute(
            self.db,
            "UPDATE recording SET run = ?2, name_token = NULL, a_token = NULL, b_token = NULL,
                 call_token = NULL, label = NULL, holder = NULL
             WHERE id = ?1",
            params![subject.0, int(self.run)],
        )?;
        Ok(())
    }

    fn close_call(&self, subject: SubjectId) -> Result<()> {
        execute(
            self.db,
            "UPDATE call SET blob = NULL
             WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM wrap WHERE subject = ?1 AND run IS NULL)",
            [subject.0],
        )?;
        Ok(())
    }
}
