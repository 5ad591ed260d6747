//! The object store: sealed objects under random names, on local disk or in S3-compatible storage, through one face.
//!
//! # Promise
//! [`Store::put`] that returned `Ok` is durable. An object is written once and never changed. Reading gives bytes as they
//! are: whoever reads authenticates them.
//! # Secrecy
//! Only sealed bytes come in here, and an object's name is random: a listing tells the number and sizes of recordings, and
//! nothing of tenants, calls or times.

mod date;
mod local;
mod s3;
mod stats;

use std::fs::File;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use thiserror::Error;
use tokio::sync::Semaphore;

pub use stats::{Operation, StoreStats};

use crate::model::{ObjectId, Timestamp};

/// Why the store did not do it; how to react is all that a verb needs to know.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A live row says that it must be there.
    #[error("the object is missing")]
    Missing,
    #[error("the object is {0} bytes long")]
    WrongLength(u64),
    #[error("the object store has no room")]
    Full(#[source] BoxError),
    #[error("the object store does not answer")]
    Unavailable(#[source] BoxError),
    #[error("{0}")]
    Misconfigured(String),
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, StoreError>;

/// One place for objects.
#[derive(Clone)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The directory, where the store is one.
    root: Option<Arc<local::Root>>,
    description: String,
    /// Where the store is another machine: what its answers say of the time.
    dates: Option<date::Dates>,
    uploads: Arc<Semaphore>,
    stats: Arc<StoreStats>,
}

// Limit: uploads to a store that are read into memory at once, 16 MiB each.
const UPLOADS_MAX: usize = 16;

/// A sealed object on its way: closed and durable in the spool.
pub struct Parcel<'a> {
    pub object: ObjectId,
    pub path: &'a FilePath,
    pub sealed_len: u64,
}

impl Store {
    /// `file:///dir`, `file://dir` or `s3://bucket/prefix`. Makes a missing directory; credentials for S3 come from `AWS_*`.
    pub fn open(url: &str) -> Result<Store> {
        match url.split_once("://") {
            Some(("file", dir)) => local::open(FilePath::new(dir)),
            Some(("s3", place)) => s3::open(place),
            _ => Err(StoreError::Misconfigured("store is file://<dir> or s3://<bucket>/<prefix>".into())),
        }
    }

    /// The time of the store's machine, asked for anew. `None`: it is this one, or it does not answer, or tells no time.
    pub async fn now(&self) -> Option<Timestamp> {
        let dates = self.dates.as_ref()?;
        let asked_at = Instant::now();
        // That there is no such object is an answer as any other, and a refusal has a date too.
        let answer = self.objects.head(&self.prefix.clone().join("clock")).await;
        let now = dates.since(asked_at);
        if now.is_none() {
            let error = answer.err().map(|error| error.to_string());
            tracing::warn!(error, "the object store's clock cannot be read");
        }
        now
    }

    pub fn describe(&self) -> &str {
        &self.description
    }

    pub fn stats(&self) -> &StoreStats {
        &self.stats
    }

    /// Takes a closed spool file. On the same local file system it costs no copy: the object is a second name of the file.
    /// An object that is there already, from before a crash, is left or written again with the same bytes.
    pub async fn put(&self, parcel: Parcel<'_>) -> Result<()> {
        let begun = Instant::now();
        let taken = self.take(parcel).await;
        self.stats.note(Operation::Put, begun, &taken);
        taken
    }

    async fn take(&self, parcel: Parcel<'_>) -> Result<()> {
        if let Some(root) = &self.root
            && root.link(&self.spell(parcel.object), parcel.path).await?
        {
            return Ok(());
        }
        let _permit = self.uploads.acquire().await.expect("the semaphore is never closed");
        let file = File::open(parcel.path).map_err(|error| StoreError::Unavailable(error.into()))?;
        s3::upload(&*self.objects, &self.spell(parcel.object), file, parcel.sealed_len).await
    }

