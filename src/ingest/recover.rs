//! After a crash or an outage: every segment in the spool is finished, handed on, or removed.
//!
//! # Promise
//! After [`Ingest::recover`] returned at a start, no recording is `receiving`, and whatever arrived before the crash is a
//! partial recording. It needs the local disk and the catalog alone: a store that is down delays no start.
//! [`Ingest::forward`] is run at intervals and sends what the object store does not have yet.
//! # Invariants
//! A segment whose writer died is not continued: the chunk that was being written may have been sealed under its index
//! already. Its whole chunks are sealed again into a new segment, under a new salt. The catalog learns of the new segment
//! when it is whole: until then the old one is what counts, and a crash in between is as if nothing had been done.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BytesMut;

use super::intake::Intake;
use super::live::Slot;
use super::{Ingest, Target, not_committed, not_read, not_spooled, not_stored};
use crate::catalog::{CatalogError, Recording};
use crate::crypto::header::{HEADER_LEN, SEALED_CHUNK_LEN, TAG_LEN};
use crate::crypto::keys::DataKey;
use crate::crypto::random::random;
use crate::crypto::receipt::DigestOfTags;
use crate::crypto::stream::{Opener, SealedObject, full_chunks};
use crate::model::error::chain;
use crate::model::{Completeness, Error, ObjectId, Problem, RecordingId, Result, State};
use crate::reading::ReadError;
use crate::spool::SegmentName;
use crate::store::Parcel;

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Became partial recordings.
    pub salvaged: u64,
    /// Reached the object store.
    pub forwarded: u64,
    /// Were not needed.
    pub removed: u64,
    /// Are still in the spool, after [`Ingest::forward`]; could not be recovered, after [`Ingest::recover`].
    pub left: u64,
}

const PAGE: u32 = 1_000;
/// A store that refuses this many recordings one after the other is down: the rest waits for the next round.
const REFUSALS_MAX: u32 = 3;

impl Ingest {
    /// Goes through the spool, then through rows that lost their segment. One that fails does not stop the others.
    pub async fn recover(&self) -> Result<Recovered> {
        let mut recovered = Recovered::default();
        let mut by_recording: BTreeMap<RecordingId, Vec<(SegmentName, u64)>> = BTreeMap::new();
        for (name, sealed_len) in self.reader.spool.segments().map_err(not_spooled)? {
            by_recording.entry(name.recording).or_default().push((name, sealed_len));
        }
        for (recording, segments) in by_recording {
            let step = self.recover_recording(recording, segments, &mut recovered).await;
            recovered.count(recording, step);
        }
        self.abandon_empty().await?;
        self.stats.recovered.fetch_add(recovered.salvaged, Relaxed);
        Ok(recovered)
    }

    /// [`Ingest::recover`], then sends what is spooled.
    pub async fn forward(&self) -> Result<Recovered> {
        let mut recovered = self.recover().await?;
        let mut refusals = 0;
        for (name, sealed_len) in self.reader.spool.segments().map_err(not_spooled)? {
            if refusals == REFUSALS_MAX {
                break;
            }
            let step = self.forward_segment(name, sealed_len).await;
            refusals = if step.is_err() { refusals + 1 } else { 0 };
            recovered.count(name.recording, step);
        }
        recovered.left = self.reader.spool.segments().map_err(not_spooled)?.len() as u64;
        Ok(recovered)
    }

    /// A recording has one segment while it is received; a second while it is continued, or while a dead one is sealed again.
    /// All hold the same bytes from the beginning, so the longest is the one to keep.
    async fn recover_recording(
        &self,
        recording: RecordingId,
        mut segments: Vec<(SegmentName, u64)>,
        recovered: &mut Recovered,
    ) -> Result<Step> {
        let Some(_slot) = self.claim(recording) else { return Ok(Step::Kept) };
        let row = self.catalog.recording(None, recording).await.map_err(not_committed)?;
        let row = row.filter(|row| !row.state.is_gone());
        let mut kept = None;
        if let Some(row) = row {
            if row.state == State::Spooled {
                segments.retain(|(name, _)| name.object != row.object);
            }
            kept = self.salvage(row, &segments).await?;
        }
        for (name, _) in segments.iter().filter(|(name, _)| Some(name.object) != kept) {
            self.reader.spool.remove(*name).map_err(not_spooled)?;
            recovered.removed += 1;
        }
        Ok(if kept.is_some() { Step::Salvaged } else { Step::Kept })
    }

