//! The logs as files: made, found, and read back after a crash.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use super::{FrameAt, LogFile, State};
use crate::crypto::frame::{FrameHead, LOG_HEADER_LEN, LogSalt};
use crate::crypto::random::random;

const PREFIX: &str = "log.";

/// Every log with its length, ascending by number.
pub fn files_in(dir: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(number) = number_of(&entry.file_name().to_string_lossy()) {
            match entry.metadata() {
                Ok(metadata) => found.push((number, entry.path(), metadata.len())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path, len)| (path, len)).collect())
}

pub fn next_number(dir: &Path) -> io::Result<u64> {
    let last = files_in(dir)?.into_iter().next_back();
    let number = last.and_then(|(path, _)| number_of(&path.file_name()?.to_string_lossy()));
    Ok(number.map_or(1, |number| number + 1))
}

/// A new log with a salt of its own; its header is the first thing to be written.
pub fn create(dir: &Path, number: u64) -> io::Result<LogFile> {
    let path = dir.join(format!("{PREFIX}{number}"));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    let salt = LogSalt(random());
    Ok(LogFile {
        number,
        salt,
        file: Arc::new(file),
        path,
        written: 0,
        full: VecDeque::new(),
        gathered: BytesMut::from(&salt.write()[..]),
        synced: 0,
        live: 0,
        next_sequence: 0,
        takes_frames: true,
        has_failed: false,
        last_append: Instant::now(),
    })
}

/// Adds a dead process's log, up to the first byte that is no frame: a crash leaves whole frames and then, at most, a torn one.
pub fn take_over(state: &mut State, path: &Path, frames: &mut Vec<(FrameHead, FrameAt)>) -> io::Result<()> {
    let bytes = std::fs::read(path)?;
    let file = File::open(path)?;
    // Durability: what a killed process wrote is with the operating system only, and is about to be relied on.
    file.sync_all()?;
    let number = number_of(&path.file_name().unwrap_or_default().to_string_lossy()).unwrap_or(0);
    let start = state.end;
    let mut live = 0;
    // A log without a whole header never had a frame.
    let salt = LogSalt::read(&bytes).unwrap_or(LogSalt([0; 24]));
    let mut offset = if LogSalt::read(&bytes).is_ok() { LOG_HEADER_LEN } else { bytes.len() };
    while let Ok((head, frame_len)) = FrameHead::read(&bytes[offset..]) {
        frames.push((head, FrameAt { position: start + offset as u64, frame_len: frame_len as u32 }));
        offset += frame_len;
        live += 1;
    }
    state.end = start + bytes.len().max(1) as u64;
    state.next_number = Some(state.next_number.unwrap_or(1).max(number + 1));
    let len = bytes.len() as u64;
    state.files.insert(
        start,
        LogFile {
            number,
            salt,
            file: Arc::new(file),
            path: path.to_owned(),
            written: len,
            full: VecDeque::new(),
            gathered: BytesMut::new(),
            synced: len,
            live,
            next_sequence: 0,
            takes_frames: false,
            has_failed: false,
            last_append: Instant::now(),
        },
    );
    Ok(())
}

fn number_of(file_name: &str) -> Option<u64> {
    file_name.strip_prefix(PREFIX)?.parse().ok()
}
