//! After a crash: everything that is left in the spool is finished, kept for its sender, or removed.
//!
//! # Promise
//! [`Ingest::take_over`] knows of every byte that a dead process left before the first request is served. A plain upload
//! that was cut becomes a partial recording, at the latest when somebody asks for it; a resumable one waits for its sender
//! until its window ends. It needs the local disk and the catalog alone: a store that is down delays no start.
//! # Invariants
//! A segment whose writer died is not continued: the chunk that was being written may have been sealed under its index
//! already. Its whole chunks are sealed again into a new segment, under a new salt. The catalog learns of the new segment
//! when it is whole: until then the old one is what counts, and a crash in between is as if nothing had been done.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;

use super::digest::ExpectedDigests;
use super::intake::{Closed, Intake};
use super::remains::Remains;
use super::{Ingest, Target, not_committed, not_spooled};
use crate::catalog::{CatalogError, Recording};
use crate::crypto::random::random;
use crate::model::error::chain;
use crate::model::trail::Who;
use crate::model::{Completeness, ObjectId, RecordingId, ReplicaName, Result, State, Timestamp};
use crate::reading::ReadError;
use crate::spool::{Leftover, SegmentName};

/// What recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Became partial recordings.
    pub salvaged: u64,
    /// Were not needed.
    pub removed: u64,
    /// Wait for their sender, or could not be recovered yet.
    pub left: u64,
}

const PAGE: u32 = 1_000;
/// Recordings that are recovered at once.
const RECOVERED_AT_ONCE: usize = 4;

/// What is in the spool that no upload of this process is at work on.
#[derive(Clone, Default)]
pub struct Leftovers(Arc<Mutex<BTreeMap<RecordingId, Entry>>>);

#[derive(Clone)]
struct Entry {
    leftover: Leftover,
    /// A resumable upload waits for its sender until then.
    waits_until: Option<Timestamp>,
}

impl Leftovers {
    pub(super) fn put(&self, recording: RecordingId, leftover: Leftover) {
        self.lock().insert(recording, Entry { leftover, waits_until: None });
    }

    pub(super) fn of(&self, recording: RecordingId) -> Option<Leftover> {
        self.lock().get(&recording).map(|entry| entry.leftover.clone())
    }

