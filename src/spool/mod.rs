//! The spool: sealed bytes on local disk, from the first chunk of an upload until its object is in the store and its row
//! committed.
//!
//! One file for each upload, `<recording>.<object>`, which grows only at its end. It holds a segment: an object's header and
//! sealed chunks. A segment that was closed is an object, byte for byte.
//!
//! # Promise
//! What [`Segment::append`] took survives the death of the process. After [`Segment::close`] the bytes, and after
//! [`Spool::sync_names`] the names, survive a power cut.
//! # Secrecy
//! Ciphertext only; the names are random or numbered by time.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::BytesMut;
use thiserror::Error;

use crate::model::{ObjectId, RecordingId};

#[derive(Debug, Error)]
pub enum SpoolError {
    /// `spool.bytes_max` is reached, or the disk is nearly full.
    #[error("the spool is full")]
    Full,
    #[error("the spool's disk does not work")]
    Disk(#[source] io::Error),
}

/// How much the spool may take.
#[derive(Clone, Copy, Debug)]
pub struct SpoolLimits {
    /// Bytes of all segments together.
    pub bytes_max: u64,
    /// Bytes that stay free on its disk: the catalog and the last chunks of running calls need them.
    pub disk_free_min: u64,
}

/// Which upload a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    pub recording: RecordingId,
    pub object: ObjectId,
}

#[derive(Clone)]
pub struct Spool {
    dir: PathBuf,
    limits: SpoolLimits,
    used: Arc<AtomicU64>,
}

/// A segment that is being written.
pub struct Segment {
    file: File,
    path: PathBuf,
    len: u64,
    spool: Spool,
}

impl Spool {
    /// Makes a missing directory and counts what is in it.
    pub fn open(dir: &Path, limits: SpoolLimits) -> Result<Spool, SpoolError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(SpoolError::Disk)?;
        let spool = Spool { dir: dir.to_owned(), limits, used: Arc::default() };
        let used = spool.segments()?.iter().map(|(_, len)| len).sum();
        spool.used.store(used, Relaxed);
        Ok(spool)
    }

    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub fn limits(&self) -> SpoolLimits {
        self.limits
    }

    /// Whether `more` bytes fit: asked before work is begun, and again with every write.
    pub fn has_room(&self, more: u64) -> Result<(), SpoolError> {
        let disk = rustix::fs::statvfs(&self.dir).map_err(|error| SpoolError::Disk(error.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let fits = self.used().saturating_add(more) <= self.limits.bytes_max
            && free.checked_sub(self.limits.disk_free_min).is_some_and(|room| room >= more);
        if fits { Ok(()) } else { Err(SpoolError::Full) }
    }

    pub fn path(&self, name: SegmentName) -> PathBuf {
        self.dir.join(format!("{}.{}", name.recording, name.object))
    }

    /// Begins a segment; a name is used once.
    pub fn begin(&self, name: SegmentName) -> Result<Segment, SpoolError> {
        let path = self.path(name);
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path);
        Ok(Segment { file: file.map_err(failed)?, path, len: 0, spool: self.clone() })
    }

    /// All segments with their lengths, by name. Files that are none are passed over.
    pub fn segments(&self) -> Result<Vec<(SegmentName, u64)>, SpoolError> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(SpoolError::Disk)? {
            let entry = entry.map_err(SpoolError::Disk)?;
            if let Some(name) = parse(&entry.file_name().to_string_lossy()) {
                segments.push((name, entry.metadata().map_err(SpoolError::Disk)?.len()));
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// `None`: there is no such segment.
    pub fn len(&self, name: SegmentName) -> Result<Option<u64>, SpoolError> {
        match std::fs::metadata(self.path(name)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(SpoolError::Disk(error)),
        }
    }

    /// Exactly these bytes of a segment.
    pub fn read(&self, name: SegmentName, start: u64, len: usize) -> Result<BytesMut, SpoolError> {
        let mut bytes = BytesMut::zeroed(len);
        let file = File::open(self.path(name)).map_err(SpoolError::Disk)?;
        file.read_exact_at(&mut bytes, start).map_err(SpoolError::Disk)?;
        Ok(bytes)
    }

    /// Makes a segment's bytes durable that a dead process wrote.
    pub async fn sync(&self, name: SegmentName) -> Result<(), SpoolError> {
        let path = self.path(name);
        // Durability: they were with the operating system, and may not be on the disk.
        blocking(move || File::open(path)?.sync_all()).await
    }

    /// Removes a segment that is not needed any more. Lost by a power cut, the removal is done again at the next start.
    pub fn remove(&self, name: SegmentName) -> Result<(), SpoolError> {
        let len = self.len(name)?.unwrap_or(0);
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(SpoolError::Disk(error)),
            _ => {}
        }
        let _ = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(len)));
        Ok(())
    }

    /// Makes the names of closed segments durable: before an acknowledgement that rests on the spool alone.
    pub async fn sync_names(&self) -> Result<(), SpoolError> {
        let dir = self.dir.clone();
        // Durability: the names. The bytes were synced when each segment was closed.
        blocking(move || File::open(dir)?.sync_all()).await
    }
}

impl Segment {
    /// Appends sealed bytes. They are with the operating system when it returns.
    ///
    /// It writes on the calling thread: handing 64 KiB to a thread pool costs more than copying them into the page cache.
    pub fn append(&mut self, sealed: &[u8]) -> Result<(), SpoolError> {
        self.spool.has_room(sealed.len() as u64)?;
        self.append_last(sealed)
    }

    /// [`Segment::append`], into the reserve: the end of a segment that was begun is written even where nothing else is.
    pub fn append_last(&mut self, sealed: &[u8]) -> Result<(), SpoolError> {
        if let Err(error) = self.file.write_all(sealed) {
            // A write that was cut short must not leave half a chunk for the next one to follow.
            let _ = self.file.set_len(self.len);
            return Err(failed(error));
        }
        self.len += sealed.len() as u64;
        self.spool.used.fetch_add(sealed.len() as u64, Relaxed);
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes the bytes durable.
    pub async fn close(self) -> Result<PathBuf, SpoolError> {
        let path = self.path.clone();
        // Durability: the object's only copy until the store has it.
        blocking(move || self.file.sync_data()).await?;
        Ok(path)
    }
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), SpoolError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(failed)
}

fn parse(file_name: &str) -> Option<SegmentName> {
    let (recording, object) = file_name.split_once('.')?;
    Some(SegmentName { recording: recording.parse().ok()?, object: object.parse().ok()? })
}

fn failed(error: io::Error) -> SpoolError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::Full,
        _ => SpoolError::Disk(error),
    }
}

#[cfg(test)]
mod tests;