    /// Sends a spooled recording. The claim is taken for the row, not for the transfer: an outage must not turn the retry
    /// of what was acknowledged into a conflict.
    async fn forward_segment(&self, name: SegmentName, sealed_len: u64) -> Result<Step> {
        if !self.is_spooled(name).await? {
            return Ok(Step::Kept);
        }
        let path = self.reader.spool.path(name);
        self.reader.store.put(Parcel { object: name.object, path: &path, sealed_len }).await.map_err(not_stored)?;
        let Some(_slot) = self.claim(name.recording) else { return Ok(Step::Kept) };
        match self.catalog.stored(name.recording, name.object, self.clock.now()).await {
            Ok(()) => {}
            // It was ended, or has grown into another object, while it was on its way.
            Err(CatalogError::WrongState) => return Ok(Step::Kept),
            Err(error) => return Err(not_committed(error)),
        }
        self.reader.spool.remove(name).map_err(not_spooled)?;
        Ok(Step::Forwarded)
    }

    async fn is_spooled(&self, name: SegmentName) -> Result<bool> {
        let row = self.catalog.recording(None, name.recording).await.map_err(not_committed)?;
        Ok(row.is_some_and(|row| row.state == State::Spooled && row.object == name.object))
    }

    /// `None`: an upload is at work on the recording.
    fn claim(&self, recording: RecordingId) -> Option<Slot> {
        let mut slot = self.live.enter(usize::MAX)?;
        slot.hold(recording).then_some(slot)
    }

    /// Keeps what a dead writer left, if it is more than the row has already, and gives the object that it became. `None`:
    /// there was nothing to keep.
    async fn salvage(&self, row: Recording, segments: &[(SegmentName, u64)]) -> Result<Option<ObjectId>> {
        if segments.is_empty() {
            return Ok(None);
        }
        let data_key = match self.reader.any_data_key(&row) {
            Ok(data_key) => data_key,
            // Its term ended while it lay here: nothing can open it, and the next run sees to its row. A clock that ran
            // ahead says the same of the ring in memory: the catalog must say it too before a byte is removed.
            Err(ReadError::Gone) => {
                let mark = self.catalog.ring_mark().await.map_err(not_committed)?;
                let is_dead = row.wraps.iter().all(|wrap| wrap.sealed.is_none() || mark.is_dying(&wrap.path));
                return if is_dead { Ok(None) } else { Err(not_read(ReadError::Gone)) };
            }
            Err(error) => return Err(not_read(error)),
        };
        let found = segments.iter().map(|(name, len)| self.examine(&row, &data_key, *name, *len));
        let found = found.collect::<Result<Vec<_>>>()?;
        let longest = found.into_iter().max_by_key(|found| (found.plain_len, found.closed.is_some()));
        let Some(found) = longest.filter(|found| found.plain_len > row.plain_len.unwrap_or(0)) else {
            if row.state == State::Receiving {
                self.abandon_row(row.id).await?;
            }
            return Ok(None);
        };
        let mut target = Target { row, data_key, object: found.name.object };
        let object = match found.closed {
            Some(object) => {
                self.reader.spool.sync(found.name).await.map_err(not_spooled)?;
                object
            }
            None => {
                target.object = ObjectId(random());
                self.seal_again(&target, &found).await?
            }
        };
        // Durability: the name of the segment on which the row is about to rest.
        self.reader.spool.sync_names().await.map_err(not_spooled)?;
        self.commit(&target, State::Spooled, Completeness::Partial, object).await?;
        tracing::info!(recording.id = %target.row.id, size_bytes = object.plain_len,
            "what a crash interrupted was kept as a partial recording");
        Ok(Some(target.object))
    }

