//! Objects as files of a directory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use tokio::sync::Semaphore;

use super::{Result, Store, StoreError, UPLOADS_MAX};

pub fn open(dir: &FilePath) -> Result<Store> {
    let unusable = |error: &dyn std::fmt::Display| {
        StoreError::Misconfigured(format!("the object store's directory {} cannot be used: {error}", dir.display()))
    };
    make_dir(dir).map_err(|error| unusable(&error))?;
    let root = dir.canonicalize().map_err(|error| unusable(&error))?;
    let objects = LocalFileSystem::new_with_prefix(&root).map_err(|error| unusable(&error))?.with_fsync(true);
    Ok(Store {
        objects: Arc::new(objects),
        prefix: Path::default(),
        description: format!("file://{}", root.display()),
        root: Some(root),
        uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
    })
}

/// Gives a spool file its object's name, durably. `false`: the spool lies on another file system.
pub async fn link(root: &FilePath, location: &Path, spooled: &FilePath) -> Result<bool> {
    let (target, spooled) = (root.join(location.as_ref()), spooled.to_owned());
    let linked = tokio::task::spawn_blocking(move || link_blocking(&spooled, &target)).await;
    linked.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(not_linked)
}

/// A file that is opened with its first read, and stays open for the session.
pub struct LazyFile {
    path: PathBuf,
    file: OnceLock<Arc<File>>,
}

// Limit: what is read on the calling thread; a header, which is in memory or on the block that comes next anyway.
const INLINE_LEN_MAX: u64 = 4 << 10;

impl LazyFile {
    pub fn new(path: PathBuf) -> LazyFile {
        LazyFile { path, file: OnceLock::new() }
    }

    pub async fn read(&self, range: Range<u64>, sealed_len: u64) -> Result<Bytes> {
        let file = self.open(sealed_len)?;
        let len = range.end - range.start;
        if len <= INLINE_LEN_MAX {
            return read_exact(&file, range.start, len as usize);
        }
        let read = tokio::task::spawn_blocking(move || read_exact(&file, range.start, len as usize));
        read.await.unwrap_or_else(|panic| Err(StoreError::Unavailable(panic.into())))
    }

    fn open(&self, sealed_len: u64) -> Result<Arc<File>> {
        if let Some(file) = self.file.get() {
            return Ok(file.clone());
        }
        let file = File::open(&self.path).map_err(not_read)?;
        let len = file.metadata().map_err(not_read)?.len();
        if len != sealed_len {
            return Err(StoreError::WrongLength(len));
        }
        Ok(self.file.get_or_init(|| Arc::new(file)).clone())
    }
}

fn read_exact(file: &File, start: u64, len: usize) -> Result<Bytes> {
    let mut bytes = BytesMut::zeroed(len);
    file.read_exact_at(&mut bytes, start).map_err(not_read)?;
    Ok(bytes.freeze())
}

/// Makes removed names stay removed after a power cut.
pub async fn sync_after_delete(root: &FilePath, deleted: impl Iterator<Item = Path>) -> Result<()> {
    let folders: BTreeSet<PathBuf> =
        deleted.filter_map(|path| Some(root.join(path.as_ref()).parent()?.to_owned())).collect();
    let synced = tokio::task::spawn_blocking(move || {
        folders.iter().filter(|folder| folder.exists()).try_for_each(|folder| File::open(folder)?.sync_all())
    });
    synced.await.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(|e| StoreError::Unavailable(e.into()))
}

fn link_blocking(spooled: &FilePath, target: &FilePath) -> io::Result<bool> {
    let folder = target.parent().expect("an object lies in a folder");
    if !folder.exists() {
        make_dir(folder)?;
        // Durability: the folder's own name.
        File::open(folder.parent().expect("the folder lies in the root"))?.sync_all()?;
    }
    match std::fs::hard_link(spooled, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let (ours, theirs) = (std::fs::metadata(spooled)?, std::fs::metadata(target)?);
            if (ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino()) {
                return Ok(false);
            }
        }
        linked => linked?,
    }
    // Durability: the object's name. Its bytes were synced when the spool file was closed.
    File::open(folder)?.sync_all()?;
    Ok(true)
}

fn make_dir(dir: &FilePath) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn not_read(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound => StoreError::Missing,
        // It was cut after it was opened.
        io::ErrorKind::UnexpectedEof => StoreError::WrongLength(0),
        _ => StoreError::Unavailable(error.into()),
    }
}

fn not_linked(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(error.into()),
        _ => StoreError::Unavailable(error.into()),
    }
}
