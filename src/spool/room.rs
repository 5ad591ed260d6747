//! How much fits into the spool: what is there, what is promised, and what the disk has left.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use tokio::sync::Semaphore;

use super::{SpoolError, SpoolLimits};

// Limit: uploads that come fast; those beyond open their files for each batch, which costs a tenth of their time.
const OPEN_FILES_MAX: usize = 32;

pub(super) struct Room {
    dir: PathBuf,
    pub limits: SpoolLimits,
    used: AtomicU64,
    /// Bytes that uploads were promised and have not sent.
    promised: AtomicU64,
    recordings: AtomicU64,
    /// The disk had no room when it was looked at last.
    is_tight: AtomicBool,
    /// For segments that keep their files open between two appends.
    pub open_files: Arc<Semaphore>,
}

/// Room for an upload whose length was told. What is left of it is given back when it is dropped.
pub struct Reservation {
    room: Arc<Room>,
    left: u64,
}

impl Room {
    pub fn new(dir: &Path, limits: SpoolLimits) -> Room {
        Room {
            dir: dir.to_owned(),
            limits,
            used: AtomicU64::new(0),
            promised: AtomicU64::new(0),
            recordings: AtomicU64::new(0),
            is_tight: AtomicBool::new(false),
            open_files: Arc::new(Semaphore::new(OPEN_FILES_MAX)),
        }
    }

    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub fn recordings(&self) -> u64 {
        self.recordings.load(Relaxed)
    }

    /// What still fits besides what is there and promised. Asks the disk.
    pub fn free(&self) -> Result<u64, SpoolError> {
        let held = self.used().saturating_add(self.promised.load(Relaxed));
        let disk = self.disk_free()?.saturating_sub(self.limits.disk_free_min);
        Ok(self.limits.bytes_max.saturating_sub(held).min(disk))
    }

    /// Whether `more` bytes fit besides what is there and promised. Asks the disk.
    pub fn has(&self, more: u64) -> Result<(), SpoolError> {
        self.has_besides(more, self.promised.load(Relaxed))
    }

    /// Whether `more` bytes fit for an upload that was admitted: promises to others do not count against it.
    pub fn has_for_admitted(&self, more: u64) -> Result<(), SpoolError> {
        self.has_besides(more, 0)
    }

    /// [`Room::has_for_admitted`] for pieces so small that the disk is asked for many at once ([`Room::look`]).
    pub fn has_for_frame(&self, more: u64) -> bool {
        if self.is_tight.load(Relaxed) {
            self.look();
        }
        !self.is_tight.load(Relaxed) && self.used().saturating_add(more) <= self.limits.bytes_max
    }

    /// Looks whether the disk has room for frames.
    pub fn look(&self) {
        self.is_tight.store(self.has_for_admitted(0).is_err(), Relaxed);
    }

    fn has_besides(&self, more: u64, promised: u64) -> Result<(), SpoolError> {
        let free = self.disk_free()?;
        let wanted = more.saturating_add(promised);
        let fits = self.used().saturating_add(wanted) <= self.limits.bytes_max
            && free.checked_sub(self.limits.disk_free_min).is_some_and(|room| room >= wanted);
        if fits { Ok(()) } else { Err(SpoolError::Full) }
    }

    fn disk_free(&self) -> Result<u64, SpoolError> {
        let disk = rustix::fs::statvfs(&self.dir).map_err(|error| SpoolError::Disk(error.into()))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    pub fn has_recording(&self) -> Result<(), SpoolError> {
        if self.recordings() < self.limits.count_max { Ok(()) } else { Err(SpoolError::Full) }
    }

    pub fn reserve(room: &Arc<Room>, len: u64) -> Result<Reservation, SpoolError> {
        room.has(len)?;
        room.promised.fetch_add(len, Relaxed);
        Ok(Reservation { room: room.clone(), left: len })
    }

    pub fn count(&self, bytes: u64) {
        self.used.fetch_add(bytes, Relaxed);
    }

    pub fn give_back(&self, bytes: u64) {
        let _ = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    pub fn count_recordings(&self, count: u64) {
        self.recordings.fetch_add(count, Relaxed);
    }

    pub fn forget_recording(&self) {
        let _ = self.recordings.fetch_update(Relaxed, Relaxed, |count| Some(count.saturating_sub(1)));
    }
}

impl Reservation {
    /// So many of the promised bytes have come: from here on they count as what is there.
    pub fn came(&mut self, len: u64) {
        let came = len.min(self.left);
        self.left -= came;
        self.room.promised.fetch_sub(came, Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.room.promised.fetch_sub(self.left, Relaxed);
    }
}
