//! The spool: sealed bytes on local disk, from the first byte of an upload until its object is in the store and its row
//! committed.
//!
//! ```text
//! small pieces of a call ──► log        one for all calls, one sync for all; a frame leaves it when its chunk is full
//! whole chunks ────────────► segment    one for each upload; closed, it is an object, byte for byte
//! ```
//! Ten thousand calls that go on write ten thousand small pieces every fraction of a second. Syncing a file for each takes
//! many times as long as syncing one log (`cargo bench --bench spool`), and a file and a socket for each would need more open
//! files than many machines allow. So the newest bytes of all calls share the log, and a segment is opened only when a chunk
//! is full.
//!
//! | file | what it holds |
//! |---|---|
//! | `<recording>.<object>` | a segment from the recording's beginning |
//! | `<recording>.<object>.<start>` | what a later process went on with, from that byte of the recording |
//! | `log.<number>` | frames ([`crate::crypto::frame`]) |
//! | `staged.<random>` | frames that count only if their checksum holds |
//!
//! # Promise
//! What [`Segment::append`] took survives the death of the process, and what [`Log::append`] took does [`log::FLUSH_EVERY`]
//! later. After [`Segment::close`], [`Log::durable`] and [`Spool::sync_names`] the bytes and names survive a power cut;
//! without anybody asking, frames do after `spool.sync_every`.
//! # Secrecy
//! Ciphertext only; the names are random or numbered by time.

pub mod log;
mod room;
mod segment;
mod staged;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use bytes::BytesMut;
use thiserror::Error;

pub use log::{FrameAt, FrameKeys, FrameRead, Log};
pub use room::Reservation;
pub use segment::Segment;
pub use staged::Staged;

use crate::crypto::frame::FrameHead;
use crate::disk::{Disk, Mark};
use crate::model::{ObjectId, RecordingId};
use room::Room;

#[derive(Debug, Error)]
pub enum SpoolError {
    /// `spool.bytes_max` or `spool.count_max` is reached, or the disk is nearly full.
    #[error("the spool is full")]
    Full,
    #[error("the spool's disk does not work")]
    Disk(#[source] io::Error),
}

/// How much the spool may take, and how long frames may wait for a sync.
#[derive(Clone, Copy, Debug)]
pub struct SpoolLimits {
    /// Bytes of all segments and logs together.
    pub bytes_max: u64,
    /// Recordings that wait in it.
    pub count_max: u64,
    /// Bytes that stay free on its disk: the catalog and the last chunks of running calls need them.
    pub disk_free_min: u64,
    /// A power cut takes at most the frames of this long.
    pub sync_every: Duration,
}

/// Which upload a segment belongs to, and where in the recording it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    pub recording: RecordingId,
    pub object: ObjectId,
    pub start: u64,
}

#[derive(Clone)]
pub struct Spool {
    dir: PathBuf,
    room: Arc<Room>,
    log: Log,
    disk: Disk,
    opened: Mark,
    /// Whether there are names that no sync has made durable.
    has_new_names: Arc<AtomicBool>,
}

/// What a process that died left of one recording.
#[derive(Clone, Debug, Default)]
pub struct Leftover {
    /// With their lengths, ascending by name.
    pub segments: Vec<(SegmentName, u64)>,
    /// In the order in which they were appended.
    pub frames: Vec<(FrameHead, FrameAt)>,
}

impl SegmentName {
    /// A segment from the recording's beginning: the one that can become an object.
    pub fn whole(recording: RecordingId, object: ObjectId) -> SegmentName {
        SegmentName { recording, object, start: 0 }
    }
}

