//! Objects as files of a directory.
//!
//! # Promise
//! An object that was linked has its name after a power cut, and so has the folder in which it lies.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::{Bytes, BytesMut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use tokio::sync::Semaphore;

use super::{Result, Store, StoreError, not_done};
use crate::bucket::S3Settings;
use crate::disk::{Disk, Mark};

pub fn open(dir: &FilePath, s3: &S3Settings) -> Result<Store> {
    let unusable = |error: &dyn std::fmt::Display| {
        StoreError::Misconfigured(format!("the object store's directory {} cannot be used: {error}", dir.display()))
    };
    make_dir(dir).map_err(|error| unusable(&error))?;
    let root = dir.canonicalize().map_err(|error| unusable(&error))?;
    let disk = Disk::of(&root).map_err(|error| unusable(&error))?;
    let objects = LocalFileSystem::new_with_prefix(&root).map_err(|error| unusable(&error))?.with_fsync(true);
    Ok(Store {
        objects: Arc::new(objects),
        prefix: Path::default(),
        description: format!("file://{}", root.display()),
        root: Some(Arc::new(Root { dir: root, opened: disk.mark(), disk, durable_folders: Mutex::default() })),
        bucket: None,
        s3: s3.clone(),
        uploads: Arc::new(Semaphore::new(s3.uploads_max)),
        stats: Arc::default(),
    })
}

// Limit: memory of a copy onto another file system, whatever the object's length.
const COPY_LEN: usize = 4 << 20;

/// An object from a spool on another file system.
pub async fn copy(objects: &dyn ObjectStore, location: &Path, file: File, sealed_len: u64) -> Result<()> {
    let file = Arc::new(file);
    let mut upload = objects.put_multipart(location).await.map_err(not_done)?;
    let copied = async {
        for start in (0..sealed_len).step_by(COPY_LEN) {
            let (file, len) = (file.clone(), COPY_LEN.min((sealed_len - start) as usize));
            let read = tokio::task::spawn_blocking(move || read_exact(&file, start, len));
            let piece = read.await.unwrap_or_else(|panic| Err(StoreError::Unavailable(panic.into())))?;
            upload.put_part(piece.into()).await.map_err(not_done)?;
        }
        upload.complete().await.map_err(not_done)
    };
    let copied = copied.await;
    if copied.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::warn!(%error, "the beginning of an object could not be removed");
    }
    copied.map(|_| ())
}

/// The directory.
pub struct Root {
    dir: PathBuf,
    disk: Disk,
    opened: Mark,
    /// Folders whose own names this process made durable: at most the 256 that there are.
    durable_folders: Mutex<BTreeSet<PathBuf>>,
}

/// What became of a link.
enum Linked {
    Since(Mark),
    /// An earlier try made it, or a process that is dead.
    Before,
    /// The spool lies on another file system, or the object is another file already.
    No,
}

impl Root {
    /// Whether the directory is there: a disk that was taken away looks like a store without objects.
    pub fn probe(&self) -> Result<()> {
        std::fs::metadata(&self.dir).map(|_| ()).map_err(|error| StoreError::Unavailable(error.into()))
    }

    pub fn file(&self, location: &Path) -> LazyFile {
        LazyFile::new(self.dir.join(location.as_ref()))
    }

    /// Gives a spool file its object's name, durably. `false`: it cannot be had without a copy.
    pub async fn link(&self, location: &Path, spooled: &FilePath) -> Result<bool> {
        let (target, spooled, disk) = (self.dir.join(location.as_ref()), spooled.to_owned(), self.disk.clone());
        let folder = target.parent().expect("an object lies in a folder").to_owned();
        let linked = tokio::task::spawn_blocking(move || link_blocking(&disk, &spooled, &target)).await;
        let since = match linked.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(not_linked)? {
            Linked::No => return Ok(false),
            Linked::Before => None,
            Linked::Since(mark) => Some(mark),
        };
        // Durability: the object's name, whose bytes were synced when the spool file was closed; and the folder's own.
        let is_folder_durable = self.durable_folders().contains(&folder);
        if is_folder_durable {
            self.disk.sync(vec![folder], since).await.map_err(not_linked)?;
        } else {
            // Whoever made the folder may not have synced its name yet.
            let since = since.map(|_| self.opened);
            self.disk.sync(vec![folder.clone(), self.dir.clone()], since).await.map_err(not_linked)?;
            self.durable_folders().insert(folder);
        }
        Ok(true)
    }

    /// Makes removed names stay removed after a power cut.
    pub async fn sync_after_delete(&self, deleted: impl Iterator<Item = Path>) -> Result<()> {
        let folders: BTreeSet<PathBuf> =
            deleted.filter_map(|path| Some(self.dir.join(path.as_ref()).parent()?.to_owned())).collect();
        let folders = folders.into_iter().filter(|folder| folder.exists()).collect();
        // Durability: what is swept must not come back.
        self.disk.sync(folders, None).await.map_err(|error| StoreError::Unavailable(error.into()))
    }

    fn durable_folders(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.durable_folders.lock().expect("no holder of this lock panics")
    }
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

fn link_blocking(disk: &Disk, spooled: &FilePath, target: &FilePath) -> io::Result<Linked> {
    let since = disk.mark();
    make_dir(target.parent().expect("an object lies in a folder"))?;
    match std::fs::hard_link(spooled, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(Linked::No),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let (ours, theirs) = (std::fs::metadata(spooled)?, std::fs::metadata(target)?);
            let is_same = (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino());
            Ok(if is_same { Linked::Before } else { Linked::No })
        }
        linked => linked.map(|()| Linked::Since(since)),
    }
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
