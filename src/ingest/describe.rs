//! What the bytes of a finished recording tell of it: its media type, and how long it sounds.
//!
//! # Promise
//! Nothing depends on it: a recording of which nothing can be told is kept like any other.
//! # Secrecy
//! It is sealed into the label, like what the sender told.

use std::io::{self, Read, Seek, SeekFrom};

use zeroize::Zeroizing;

use super::Ingest;
use super::intake::Closed;
use crate::crypto::blob::seal_blob;
use crate::crypto::header::{Geometry, HEADER_LEN};
use crate::crypto::stream::Opener;
use crate::media::duration::duration_ms;
use crate::media::sniff;
use crate::reading::life::Label;
use crate::spool::{SegmentName, Spool};

impl Ingest {
    /// The label anew, sealed, where the bytes tell more than the sender did.
    pub(super) async fn described(&self, closed: &Closed) -> Option<Vec<u8>> {
        let row = &closed.target.row;
        let known = self.reader.label_text(row, &closed.target.data_key).ok().flatten()?;
        let name = closed.target.segment();
        let spool = self.reader.spool.clone();
        let header = spool.read(name, 0, HEADER_LEN).ok()?;
        let opener =
            Opener::new(&closed.target.data_key, row.tenant, row.id, &header, closed.object.sealed_len).ok()?;
        let source = Source { geometry: opener.geometry(), opener, spool, name, at: 0, chunk: None };
        let (declared, plain_len) = (known.media_type.clone(), closed.object.plain_len);
        let told = tokio::task::spawn_blocking(move || look(source, &declared, plain_len));
        let (media_type, duration_ms) = told.await.ok()?;
        if media_type == known.media_type && duration_ms == known.duration_ms {
            return None;
        }
        let label = Label { name: known.name, media_type, duration_ms };
        let text = Zeroizing::new(serde_json::to_vec(&label).expect("a label has only texts and numbers"));
        Some(seal_blob(&closed.target.data_key.label_key(row.tenant, row.id), row.tenant, row.id.into(), &text))
    }
}

fn look(mut source: Source, declared: &str, plain_len: u64) -> (String, Option<u64>) {
    let mut head = Zeroizing::new(vec![0; sniff::HEAD_LEN]);
    let mut len = 0;
    while let Ok(count @ 1..) = source.read(&mut head[len..]) {
        len += count;
    }
    let media_type = sniff::media_type(Some(declared), &head[..len]);
    let duration_ms = source.rewind().ok().and_then(|()| duration_ms(&media_type, &mut source, plain_len));
    (media_type, duration_ms)
}

/// The plaintext of a closed segment; one chunk of it is in memory.
struct Source {
    opener: Opener,
    geometry: Geometry,
    spool: Spool,
    name: SegmentName,
    at: u64,
    chunk: Option<(u64, Zeroizing<Vec<u8>>)>,
}

impl Source {
    fn chunk(&mut self, index: u64) -> io::Result<&[u8]> {
        if self.chunk.as_ref().is_none_or(|(known, _)| *known != index) {
            let span = self.geometry.span(index, index);
            let mut sealed = self.spool.read(self.name, span.start, span.len() as usize).map_err(io::Error::other)?;
            self.opener.open_chunk(index, &mut sealed).map_err(io::Error::other)?;
            self.chunk = Some((index, Zeroizing::new(sealed.to_vec())));
        }
        Ok(&self.chunk.as_ref().expect("it was set just now").1)
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.geometry.plain_len() {
            return Ok(0);
        }
        let index = self.geometry.chunk_of(self.at);
        let within = (self.at - self.geometry.chunk_start(index)) as usize;
        let chunk = self.chunk(index)?;
        let len = buffer.len().min(chunk.len() - within);
        buffer[..len].copy_from_slice(&chunk[within..within + len]);
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.geometry.plain_len(), by),
            SeekFrom::Current(by) => (self.at, by),
        };
        let at = base.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput)?;
        self.at = at;
        Ok(at)
    }
}
