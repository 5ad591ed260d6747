//! From which rows a verb may go on, for every backend.

use super::{CatalogError, Ending, Finished, Recording, Result, WrapRow};
use crate::crypto::wrap::WRAP_LEN;
use crate::model::{Completeness, ReplicaName, State};

/// What [`super::Catalog::finish`] does with a recording that was found.
pub(super) enum Finish<'a> {
    /// It goes on: the wraps that live are bound again.
    Bind(Vec<(&'a WrapRow, &'a [u8; WRAP_LEN])>),
    /// The recording is gone, or somebody else's: the verb refuses, and the new object is queued for the sweep unless the row
    /// rests on it.
    Refuse { is_swept: bool },
}

pub(super) fn finish<'a>(before: &'a Recording, finished: &'a Finished) -> Result<Finish<'a>> {
    if before.state.is_gone() {
        return Ok(Finish::Refuse { is_swept: true });
    }
    let is_continued =
        matches!(before.state, State::Spooled | State::Stored) && before.completeness == Completeness::Partial;
    if before.state != State::Receiving && !is_continued {
        return Err(CatalogError::WrongState);
    }
    // Somebody else's is not taken from him, whatever was received here.
    if before.holder.as_ref() != Some(&finished.holder) {
        return Ok(Finish::Refuse { is_swept: before.object != finished.object });
    }
    let is_known = |class| before.wraps.iter().any(|wrap| wrap.class == class);
    if finished.wraps.iter().any(|(class, _)| !is_known(*class)) {
        return Err(CatalogError::WrongState);
    }
    // Every wrap that still opens is bound to the row's new values: one that was left out would never open again.
    let alive = before.wraps.iter().filter(|wrap| wrap.sealed.is_some());
    let bound = alive.map(|wrap| {
        let sealed = finished.wraps.iter().find(|(class, _)| *class == wrap.class).map(|(_, sealed)| sealed);
        sealed.map(|sealed| (wrap, sealed)).ok_or(CatalogError::WrongState)
    });
    Ok(Finish::Bind(bound.collect::<Result<_>>()?))
}

/// Whether a partial recording may be given to a replica; with whom it has already.
pub(super) fn entrust(before: &Recording) -> Result<Option<&ReplicaName>> {
    if before.state.is_gone() || before.completeness != Completeness::Partial {
        return Err(CatalogError::WrongState);
    }
    Ok(before.holder.as_ref())
}

pub(super) fn end(before: State, ending: Ending) -> Result<State> {
    match (before, ending) {
        (State::Receiving | State::Spooled | State::Stored, Ending::Delete) => Ok(State::Deleted),
        (State::Receiving | State::Spooled | State::Stored | State::Deleted, Ending::Erase) => Ok(State::Erased),
        _ => Err(CatalogError::WrongState),
    }
}
