//! The straight line from body to spool.
//!
//! ```text
//! comes fast   body ──► sealer ──(chunks, in batches)──► segment
//! comes slow   body ──► frame in the log ──(a chunk's worth)──► sealer ──► segment
//! ```
//! A piece that comes behind a pause goes to the log, which all calls share, and leaves no plaintext in memory. When the
//! frames and the next piece fill a chunk, they are sealed as that chunk. So a call that goes on takes the memory of its
//! connection and a list of frames, and a body that comes fast never sees the log.
//!
//! # Invariants
//! Plaintext waits either in the sealer or in frames, never in both. A sealer lives as long as its segment is written to:
//! across requests of one upload, never across processes. What is sealed or parked is with the operating system
//! [`PARK_AFTER`] and [`crate::spool::log::FLUSH_EVERY`] after it came.

use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};

use super::digest::ExpectedDigests;
use super::remains::{Earlier, Remains};
use super::{Body, BodyBreak, Target};
use crate::crypto::header::{CHUNK_LEN, SEALED_CHUNK_LEN};
use crate::crypto::random::random;
use crate::crypto::stream::{SealedObject, Sealer};
use crate::model::trail::Who;
use crate::model::{Error, ObjectId, Problem};
use crate::reading::live::Claim;
use crate::spool::{FrameAt, FrameKeys, Leftover, Reservation, Segment, SegmentName, Spool, SpoolError};

/// Sealed bytes that are written at once while a body comes fast.
pub const BATCH_LEN: usize = 8 * CHUNK_LEN;
/// A piece up to this length is a call's; a longer one is a file's, and goes past the log.
const PIECE_LEN_MAX: usize = CHUNK_LEN / 2;
/// Plaintext that has not filled a chunk waits in memory for so long, in case that more is on its way.
pub const PARK_AFTER: Duration = Duration::from_millis(100);

/// A long recording that is sealed again lets others have the thread in between.
const CHUNKS_AT_ONCE: u64 = 16;

/// One upload on its way into one segment.
pub struct Intake {
    target: Target,
    spool: Spool,
    sealer: Sealer,
    segment: Segment,
    tail: Tail,
    /// What processes before this one received.
    earlier: Vec<Earlier>,
    digests: ExpectedDigests,
    plain_len_max: u64,
    reservation: Option<Reservation>,
    /// Whether its sender did not say how long it is: a call that goes on.
    is_live: bool,
}

/// The bytes behind the last whole chunk, as frames in the log.
struct Tail {
    keys: FrameKeys,
    frames: Vec<FrameAt>,
    len: u64,
}

/// How a body ended.
#[derive(Debug)]
pub enum End {
    /// All of it arrived.
    Body,
    Broken(BodyBreak),
    TooLarge,
    Spool(SpoolError),
}

impl PartialEq for End {
    fn eq(&self, other: &End) -> bool {
        matches!((self, other), (End::Body, End::Body) | (End::TooLarge, End::TooLarge))
    }
}

/// An upload whose segment is an object, durable.
pub struct Closed {
    pub target: Target,
    pub object: SealedObject,
    /// What it was made of, to be forgotten once the row rests on the object.
    pub obsolete: Obsolete,
}

/// Segments and frames that an object has taken the place of.
#[derive(Default)]
pub struct Obsolete {
    pub segments: Vec<SegmentName>,
    pub frames: Vec<FrameAt>,
}

/// An upload that could not be closed: its bytes are in the spool, and recovery makes a recording of them.
pub struct Unclosed {
    pub error: SpoolError,
    pub leftover: Leftover,
}

impl Intake {
    pub fn begin(
        spool: &Spool,
        target: Target,
        digests: ExpectedDigests,
        plain_len_max: u64,
    ) -> Result<Intake, SpoolError> {
        let sealer = Sealer::new(&target.data_key, target.row.tenant, target.row.id);
        Intake::begin_with(spool, target, sealer, Vec::new(), digests, plain_len_max)
    }