    pub(super) fn forget(&self, recording: RecordingId) {
        self.lock().remove(&recording);
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn wait_until(&self, recording: RecordingId, until: Timestamp) {
        if let Some(entry) = self.lock().get_mut(&recording) {
            entry.waits_until = Some(until);
        }
    }

    /// Those that need not wait any longer at `now`.
    fn due(&self, now: Timestamp) -> Vec<RecordingId> {
        let entries = self.lock();
        let due = entries.iter().filter(|(_, entry)| entry.waits_until.is_none_or(|until| until <= now));
        due.map(|(recording, _)| *recording).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RecordingId, Entry>> {
        self.0.lock().expect("no holder of the leftovers' lock panics")
    }
}

impl Ingest {
    /// Reads what a dead process left. Once, by the server that has the spool to itself, before it serves.
    pub fn take_over(&self) -> Result<usize> {
        for (recording, leftover) in self.reader.spool.leftovers().map_err(not_spooled)? {
            self.leftovers.put(recording, leftover);
        }
        Ok(self.leftovers.count())
    }

    /// Goes through what is left for at most `patience`. One that fails does not stop the others.
    pub async fn recover(&self, patience: Duration) -> Result<Recovered> {
        let started = Instant::now();
        let mut recovered = Recovered::default();
        let due = self.leftovers.due(self.clock.now());
        let mut steps = futures::stream::iter(due)
            .take_while(|_| futures::future::ready(started.elapsed() < patience))
            .map(|recording| async move { (recording, self.recover_recording(recording).await) })
            .buffer_unordered(RECOVERED_AT_ONCE);
        while let Some((recording, step)) = steps.next().await {
            recovered.count(recording, step);
        }
        recovered.left = self.leftovers.count() as u64;
        self.stats.recovered.fetch_add(recovered.salvaged, Relaxed);
        Ok(recovered)
    }

    /// Makes what is left of one recording part of it, or removes it.
    pub(super) async fn recover_recording(&self, recording: RecordingId) -> Result<Step> {
        let Some(_claim) = self.live.claim(recording) else { return Ok(Step::Kept) };
        let Some(leftover) = self.leftovers.of(recording) else { return Ok(Step::Kept) };
        let row = self.catalog.recording(None, recording).await.map_err(not_committed)?;
        let row = row.filter(|row| !row.state.is_gone());
        if let Some(row) = &row
            && let Some(holder) = self.held_elsewhere(row).await?
        {
            tracing::error!(recording.id = %recording, holder = %holder,
                "this spool is another server's: give this server that one's name (replica.name)");
            return Ok(Step::Kept);
        }
        if let Some(row) = &row
            && let Some(resume) = row.resume.filter(|resume| resume.until > self.clock.now())
            && row.state == State::Receiving
        {
            self.leftovers.wait_until(recording, resume.until);
            return Ok(Step::Kept);
        }
        let mut kept = None;
        if let Some(row) = row {
            if row.state == State::Spooled && leftover.segments.iter().all(|(name, _)| name.object == row.object) {
                self.let_go(recording, &leftover, Some(row.object))?;
                return Ok(Step::Kept);
            }
            let own = (row.state == State::Spooled).then_some(row.object);
            kept = self.salvage(row, &leftover).await?.or(own);
        }
        let removed = leftover.segments.iter().filter(|(name, _)| Some(name.object) != kept).count();
        self.let_go(recording, &leftover, kept)?;
        Ok(Step::Done { salvaged: u64::from(kept.is_some()), removed: removed as u64 })
    }

    /// Forgets a leftover; its segments go, but for the object on which the row rests.
    pub(super) fn let_go(&self, recording: RecordingId, leftover: &Leftover, kept: Option<ObjectId>) -> Result<()> {
        for (name, _) in leftover.segments.iter().filter(|(name, _)| Some(name.object) != kept) {
            self.reader.spool.remove(*name).map_err(not_spooled)?;
        }
        self.reader.spool.log().release(leftover.frames.iter().map(|(_, at)| *at));
        self.leftovers.forget(recording);
        Ok(())
    }

    /// Keeps what a dead writer left, if it is more than the row has already, and gives the object that it became. `None`:
    /// there was nothing to keep.
    async fn salvage(&self, row: Recording, leftover: &Leftover) -> Result<Option<ObjectId>> {
        let data_key = match self.reader.any_data_key(&row) {
            Ok(data_key) => data_key,
            // Its term ended while it lay here: nothing can open it, and the next run sees to its row. A clock that ran
            // ahead says the same of the ring in memory: the catalog must say it too before a byte is removed.
            Err(ReadError::Gone) => {
                let mark = self.catalog.ring_mark().await.map_err(not_committed)?;
                let is_dead = row.wraps.iter().all(|wrap| wrap.sealed.is_none() || mark.is_dying(&wrap.path));
                return if is_dead { Ok(None) } else { Err(self.not_read(ReadError::Gone)) };
            }
            Err(error) => return Err(self.not_read(error)),
        };
        let remains = Remains::examine(&self.reader.spool, &row, &data_key, leftover)?;
        if remains.plain_len() <= row.plain_len.unwrap_or(0) {
            if row.state == State::Receiving {
                self.abandon_row(row.id).await?;
            }
            return Ok(None);
        }
        let closed = match remains.closed() {
            Some((name, object)) => {
                self.reader.spool.sync(name).await.map_err(not_spooled)?;
                let target = Target { row, data_key, object: name.object, by: Arc::new(Who::SYSTEM) };
                Closed { target, object, obsolete: Default::default() }
            }
            None => self.seal_again(row, data_key, remains).await?,
        };
        // Durability: the name of the segment on which the row is about to rest.
        self.reader.spool.sync_names().await.map_err(not_spooled)?;
        let label = self.described(&closed).await;
        self.commit(&closed.target, State::Spooled, Completeness::Partial, closed.object, label).await?;
        tracing::info!(recording.id = %closed.target.row.id, size_bytes = closed.object.plain_len,
            "what a crash interrupted was kept as a partial recording");
        Ok(Some(closed.target.object))
    }

    async fn seal_again(
        &self,
        row: Recording,
        data_key: crate::crypto::keys::DataKey,
        remains: Remains,
    ) -> Result<Closed> {
        let spool = &self.reader.spool;
        let target = Target { row, data_key, object: ObjectId(random()), by: Arc::new(Who::SYSTEM) };
        let name = target.segment();
        let sealed = async {
            let mut intake = Intake::begin(spool, target, ExpectedDigests::default(), u64::MAX)?;
            let (segments, tail) = remains.into_parts();
            for segment in &segments {
                intake.copy_chunks(spool, segment).await?;
            }
            intake.copy(&tail)?;
            intake.close().await.map_err(|unclosed| unclosed.error)
        };
        match sealed.await {
            Ok(closed) => Ok(closed),
            Err(error) => {
                spool.remove(name).map_err(not_spooled)?;
                Err(not_spooled(error))
            }
        }
    }

    /// Rows that were begun and never got a segment: the crash came before their first byte was accepted.
    pub async fn abandon_empty(&self) -> Result<()> {
        let mut after: Option<RecordingId> = None;
        loop {
            let rows = self
                .catalog
                .in_state(State::Receiving, Some(&self.replica), after, PAGE)
                .await
                .map_err(not_committed)?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some(last.id);
            for row in &rows {
                self.abandon_if_empty(row).await?;
            }
        }
    }

    async fn abandon_if_empty(&self, row: &Recording) -> Result<()> {
        let waits = row.resume.is_some_and(|resume| resume.until > self.clock.now());
        if waits || self.leftovers.of(row.id).is_some() || self.live.is_claimed(row.id) {
            return Ok(());
        }
        let Some(_claim) = self.live.claim(row.id) else { return Ok(()) };
        let name = SegmentName::whole(row.id, row.object);
        if self.reader.spool.len(name).map_err(not_spooled)?.is_some() {
            return Ok(());
        }
        self.abandon_row(row.id).await
    }

    /// Who else holds it; what nobody holds, and can grow, is this server's from here on.
    pub(super) async fn held_elsewhere(&self, row: &Recording) -> Result<Option<ReplicaName>> {
        let holder = match &row.holder {
            Some(holder) => holder.clone(),
            None if row.completeness != Completeness::Partial => return Ok(None),
            None => match self.catalog.entrust(row.id, &self.replica).await {
                Ok(holder) => holder,
                // It is complete by now, or gone.
                Err(CatalogError::WrongState | CatalogError::NotFound) => return Ok(None),
                Err(error) => return Err(not_committed(error)),
            },
        };
        Ok(Some(holder).filter(|holder| *holder != self.replica))
    }

    /// Before the process ends: where nothing more of it lies in the spool, what the store has may grow at any server.
    pub async fn part(&self) -> Result<()> {
        if self.leftovers.count() == 0 && self.open.count() == 0 {
            self.catalog.release(&self.replica).await.map_err(not_committed)?;
        }
        Ok(())
    }

    pub(super) async fn abandon_row(&self, id: RecordingId) -> Result<()> {
        match self.catalog.abandon(id).await {
            Ok(()) | Err(CatalogError::WrongState | CatalogError::NotFound) => Ok(()),
            Err(error) => Err(not_committed(error)),
        }
    }
}

pub(super) enum Step {
    Done {
        salvaged: u64,
        removed: u64,
    },
    /// Nothing was to be done, or somebody else is at work on it.
    Kept,
}

impl Recovered {
    fn count(&mut self, recording: RecordingId, step: Result<Step>) {
        match step {
            Ok(Step::Done { salvaged, removed }) => {
                self.salvaged += salvaged;
                self.removed += removed;
            }
            Ok(Step::Kept) => {}
            Err(error) => tracing::warn!(recording.id = %recording, error = chain(&error),
                "what is left of a recording stays in the spool and is tried again"),
        }
    }
}
