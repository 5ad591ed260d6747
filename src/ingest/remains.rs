//! What an upload left in the spool: whole chunks in segments, and behind them frames in the log.
//!
//! # Promise
//! [`Remains::examine`] counts only what authenticates at its place. It reads and changes nothing.
//! # Invariants
//! All attempts at one recording hold the same bytes from its beginning: a name is never replaced, a recording only grows. So
//! of two segments that begin at one place the longer one counts, and frames count behind either. Frames count only beside a
//! segment of their own attempt: an attempt that was refused has none any more.

use std::collections::BTreeMap;

use bytes::BytesMut;
use zeroize::Zeroizing;

use super::{Target, not_spooled};
use crate::catalog::Recording;
use crate::crypto::header::{CHUNK_LEN, HEADER_LEN, Header, SEALED_CHUNK_LEN, TAG_LEN};
use crate::crypto::keys::DataKey;
use crate::crypto::receipt::DigestOfTags;
use crate::crypto::stream::{Opener, SealedObject, full_chunks, start_in, unfinished_len};
use crate::model::{ObjectId, Result};
use crate::spool::{FrameKeys, Leftover, SegmentName, Spool, SpoolError};

/// Whole chunks of one segment that nobody writes to any more.
pub struct Earlier {
    name: SegmentName,
    opener: Opener,
    chunks: u64,
}

pub struct Remains {
    /// From the recording's beginning, without gaps.
    segments: Vec<Earlier>,
    /// A segment that was closed: it is an object as it lies there.
    closed: Option<(SegmentName, SealedObject)>,
    /// The bytes behind the last whole chunk.
    tail: Zeroizing<Vec<u8>>,
}

impl Earlier {
    /// The chunks that were written to a segment which is open in this process.
    pub fn own(
        spool: &Spool,
        target: &Target,
        name: SegmentName,
        chunks_len: u64,
    ) -> std::result::Result<Option<Earlier>, SpoolError> {
        let chunks = (chunks_len - name.start) / CHUNK_LEN as u64;
        if chunks == 0 {
            return Ok(None);
        }
        let header = spool.read(name, 0, HEADER_LEN)?;
        let (tenant, id) = (target.row.tenant, target.row.id);
        let opener = Opener::of_unfinished(&target.data_key, tenant, id, &header, chunks);
        Ok(Some(Earlier { name, opener: opener.map_err(damaged)?, chunks }))
    }

    pub fn name(&self) -> SegmentName {
        self.name
    }

    pub fn chunk_count(&self) -> u64 {
        self.chunks
    }

    /// The first byte of the recording that is not in here.
    pub fn end(&self) -> u64 {
        self.name.start + self.chunks * CHUNK_LEN as u64
    }

    pub fn chunk(&self, spool: &Spool, index: u64) -> std::result::Result<Zeroizing<Vec<u8>>, SpoolError> {
        let mut chunk = read_chunk(spool, self.name, index, SEALED_CHUNK_LEN)?;
        self.opener.open_chunk(index, &mut chunk).map_err(damaged)?;
        Ok(Zeroizing::new(chunk.to_vec()))
    }
}

impl Remains {
    pub fn examine(spool: &Spool, row: &Recording, data_key: &DataKey, leftover: &Leftover) -> Result<Remains> {
        let mut remains = Remains { segments: Vec::new(), closed: None, tail: Zeroizing::default() };
        let mut by_start: BTreeMap<u64, Vec<(SegmentName, u64)>> = BTreeMap::new();
        for (name, len) in &leftover.segments {
            by_start.entry(name.start).or_default().push((*name, *len));
        }
        for (start, segments) in by_start {
            if start > remains.chunks_len() {
                break;
            }
            let found = segments.into_iter().map(|(name, len)| examine_segment(spool, row, data_key, name, len));
            let found = found.collect::<std::result::Result<Vec<_>, _>>().map_err(not_spooled)?;
            for found in found.into_iter().flatten() {
                remains.add(found);
            }
        }
        remains.read_tail(spool, row, data_key, leftover).map_err(not_spooled)?;
        Ok(remains)
    }

    pub fn plain_len(&self) -> u64 {
        let open = self.chunks_len() + self.tail.len() as u64;
        self.closed.map_or(open, |(_, object)| object.plain_len.max(open))
    }

    /// Plaintext bytes of whole chunks from the recording's beginning.
    pub fn chunks_len(&self) -> u64 {
        self.segments.last().map_or(0, Earlier::end)
    }

    /// The segment that is an object already, and holds all that there is.
    pub fn closed(&self) -> Option<(SegmentName, SealedObject)> {
        self.closed.filter(|(_, object)| object.plain_len == self.plain_len())
    }

