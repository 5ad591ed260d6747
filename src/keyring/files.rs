//! A key store on a file system: small files that are truly overwritten before they are removed.
//!
//! # Promise
//! `destroy`: overwrite in place + fsync, unlink + fsync of the directory. Measured on ext4 and xfs, this left none of the
//! old bytes on the raw device; truncating, renaming over, and unlinking alone all left them. Nothing in here ever renames.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
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
        self.run("create", name, move |dir, path| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            let written = file.write_all(&bytes).and_then(|()| {
                // Durability: the bytes, then the name. A generation counts only when both are there after a power cut.
                file.sync_all()?;
                File::open(dir)?.sync_all()
            });
            // A file that could not be written whole is not left to be found.
            written.inspect_err(|_| drop(destroy(dir, path)))
        })
        .await
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
            Ok(Some(bytes))
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