    /// How much of a segment is sound: all of it where it was closed, else its whole chunks from the beginning.
    fn examine(&self, row: &Recording, data_key: &DataKey, name: SegmentName, sealed_len: u64) -> Result<Found> {
        let nothing = Found { name, plain_len: 0, closed: None, opener: None };
        if sealed_len < HEADER_LEN as u64 {
            return Ok(nothing);
        }
        let header = self.reader.spool.read(name, 0, HEADER_LEN).map_err(not_spooled)?;
        let full = full_chunks(sealed_len);
        // The whole chunks, read as an object that ends right behind them.
        let pretended_len = (HEADER_LEN + TAG_LEN) as u64 + full * SEALED_CHUNK_LEN as u64;
        let Ok(opener) = Opener::new(data_key, row.tenant, row.id, &header, pretended_len) else { return Ok(nothing) };
        let mut digest = DigestOfTags::new();
        digest.update(&header);
        let mut sound = 0;
        while sound < full {
            let mut chunk = self.read_chunk(name, sound, SEALED_CHUNK_LEN)?;
            let tag: [u8; TAG_LEN] = chunk[chunk.len() - TAG_LEN..].try_into().expect("a chunk ends with a tag");
            if opener.open_chunk(sound, &mut chunk).is_err() {
                break;
            }
            digest.update(&tag);
            sound += 1;
        }
        let plain_len = opener.geometry().chunk_start(sound);
        let last_len = sealed_len - (pretended_len - TAG_LEN as u64);
        if sound == full
            && last_len >= TAG_LEN as u64
            && let Ok(whole) = Opener::new(data_key, row.tenant, row.id, &header, sealed_len)
        {
            let mut last = self.read_chunk(name, full, last_len as usize)?;
            let tag: [u8; TAG_LEN] = last[last.len() - TAG_LEN..].try_into().expect("the length was checked");
            if whole.open_chunk(full, &mut last).is_ok() {
                digest.update(&tag);
                let plain_len = whole.geometry().plain_len();
                let object = SealedObject { plain_len, sealed_len, digest: digest.finish() };
                return Ok(Found { name, plain_len, closed: Some(object), opener: None });
            }
        }
        Ok(Found { name, plain_len, closed: None, opener: Some(opener) })
    }

    async fn seal_again(&self, target: &Target, found: &Found) -> Result<SealedObject> {
        let opener = found.opener.as_ref().expect("a segment with whole chunks was opened");
        let mut intake =
            Intake::begin(&self.reader.spool, target, Default::default(), u64::MAX).map_err(not_spooled)?;
        for index in 0..opener.geometry().chunk_of(found.plain_len) {
            let mut chunk = self.read_chunk(found.name, index, SEALED_CHUNK_LEN)?;
            opener.open_chunk(index, &mut chunk).map_err(|error| {
                Error::new(Problem::Integrity, "a segment changed while it was read").because(error)
            })?;
            intake.copy(&chunk).map_err(not_spooled)?;
        }
        let (_, object) = intake.close().await.map_err(not_spooled)?;
        Ok(object)
    }

    fn read_chunk(&self, name: SegmentName, index: u64, len: usize) -> Result<BytesMut> {
        let start = HEADER_LEN as u64 + index * SEALED_CHUNK_LEN as u64;
        self.reader.spool.read(name, start, len).map_err(not_spooled)
    }

    /// Rows that were begun and never got a segment: the crash came before their first byte was accepted.
    async fn abandon_empty(&self) -> Result<()> {
        let mut after: Option<RecordingId> = None;
        loop {
            let rows = self.catalog.in_state(State::Receiving, after, PAGE).await.map_err(not_committed)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.id);
            for row in rows.iter().filter(|row| !self.live.is_held(row.id)) {
                self.abandon_if_empty(row).await?;
            }
        }
    }

    async fn abandon_if_empty(&self, row: &Recording) -> Result<()> {
        let Some(_slot) = self.claim(row.id) else { return Ok(()) };
        let name = SegmentName { recording: row.id, object: row.object };
        if self.reader.spool.len(name).map_err(not_spooled)?.is_some() {
            return Ok(());
        }
        self.abandon_row(row.id).await
    }

    async fn abandon_row(&self, id: RecordingId) -> Result<()> {
        match self.catalog.abandon(id).await {
            Ok(()) | Err(CatalogError::WrongState | CatalogError::NotFound) => Ok(()),
            Err(error) => Err(not_committed(error)),
        }
    }
}

enum Step {
    Salvaged,
    Forwarded,
    /// Nothing was to be done, or somebody else is at work on it.
    Kept,
}

impl Recovered {
    fn count(&mut self, recording: RecordingId, step: Result<Step>) {
        match step {
            Ok(Step::Salvaged) => self.salvaged += 1,
            Ok(Step::Forwarded) => self.forwarded += 1,
            Ok(Step::Kept) => {}
            Err(error) => {
                self.left += 1;
                tracing::warn!(recording.id = %recording, error = chain(&error),
                    "a segment stays in the spool and is tried again");
            }
        }
    }
}

/// What one segment holds.
struct Found {
    name: SegmentName,
    plain_len: u64,
    /// Where the segment was closed: it is an object.
    closed: Option<SealedObject>,
    opener: Option<Opener>,
}
