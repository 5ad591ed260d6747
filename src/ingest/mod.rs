//! Ingest: an upload becomes a sealed object and a catalog row.
//!
//! HTTP body -> chunker -> sealer -> spool -> object store -> catalog commit (the row that makes it exist is written last)
//!
//! # Promise
//! `Ok` means durable and playable; [`Received::recording`] says whether in the store (`stored`) or still in the spool
//! (`spooled`). After an error nothing is playable as complete: what arrived is kept as a partial recording where the body
//! broke off, and nothing is kept where the request was wrong. After a crash, [`Ingest::recover`] finishes or removes the
//! rest.
//! # Invariants
//! Plaintext lives only in the chunk being filled. The key is wrapped into the catalog before the first byte is accepted.
//! What was received under a name is never replaced: it may only grow.
//! # Cancel safety
//! The future must be run to its end: `http` spawns it, so that a sender who hangs up does not take his recording with him.
//! Dropped all the same, it leaves a segment that the next recovery finishes.

mod again;
mod begin;
mod describe;
pub mod digest;
mod handover;
mod intake;
mod recover;
mod remains;
pub mod resumable;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use tracing::Instrument;

use crate::audit::Trail;
use crate::catalog::{CatalogError, Finished, Recording, SharedCatalog, Tenant};
use crate::crypto::keys::{DataKey, KekScope};
use crate::crypto::random::random;
use crate::crypto::stream::SealedObject;
use crate::crypto::wrap::Binding;
use crate::keyring::KeyringError;
use crate::model::error::chain;
use crate::model::range::UploadRange;
use crate::model::trail::{Action, Entry, Who};
use crate::model::{
    CallData, Class, Clock, Completeness, Error, ObjectId, Problem, RecordingId, ReplicaName, Result, State,
};
use crate::reading::live::{Claim, Live, Place};
use crate::reading::{ReadError, Reader};
use crate::spans;
use crate::spool::{Leftover, SegmentName, SpoolError};
use crate::store::StoreError;
use crate::timing::Timing;

use digest::ExpectedDigests;
pub use handover::{Forwarded, Handover};
use intake::{End, Intake, Obsolete};
pub use recover::{Leftovers, Recovered};
use resumable::OpenUploads;

/// Limits of uploads, each a setting.
#[derive(Clone, Copy, Debug)]
pub struct UploadLimits {
    /// Bytes of one recording.
    pub bytes_max: u64,
    /// Uploads at once.
    pub count_max: usize,
    /// Resumable uploads that are open at once.
    pub open_max: usize,
    /// How long a resumable upload waits for its sender.
    pub resume_window: Duration,
    /// How long a sender waits for the object store.
    pub store_patience: Duration,
}

/// One upload as the sender described it, checked.
pub struct Upload {
    pub tenant: Tenant,
    /// Who sends it, for the audit trail.
    pub by: Arc<Who>,
    /// The sender's name for it: the key under which a retry is recognised.
    pub name: Option<String>,
    /// At least one, each once.
    pub classes: Vec<Class>,
    pub media_type: String,
    pub call: CallData,
    /// `Content-Length`, where there was one.
    pub declared_len: Option<u64>,
    pub range: Option<UploadRange>,
    pub digests: ExpectedDigests,
}

/// Why a body ended before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyBreak {
    /// The connection broke or the framing did.
    Cut,
    /// Nothing came for the idle limit.
    Stalled,
    /// It came more slowly than a body of a told length may.
    Slow,
    /// A newer request goes on with the upload.
    Superseded,
    /// The server stops.
    Stopped,
}

impl BodyBreak {
    pub fn problem(self) -> Problem {
        match self {
            BodyBreak::Cut => Problem::BadRequest,
            BodyBreak::Stalled | BodyBreak::Slow => Problem::TooSlow,
            BodyBreak::Superseded => Problem::Superseded,
            BodyBreak::Stopped => Problem::Draining,
        }
    }
}

/// A body: frames of plaintext, then its end or its break.
pub trait Body: Stream<Item = std::result::Result<Bytes, BodyBreak>> + Unpin + Send {}
impl<S: Stream<Item = std::result::Result<Bytes, BodyBreak>> + Unpin + Send> Body for S {}

