//! A recording's row from the first byte to the object store.

use rusqlite::{Connection, Row, params};

use super::errors::{is_taken, is_there, not_done};
use super::rows::{all, execute, first, int, millis, not_stored_by_us, parse_optional, take, take_optional};
use super::{house, tenants};
use crate::catalog::{CallRow, CatalogError, Finished, NewRecording, Recording, Result, Resume, WrapRow};
use crate::crypto::wrap::WRAP_LEN;
use crate::model::ids::CallId;
use crate::model::{
    Class, Completeness, ObjectId, RecordingId, ReplicaName, State, SubjectId, TenantNumber, TimePath, Timestamp,
};

/// What [`head`] reads, from a table named `r`.
pub(super) const HEAD: &str = "r.id, r.tenant, r.state, r.completeness, r.received_at, r.changed_at, r.plain_len, \
                               r.object, r.sealed_len, r.digest, r.label, r.call, r.resume_until, r.declared_len, \
                               r.holder";

pub(super) fn begin(db: &Connection, new: &NewRecording) -> Result<()> {
    tenants::must_live(db, new.tenant)?;
    if let Some(call) = &new.call {
        join_call(db, new.tenant, call)?;
    }
    insert(db, new)?;
    insert_wraps(db, new.tenant, new.id.into(), &new.wraps)
}

fn insert(db: &Connection, new: &NewRecording) -> Result<()> {
    let inserted = db
        .prepare_cached(
            "INSERT INTO recording (id, tenant, state, gone, completeness, received_at, changed_at, object, name_token,
                 a_token, b_token, call_token, label, call, resume_until, declared_len, holder)
             VALUES (?1, ?2, ?3, 0, ?4, ?5, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                new.id.as_bytes(),
                new.tenant.0,
                State::Receiving as u8,
                Completeness::Receiving as u8,
                millis(new.received_at),
                new.object.0,
                new.name_token,
                new.tokens.a_number,
                new.tokens.b_number,
                new.tokens.call_id,
                new.label,
                new.call.as_ref().map(|call| *call.id.as_bytes()),
                new.resume.map(|resume| millis(resume.until)),
                new.resume.and_then(|resume| resume.declared_len).map(int),
                new.holder.as_str(),
            ])
        });
    inserted.map(|_| ()).map_err(|error| not_inserted(error, CatalogError::NameTaken))
}

/// A second recording of a call joins what the first has stored.
fn join_call(db: &Connection, tenant: TenantNumber, call: &CallRow) -> Result<()> {
    let sql = "SELECT tenant FROM call WHERE id = ?1";
    match first(db, sql, [call.id.as_bytes()], |row| take::<TenantNumber>(row, 0))? {
        Some(owner) if owner == tenant => Ok(()),
        Some(_) => Err(CatalogError::WrongState),
        None => {
            execute(
                db,
                "INSERT INTO call (id, tenant, blob, text_len) VALUES (?1, ?2, ?3, ?4)",
                params![call.id.as_bytes(), tenant.0, call.blob, int(call.text_len)],
            )?;
            insert_wraps(db, tenant, call.id.into(), &call.wraps)
        }
    }
}

