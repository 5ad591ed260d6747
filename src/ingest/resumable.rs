//! Uploads that arrive in pieces, over as many connections as it takes.
//!
//! # Promise
//! An offset that was told is durable, and the next piece that names it is taken. A newer request on an upload ends the
//! older one. What arrived when a body broke is kept. An upload that nobody goes on with until its window ends becomes a
//! partial recording, or nothing where no byte of it came.
//! # Invariants
//! Between two pieces an upload keeps its sealer and its segment, so that a thousand pieces cost what one costs. After a
//! restart it goes on in a segment of its own behind what is there, and all is sealed once more at the end.
//! # Cancel safety
//! As for [`Ingest::receive`]: a piece must be run to its end.

mod registry;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::{Stream, StreamExt};

pub use registry::OpenUploads;
use registry::{OpenUpload, Opened, State, Way};

use super::digest::ExpectedDigests;
use super::intake::{End, Intake, check};
use super::remains::Remains;
use super::{Body, BodyBreak, Ingest, Upload, broken, elsewhere, empty_body, not_committed, not_spooled};
use crate::catalog::{Recording, Resume, Tenant};
use crate::model::error::chain;
use crate::model::trail::Who;
use crate::model::{Completeness, Error, Problem, RecordingId, ReplicaName, Result, State as Life, Timestamp};
use crate::reading::life;
use crate::spool::Staged;

/// What is known of a resumable upload.
pub struct Progress {
    /// The upload's id is the recording's id.
    pub id: RecordingId,
    /// Durable when it is told.
    pub offset: u64,
    pub declared_len: Option<u64>,
    /// After that the upload is closed as a partial recording.
    pub resume_until: Timestamp,
    /// `Some`: the recording is complete.
    pub finished: Option<Recording>,
}

/// One piece of an upload.
pub struct Piece {
    /// Who sends it.
    pub by: Arc<Who>,
    pub offset: u64,
    /// Length of the whole, where this request tells it.
    pub declared_len: Option<u64>,
    pub last: Last,
    /// Over this piece; on mismatch nothing of it is kept.
    pub digests: ExpectedDigests,
    /// `Content-Length` of the request, if any.
    pub content_len: Option<u64>,
}

/// Whether the upload is complete with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    Yes,
    No,
    /// When the offset has reached the declared length.
    WhenFull,
}

/// A part of the resume window: an upload's end is moved on in steps of this, not with every piece.
const RESUME_STEPS: u32 = 8;

impl Ingest {
    /// A new resumable upload; `upload.declared_len` is the whole's length if told. Under the name of a partial recording it
    /// goes on at that one's end, and under the name of an upload that is open it is that one.
    pub async fn create(&self, upload: Upload) -> Result<Progress> {
        self.admit(&upload)?;
        if let Some(known) = self.known(&upload).await? {
            return self.create_again(upload, known).await;
        }
        let resume = Resume { until: self.resume_until(), declared_len: upload.declared_len };
        let claim = self.claim_new();
        let id = claim.recording();
        let open = self.open.insert(id, upload.tenant.number, self.limits.open_max).ok_or_else(too_many_open)?;
        let mut state = open.lock().await;
        match Box::pin(self.begin(&upload, id, Some(resume))).await {
            Ok(target) => {
                let way = Way::Fresh(Box::new(target), upload.digests);
                *state = State::Open(Opened { claim, way, resume });
                Ok(Progress {
                    id,
                    offset: 0,
                    declared_len: resume.declared_len,
                    resume_until: resume.until,
                    finished: None,
                })
            }
            Err(error) => {
                self.open.remove(id);
                Err(error)
            }
        }
    }