    /// Goes on behind what processes before this one received.
    pub fn behind(spool: &Spool, target: Target, remains: Remains, plain_len_max: u64) -> Result<Intake, SpoolError> {
        let start = remains.chunks_len();
        let (tenant, id) = (target.row.tenant, target.row.id);
        let sealer = match start {
            0 => Sealer::new(&target.data_key, tenant, id),
            _ => Sealer::continuing(&target.data_key, tenant, id, start),
        };
        let (segments, tail) = remains.into_parts();
        let mut intake =
            Intake::begin_with(spool, target, sealer, segments, ExpectedDigests::default(), plain_len_max)?;
        intake.sealer.write(&tail);
        intake.park()?;
        Ok(intake)
    }

    fn begin_with(
        spool: &Spool,
        target: Target,
        sealer: Sealer,
        earlier: Vec<Earlier>,
        digests: ExpectedDigests,
        plain_len_max: u64,
    ) -> Result<Intake, SpoolError> {
        let start = earlier.last().map_or(0, Earlier::end);
        let segment = spool.begin(SegmentName { start, ..target.segment() })?;
        let keys = FrameKeys::new(target.row.tenant, target.row.id, target.object);
        let tail = Tail { keys, frames: Vec::new(), len: 0 };
        let spool = spool.clone();
        Ok(Intake {
            target,
            spool,
            sealer,
            segment,
            tail,
            earlier,
            digests,
            plain_len_max,
            reservation: None,
            is_live: false,
        })
    }

    /// Whose bytes come next.
    pub fn sent_by(&mut self, by: &Arc<Who>) {
        self.target.by = Arc::clone(by);
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Where this segment begins in the recording.
    fn start(&self) -> u64 {
        self.segment.name().start
    }

    /// Plaintext bytes of the recording so far.
    pub fn plain_len(&self) -> u64 {
        self.start() + self.sealer.plain_len() + self.tail.len
    }

    /// Whole chunks, in plaintext bytes: what a listener may have.
    fn chunks_len(&self) -> u64 {
        self.start() + self.sealer.plain_len() - self.sealer.unsealed_len() as u64
    }

    /// Room for a body whose length was told; without, it is a call that goes on.
    pub fn reserve(&mut self, reservation: Option<Reservation>) {
        self.is_live = reservation.is_none();
        self.reservation = reservation;
    }

    pub fn limit(&mut self, plain_len_max: u64) {
        self.plain_len_max = plain_len_max;
    }

    /// Takes the body to its end or its break. What came before a break is kept.
    pub async fn pump(&mut self, mut body: impl Body, claim: &Claim) -> End {
        loop {
            let frame = match body.next().now_or_never() {
                Some(frame) => frame,
                None => {
                    // Not for the header alone: a file would be open for each of ten thousand calls that begin.
                    if self.sealer.sealed().len() >= SEALED_CHUNK_LEN
                        && let Err(error) = self.flush_sealed()
                    {
                        return End::Spool(error);
                    }
                    // Also of the chunks that were written as they were filled.
                    claim.reach(|| self.names(), self.chunks_len());
                    match self.sealer.unsealed_len() {
                        0 => body.next().await,
                        _ => match tokio::time::timeout(PARK_AFTER, body.next()).await {
                            Ok(frame) => frame,
                            Err(_) => {
                                if let Err(error) = self.park() {
                                    return End::Spool(error);
                                }
                                body.next().await
                            }
                        },
                    }
                }
            };
            let taken = match frame {
                None => return End::Body,
                Some(Err(broken)) => return End::Broken(broken),
                Some(Ok(bytes)) if self.plain_len() + bytes.len() as u64 > self.plain_len_max => return End::TooLarge,
                Some(Ok(bytes)) => self.take(&bytes),
            };
            if let Err(error) = taken {
                return End::Spool(error);
            }
            if let Err(error) = self.keep_pace().await {
                return End::Spool(error);
            }
        }
    }

    /// Waits for a disk that is slower than the calls, and lets go of old logs.
    async fn keep_pace(&mut self) -> Result<(), SpoolError> {
        if self.tail.frames.is_empty() {
            return Ok(());
        }
        if self.spool.log().is_behind() {
            // The senders are slowed down by it; what they sent is in memory, and goes on to be tried.
            let _ = self.spool.log().settled().await;
        }
        self.refresh().await
    }

    /// Takes bytes that count as the sender's.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        self.digests.update(bytes);
        if let Some(reservation) = &mut self.reservation {
            reservation.came(bytes.len() as u64);
        }
        self.copy(bytes)
    }

