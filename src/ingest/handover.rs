//! From the spool to the object store: at once where it takes the object, later where it does not.
//!
//! # Promise
//! A sender waits for the store no longer than `store_patience` and a little for the object's length, and not at all while
//! the store is known to be down: his recording is durable in the spool before. It leaves the spool only after the store
//! has it and the catalog says so.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use tracing::Instrument;

use super::{Ingest, not_committed, not_spooled, not_stored};
use crate::catalog::{CatalogError, Recording};
use crate::model::error::chain;
use crate::model::{Error, ObjectId, RecordingId, Result, State};
use crate::reading::ReadError;
use crate::spool::SegmentName;
use crate::store::{Parcel, StoreError};

/// Rows that are looked at in one go.
const PAGE: u32 = 256;
/// Recordings that are sent on at once.
const SENT_AT_ONCE: usize = 8;
/// A slow store is given this much longer for each 4 MiB.
const PATIENCE_STEP_LEN: u64 = 4 << 20;

/// What is known of the store from what it did last.
#[derive(Clone, Default)]
pub struct Handover(Arc<Known>);

#[derive(Default)]
struct Known {
    is_down: AtomicBool,
    on_the_way: Mutex<HashSet<ObjectId>>,
}

/// One object that is being sent; nobody else sends it meanwhile.
struct OnTheWay {
    handover: Handover,
    object: ObjectId,
}

/// What one round of sending came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    pub sent: u64,
    pub refused: u64,
}

impl Handover {
    pub fn is_down(&self) -> bool {
        self.0.is_down.load(Relaxed)
    }

    /// A start found it so: nobody is made to wait for it until it has taken something.
    pub fn is_down_at_start(&self, error: &StoreError) {
        self.learn(Err(error));
    }

    fn set_off(&self, object: ObjectId) -> Option<OnTheWay> {
        let is_first = self.0.on_the_way.lock().expect("no holder of this lock panics").insert(object);
        is_first.then(|| OnTheWay { handover: self.clone(), object })
    }

    fn learn(&self, result: std::result::Result<(), &StoreError>) {
        if self.0.is_down.swap(result.is_err(), Relaxed) != result.is_err() {
            match result {
                Ok(()) => tracing::info!("the object store takes recordings again"),
                Err(error) => tracing::error!(
                    error = chain(error),
                    "the object store takes no recordings; they wait in the spool"
                ),
            }
        }
    }
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.handover.0.on_the_way.lock().expect("no holder of this lock panics").remove(&self.object);
    }
}

impl Ingest {
    /// Where a closed segment's object is durable after this.
    pub(super) async fn hand_on(&self, name: SegmentName, sealed_len: u64) -> Result<State> {
        if !self.handover.is_down()
            && let Some(on_the_way) = self.handover.set_off(name.object)
        {
            let ingest = self.clone();
            let sending = async move {
                let sent = ingest.send(name, sealed_len).await;
                drop(on_the_way);
                sent
            };
            let sending = tokio::spawn(sending.in_current_span());
            let patience = self.limits.store_patience + Duration::from_secs(sealed_len / PATIENCE_STEP_LEN);
            match tokio::time::timeout(patience, sending).await {
                Ok(Ok(Ok(()))) => return Ok(State::Stored),
                Ok(Ok(Err(error))) => {
                    tracing::warn!(recording.id = %name.recording, error = chain(&error),
                        "the object store did not take a recording; it stays in the spool and is sent again");
                }
                Ok(Err(panic)) => return Err(not_stored(StoreError::Unavailable(panic.into()))),
                // It goes on, and the next round finds out what became of it; until then nobody else waits for it.
                Err(_) => {
                    self.handover.0.is_down.store(true, Relaxed);
                    tracing::warn!(recording.id = %name.recording,
                        "the object store is slow; the recording stays in the spool");
                }
            }
        }
        self.reader.spool.sync_names().await.map_err(not_spooled)?;
        // What is promised now rests on the segment alone.
        if self.reader.spool.len(name).map_err(not_spooled)? != Some(sealed_len) {
            return Err(not_stored(StoreError::Missing));
        }
        Ok(State::Spooled)
    }

    async fn send(&self, name: SegmentName, sealed_len: u64) -> std::result::Result<(), StoreError> {
        let path = self.reader.spool.path(name);
        let sent = self.reader.store.put(Parcel { object: name.object, path: &path, sealed_len }).await;
        self.handover.learn(sent.as_ref().copied());
        sent
    }

    /// Sends what is spooled to the store, the oldest first. It stops where the store refuses.
    pub async fn forward(&self) -> Result<Forwarded> {
        let mut forwarded = Forwarded::default();
        let mut after: Option<RecordingId> = None;
        loop {
            let rows =
                self.catalog.in_state(State::Spooled, Some(&self.replica), after, PAGE).await.map_err(not_committed)?;
            let Some(last) = rows.last() else { return Ok(forwarded) };
            after = Some(last.id);
            let mut sending = futures::stream::iter(rows)
                .map(|row| async move { (row.id, self.forward_row(&row).await) })
                .buffer_unordered(SENT_AT_ONCE);
            while let Some((id, sent)) = sending.next().await {
                match sent {
                    Ok(was_sent) => forwarded.sent += u64::from(was_sent),
                    Err(error) => {
                        forwarded.refused += 1;
                        tracing::warn!(recording.id = %id, error = chain(&error),
                            "a recording stays in the spool and is sent again");
                    }
                }
                if self.handover.is_down() {
                    return Ok(forwarded);
                }
            }
        }
    }

    /// Sends a spooled recording. The claim is taken for the row, not for the transfer: an outage must not turn the retry
    /// of what was acknowledged into a conflict. `false`: somebody else is at work on it.
    async fn forward_row(&self, row: &Recording) -> Result<bool> {
        let name = SegmentName::whole(row.id, row.object);
        let Some(_on_the_way) = self.handover.set_off(row.object) else { return Ok(false) };
        match self.reader.spool.len(name).map_err(not_spooled)? {
            Some(sealed_len) => self.send(name, sealed_len).await.map_err(not_stored)?,
            // An earlier round sent it and was stopped before it could say so; or it is lost, which a person must see.
            None => self.must_be_stored(row).await?,
        }
        let Some(_claim) = self.live.claim(row.id) else { return Ok(false) };
        match self.catalog.stored(row.id, row.object, self.clock.now()).await {
            Ok(()) => {}
            // It was ended, or has grown into another object, while it was on its way.
            Err(CatalogError::WrongState) => {
                self.reader.spool.remove(name).map_err(not_spooled)?;
                return Ok(false);
            }
            Err(error) => return Err(not_committed(error)),
        }
        self.reader.spool.remove(name).map_err(not_spooled)?;
        Ok(true)
    }

    async fn must_be_stored(&self, row: &Recording) -> Result<()> {
        let sealed_len = row.sealed_len.unwrap_or(0);
        match self.reader.store.object(row.object, sealed_len).read(0..crate::crypto::header::HEADER_LEN as u64).await {
            Ok(_) => Ok(()),
            Err(error @ (StoreError::Missing | StoreError::WrongLength(_))) => {
                let error = ReadError::Integrity(format!("neither the spool nor the store has the object: {error}"));
                self.stats.integrity_events.fetch_add(1, Relaxed);
                tracing::error!(event = "integrity", recording.id = %row.id, %error, "a spooled recording is missing");
                Err(Error::new(crate::model::Problem::Integrity, "a spooled recording is missing").because(error))
            }
            Err(error) => Err(not_stored(error)),
        }
    }
}
