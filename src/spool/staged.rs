//! A piece of a recording that counts only if its checksum holds: kept apart until that is known.
//!
//! # Promise
//! What was staged comes back as it was, once, or is forgotten. It survives nothing: not its drop, not the process.
//! # Secrecy
//! Sealed like the frames of the log, under a salt of its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use super::{Spool, SpoolError, failed};
use crate::crypto::frame::{FRAME_OVERHEAD, FRAME_PLAIN_LEN_MAX, FrameHead, FrameKey, LogSalt};
use crate::crypto::keys::DataKey;
use crate::crypto::random::random;
use crate::model::{ObjectId, RecordingId, TenantNumber};

const PREFIX: &str = "staged.";

pub struct Staged {
    spool: Spool,
    path: PathBuf,
    file: File,
    key: FrameKey,
    recording: RecordingId,
    /// Plaintext bytes, and with them the frames: each but the last is as long as it may be.
    len: u64,
    sealed_len: u64,
    gathered: Box<zeroize::Zeroizing<Vec<u8>>>,
}

impl Staged {
    pub fn begin(
        spool: &Spool,
        data_key: &DataKey,
        tenant: TenantNumber,
        recording: RecordingId,
    ) -> Result<Staged, SpoolError> {
        spool.room.has(FRAME_PLAIN_LEN_MAX as u64)?;
        let path = spool.dir.join(format!("{PREFIX}{}", ObjectId(random())));
        let file = OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(&path);
        let key = FrameKey::derive(data_key, &LogSalt(random()), tenant, recording);
        let gathered = Box::new(zeroize::Zeroizing::new(Vec::with_capacity(FRAME_PLAIN_LEN_MAX)));
        let (file, spool) = (file.map_err(failed)?, spool.clone());
        Ok(Staged { spool, path, file, key, recording, len: 0, sealed_len: 0, gathered })
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn write(&mut self, mut plain: &[u8]) -> Result<(), SpoolError> {
        while !plain.is_empty() {
            let (taken, rest) = plain.split_at(plain.len().min(FRAME_PLAIN_LEN_MAX - self.gathered.len()));
            self.gathered.extend_from_slice(taken);
            self.len += taken.len() as u64;
            plain = rest;
            if self.gathered.len() == FRAME_PLAIN_LEN_MAX {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Gives everything back, piece by piece in its order.
    pub fn read(mut self, mut take: impl FnMut(&[u8]) -> Result<(), SpoolError>) -> Result<(), SpoolError> {
        self.flush()?;
        let mut at = 0;
        while at < self.sealed_len {
            let frame_len = (self.sealed_len - at).min((FRAME_OVERHEAD + FRAME_PLAIN_LEN_MAX) as u64);
            let mut frame = BytesMut::zeroed(frame_len as usize);
            self.file.read_exact_at(&mut frame, at).map_err(SpoolError::Disk)?;
            let plain = self.key.open(&mut frame).map_err(|error| SpoolError::Disk(io::Error::other(error)))?;
            take(plain)?;
            at += frame_len;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SpoolError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let head = FrameHead {
            plain_len: self.gathered.len() as u32,
            recording: self.recording,
            object: ObjectId::NONE,
            offset: self.len - self.gathered.len() as u64,
            sequence: self.len,
        };
        let mut frame = BytesMut::new();
        self.key.seal(&head, &self.gathered, &mut frame);
        self.spool.room.has_for_admitted(frame.len() as u64)?;
        self.file.write_all(&frame).map_err(failed)?;
        self.spool.room.count(frame.len() as u64);
        self.sealed_len += frame.len() as u64;
        self.gathered.clear();
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.spool.room.give_back(self.sealed_len);
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "a staged piece stays in the spool until the next start");
        }
    }
}

/// Removes what a dead process staged.
pub fn remove_all(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