impl Spool {
    /// Makes a missing directory and counts what is in it.
    pub fn open(dir: &Path, limits: SpoolLimits) -> Result<Spool, SpoolError> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(SpoolError::Disk)?;
        let disk = Disk::of(dir).map_err(SpoolError::Disk)?;
        let opened = disk.mark();
        let room = Arc::new(Room::new(dir, limits));
        let has_new_names = Arc::new(AtomicBool::new(false));
        let log = Log::new(dir, room.clone(), has_new_names.clone()).map_err(SpoolError::Disk)?;
        let spool = Spool { dir: dir.to_owned(), room, log, disk, opened, has_new_names };
        let segments = spool.segments()?;
        let logs = log::files_in(dir).map_err(SpoolError::Disk)?;
        spool.room.count(segments.iter().map(|(_, len)| len).chain(logs.iter().map(|(_, len)| len)).sum());
        spool.room.count_recordings(segments.len() as u64);
        Ok(spool)
    }

    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Bytes that it holds.
    pub fn used(&self) -> u64 {
        self.room.used()
    }

    /// Segments that it holds.
    pub fn count(&self) -> u64 {
        self.room.recordings()
    }

    pub fn limits(&self) -> SpoolLimits {
        self.room.limits
    }

    /// Bytes that it may still take: what its limit and its disk leave.
    pub fn free(&self) -> Result<u64, SpoolError> {
        self.room.free()
    }

    /// Whether one more recording of so many bytes fits besides what is promised to others: asked before work is begun.
    pub fn has_room(&self, len: u64) -> Result<(), SpoolError> {
        self.room.has_recording()?;
        self.room.has(len)
    }

    /// Keeps room for an upload whose length was told, so that it is refused at its beginning or not at all.
    pub fn reserve(&self, len: u64) -> Result<Reservation, SpoolError> {
        self.room.has_recording()?;
        Room::reserve(&self.room, len)
    }

    pub fn path(&self, name: SegmentName) -> PathBuf {
        let SegmentName { recording, object, start } = name;
        self.dir.join(match start {
            0 => format!("{recording}.{object}"),
            _ => format!("{recording}.{object}.{start}"),
        })
    }

    /// Begins a segment; a name is used once.
    pub fn begin(&self, name: SegmentName) -> Result<Segment, SpoolError> {
        Segment::begin(self, name)
    }

    /// All segments with their lengths, by name. Files that are none are passed over.
    pub fn segments(&self) -> Result<Vec<(SegmentName, u64)>, SpoolError> {
        let mut segments = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(SpoolError::Disk)? {
            let entry = entry.map_err(SpoolError::Disk)?;
            if let Some(name) = parse(&entry.file_name().to_string_lossy()) {
                match entry.metadata() {
                    Ok(metadata) => segments.push((name, metadata.len())),
                    // It was removed while the directory was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(SpoolError::Disk(error)),
                }
            }
        }
        segments.sort();
        Ok(segments)
    }

    /// Everything that a dead process left, by recording. Only the server that has the spool to itself may ask, once, before
    /// it receives anything.
    pub fn leftovers(&self) -> Result<BTreeMap<RecordingId, Leftover>, SpoolError> {
        staged::remove_all(&self.dir).map_err(SpoolError::Disk)?;
        let mut leftovers: BTreeMap<RecordingId, Leftover> = BTreeMap::new();
        for (name, len) in self.segments()? {
            leftovers.entry(name.recording).or_default().segments.push((name, len));
        }
        for (head, at) in self.log.take_over()? {
            leftovers.entry(head.recording).or_default().frames.push((head, at));
        }
        Ok(leftovers)
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

    /// Makes a segment's bytes durable that were with the operating system.
    pub async fn sync(&self, name: SegmentName) -> Result<(), SpoolError> {
        // Durability: they were with the operating system, and may not be on the disk. By itself: a process that is dead wrote
        // it, and what failed since then nobody knows.
        self.disk.sync(vec![self.path(name)], None).await.map_err(failed)
    }

    /// Removes a segment that is not needed any more. Lost by a power cut, the removal is done again at the next start.
    pub fn remove(&self, name: SegmentName) -> Result<(), SpoolError> {
        let len = self.len(name)?;
        match std::fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(SpoolError::Disk(error)),
            _ => {}
        }
        if let Some(len) = len {
            self.room.give_back(len);
            self.room.forget_recording();
        }
        Ok(())
    }

    /// Makes the names of closed segments durable: before an acknowledgement that rests on the spool alone.
    pub async fn sync_names(&self) -> Result<(), SpoolError> {
        // Durability: the names. The bytes were synced when each segment was closed.
        self.disk.sync(vec![self.dir.clone()], Some(self.opened)).await.map_err(failed)
    }

    fn note_new_name(&self) {
        self.has_new_names.store(true, Relaxed);
    }
}

fn parse(file_name: &str) -> Option<SegmentName> {
    let (recording, rest) = file_name.split_once('.')?;
    let (object, start) = rest.split_once('.').unwrap_or((rest, "0"));
    Some(SegmentName { recording: recording.parse().ok()?, object: object.parse().ok()?, start: start.parse().ok()? })
}

fn failed(error: io::Error) -> SpoolError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolError::Full,
        _ => SpoolError::Disk(error),
    }
}

#[cfg(test)]
mod tests;