    async fn create_again(&self, upload: Upload, known: Recording) -> Result<Progress> {
        if self.leftovers.of(known.id).is_some() && known.resume.is_none() {
            self.recover_recording(known.id).await?;
        }
        let resume = Resume { until: self.resume_until(), declared_len: upload.declared_len };
        let is_open = known.resume.is_some_and(|resume| resume.until > self.clock.now());
        if known.state == Life::Receiving && !is_open {
            return Err(Error::new(Problem::StillReceiving, "an upload under this name is still running"));
        }
        let known = self.alive(known.id, upload.tenant.number).await?;
        if let Some(holder) = self.held_elsewhere(&known).await? {
            return Err(elsewhere(&holder));
        }
        if known.completeness == Completeness::Complete {
            let detail = "a complete recording was received under this name; it was not replaced";
            return Err(Error::new(Problem::Conflict, detail));
        }
        if !is_open {
            self.catalog.set_resume(known.id, Some(resume)).await.map_err(not_committed)?;
        }
        let progress = self.progress(&upload.tenant, known.id).await?;
        if let (Some(told), Some(known)) = (upload.declared_len, progress.declared_len)
            && told != known
        {
            return Err(inconsistent("the upload under this name was begun with another length", progress.offset));
        }
        Ok(progress)
    }

    /// The other replica that holds an upload which goes on.
    pub async fn upload_elsewhere(&self, tenant: &Tenant, id: RecordingId) -> Result<Option<ReplicaName>> {
        if self.open.get(id).is_some() {
            return Ok(None);
        }
        let row = self.catalog.recording(Some(tenant.number), id).await.map_err(not_committed)?;
        match row
            .filter(|row| row.resume.is_some() && row.completeness != Completeness::Complete && !row.state.is_gone())
        {
            Some(row) => self.held_elsewhere(&row).await,
            None => Ok(None),
        }
    }

    /// Appends a body exactly at the piece's offset; ends an older request on the same upload first.
    pub async fn append(&self, tenant: &Tenant, id: RecordingId, piece: Piece, body: impl Body) -> Result<Progress> {
        let open = match self.find(tenant, id).await? {
            Found::Open(open) => open,
            Found::Finished(recording) => return Err(completed(&piece, &recording)),
        };
        let turn = open.take_turn();
        let mut state = open.lock().await;
        if !open.is_turn(turn) {
            return Err(Error::new(Problem::Superseded, "a newer request goes on with this upload"));
        }
        let opened = match self.ready(id, &mut state).await? {
            Ready::Open(opened) => opened,
            Ready::Finished(recording) => return Err(completed(&piece, &recording)),
        };
        self.check(opened, &piece).await?;
        let _place = self.enter()?;
        let reservation = piece.content_len.map(|len| self.reader.spool.reserve(len)).transpose();
        let reservation = reservation.map_err(not_spooled)?;
        let limit = opened.resume.declared_len.unwrap_or(u64::MAX).min(self.limits.bytes_max);
        if let Err(error) = self.open_way(&mut opened.way).await {
            if matches!(opened.way, Way::Gone) {
                *state = State::Over;
                self.open.remove(id);
            }
            return Err(error);
        }
        let Opened { claim, way: Way::Open(intake), .. } = opened else { unreachable!("it was opened just now") };
        intake.sent_by(&piece.by);
        intake.limit(limit);
        intake.reserve(reservation);
        let body = Interruptible { body, moved_on: Box::pin(open.moved_on(turn)) };
        let end = if piece.digests.is_empty() {
            intake.pump(body, claim).await
        } else {
            self.take_checked(intake, piece.digests, limit, body).await?
        };
        intake.reserve(None);
        self.stats.received_bytes.fetch_add(intake.plain_len() - piece.offset, Relaxed);
        let offset = intake.plain_len();
        let is_full = opened.resume.declared_len == Some(offset);
        let is_last = piece.last == Last::Yes || (piece.last == Last::WhenFull && is_full);
        if end == End::Body && is_last {
            return Box::pin(self.finish(id, &mut state)).await;
        }
        let synced = intake.sync(claim).await;
        self.move_on(id, opened).await?;
        match end {
            End::Body => {
                synced.map_err(not_spooled)?;
                Ok(progress_of(id, opened))
            }
            End::TooLarge if opened.resume.declared_len.is_some() => {
                Err(inconsistent("more came than the upload's length; what fits was kept", offset))
            }
            End::TooLarge => Err(self.too_large().at_offset(offset)),
            end => Err(broken(end, offset)),
        }
    }