/// What became of an upload.
#[derive(Debug)]
pub struct Received {
    pub recording: Recording,
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is a recording of its own.
    Created,
    /// The same bytes were here already, or the missing end of a partial recording was added.
    Known,
}

/// Counts since the start, for metrics.
#[derive(Default)]
pub struct IngestStats {
    pub received_bytes: AtomicU64,
    pub complete: AtomicU64,
    pub partial: AtomicU64,
    pub recovered: AtomicU64,
    /// From a body's last byte to the moment from which its recording is durable and on record.
    pub acknowledgement: Timing,
    pub integrity_events: AtomicU64,
}

/// The verb.
#[derive(Clone)]
pub struct Ingest {
    /// This server: what it receives is in its spool, and nobody else's.
    pub replica: ReplicaName,
    pub catalog: SharedCatalog,
    pub trail: Trail,
    pub reader: Reader,
    pub clock: Arc<dyn Clock>,
    pub limits: UploadLimits,
    pub live: Live,
    pub leftovers: Leftovers,
    pub handover: Handover,
    pub open: OpenUploads,
    pub stats: Arc<IngestStats>,
}

/// A recording whose bytes are on their way into a new object.
struct Target {
    row: Recording,
    data_key: DataKey,
    object: ObjectId,
    /// Who sends what is in it; [`Who::SYSTEM`] for what is recovered.
    by: Arc<Who>,
}

/// A row that tells of what was received, and whether the trail does. Nothing is acknowledged without both; what is in the
/// row stays, and its sender is told to ask again.
struct Committed {
    recording: Recording,
    noted: Result<()>,
}

impl Target {
    fn segment(&self) -> SegmentName {
        SegmentName::whole(self.row.id, self.object)
    }
}

/// How an upload goes on when everything before its body is done.
enum Opening {
    New(Box<New>),
    Known(Box<Upload>, Box<Recording>, Place),
}

/// What a new upload needs while its body lasts.
struct New {
    intake: Intake,
    claim: Claim,
    range: Option<UploadRange>,
    _place: Place,
}

impl Ingest {
    /// Asked before the body is polled: a sender that waits for `100 Continue` never sends audio that is refused.
    pub fn admit(&self, upload: &Upload) -> Result<()> {
        let enabled = upload.tenant.recording || !upload.classes.contains(&Class::Customer);
        if !enabled {
            return Err(Error::new(
                Problem::RecordingNotEnabled,
                "this tenant has not switched customer recording on; nothing was kept",
            ));
        }
        let whole_len = upload.range.and_then(|range| range.total).or(upload.declared_len);
        if whole_len.is_some_and(|len| len > self.limits.bytes_max) {
            return Err(self.too_large());
        }
        if upload.declared_len == Some(0) {
            return Err(empty_body());
        }
        self.reader.spool.has_room(upload.declared_len.unwrap_or(intake::BATCH_LEN as u64)).map_err(not_spooled)
    }

    /// Receives one upload to its end.
    ///
    /// Ten thousand calls that go on are ten thousand of these futures: what comes before the body and after it is in boxes
    /// of its own, and only what the body needs is kept while it lasts.
    pub async fn receive(&self, upload: Box<Upload>, body: impl Body) -> Result<Received> {
        match Box::pin(self.prepare(upload)).await? {
            Opening::New(mut new) => {
                let end = new.intake.pump(body, &new.claim).await;
                Box::pin(self.settle(new, end)).await
            }
            Opening::Known(upload, known, place) => Box::pin(self.receive_again(*upload, *known, body, place)).await,
        }
    }

    /// Everything before the first byte of a body.
    async fn prepare(&self, upload: Box<Upload>) -> Result<Opening> {
        self.admit(&upload)?;
        let place = self.enter()?;
        match self.known(&upload).await? {
            Some(known) => {
                spans::note_recording(known.id);
                Ok(Opening::Known(upload, Box::new(known), place))
            }
            None if upload.range.is_some_and(|range| range.first > 0) => {
                let detail = "nothing has been received under this name; begin at offset 0";
                Err(Error::new(Problem::OffsetMismatch, detail).at_offset(0))
            }
            None => self.open_new(*upload, place).await,
        }
    }