    /// Takes bytes that were received before and are sealed again into this segment.
    pub fn copy(&mut self, mut bytes: &[u8]) -> Result<(), SpoolError> {
        // Limit: the first piece of a call takes no buffer of a whole chunk; ten thousand may begin at once.
        let begins_chunk = self.is_live && self.sealer.unsealed_len() == 0 && bytes.len() <= PIECE_LEN_MAX;
        if self.tail.len == 0 && begins_chunk && !bytes.is_empty() {
            return self.append_frame(bytes);
        }
        if self.tail.len > 0 {
            let room = CHUNK_LEN - self.tail.len as usize;
            if bytes.len() < room {
                return self.append_frame(bytes);
            }
            self.read_tail()?;
            let (filling, rest) = bytes.split_at(room);
            self.sealer.write(filling);
            self.flush_sealed()?;
            // Not before the chunk is written.
            self.spool.log().release(self.tail.frames.drain(..));
            bytes = rest;
            if bytes.len() <= PIECE_LEN_MAX {
                self.rest();
                return if bytes.is_empty() { Ok(()) } else { self.append_frame(bytes) };
            }
        }
        for piece in bytes.chunks(BATCH_LEN) {
            self.sealer.write(piece);
            if self.sealer.sealed().len() >= BATCH_LEN {
                self.flush_sealed()?;
            }
        }
        Ok(())
    }

    /// Also of what was compared, not copied: digests are over the whole body.
    pub fn check_digests(&mut self) -> Result<(), Error> {
        check(std::mem::take(&mut self.digests))
    }

    /// Makes everything that came durable: an offset that is told rests on it.
    pub async fn sync(&mut self, claim: &Claim) -> Result<(), SpoolError> {
        self.flush(claim)?;
        self.park()?;
        self.segment.sync().await?;
        self.segment.rest();
        match self.tail.frames.last() {
            // The log's sync covers the names, too.
            Some(last) => self.spool.log().durable(*last).await,
            None => self.spool.sync_names().await,
        }
    }

    /// Appends anew the frames that keep an old log from being removed.
    pub async fn refresh(&mut self) -> Result<(), SpoolError> {
        let is_stale = |at: &FrameAt| self.spool.log().is_stale(*at);
        if self.tail.len > 0 && self.tail.frames.first().is_some_and(is_stale) {
            self.read_tail()?;
            let old = std::mem::take(&mut self.tail.frames);
            self.park()?;
            // Not before what replaces them is durable: what was told of rests on them.
            self.spool.log().settled().await?;
            self.spool.log().release(old);
        }
        Ok(())
    }

    /// Forgets everything that came.
    pub fn discard(self) -> Result<(), SpoolError> {
        let log = self.spool.log().clone();
        log.release(self.tail.frames.iter().copied());
        let names = self.earlier.iter().map(Earlier::name).chain([self.segment.name()]);
        names.into_iter().try_for_each(|name| self.spool.remove(name))
    }

    /// Seals the last chunk and makes the segment durable: it is an object now. Where processes before this one have
    /// segments of their own, all is sealed once more, into one. The reserve that the spool keeps free
    /// (`spool.disk_free_min`) is for this.
    pub async fn close(mut self) -> Result<Closed, Box<Unclosed>> {
        // Nothing more comes: the tail goes to the sealer, and not beside its old frames into the log.
        self.is_live = false;
        let mut obsolete = Obsolete { segments: Vec::new(), frames: self.tail.frames.clone() };
        let leftover = self.leftover();
        let unclosed = |error| Box::new(Unclosed { error, leftover });
        if !self.earlier.is_empty() {
            obsolete.segments.extend(self.earlier.iter().map(Earlier::name).chain([self.segment.name()]));
            if let Err(error) = self.gather().await {
                return Err(unclosed(error));
            }
        }
        match self.seal_end().await {
            Ok((target, object)) => Ok(Closed { target, object, obsolete }),
            Err(error) => Err(unclosed(error)),
        }
    }

    async fn seal_end(mut self) -> Result<(Target, SealedObject), SpoolError> {
        self.read_tail()?;
        let Intake { target, sealer, mut segment, .. } = self;
        let (rest, object) = sealer.finish();
        segment.append_last(&rest)?;
        assert_eq!(segment.len(), object.sealed_len, "the segment holds the object and nothing else");
        segment.close().await?;
        Ok((target, object))
    }

