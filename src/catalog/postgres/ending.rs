//! The ends that are asked for: abandoned while it is received, deleted, erased.

use super::errors::Outcome;
use super::pool::Session;
use super::rows::{Place, uuid};
use super::{Lock, house, locked, recordings};
use crate::catalog::rules;
use crate::catalog::stored::millis;
use crate::catalog::{CallRow, CatalogError, Ending, Recording};
use crate::model::{RecordingId, State, SubjectId, Timestamp};

pub(super) async fn abandon(db: &Session, id: RecordingId) -> Outcome<()> {
    let (before, place) = recordings::held(db, id).await?.ok_or(CatalogError::NotFound)?;
    if before.state != State::Receiving {
        return Err(CatalogError::WrongState.into());
    }
    let key = uuid(*id.as_bytes());
    for sql in ["DELETE FROM recording WHERE id = $1 AND ends = $2", "DELETE FROM content WHERE id = $1 AND ends = $2"]
    {
        db.execute(sql, &[&key, &place.epoch]).await?;
    }
    db.execute("DELETE FROM wrap WHERE subject = $1", &[&key]).await?;
    house::to_sweep(db, before.object).await?;
    let Some(call) = before.call else { return Ok(()) };
    let key = uuid(*call.id.as_bytes());
    // Nobody joins it meanwhile, and of two that leave it the second sees the first gone.
    locked(db, Lock::Call(key)).await?;
    if db.first("SELECT 1 FROM recording WHERE call = $1 LIMIT 1", &[&key]).await?.is_none() {
        db.execute("DELETE FROM wrap WHERE subject = $1", &[&key]).await?;
        db.execute("DELETE FROM call WHERE id = $1", &[&key]).await?;
    }
    Ok(())
}

pub(super) async fn end(db: &Session, id: RecordingId, ending: Ending, at: Timestamp) -> Outcome<Recording> {
    let (before, place) = recordings::held(db, id).await?.ok_or(CatalogError::NotFound)?;
    let state = rules::end(before.state, ending)?;
    forget(db, &before, place, state, at).await?;
    let is_call_dead = match &before.call {
        Some(call) => forget_call(db, call).await?,
        None => false,
    };
    if ending == Ending::Erase {
        // Invariant: punctures are committed in the order of their numbers, so that a run which takes those up to one of them
        // has seen all of those.
        locked(db, Lock::Punctures).await?;
        queue_punctures(db, id.into()).await?;
        if let Some(call) = before.call.as_ref().filter(|_| is_call_dead) {
            queue_punctures(db, call.id.into()).await?;
        }
    }
    Ok(before)
}

/// The rows of the wraps stay, so that the run in which their keys die counts them.
async fn forget(db: &Session, before: &Recording, place: Place, state: State, at: Timestamp) -> Outcome<()> {
    let key = uuid(*before.id.as_bytes());
    let sql =
        "UPDATE recording SET state = $3, gone = true, changed_at = $4, holder = NULL WHERE id = $1 AND ends = $2";
    db.execute(sql, &[&key, &place.epoch, &(state as i16), &millis(at)]).await?;
    db.execute(FORGET, &[&vec![key], &vec![place.epoch]]).await?;
    null_wraps(db, before.id.into()).await?;
    house::to_sweep(db, before.object).await
}

/// What could be searched or read of recordings, by id and partition.
pub(super) const FORGET: &str = "UPDATE content c
    SET name_token = NULL, a_token = NULL, b_token = NULL, call_token = NULL, label = NULL
    FROM unnest($1::uuid[], $2::integer[]) AS u (id, ends) WHERE c.id = u.id AND c.ends = u.ends";

/// Whether the call's data is gone: not while a recording that is not gone has the call.
async fn forget_call(db: &Session, call: &CallRow) -> Outcome<bool> {
    let key = uuid(*call.id.as_bytes());
    // Of two recordings that end at once, the second sees that the first is gone.
    locked(db, Lock::Call(key)).await?;
    let sql = format!("SELECT 1 FROM recording r WHERE r.call = $1 AND {} LIMIT 1", super::LIVES);
    if db.first(&sql, &[&key]).await?.is_some() {
        return Ok(false);
    }
    db.execute("UPDATE call SET blob = NULL WHERE id = $1", &[&key]).await?;
    null_wraps(db, call.id.into()).await?;
    Ok(true)
}

async fn null_wraps(db: &Session, subject: SubjectId) -> Outcome<()> {
    let sql = "UPDATE wrap SET sealed = NULL WHERE subject = $1 AND sealed IS NOT NULL";
    db.execute(sql, &[&uuid(subject.0)]).await?;
    Ok(())
}

/// A path that is queued already is not queued again.
async fn queue_punctures(db: &Session, subject: SubjectId) -> Outcome<()> {
    db.execute(
        "INSERT INTO puncture (tenant, subject, class, tree, epoch, tag)
         SELECT tenant, subject, class, tree, epoch, tag FROM wrap
         WHERE subject = $1 AND run IS NULL AND (epoch, tree, tag) >= (SELECT epoch, tree, tag FROM shredded)
         ORDER BY class
         ON CONFLICT DO NOTHING",
        &[&uuid(subject.0)],
    )
    .await?;
    Ok(())
}
