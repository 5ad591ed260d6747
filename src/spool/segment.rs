//! A segment that is being written: an object's header and sealed chunks, growing at its end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;

use tokio::sync::OwnedSemaphorePermit;

use super::{SegmentName, Spool, SpoolError, failed};
use crate::disk::Mark;

pub struct Segment {
    name: SegmentName,
    /// `None` between the chunks of a slow call: an open file for each would be one too many.
    file: Option<File>,
    /// For it to stay open.
    place: Option<OwnedSemaphorePermit>,
    /// Before its first byte.
    began: Mark,
    len: u64,
    synced_len: u64,
    spool: Spool,
}

impl Segment {
    pub(super) fn begin(spool: &Spool, name: SegmentName) -> Result<Segment, SpoolError> {
        let began = spool.disk.mark();
        let made = OpenOptions::new().append(true).create_new(true).mode(0o600).open(spool.path(name));
        // Limit: closed again at once, since a sender may say nothing for long.
        drop(made.map_err(failed)?);
        spool.room.count_recordings(1);
        spool.note_new_name();
        Ok(Segment { name, file: None, place: None, began, len: 0, synced_len: 0, spool: spool.clone() })
    }

    pub fn name(&self) -> SegmentName {
        self.name
    }

    /// Appends sealed bytes. They are with the operating system when it returns.
    ///
    /// It writes on the calling thread: handing 64 KiB to a thread pool costs more than copying them into the page cache.
    pub fn append(&mut self, sealed: &[u8]) -> Result<(), SpoolError> {
        self.spool.room.has_for_admitted(sealed.len() as u64)?;
        self.append_last(sealed)
    }

    /// [`Segment::append`], into the reserve: the end of a segment that was begun is written even where nothing else is.
    pub fn append_last(&mut self, sealed: &[u8]) -> Result<(), SpoolError> {
        let len = self.len;
        let file = self.open()?;
        if let Err(error) = file.write_all(sealed) {
            // A write that was cut short must not leave half a chunk for the next one to follow.
            let _ = file.set_len(len);
            return Err(failed(error));
        }
        self.len += sealed.len() as u64;
        self.spool.room.count(sealed.len() as u64);
        self.keep_open();
        Ok(())
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Gives its open file back until the next append.
    pub fn rest(&mut self) {
        (self.file, self.place) = (None, None);
    }

    /// The file stays open where there is a place for it.
    fn keep_open(&mut self) {
        if self.place.is_none() {
            self.place = self.spool.room.open_files.clone().try_acquire_owned().ok();
        }
        if self.place.is_none() {
            self.file = None;
        }
    }

    /// Makes what was appended durable; costs nothing where it is already.
    pub async fn sync(&mut self) -> Result<(), SpoolError> {
        if self.synced_len == self.len {
            return Ok(());
        }
        let len = self.len;
        // Durability: an offset that was told rests on these bytes.
        let synced = self.spool.disk.sync(vec![self.spool.path(self.name)], Some(self.began));
        synced.await.map_err(failed)?;
        self.synced_len = len;
        Ok(())
    }

    /// Makes the bytes durable.
    pub async fn close(mut self) -> Result<(), SpoolError> {
        // Durability: the object's only copy until the store has it.
        self.sync().await
    }

    fn open(&mut self) -> Result<&mut File, SpoolError> {
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).open(self.spool.path(self.name));
            self.file = Some(file.map_err(failed)?);
        }
        Ok(self.file.as_mut().expect("it was opened just now"))
    }
}