    /// Seals everything once more, into a segment of one piece.
    async fn gather(&mut self) -> Result<(), SpoolError> {
        self.flush_sealed()?;
        let own = Earlier::own(&self.spool, &self.target, self.segment.name(), self.chunks_len())?;
        let earlier = std::mem::take(&mut self.earlier);
        self.read_tail()?;
        let tail = self.sealer.take_unsealed();
        self.target.object = ObjectId(random());
        self.sealer = Sealer::new(&self.target.data_key, self.target.row.tenant, self.target.row.id);
        self.segment = self.spool.begin(self.target.segment())?;
        let spool = self.spool.clone();
        for piece in earlier.iter().chain(&own) {
            self.copy_chunks(&spool, piece).await?;
        }
        self.copy(&tail)
    }

    /// Seals the chunks of another segment again.
    pub async fn copy_chunks(&mut self, spool: &Spool, from: &Earlier) -> Result<(), SpoolError> {
        for index in 0..from.chunk_count() {
            self.copy(&from.chunk(spool, index)?)?;
            if index % CHUNKS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// What recovery needs if this goes no further.
    fn leftover(&self) -> Leftover {
        let names = self.earlier.iter().map(Earlier::name).chain([self.segment.name()]);
        let segments = names.map(|name| (name, self.spool.len(name).ok().flatten().unwrap_or(0))).collect();
        let frames = self.tail.frames.iter().filter_map(|at| {
            let frame = self.spool.log().read(*at).ok()?;
            Some((crate::crypto::frame::FrameHead::read(&frame.sealed).ok()?.0, *at))
        });
        Leftover { segments, frames: frames.collect() }
    }

    /// Writes whole chunks and tells listeners of them.
    fn flush(&mut self, claim: &Claim) -> Result<(), SpoolError> {
        self.flush_sealed()?;
        claim.reach(|| self.names(), self.chunks_len());
        Ok(())
    }

    fn names(&self) -> Arc<[SegmentName]> {
        self.earlier.iter().map(Earlier::name).chain([self.segment.name()]).collect()
    }

    fn flush_sealed(&mut self) -> Result<(), SpoolError> {
        if self.sealer.sealed().is_empty() {
            return Ok(());
        }
        self.segment.append(self.sealer.sealed())?;
        self.sealer.clear_sealed();
        Ok(())
    }

    /// A sender that pauses: his last plaintext goes to the log, his buffer and file are given back.
    pub fn park(&mut self) -> Result<(), SpoolError> {
        self.flush_sealed()?;
        let plain = self.sealer.take_unsealed();
        self.rest();
        if plain.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.append_frame(&plain) {
            // It stays in memory, where it was: nothing is lost while this process lives.
            self.sealer.write(&plain);
            return Err(error);
        }
        Ok(())
    }

    fn rest(&mut self) {
        self.sealer.rest();
        self.segment.rest();
    }

    fn append_frame(&mut self, plain: &[u8]) -> Result<(), SpoolError> {
        let offset = self.plain_len();
        let at = self.spool.log().append(&mut self.tail.keys, &self.target.data_key, offset, plain)?;
        self.tail.frames.push(at);
        self.tail.len += plain.len() as u64;
        Ok(())
    }

    /// Moves the tail into the sealer; its frames stay until they are released.
    fn read_tail(&mut self) -> Result<(), SpoolError> {
        let mut plain = zeroize::Zeroizing::new(Vec::with_capacity(CHUNK_LEN));
        if self.tail.len > 0 {
            for at in &self.tail.frames {
                let mut frame = self.spool.log().read(*at)?;
                let opened = self.tail.keys.open(&self.target.data_key, &mut frame);
                plain.extend_from_slice(opened.map_err(|error| SpoolError::Disk(std::io::Error::other(error)))?);
            }
        }
        self.tail.len = 0;
        self.sealer.write(&plain);
        Ok(())
    }
}

pub fn check(digests: ExpectedDigests) -> Result<(), Error> {
    if digests.hold() {
        return Ok(());
    }
    Err(Error::new(
        Problem::DigestMismatch,
        "the bytes that arrived do not match the digest that was sent; nothing was kept",
    ))
}