    /// The chunks, and the plaintext behind them.
    pub fn into_parts(self) -> (Vec<Earlier>, Zeroizing<Vec<u8>>) {
        (self.segments, self.tail)
    }

    fn add(&mut self, found: Found) {
        if let Some(object) = found.closed
            && self.closed.is_none_or(|(_, known)| object.plain_len > known.plain_len)
        {
            self.closed = Some((found.earlier.name, object));
        }
        if found.earlier.end() <= self.chunks_len() {
            return;
        }
        // What this one holds, too, is taken from here only.
        self.segments.retain(|before| before.name.start < found.earlier.name.start);
        if let Some(before) = self.segments.last_mut() {
            before.chunks = (found.earlier.name.start - before.name.start) / CHUNK_LEN as u64;
        }
        self.segments.push(found.earlier);
    }

    fn read_tail(
        &mut self,
        spool: &Spool,
        row: &Recording,
        data_key: &DataKey,
        leftover: &Leftover,
    ) -> std::result::Result<(), SpoolError> {
        let chunks_len = self.chunks_len();
        let has_segment = |object: ObjectId| leftover.segments.iter().any(|(name, _)| name.object == object);
        let mut frames: Vec<_> = leftover.frames.iter().filter(|(head, _)| has_segment(head.object)).collect();
        frames.sort_by_key(|(head, at)| (head.offset, *at));
        let len: usize = frames.iter().map(|(head, _)| head.plain_len as usize).sum();
        // Secrecy: it never grows, so that no copy of its plaintext is left behind.
        self.tail = Zeroizing::new(Vec::with_capacity(len));
        for (head, at) in frames {
            let end = chunks_len + self.tail.len() as u64;
            if head.offset > end {
                break;
            }
            let known = end - head.offset;
            if known >= u64::from(head.plain_len) {
                continue;
            }
            let mut frame = spool.log().read(*at)?;
            let mut keys = FrameKeys::new(row.tenant, row.id, head.object);
            match keys.open(data_key, &mut frame) {
                Ok(plain) => self.tail.extend_from_slice(&plain[known as usize..]),
                Err(_) => break,
            }
        }
        Ok(())
    }
}

/// What one segment holds.
struct Found {
    earlier: Earlier,
    closed: Option<SealedObject>,
}

/// How much of a segment is sound: all of it where it was closed, else its whole chunks from the beginning. `None`: nothing,
/// not even its header.
fn examine_segment(
    spool: &Spool,
    row: &Recording,
    data_key: &DataKey,
    name: SegmentName,
    sealed_len: u64,
) -> std::result::Result<Option<Found>, SpoolError> {
    if sealed_len < HEADER_LEN as u64 {
        return Ok(None);
    }
    let header = spool.read(name, 0, HEADER_LEN)?;
    let full = full_chunks(sealed_len);
    let Ok(opener) = Opener::of_unfinished(data_key, row.tenant, row.id, &header, full) else { return Ok(None) };
    // A segment that was renamed to begin elsewhere.
    if name.start > 0 && Header::read(&header).map_or(0, |header| start_in(&header)) != name.start {
        return Ok(None);
    }
    let mut digest = DigestOfTags::new();
    digest.update(&header);
    let mut sound = 0;
    while sound < full {
        let mut chunk = read_chunk(spool, name, sound, SEALED_CHUNK_LEN)?;
        let tag = tag_of(&chunk);
        if opener.open_chunk(sound, &mut chunk).is_err() {
            break;
        }
        digest.update(&tag);
        sound += 1;
    }
    let mut closed = None;
    let last_len = sealed_len - unfinished_len(full);
    if sound == full
        && last_len >= TAG_LEN as u64
        && let Ok(whole) = Opener::new(data_key, row.tenant, row.id, &header, sealed_len)
    {
        let mut last = read_chunk(spool, name, full, last_len as usize)?;
        let tag = tag_of(&last);
        if whole.open_chunk(full, &mut last).is_ok() {
            digest.update(&tag);
            let plain_len = whole.geometry().plain_len();
            closed = Some(SealedObject { plain_len, sealed_len, digest: digest.finish() });
        }
    }
    Ok(Some(Found { earlier: Earlier { name, opener, chunks: sound }, closed: closed.filter(|_| name.start == 0) }))
}

fn tag_of(chunk: &[u8]) -> [u8; TAG_LEN] {
    chunk[chunk.len() - TAG_LEN..].try_into().expect("a chunk ends with a tag")
}

fn read_chunk(spool: &Spool, name: SegmentName, index: u64, len: usize) -> std::result::Result<BytesMut, SpoolError> {
    spool.read(name, unfinished_len(index), len)
}

fn damaged(error: crate::crypto::CryptoError) -> SpoolError {
    SpoolError::Disk(std::io::Error::other(error))
}
