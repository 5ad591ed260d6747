//! The ends that are asked for: abandoned while it is received, deleted, erased.

use rusqlite::{Connection, params};

use super::rows::{execute, first, millis};
use super::{house, recordings};
use crate::catalog::{CallRow, CatalogError, Ending, Recording, Result};
use crate::model::{RecordingId, State, SubjectId, Timestamp};

pub(super) fn abandon(db: &Connection, id: RecordingId) -> Result<()> {
    let before = recordings::find(db, None, id)?.ok_or(CatalogError::NotFound)?;
    if before.state != State::Receiving {
        return Err(CatalogError::WrongState);
    }
    execute(db, "DELETE FROM recording WHERE id = ?1", [id.as_bytes()])?;
    execute(db, "DELETE FROM wrap WHERE subject = ?1", [id.as_bytes()])?;
    house::to_sweep(db, before.object)?;
    let Some(call) = before.call else { return Ok(()) };
    let is_shared = first(db, "SELECT 1 FROM recording WHERE call = ?1 LIMIT 1", [call.id.as_bytes()], |_| Ok(()))?;
    if is_shared.is_none() {
        execute(db, "DELETE FROM wrap WHERE subject = ?1", [call.id.as_bytes()])?;
        execute(db, "DELETE FROM call WHERE id = ?1", [call.id.as_bytes()])?;
    }
    Ok(())
}

pub(super) fn end(db: &Connection, id: RecordingId, ending: Ending, at: Timestamp) -> Result<Recording> {
    let before = recordings::find(db, None, id)?.ok_or(CatalogError::NotFound)?;
    match (before.state, ending) {
        (State::Receiving | State::Spooled | State::Stored, _) | (State::Deleted, Ending::Erase) => {}
        _ => return Err(CatalogError::WrongState),
    }
    forget(db, &before, ending, at)?;
    let is_call_dead = match &before.call {
        Some(call) => forget_call(db, call)?,
        None => false,
    };
    if ending == Ending::Erase {
        queue_punctures(db, id.into())?;
        if let Some(call) = before.call.as_ref().filter(|_| is_call_dead) {
            queue_punctures(db, call.id.into())?;
        }
    }
    Ok(before)
}

/// The rows of the wraps stay, so that the run in which their keys die counts them.
fn forget(db: &Connection, before: &Recording, ending: Ending, at: Timestamp) -> Result<()> {
    let state = match ending {
        Ending::Delete => State::Deleted,
        Ending::Erase => State::Erased,
    };
    execute(
        db,
        "UPDATE recording SET state = ?2, gone = 1, changed_at = ?3, name_token = NULL,
             a_token = NULL, b_token = NULL, call_token = NULL, label = NULL, holder = NULL
         WHERE id = ?1",
        params![before.id.as_bytes(), state as u8, millis(at)],
    )?;
    null_wraps(db, before.id.into())?;
    house::to_sweep(db, before.object)?;
    Ok(())
}

/// Whether the call's data is gone: not while a recording that is not gone has the call.
fn forget_call(db: &Connection, call: &CallRow) -> Result<bool> {
    let sql = "SELECT 1 FROM recording WHERE call = ?1 AND gone = 0 LIMIT 1";
    if first(db, sql, [call.id.as_bytes()], |_| Ok(()))?.is_some() {
        return Ok(false);
    }
    execute(db, "UPDATE call SET blob = NULL WHERE id = ?1", [call.id.as_bytes()])?;
    null_wraps(db, call.id.into())?;
    Ok(true)
}

fn null_wraps(db: &Connection, subject: SubjectId) -> Result<()> {
    execute(db, "UPDATE wrap SET sealed = NULL WHERE subject = ?1 AND sealed IS NOT NULL", [subject.0])?;
    Ok(())
}

/// A path that is queued already is not queued again.
fn queue_punctures(db: &Connection, subject: SubjectId) -> Result<()> {
    execute(
        db,
        "INSERT OR IGNORE INTO puncture (tenant, subject, class, tree, epoch, tag)
         SELECT tenant, subject, class, tree, epoch, tag FROM wrap WHERE subject = ?1 AND run IS NULL ORDER BY class",
        [subject.0],
    )?;
    Ok(())
}