    fn enter(&self) -> Result<Place> {
        let full = || Error::new(Problem::Busy, "the limit of uploads at once (upload.count_max) is reached");
        self.live.enter(self.limits.count_max).ok_or_else(full)
    }

    async fn open_new(&self, upload: Upload, place: Place) -> Result<Opening> {
        let reservation = upload.declared_len.map(|len| self.reader.spool.reserve(len)).transpose();
        let reservation = reservation.map_err(not_spooled)?;
        // Claimed before the row exists, so that no recovery takes a row without a segment for a leftover.
        let claim = self.claim_new();
        let target = self.begin(&upload, claim.recording(), None).await?;
        let range = upload.range;
        let mut intake = self.begin_intake(target, upload.digests).await?;
        intake.reserve(reservation);
        Ok(Opening::New(Box::new(New { intake, claim, range, _place: place })))
    }

    /// Everything behind the last byte of a body.
    async fn settle(&self, new: Box<New>, end: End) -> Result<Received> {
        let New { mut intake, claim: _claim, range, _place } = *new;
        let expected = range.map(|range| range.len());
        self.stats.received_bytes.fetch_add(intake.plain_len(), Relaxed);
        let refusal = match (&end, intake.plain_len()) {
            (End::Broken(BodyBreak::Stalled), 0) => Some(nothing_came()),
            (End::Broken(BodyBreak::Stopped), 0) => Some(stopped_at_once()),
            (End::Body | End::Broken(_), 0) => Some(empty_body()),
            (End::TooLarge, _) => Some(self.too_large()),
            (End::Body, len) if expected.is_some_and(|expected| expected != len) => Some(wrong_length()),
            (End::Body, _) => intake.check_digests().err(),
            (End::Spool(_), 0) => {
                Some(Error::new(Problem::SpoolFull, "the spool takes nothing at the moment; nothing was kept"))
            }
            (End::Broken(_) | End::Spool(_), _) => None,
        };
        if let Some(refusal) = refusal {
            self.discard(intake).await?;
            return Err(refusal);
        }
        let is_last = range.is_none_or(|range| range.is_final());
        let completeness = if is_last && end == End::Body { Completeness::Complete } else { Completeness::Partial };
        let recording = self.conclude(intake, completeness).await?;
        match end {
            End::Body => Ok(Received { recording, outcome: Outcome::Created }),
            end => Err(broken(end, recording.plain_len.unwrap_or(0))),
        }
    }

    fn claim_new(&self) -> Claim {
        let id = RecordingId::new(self.clock.now(), random());
        self.live.claim(id).expect("nobody else has an id that was drawn just now")
    }

    /// Opens the way into the spool; takes the row back where there is none.
    async fn begin_intake(&self, target: Target, digests: ExpectedDigests) -> Result<Intake> {
        let id = target.row.id;
        let is_new = target.row.state == State::Receiving;
        match Intake::begin(&self.reader.spool, target, digests, self.limits.bytes_max) {
            Ok(intake) => Ok(intake),
            Err(error) => {
                if is_new {
                    self.abandon_row(id).await?;
                }
                Err(not_spooled(error))
            }
        }
    }

    /// Closes the segment, hands the object on, and commits the row: in this order, so that a row never tells of bytes that
    /// are not there. A store that is down is not the sender's concern: the recording is durable in the spool. What fails
    /// on the way is left to recovery.
    async fn conclude(&self, intake: Intake, completeness: Completeness) -> Result<Recording> {
        let begun = Instant::now();
        let id = intake.target().row.id;
        let closed = intake.close().instrument(spans::part("spool close")).await.map_err(|unclosed| {
            self.leftovers.put(id, unclosed.leftover);
            not_spooled(unclosed.error)
        })?;
        let name = closed.target.segment();
        let concluded = async {
            let state = self.hand_on(name, closed.object.sealed_len).await?;
            let label = self.described(&closed).await;
            self.commit(&closed.target, state, completeness, closed.object, label).await
        };
        let concluded = concluded.await;
        match &concluded {
            Ok(_) => self.forget(closed.obsolete),
            // The row is gone, and what was to be removed is.
            Err(error) if error.problem == Problem::Deleted => self.forget(closed.obsolete),
            Err(_) => {
                self.reader.spool.log().release(closed.obsolete.frames);
                let obsolete = closed.obsolete.segments.iter().map(|name| (*name, 0));
                let segments = obsolete.chain([(name, closed.object.sealed_len)]).collect();
                self.leftovers.put(id, Leftover { segments, frames: Vec::new() });
            }
        }
        let Committed { recording, noted } = concluded?;
        let count = match completeness {
            Completeness::Complete => &self.stats.complete,
            _ => &self.stats.partial,
        };
        count.fetch_add(1, Relaxed);
        self.stats.acknowledgement.note(begun.elapsed());
        noted?;
        Ok(recording)
    }