    /// Whether the store answers. It is asked for an object that is not there: names are random, and none is all zeros.
    pub async fn probe(&self) -> Result<()> {
        if let Some(root) = &self.root {
            root.probe()?;
        }
        match self.object(ObjectId([0; 16]), 0).fetch(0..1).await {
            Ok(_) | Err(StoreError::Missing | StoreError::WrongLength(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// An object that must be `sealed_len` long, for reading. Nothing is asked of the store yet.
    pub fn object(&self, object: ObjectId, sealed_len: u64) -> StoredObject {
        let file = self.root.as_ref().map(|root| root.file(&self.spell(object)));
        let stats = self.stats.clone();
        StoredObject { objects: self.objects.clone(), location: self.spell(object), sealed_len, file, stats }
    }

    /// Deletes in bulk; one that is not there counts as deleted. Returns those that are gone.
    pub async fn delete(&self, objects: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let begun = Instant::now();
        let deleted = self.delete_all(objects).await;
        self.stats.note(Operation::Delete, begun, &deleted);
        deleted
    }

    async fn delete_all(&self, objects: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let paths: Vec<_> = objects.iter().map(|object| Ok(self.spell(*object))).collect();
        let results = self.objects.delete_stream(futures::stream::iter(paths).boxed()).collect::<Vec<_>>().await;
        let mut gone = Vec::new();
        let mut failure = None;
        for (object, result) in objects.iter().zip(results) {
            match result {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => gone.push(*object),
                Err(error) => failure = Some(error),
            }
        }
        if let Some(root) = &self.root {
            root.sync_after_delete(gone.iter().map(|object| self.spell(*object))).await?;
        }
        match failure {
            Some(error) if gone.is_empty() => Err(not_done(error)),
            _ => Ok(gone),
        }
    }

    /// Every object in the store, in no order.
    pub async fn list(&self) -> Result<Vec<(ObjectId, u64)>> {
        let listed: Vec<_> = self.objects.list(Some(&self.prefix)).try_collect().await.map_err(not_done)?;
        let named = listed.iter().filter_map(|meta| Some((unspell(&meta.location)?, meta.size)));
        Ok(named.collect())
    }

    /// The one speller: 256 folders by the first byte, then the name in hexadecimal.
    fn spell(&self, object: ObjectId) -> Path {
        let name = object.to_string();
        self.prefix.clone().join(&name[..2]).join(name)
    }
}

/// One object that is being read.
pub struct StoredObject {
    objects: Arc<dyn ObjectStore>,
    location: Path,
    sealed_len: u64,
    /// On local disk it is opened once.
    file: Option<local::LazyFile>,
    stats: Arc<StoreStats>,
}

impl StoredObject {
    /// Exactly these bytes; an object of another length is told from an outage.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let begun = Instant::now();
        let bytes = self.fetch(range).await;
        self.stats.note(Operation::Get, begun, &bytes);
        bytes
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        if let Some(file) = &self.file {
            return file.read(range, self.sealed_len).await;
        }
        let asked = range.end - range.start;
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        let answer = match self.objects.get_opts(&self.location, options).await {
            Ok(answer) if answer.meta.size != self.sealed_len => {
                return Err(StoreError::WrongLength(answer.meta.size));
            }
            Ok(answer) => answer.bytes().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(bytes) if bytes.len() as u64 == asked => Ok(bytes),
            Ok(_) => Err(StoreError::Unavailable("the answer is shorter than the range".into())),
            Err(error @ object_store::Error::NotFound { .. }) => Err(not_done(error)),
            // A range outside a truncated object is refused in as many ways as there are stores.
            Err(error) => match self.objects.head(&self.location).await {
                Ok(meta) if meta.size != self.sealed_len => Err(StoreError::WrongLength(meta.size)),
                _ => Err(not_done(error)),
            },
        }
    }
}

fn unspell(path: &Path) -> Option<ObjectId> {
    path.filename()?.parse().ok()
}

fn not_done(error: object_store::Error) -> StoreError {
    match error {
        object_store::Error::NotFound { .. } => StoreError::Missing,
        error if has_no_room(&error) => StoreError::Full(error.into()),
        error => StoreError::Unavailable(error.into()),
    }
}

fn has_no_room(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let full = |io: &std::io::Error| {
            matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        };
        if error.downcast_ref::<std::io::Error>().is_some_and(full) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