    /// How far an upload has come; ends a request that runs, so that the offset stays true.
    pub async fn progress(&self, tenant: &Tenant, id: RecordingId) -> Result<Progress> {
        let open = match self.find(tenant, id).await? {
            Found::Open(open) => open,
            Found::Finished(recording) => return Ok(finished(*recording)),
        };
        open.take_turn();
        let mut state = open.lock().await;
        let opened = match self.ready(id, &mut state).await? {
            Ready::Open(opened) => opened,
            Ready::Finished(recording) => return Ok(finished(recording)),
        };
        if let Way::Open(intake) = &mut opened.way {
            intake.sync(&opened.claim).await.map_err(not_spooled)?;
        }
        Ok(progress_of(id, opened))
    }

    /// Forgets an upload and what came of it. What was a partial recording before it stays one.
    pub async fn terminate(&self, tenant: &Tenant, id: RecordingId) -> Result<()> {
        let open = match self.find(tenant, id).await? {
            Found::Open(open) => open,
            Found::Finished(_) => {
                return Err(Error::new(Problem::CompletedUpload, "the upload is complete: it is a recording now"));
            }
        };
        open.take_turn();
        let mut state = open.lock().await;
        if let Ready::Finished(_) = self.ready(id, &mut state).await? {
            return Err(Error::new(Problem::CompletedUpload, "the upload is complete: it is a recording now"));
        }
        if let State::Open(opened) = std::mem::replace(&mut *state, State::Over) {
            self.open.remove(id);
            match opened.way {
                Way::Fresh(..) => self.abandon_row(id).await?,
                Way::Known(_) => self.catalog.set_resume(id, None).await.map_err(not_committed)?,
                Way::Gone => {}
                Way::Open(intake) if intake.target().row.state == Life::Receiving => self.discard(*intake).await?,
                Way::Open(intake) => {
                    intake.discard().map_err(not_spooled)?;
                    self.catalog.set_resume(id, None).await.map_err(not_committed)?;
                }
            }
        }
        Ok(())
    }

    /// Closes uploads whose window is over, and keeps those that wait from holding old logs.
    pub async fn tend_uploads(&self) {
        let now = self.clock.now();
        for (id, open) in self.open.all() {
            let Some(mut state) = open.try_lock() else { continue };
            let tended = match &mut *state {
                State::Open(opened) if opened.resume.until <= now => self.close(id, &mut state).await,
                State::Open(Opened { way: Way::Open(intake), .. }) => intake.refresh().await.map_err(not_spooled),
                // Somebody asked for it and could not open it.
                State::Unopened => {
                    self.open.remove(id);
                    Ok(())
                }
                State::Open(_) | State::Over => Ok(()),
            };
            if let Err(error) = tended {
                tracing::warn!(recording.id = %id, error = chain(&error), "an open upload could not be tended");
            }
        }
    }

    /// Gives everything that uploads have in memory to the log, before the process ends.
    pub async fn settle_uploads(&self) -> Result<()> {
        for (_, open) in self.open.all() {
            if let State::Open(Opened { way: Way::Open(intake), .. }) = &mut *open.lock().await {
                intake.park().map_err(not_spooled)?;
            }
        }
        self.reader.spool.log().settled().await.map_err(not_spooled)
    }

    fn resume_until(&self) -> Timestamp {
        self.clock.now() + self.limits.resume_window
    }

    async fn find(&self, tenant: &Tenant, id: RecordingId) -> Result<Found> {
        if let Some(open) = self.open.get(id) {
            return if open.tenant == tenant.number { Ok(Found::Open(open)) } else { Err(unknown()) };
        }
        let row = self.alive(id, tenant.number).await?;
        let Some(resume) = row.resume else { return Err(unknown()) };
        if row.completeness == Completeness::Complete {
            return Ok(Found::Finished(Box::new(row)));
        }
        if resume.until <= self.clock.now() {
            return Err(Error::new(Problem::UploadExpired, "the time in which this upload could be continued is over"));
        }
        self.open.insert(id, tenant.number, self.limits.open_max).map(Found::Open).ok_or_else(too_many_open)
    }