    /// What an object was made of is not needed any more.
    fn forget(&self, obsolete: Obsolete) {
        self.reader.spool.log().release(obsolete.frames);
        for name in obsolete.segments {
            if let Err(error) = self.reader.spool.remove(name) {
                tracing::warn!(error = chain(&error), "a segment that is not needed stays in the spool");
            }
        }
    }

    async fn commit(
        &self,
        target: &Target,
        state: State,
        completeness: Completeness,
        object: SealedObject,
        label: Option<Vec<u8>>,
    ) -> Result<Committed> {
        let wraps = self.wrap_again(target, completeness, object.plain_len)?;
        let finished = Finished {
            id: target.row.id,
            state,
            completeness,
            plain_len: object.plain_len,
            object: target.object,
            sealed_len: object.sealed_len,
            digest: object.digest,
            label,
            wraps,
            changed_at: self.clock.now(),
            holder: self.replica.clone(),
        };
        let entry = self.received_entry(target, completeness, object.plain_len);
        let noting = async { self.trail.append(target.row.tenant, entry).await.map(|_| ()) };
        let finishing = self.catalog.finish(finished.clone()).instrument(spans::part("catalog finish"));
        let (finishing, noted) = if *target.by == Who::SYSTEM {
            // Nobody waits for what is recovered, and nobody would ask again.
            noting.await?;
            (finishing.await, Ok(()))
        } else {
            // At the same time, and in the same commit where the catalog makes it one.
            futures::join!(finishing, noting)
        };
        match finishing {
            Ok(()) => {}
            Err(CatalogError::WrongState) => {
                // Unless it is the segment on which the row rests as it is.
                if target.row.state == State::Receiving || target.object != target.row.object {
                    self.reader.spool.remove(target.segment()).map_err(not_spooled)?;
                }
                return Err(Error::new(Problem::Deleted, "the recording was deleted while it was being received"));
            }
            Err(error) => return Err(not_committed(error)),
        }
        let mut segments = Vec::new();
        if state == State::Stored {
            segments.push(target.segment());
        }
        // A partial recording has grown into another object: no row leads to the one on which it rested.
        if target.row.state == State::Spooled && target.row.object != target.object {
            segments.push(SegmentName::whole(target.row.id, target.row.object));
        }
        self.forget(Obsolete { segments, frames: Vec::new() });
        Ok(Committed { recording: target.row.clone().finished(finished), noted })
    }

    fn received_entry(&self, target: &Target, completeness: Completeness, plain_len: u64) -> Entry {
        let action = if *target.by == Who::SYSTEM { Action::Recover } else { Action::Uploaded };
        let how = if completeness == Completeness::Complete { "complete" } else { "partial" };
        let entry = self.trail.entry(action, (*target.by).clone()).of(target.row.id);
        entry.noting(format!("{how}, {plain_len} bytes"))
    }

    /// The audio wraps, bound to what is known at the end. Same key, new nonce.
    fn wrap_again(
        &self,
        target: &Target,
        completeness: Completeness,
        plain_len: u64,
    ) -> Result<Vec<(Class, [u8; crate::crypto::wrap::WRAP_LEN])>> {
        let Target { row, data_key, object, .. } = target;
        let alive = row.wraps.iter().filter(|wrap| wrap.sealed.is_some());
        let wraps = alive.map(|wrap| {
            let scope = KekScope { class: wrap.class, tenant: row.tenant, subject: row.id.into(), path: wrap.path };
            let expires_at = wrap.expires_at;
            let binding = Binding { expires_at, object: *object, plain_len: Some(plain_len), completeness };
            Ok((wrap.class, self.reader.keyring.wrap(&scope, data_key, &binding).map_err(not_wrapped)?))
        });
        wraps.collect()
    }

