//! Objects as files of a directory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::{Result, Store, StoreError};

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
    })
}

/// Gives a spool file its object's name, durably. `false`: the spool lies on another file system.
pub async fn link(root: &FilePath, location: &Path, spooled: &FilePath) -> Result<bool> {
    let (target, spooled) = (root.join(location.as_ref()), spooled.to_owned());
    let linked = tokio::task::spawn_blocking(move || link_blocking(&spooled, &target)).await;
    linked.unwrap_or_else(|panic| Err(io::Error::other(panic))).map_err(not_linked)
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

fn not_linked(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(error.into()),
        _ => StoreError::Unavailable(error.into()),
    }
}