    /// The tenant's row, which may be read.
    async fn alive(&self, id: RecordingId, tenant: crate::model::TenantNumber) -> Result<Recording> {
        let row = self.catalog.recording(Some(tenant), id).await.map_err(not_committed)?.ok_or_else(unknown)?;
        let mark = self.catalog.ring_mark().await.map_err(not_committed)?;
        let state = self.reader.state_at(&row, &mark, self.clock.now());
        if state.is_gone() {
            return Err(Error::new(life::gone(state), format!("its state is '{state}'; begin anew")));
        }
        Ok(row)
    }

    /// An upload that goes on: in this process, or behind what a dead one left.
    async fn ready<'a>(&self, id: RecordingId, state: &'a mut State) -> Result<Ready<'a>> {
        if let State::Unopened = state {
            match self.reopen_upload(id).await {
                Ok(Reopened::Open(opened)) => *state = State::Open(opened),
                Ok(Reopened::Finished(recording)) => {
                    self.open.remove(id);
                    return Ok(Ready::Finished(recording));
                }
                Err(error) => {
                    self.open.remove(id);
                    return Err(error);
                }
            }
        }
        match state {
            State::Open(opened) => Ok(Ready::Open(opened)),
            _ => match self.catalog.recording(None, id).await.map_err(not_committed)? {
                Some(row) if row.completeness == Completeness::Complete => Ok(Ready::Finished(Box::new(row))),
                Some(_) => Err(Error::new(Problem::Superseded, "the upload has just ended; ask for it again")),
                None => Err(unknown()),
            },
        }
    }

    async fn reopen_upload(&self, id: RecordingId) -> Result<Reopened> {
        let busy = || Error::new(Problem::Superseded, "the upload is being recovered; ask again in a moment");
        let claim = self.live.claim(id).ok_or_else(busy)?;
        let row = self.catalog.recording(None, id).await.map_err(not_committed)?.ok_or_else(unknown)?;
        let resume = row.resume.ok_or_else(unknown)?;
        if let Some(holder) = self.held_elsewhere(&row).await? {
            return Err(elsewhere(&holder));
        }
        let leftover = self.leftovers.of(id);
        let way = match (row.state, leftover) {
            _ if row.completeness == Completeness::Complete => return Ok(Reopened::Finished(Box::new(row))),
            (Life::Receiving, leftover) => {
                let data_key = self.reader.any_data_key(&row).map_err(|error| self.not_read(error))?;
                let object = crate::model::ObjectId(crate::crypto::random::random());
                let leftover = leftover.unwrap_or_default();
                let remains = Remains::examine(&self.reader.spool, &row, &data_key, &leftover)?;
                let target = super::Target { row, data_key, object, by: Arc::new(Who::SYSTEM) };
                if remains.plain_len() == 0 {
                    self.let_go(id, &leftover, None)?;
                    Way::Fresh(Box::new(target), ExpectedDigests::default())
                } else {
                    let name = target.segment();
                    let intake = Intake::behind(&self.reader.spool, target, remains, self.limits.bytes_max);
                    let mut intake = intake.map_err(not_spooled)?;
                    if let Err(error) = intake.sync(&claim).await {
                        self.reader.spool.remove(name).map_err(not_spooled)?;
                        return Err(not_spooled(error));
                    }
                    // Its segments are part of the upload; its frames were appended anew, and are durable.
                    self.reader.spool.log().release(leftover.frames.iter().map(|(_, at)| *at));
                    self.leftovers.forget(id);
                    Way::Open(Box::new(intake))
                }
            }
            (_, Some(_)) => {
                // A crash interrupted it while it grew: what came becomes part of the recording first.
                drop(claim);
                self.recover_recording(id).await?;
                return Err(busy());
            }
            (_, None) => Way::Known(Box::new(row)),
        };
        Ok(Reopened::Open(Opened { claim, way, resume }))
    }

    /// Checks a piece against what is there, and records the length that it tells.
    async fn check(&self, opened: &mut Opened, piece: &Piece) -> Result<()> {
        let offset = opened.offset();
        if piece.offset != offset {
            let detail = "the upload is not at this offset";
            return Err(Error::new(Problem::OffsetMismatch, detail).at_offset(offset));
        }
        let told_by_content = piece.content_len.filter(|_| piece.last == Last::Yes).map(|len| offset + len);
        let mut declared_len = opened.resume.declared_len;
        for told in [piece.declared_len, told_by_content].into_iter().flatten() {
            if declared_len.is_some_and(|known| known != told) || told < offset {
                return Err(inconsistent("the lengths that were told for this upload contradict each other", offset));
            }
            declared_len = Some(told);
        }
        if declared_len.is_some_and(|len| len > self.limits.bytes_max) {
            return Err(self.too_large().at_offset(offset));
        }
        let end = piece.content_len.map(|len| offset + len);
        if end.zip(declared_len).is_some_and(|(end, declared_len)| end > declared_len) {
            return Err(inconsistent("the piece reaches past the upload's length", offset));
        }
        if end.is_some_and(|end| end > self.limits.bytes_max) {
            return Err(self.too_large().at_offset(offset));
        }
        if declared_len != opened.resume.declared_len {
            let resume = Resume { declared_len, ..opened.resume };
            let id = opened.claim.recording();
            self.catalog.set_resume(id, Some(resume)).await.map_err(not_committed)?;
            opened.resume = resume;
        }
        Ok(())
    }

    /// The way into the spool, opened where it was not.
    async fn open_way(&self, way: &mut Way) -> Result<()> {
        let intake = match std::mem::replace(way, Way::Gone) {
            Way::Open(intake) => Ok(intake),
            Way::Fresh(target, digests) => self.begin_intake(*target, digests).await.map(Box::new),
            Way::Known(row) => {
                let again = row.clone();
                let reopened = self.reopen(*row, ExpectedDigests::default(), Arc::new(Who::SYSTEM)).await.map(Box::new);
                reopened.inspect_err(|_| *way = Way::Known(again))
            }
            Way::Gone => Err(Error::new(Problem::Unavailable, "the upload could not be opened; ask for its offset")),
        };
        *way = Way::Open(intake?);
        Ok(())
    }

    /// A piece that counts only if its checksum holds.
    async fn take_checked(
        &self,
        intake: &mut Intake,
        mut digests: ExpectedDigests,
        limit: u64,
        mut body: impl Body,
    ) -> Result<End> {
        let row = &intake.target().row;
        let staged = Staged::begin(&self.reader.spool, &intake.target().data_key, row.tenant, row.id);
        let mut staged = staged.map_err(not_spooled)?;
        let offset = intake.plain_len();
        while let Some(frame) = body.next().await {
            match frame {
                Ok(bytes) if offset + staged.len() + bytes.len() as u64 > limit => return Ok(End::TooLarge),
                Ok(bytes) => {
                    digests.update(&bytes);
                    staged.write(&bytes).map_err(not_spooled)?;
                }
                // It cannot be checked any more.
                Err(reason) => return Ok(End::Broken(reason)),
            }
        }
        check(digests).map_err(|_| {
            let detail = "the bytes that arrived do not match their checksum; nothing of this piece was kept";
            Error::new(Problem::ChecksumMismatch, detail).at_offset(offset)
        })?;
        staged.read(|plain| intake.take(plain)).map_err(not_spooled)?;
        Ok(End::Body)
    }

    /// The last piece has come: the upload becomes a recording.
    async fn finish(&self, id: RecordingId, state: &mut State) -> Result<Progress> {
        let State::Open(opened) = state else { unreachable!("a piece was taken under this lock") };
        let (offset, resume) = (opened.offset(), opened.resume);
        if resume.declared_len.is_some_and(|len| len != offset) {
            if let Way::Open(intake) = &mut opened.way {
                intake.sync(&opened.claim).await.map_err(not_spooled)?;
            }
            return Err(inconsistent("the upload ended before its length was reached; go on at this offset", offset));
        }
        if offset == 0 {
            return Err(empty_body());
        }
        if let Way::Open(intake) = &mut opened.way
            && let Err(mismatch) = intake.check_digests()
        {
            if let State::Open(Opened { way: Way::Open(intake), .. }) = std::mem::replace(state, State::Over) {
                self.open.remove(id);
                self.discard(*intake).await?;
            }
            return Err(mismatch);
        }
        let State::Open(opened) = std::mem::replace(state, State::Over) else { unreachable!("it was open above") };
        let concluded = match opened.way {
            Way::Open(intake) => self.conclude(*intake, Completeness::Complete).await,
            _ => unreachable!("a piece was taken under this lock"),
        };
        self.open.remove(id);
        let recording = concluded?;
        Ok(Progress { id, offset, declared_len: Some(offset), resume_until: resume.until, finished: Some(recording) })
    }

    /// The window of an upload is over.
    async fn close(&self, id: RecordingId, state: &mut State) -> Result<()> {
        let State::Open(opened) = std::mem::replace(state, State::Over) else { return Ok(()) };
        self.open.remove(id);
        match opened.way {
            Way::Open(intake) if intake.plain_len() > 0 => {
                self.conclude(*intake, Completeness::Partial).await?;
            }
            Way::Open(intake) => self.discard(*intake).await?,
            Way::Fresh(..) => self.abandon_row(id).await?,
            Way::Known(_) | Way::Gone => {}
        }
        tracing::info!(recording.id = %id, "an upload was closed: nobody went on with it in its window");
        Ok(())
    }

    /// An upload that is used stays open for another window.
    async fn move_on(&self, id: RecordingId, opened: &mut Opened) -> Result<()> {
        let until = self.resume_until();
        let gained = until.duration_since(opened.resume.until);
        let step = self.limits.resume_window / RESUME_STEPS;
        if gained > jiff::SignedDuration::try_from(step).unwrap_or(jiff::SignedDuration::MAX) {
            let resume = Resume { until, ..opened.resume };
            self.catalog.set_resume(id, Some(resume)).await.map_err(not_committed)?;
            opened.resume = resume;
        }
        Ok(())
    }
}