    /// Takes back a recording of which nothing is kept.
    async fn discard(&self, intake: Intake) -> Result<()> {
        let id = intake.target().row.id;
        intake.discard().map_err(not_spooled)?;
        self.abandon_row(id).await
    }

    /// What is stored cannot be read; damage is an event.
    fn not_read(&self, error: ReadError) -> Error {
        match error {
            ReadError::Gone => Error::new(Problem::Ended, "what was received under this name has ended"),
            ReadError::Integrity(_) => {
                self.stats.integrity_events.fetch_add(1, Relaxed);
                tracing::error!(event = "integrity", %error, "a stored recording is damaged");
                Error::new(Problem::Integrity, "what was received under this name is damaged; see 'callvault verify'")
                    .because(error)
            }
            error => {
                Error::new(Problem::Unavailable, "what was received under this name cannot be read").because(error)
            }
        }
    }

    fn too_large(&self) -> Error {
        let limit = self.limits.bytes_max;
        Error::new(
            Problem::TooLarge,
            format!("a recording may have {limit} bytes (upload.bytes_max); nothing was kept"),
        )
    }
}

/// What another replica holds can neither be compared nor go on here.
fn elsewhere(holder: &ReplicaName) -> Error {
    Error::new(
        Problem::Elsewhere,
        format!("replica '{holder}' holds it in its spool; try again, and it is passed on to there"),
    )
}

fn empty_body() -> Error {
    Error::new(Problem::EmptyBody, "the body was empty; nothing was kept")
}

fn nothing_came() -> Error {
    Error::new(Problem::TooSlow, "no byte of the body came within the idle limit (upload.idle); nothing was kept")
}

fn stopped_at_once() -> Error {
    Error::new(Problem::Draining, "the server is stopping; no byte of the body had come, and nothing was kept")
}

fn wrong_length() -> Error {
    Error::new(Problem::LengthMismatch, "the body is not as long as its Content-Range says; nothing of it was kept")
}

/// What is told of an upload that was kept as far as it came.
fn broken(end: End, kept: u64) -> Error {
    let cause = match end {
        End::Broken(BodyBreak::Stalled) => "nothing came for the idle limit (upload.idle); ",
        End::Broken(BodyBreak::Slow) => "it came more slowly than a body of a told length may (upload.rate_min); ",
        End::Broken(BodyBreak::Stopped) => "the server is stopping; ",
        _ => "",
    };
    let detail =
        format!("{cause}what arrived was kept as a partial recording of {kept} bytes; continue it at this offset");
    let problem = match end {
        End::Broken(reason) => reason.problem(),
        End::Spool(SpoolError::Full) => Problem::SpoolFull,
        End::Spool(error) => return Error::new(Problem::Unavailable, detail).because(error).at_offset(kept),
        End::TooLarge => Problem::TooLarge,
        End::Body => Problem::BadRequest,
    };
    Error::new(problem, detail).at_offset(kept)
}

fn not_spooled(error: SpoolError) -> Error {
    match error {
        SpoolError::Full => Error::new(Problem::SpoolFull, "the spool or its disk is full; try again later"),
        error => Error::new(Problem::Unavailable, "the spool's disk does not work; try again later").because(error),
    }
}

fn not_committed(error: CatalogError) -> Error {
    match error {
        CatalogError::Full(_) => Error::new(Problem::SpoolFull, "the catalog's disk is full; try again later"),
        CatalogError::Unavailable(_) => {
            Error::new(Problem::Unavailable, "the catalog does not answer; try again later")
        }
        _ => Error::new(Problem::Internal, "the catalog refused what should have been possible"),
    }
    .because(error)
}

fn not_wrapped(error: KeyringError) -> Error {
    let detail = match error {
        KeyringError::Gone => {
            "no key can be made for this term: the tenant was offboarded, or the server's clock is behind the ring"
        }
        _ => "the keyring is not ready; try again later",
    };
    Error::new(Problem::Unavailable, detail).because(error)
}

fn not_stored(error: StoreError) -> Error {
    Error::new(Problem::Unavailable, "the object store does not answer").because(error)
}
