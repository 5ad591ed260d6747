//! Reading a recording that is still arriving: its whole chunks, from the segments to which they were written.
//!
//! # Promise
//! As in [`super`]: what comes out is authenticated at its place. Bytes that have not filled a chunk are not read.

use bytes::Bytes;

use super::live::Reach;
use super::{ReadError, Reader, WINDOW_LEN, damaged};
use crate::catalog::Recording;
use crate::crypto::header::{CHUNK_LEN, HEADER_LEN, SEALED_CHUNK_LEN};
use crate::crypto::keys::DataKey;
use crate::crypto::stream::Opener;
use crate::model::range::ByteRange;
use crate::spool::{SegmentName, Spool, SpoolError};

/// The whole chunks that there were at one moment.
pub struct Arriving {
    parts: Vec<Part>,
    len: u64,
    spool: Spool,
}

struct Part {
    name: SegmentName,
    end: u64,
    opener: Opener,
}

impl Reader {
    pub fn arriving(&self, recording: &Recording, data_key: &DataKey, reach: &Reach) -> Result<Arriving, ReadError> {
        let ends = reach.segments.iter().skip(1).map(|next| next.start).chain([reach.len]);
        let parts = reach.segments.iter().zip(ends).map(|(name, end)| {
            let header = self.spool.read(*name, 0, HEADER_LEN).map_err(not_read)?;
            let full = (end - name.start) / CHUNK_LEN as u64;
            let opener = Opener::of_unfinished(data_key, recording.tenant, recording.id, &header, full);
            Ok(Part { name: *name, end, opener: opener.map_err(damaged)? })
        });
        Ok(Arriving { parts: parts.collect::<Result<_, _>>()?, len: reach.len, spool: self.spool.clone() })
    }
}

impl Arriving {
    pub fn plain_len(&self) -> u64 {
        self.len
    }

    /// Where the windows from `next` on begin; a window ends where its segment does.
    pub fn window_starts(&self, next: u64, range: ByteRange) -> Vec<u64> {
        let step = (WINDOW_LEN / SEALED_CHUNK_LEN as u64).max(1) * CHUNK_LEN as u64;
        let mut starts = Vec::new();
        let mut at = next;
        for part in &self.parts {
            while at < part.end && at <= range.last() {
                starts.push(at);
                let chunk_start = part.name.start + (at - part.name.start) / CHUNK_LEN as u64 * CHUNK_LEN as u64;
                at = (chunk_start + step).min(part.end);
            }
        }
        starts
    }

    /// As [`super::Opened::window`].
    pub async fn window(&self, offset: u64, range: ByteRange) -> Result<Vec<Bytes>, ReadError> {
        let Some(part) = self.parts.iter().find(|part| offset < part.end) else { return Ok(Vec::new()) };
        let geometry = part.opener.geometry();
        let (from, end) = (offset - part.name.start, (range.last() + 1).min(part.end) - part.name.start);
        let first = geometry.chunk_of(from);
        let last = geometry.chunk_of(end - 1).min(first + geometry.chunks_in(WINDOW_LEN) - 1);
        let (spool, name) = (self.spool.clone(), part.name);
        let start = geometry.span(first, first).start;
        let len = (geometry.span(last, last).end - start) as usize;
        let read = tokio::task::spawn_blocking(move || spool.read(name, start, len)).await;
        let mut sealed = read.map_err(|panic| ReadError::Unavailable(panic.into()))?.map_err(not_read)?;
        let mut plain = Vec::with_capacity((last - first + 1) as usize);
        for index in first..=last {
            let mut chunk = sealed.split_to(geometry.span(index, index).len() as usize);
            part.opener.open_chunk(index, &mut chunk).map_err(damaged)?;
            let start = geometry.chunk_start(index);
            let cut = |at: u64| at.saturating_sub(start).min(chunk.len() as u64) as usize;
            let (from, to) = (cut(from), cut(end));
            plain.push(chunk.freeze().slice(from..to));
        }
        Ok(plain)
    }
}

fn not_read(error: SpoolError) -> ReadError {
    ReadError::Unavailable(error.into())
}