enum Found {
    Open(std::sync::Arc<OpenUpload>),
    Finished(Box<Recording>),
}

enum Ready<'a> {
    Open(&'a mut Opened),
    Finished(Box<Recording>),
}

enum Reopened {
    Open(Opened),
    Finished(Box<Recording>),
}

/// A body that ends when a newer request takes over.
struct Interruptible<B, F> {
    body: B,
    moved_on: Pin<Box<F>>,
}

impl<B: Body, F: Future<Output = ()> + Send> Stream for Interruptible<B, F> {
    type Item = std::result::Result<Bytes, BodyBreak>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Self::Item>> {
        if self.moved_on.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(BodyBreak::Superseded)));
        }
        self.body.poll_next_unpin(context)
    }
}

fn progress_of(id: RecordingId, opened: &Opened) -> Progress {
    let Resume { until, declared_len } = opened.resume;
    Progress { id, offset: opened.offset(), declared_len, resume_until: until, finished: None }
}

fn finished(recording: impl Into<Box<Recording>>) -> Progress {
    let recording = *recording.into();
    Progress {
        id: recording.id,
        offset: recording.plain_len.unwrap_or(0),
        declared_len: recording.plain_len,
        resume_until: recording.resume.map_or(recording.changed_at, |resume| resume.until),
        finished: Some(recording),
    }
}

fn unknown() -> Error {
    Error::new(Problem::NotFound, "this tenant has no such upload")
}

fn too_many_open() -> Error {
    Error::new(Problem::Busy, "the limit of open uploads (upload.open_max) is reached")
}

fn inconsistent(detail: &str, offset: u64) -> Error {
    Error::new(Problem::InconsistentLength, detail).at_offset(offset)
}

/// A piece for an upload that is complete already.
fn completed(piece: &Piece, recording: &Recording) -> Error {
    let offset = recording.plain_len.unwrap_or(0);
    let problem = if piece.content_len == Some(0) { Problem::CompletedUpload } else { Problem::InconsistentLength };
    let problem = if piece.offset == offset { problem } else { Problem::CompletedUpload };
    Error::new(problem, "the upload is complete; nothing can be added").at_offset(offset)
}