fn insert_wraps(db: &Connection, tenant: TenantNumber, subject: SubjectId, wraps: &[WrapRow]) -> Result<()> {
    let mut insert = db
        .prepare_cached(
            "INSERT INTO wrap (subject, class, tenant, tree, epoch, tag, expires_at, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )
        .map_err(not_done)?;
    for wrap in wraps {
        let inserted = insert.execute(params![
            subject.0,
            wrap.class as u8,
            tenant.0,
            wrap.path.tree.0,
            wrap.path.epoch.number(),
            int(wrap.path.tag.number()),
            wrap.expires_at.as_second(),
            wrap.sealed,
        ]);
        inserted.map_err(|error| not_inserted(error, CatalogError::PathTaken))?;
    }
    Ok(())
}

/// Both tables have one unique index besides the primary key.
fn not_inserted(error: rusqlite::Error, taken: CatalogError) -> CatalogError {
    match error {
        error if is_taken(&error) => taken,
        error if is_there(&error) => CatalogError::WrongState,
        error => not_done(error),
    }
}

/// The inner error leaves something: the new object, queued for the sweep.
pub(super) fn finish(db: &Connection, finished: &Finished) -> Result<Result<()>> {
    let before = find(db, None, finished.id)?.ok_or(CatalogError::NotFound)?;
    if before.state.is_gone() {
        house::to_sweep(db, finished.object)?;
        return Ok(Err(CatalogError::WrongState));
    }
    let is_continued =
        matches!(before.state, State::Spooled | State::Stored) && before.completeness == Completeness::Partial;
    if before.state != State::Receiving && !is_continued {
        return Err(CatalogError::WrongState);
    }
    // Somebody else's is not taken from him, whatever was received here.
    if before.holder.as_ref() != Some(&finished.holder) {
        if before.object != finished.object {
            house::to_sweep(db, finished.object)?;
        }
        return Ok(Err(CatalogError::WrongState));
    }
    bind_again(db, &before, &finished.wraps)?;
    if before.object != finished.object {
        house::to_sweep(db, before.object)?;
    }
    let is_done = (finished.state, finished.completeness) == (State::Stored, Completeness::Complete);
    execute(
        db,
        "UPDATE recording SET state = ?2, completeness = ?3, changed_at = ?4, plain_len = ?5, object = ?6,
             sealed_len = ?7, digest = ?8, label = coalesce(?9, label), holder = ?10
         WHERE id = ?1",
        params![
            finished.id.as_bytes(),
            finished.state as u8,
            finished.completeness as u8,
            millis(finished.changed_at),
            int(finished.plain_len),
            finished.object.0,
            int(finished.sealed_len),
            finished.digest,
            finished.label,
            Some(finished.holder.as_str()).filter(|_| !is_done),
        ],
    )?;
    Ok(Ok(()))
}

/// Every wrap that still opens is bound to the row's new values: one that was left out would never open again.
fn bind_again(db: &Connection, before: &Recording, wraps: &[(Class, [u8; WRAP_LEN])]) -> Result<()> {
    let is_known = |class: Class| before.wraps.iter().any(|wrap| wrap.class == class);
    if !wraps.iter().all(|(class, _)| is_known(*class)) {
        return Err(CatalogError::WrongState);
    }
    for wrap in before.wraps.iter().filter(|wrap| wrap.sealed.is_some()) {
        let sealed = wraps.iter().find(|(class, _)| *class == wrap.class).map(|(_, sealed)| sealed);
        let sealed = sealed.ok_or(CatalogError::WrongState)?;
        execute(
            db,
            "UPDATE wrap SET sealed = ?3 WHERE subject = ?1 AND class = ?2",
            params![before.id.as_bytes(), wrap.class as u8, sealed],
        )?;
    }
    Ok(())
}

/// The inner error leaves something: an object that the recording does not need any more, queued for the sweep.
pub(super) fn stored(db: &Connection, id: RecordingId, object: ObjectId, at: Timestamp) -> Result<Result<()>> {
    let stored = execute(
        db,
        "UPDATE recording SET state = ?3, changed_at = ?4, holder = CASE completeness WHEN 1 THEN NULL ELSE holder END
         WHERE id = ?1 AND object = ?2 AND state = ?5",
        params![id.as_bytes(), object.0, State::Stored as u8, millis(at), State::Spooled as u8],
    )?;
    if stored == 1 {
        return Ok(Ok(()));
    }
    let found = find(db, None, id)?.ok_or(CatalogError::NotFound)?;
    if found.state.is_gone() || found.object != object {
        house::to_sweep(db, object)?;
    }
    Ok(Err(CatalogError::WrongState))
}

pub(super) fn set_resume(db: &Connection, id: RecordingId, resume: Option<Resume>) -> Result<()> {
    let set = execute(
        db,
        "UPDATE recording SET resume_until = ?2, declared_len = ?3 WHERE id = ?1 AND gone = 0",
        params![
            id.as_bytes(),
            resume.map(|resume| millis(resume.until)),
            resume.and_then(|resume| resume.declared_len).map(int),
        ],
    )?;
    match set {
        0 => Err(find(db, None, id)?.map_or(CatalogError::NotFound, |_| CatalogError::WrongState)),
        _ => Ok(()),
    }
}

pub(super) fn entrust(db: &Connection, id: RecordingId, replica: &ReplicaName) -> Result<ReplicaName> {
    let found = find(db, None, id)?.ok_or(CatalogError::NotFound)?;
    if found.state.is_gone() || found.completeness != Completeness::Partial {
        return Err(CatalogError::WrongState);
    }
    if let Some(holder) = found.holder {
        return Ok(holder);
    }
    execute(db, "UPDATE recording SET holder = ?2 WHERE id = ?1", params![id.as_bytes(), replica.as_str()])?;
    Ok(replica.clone())
}

pub(super) fn find(db: &Connection, tenant: Option<TenantNumber>, id: RecordingId) -> Result<Option<Recording>> {
    let found = first(db, &format!("SELECT {HEAD} FROM recording r WHERE r.id = ?1"), [id.as_bytes()], head)?;
    let found = found.filter(|head| tenant.is_none_or(|tenant| tenant == head.recording.tenant));
    found.map(|head| whole(db, head)).transpose()
}

/// A recording's own row, without its wraps and its call.
pub(super) struct Head {
    recording: Recording,
    call: Option<CallId>,
}

pub(super) fn head(row: &Row) -> rusqlite::Result<Head> {
    let recording = Recording {
        id: take(row, 0)?,
        tenant: take(row, 1)?,
        state: take(row, 2)?,
        completeness: take(row, 3)?,
        received_at: take(row, 4)?,
        changed_at: take(row, 5)?,
        plain_len: take_optional(row, 6)?,
        object: take(row, 7)?,
        sealed_len: take_optional(row, 8)?,
        digest: row.get(9)?,
        label: row.get(10)?,
        wraps: Vec::new(),
        call: None,
        resume: match take_optional(row, 12)? {
            Some(until) => Some(Resume { until, declared_len: take_optional(row, 13)? }),
            None => None,
        },
        holder: parse_optional(row, 14, "a replica's name")?,
    };
    Ok(Head { recording, call: take_optional(row, 11)? })
}

pub(super) fn whole(db: &Connection, head: Head) -> Result<Recording> {
    let wraps = wraps(db, head.recording.id.into())?;
    let call = head.call.map(|id| call(db, id)).transpose()?;
    Ok(Recording { wraps, call, ..head.recording })
}

fn call(db: &Connection, id: CallId) -> Result<CallRow> {
    let sql = "SELECT blob, text_len FROM call WHERE id = ?1";
    let found = first(db, sql, [id.as_bytes()], |row| Ok((row.get(0)?, take(row, 1)?)))?;
    let (blob, text_len) = found.ok_or_else(|| CatalogError::Damaged("a recording's call is missing".into()))?;
    Ok(CallRow { id, blob, text_len, wraps: wraps(db, id.into())? })
}

fn wraps(db: &Connection, subject: SubjectId) -> Result<Vec<WrapRow>> {
    let sql = "SELECT class, tree, epoch, tag, expires_at, sealed FROM wrap WHERE subject = ?1 ORDER BY class";
    all(db, sql, [subject.0], |row| {
        let expires_at = Timestamp::from_second(row.get(4)?).map_err(|_| not_stored_by_us(4, "an instant"))?;
        Ok(WrapRow {
            class: take(row, 0)?,
            path: TimePath { tree: take(row, 1)?, epoch: take(row, 2)?, tag: take(row, 3)? },
            expires_at,
            sealed: row.get(5)?,
        })
    })
}
