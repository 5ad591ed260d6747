//! Locks that die with their holder: files beside the catalog, held by flock(2).
//!
//! A row cannot tell whether the process that wrote it still lives; the kernel can, without clocks and without waiting.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::open::refused_file;
use crate::catalog::Result;

/// A lock that is held; its file goes when it is dropped, and is taken over when its holder died.
pub(super) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is still held, so that nobody else's file is removed.
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "a lock's file stays behind");
        }
    }
}

/// Takes the lock `name` of the catalog at `catalog`; `None`: another has it.
pub(super) fn take(catalog: &Path, name: &str) -> Result<Option<Lock>> {
    let path = path(catalog, name);
    loop {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|source| refused_file(&path, source))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_at(&file, &path) => return Ok(Some(Lock { path, _file: file })),
            // The holder went in between and took the name with him.
            Ok(()) => continue,
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(refused_file(&path, errno.into())),
        }
    }
}

/// Whether somebody who lives holds the lock.
pub(super) fn is_held(catalog: &Path, name: &str) -> bool {
    let file = File::open(path(catalog, name));
    file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

fn path(catalog: &Path, name: &str) -> PathBuf {
    let mut path = catalog.as_os_str().to_owned();
    path.push(".");
    path.push(name);
    path.into()
}

fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: std::io::Result<std::fs::Metadata>| metadata.ok().map(|found| (found.dev(), found.ino()));
    identity(file.metadata()) == identity(std::fs::metadata(path))
}
