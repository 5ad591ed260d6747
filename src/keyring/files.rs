//! A key store on a file system: small files that are truly overwritten before they are removed.
//!
//! # Promise
//! `create` makes a name once, also among processes on several machines (`O_EXCL`), and a file is whole or not there: its
//! first byte is written last, and a file without it is passed over. Whoever writes holds the file's lock, so that what a
//! dead process left half-written is told from what a living one is writing.
//! `destroy`: overwrite in place + fsync, unlink + fsync of the directory. Measured on ext4 and xfs, this left none of the
//! old bytes on the raw device; truncating, renaming over, and unlinking alone all left them. Nothing in here ever renames.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use rustix::fs::FlockOperation;
use zeroize::Zeroizing;

use super::{KeyStore, KeyStoreError, filesystem};
use crate::crypto::random::random;

/// A directory, mode 0700, of files, mode 0600.
pub struct FileKeyStore {
    dir: PathBuf,
}

// Limit: a ring of a million punctures is 1.8 GB; nothing in a key store comes near this by itself.
const FILE_LEN_MAX: u64 = 1 << 31;

impl FileKeyStore {
    /// Makes the directory if it is missing.
    pub fn create(dir: &Path) -> io::Result<FileKeyStore> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // Durability: the directory's own name, or a power cut after `init` takes the ring with it.
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(FileKeyStore { dir: dir.to_owned() })
    }

    /// Makes nothing: a directory that is missing is seen when it is used.
    pub fn open(dir: &Path) -> FileKeyStore {
        FileKeyStore { dir: dir.to_owned() }
    }

    async fn run<T: Send + 'static>(
        &self,
        verb: &'static str,
        name: &str,
        work: impl FnOnce(&Path, &Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let (dir, path) = (self.dir.clone(), self.dir.join(name));
        let done = tokio::task::spawn_blocking(move || work(&dir, &path)).await;
        done.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(|source| KeyStoreError {
            place: self.describe(),
            verb,
            name: name.to_owned(),
            source,
        })
    }
}

#[async_trait]
impl KeyStore for FileKeyStore {
    async fn names(&self) -> Result<Vec<String>, KeyStoreError> {
        self.run("list", "its files", |dir, _| {
            let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            names.collect()
        })
        .await
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<(), KeyStoreError> {
        let bytes = Zeroizing::new(bytes.to_vec());
        self.run("create", name, move |dir, path| create(dir, path, &bytes)).await
    }

    async fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        self.run("read", name, |_, path| {
            let mut file = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            let len = file.metadata()?.len();
            if len > FILE_LEN_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a key store's file is smaller than this"));
            }
            // Secrecy: the exact capacity, since a vector that grows leaves copies behind.
            let mut bytes = Zeroizing::new(vec![0; len as usize]);
            file.read_exact(&mut bytes)?;
            Ok(Some(bytes).filter(|bytes| is_whole(bytes)))
        })
        .await
    }

    async fn destroy(&self, name: &str) -> Result<(), KeyStoreError> {
        self.run("destroy", name, destroy).await
    }

    fn describe(&self) -> String {
        format!("file://{}", self.dir.display())
    }

    fn warning(&self) -> Option<String> {
        filesystem::keeps_old_blocks(&self.dir).map(|reason| format!("key store {}: {reason}", self.describe()))
    }
}

/// The first byte of a file that is being written. No file of a key store begins with it.
const UNFINISHED: u8 = 0;

fn is_whole(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first != UNFINISHED)
}

fn create(dir: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    assert!(is_whole(bytes), "a file of a key store begins with its magic");
    let mut file = loop {
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => remove_torn(dir, path, error)?,
            made => break made?,
        }
    };
    rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    let mut write = || {
        file.write_all(&[UNFINISHED])?;
        file.write_all(&bytes[1..])?;
        // Durability: the bytes, then the first of them, which makes them count, then the name.
        file.sync_all()?;
        file.write_all_at(&bytes[..1], 0)?;
        file.sync_all()?;
        File::open(dir)?.sync_all()
    };
    // A file that could not be written whole is not left to be found.
    write().inspect_err(|_| drop(destroy(dir, path)))
}

/// Gives the error back where the file is whole, or somebody is writing it.
fn remove_torn(dir: &Path, path: &Path, exists: io::Error) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut first = [UNFINISHED];
    let is_free = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    let len = file.read_at(&mut first, 0)?;
    if !is_free || is_whole(&first[..len]) {
        return Err(exists);
    }
    destroy(dir, path)
}

/// Overwrites and removes one file; what is not there is destroyed already.
fn destroy(dir: &Path, path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut left = file.metadata()?.len();
    file.seek(SeekFrom::Start(0))?;
    // Random bytes: zeros are the one pattern that a device or file system may store as nothing.
    while left > 0 {
        let noise: [u8; 4096] = random();
        let len = left.min(noise.len() as u64);
        file.write_all(&noise[..len as usize])?;
        left -= len;
    }
    // Durability: the overwriting must reach the device before the name goes; a removed file is not written back.
    file.sync_all()?;
    drop(file);
    std::fs::remove_file(path)?;
    // Durability: the removal too, or a power cut brings the name back.
    File::open(dir)?.sync_all()
}
