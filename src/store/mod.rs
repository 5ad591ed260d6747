//! The object store: sealed objects under random names, on local disk or in S3-compatible storage, through one face.
//!
//! # Promise
//! [`Store::put`] that returned `Ok` is durable. An object is written once and never changed. Reading gives bytes as they
//! are: whoever reads authenticates them.
//! # Secrecy
//! Only sealed bytes come in here, and an object's name is random: a listing tells the number and sizes of recordings, and
//! nothing of tenants, calls or times.

mod local;
mod s3;
mod stats;

use std::fs::File;
use std::ops::Range;
use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use thiserror::Error;
use tokio::sync::Semaphore;

pub use stats::{Operation, StoreStats};

use crate::bucket::{Bucket, S3Settings};
use crate::model::error::chain;
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
    /// The bucket, where it is one.
    bucket: Option<Bucket>,
    s3: S3Settings,
    description: String,
    uploads: Arc<Semaphore>,
    stats: Arc<StoreStats>,
}

// Limit: keys that S3 takes in one request.
const DELETE_BATCH: usize = 1_000;
/// A multipart upload that is older belongs to nobody: 10,000 parts at the longest request are sent by then, or never.
const UPLOAD_AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// A sealed object on its way: closed and durable in the spool.
pub struct Parcel<'a> {
    pub object: ObjectId,
    pub path: &'a FilePath,
    pub sealed_len: u64,
}

impl Store {
    /// `file:///dir`, `file://dir` or `s3://bucket/prefix`. Makes a missing directory; credentials for S3 come from `AWS_*`
    /// or a file. Nothing is asked of a bucket yet.
    pub fn open(url: &str, s3: &S3Settings) -> Result<Store> {
        match url.split_once("://") {
            Some(("file", dir)) => local::open(FilePath::new(dir), s3),
            Some(("s3", place)) => {
                let misconfigured = |reason: String| StoreError::Misconfigured(format!("store {url}: {reason}"));
                Ok(Store::in_bucket(Bucket::open(place, s3).map_err(misconfigured)?, s3))
            }
            _ => Err(StoreError::Misconfigured("store is file://<dir> or s3://<bucket>/<prefix>".into())),
        }
    }

    fn in_bucket(bucket: Bucket, s3: &S3Settings) -> Store {
        Store {
            objects: bucket.objects(),
            prefix: bucket.prefix().clone(),
            root: None,
            description: bucket.describe().to_owned(),
            bucket: Some(bucket),
            s3: s3.clone(),
            stats: Arc::default(),
            uploads: Arc::new(Semaphore::new(s3.uploads_max)),
        }
    }

    /// Whether objects can be put, got and deleted, tried on a small one: [`StoreError::Misconfigured`] says what a person must
    /// change, [`StoreError::Unavailable`] that it may be better later.
    pub async fn check(&self) -> Result<()> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        bucket.probe().await.map_err(|error| match error.is_down() {
            true => StoreError::Unavailable(error.into()),
            false => StoreError::Misconfigured(error.to_string()),
        })
    }

    /// The time of the store's machine, asked for anew. `None`: it is this one, or it does not answer, or tells no time.
    pub async fn now(&self) -> Option<Timestamp> {
        self.bucket.as_ref()?.now().await
    }

    /// Aborts multipart uploads that a dead process left, a day after they were begun by the store's own clock. Returns how
    /// many.
    pub async fn sweep_uploads(&self) -> Result<usize> {
        let Some(bucket) = &self.bucket else { return Ok(0) };
        let uploads = bucket.open_uploads().await.map_err(s3::failed)?;
        if uploads.is_empty() {
            return Ok(0);
        }
        let Some(now) = bucket.now().await else { return Ok(0) };
        let mut count = 0;
        for upload in uploads.iter().filter(|upload| now.duration_since(upload.begun_at) > UPLOAD_AGE_MAX) {
            bucket.abort(upload).await.map_err(s3::failed)?;
            count += 1;
        }
        Ok(count)
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
        self.stats.watch(Operation::Put, self.take(parcel)).await
    }

    async fn take(&self, parcel: Parcel<'_>) -> Result<()> {
        if let Some(root) = &self.root
            && root.link(&self.spell(parcel.object), parcel.path).await?
        {
            return Ok(());
        }
        let _permit = self.uploads.acquire().await.expect("the semaphore is never closed");
        let file = File::open(parcel.path).map_err(|error| StoreError::Unavailable(error.into()))?;
        let location = self.spell(parcel.object);
        let Some(bucket) = &self.bucket else {
            return local::copy(&*self.objects, &location, file, parcel.sealed_len).await;
        };
        s3::Sending { bucket, settings: &self.s3, location: &location, sealed_len: parcel.sealed_len }.run(file).await
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
        StoredObject { store: self.clone(), location: self.spell(object), sealed_len, file }
    }

    /// Deletes in bulk; one that is not there counts as deleted. Returns those that are gone: the others are to be tried again.
    /// An error means that nothing is known to be gone.
    pub async fn delete(&self, objects: &[ObjectId]) -> Result<Vec<ObjectId>> {
        self.stats.watch(Operation::Delete, self.delete_all(objects)).await
    }

    async fn delete_all(&self, objects: &[ObjectId]) -> Result<Vec<ObjectId>> {
        let mut gone = Vec::new();
        let mut failure = None;
        for batch in objects.chunks(DELETE_BATCH) {
            let paths: Vec<_> = batch.iter().map(|object| Ok(self.spell(*object))).collect();
            let results = self.objects.delete_stream(futures::stream::iter(paths).boxed()).collect::<Vec<_>>().await;
            // One result for each key; or a single error, when the request as a whole was refused.
            let is_each = results.len() == batch.len();
            for (object, result) in batch.iter().zip(results) {
                match result.map_err(|error| self.not_done("delete", error)) {
                    Ok(_) => gone.push(*object),
                    Err(StoreError::Missing) if is_each => gone.push(*object),
                    Err(error) => failure = Some(error),
                }
            }
        }
        if let Some(root) = &self.root {
            root.sync_after_delete(gone.iter().map(|object| self.spell(*object))).await?;
        }
        match failure {
            Some(error) if gone.is_empty() => Err(error),
            Some(error) => {
                tracing::warn!(
                    error = chain(&error),
                    left = objects.len() - gone.len(),
                    "not all objects were deleted"
                );
                Ok(gone)
            }
            None => Ok(gone),
        }
    }

    /// Every object in the store, in no order.
    pub async fn list(&self) -> Result<Vec<(ObjectId, u64)>> {
        let listed: Vec<_> =
            self.objects.list(Some(&self.prefix)).try_collect().await.map_err(|error| self.not_done("list", error))?;
        let named = listed.iter().filter_map(|meta| Some((unspell(&meta.location)?, meta.size)));
        Ok(named.collect())
    }

    fn not_done(&self, verb: &'static str, error: object_store::Error) -> StoreError {
        match &self.bucket {
            Some(bucket) => s3::failed(bucket.error(verb, &error)),
            None => not_done(error),
        }
    }

    /// The one speller: 256 folders by the first byte, then the name in hexadecimal.
    fn spell(&self, object: ObjectId) -> Path {
        let name = object.to_string();
        self.prefix.clone().join(&name[..2]).join(name)
    }
}

/// One object that is being read.
pub struct StoredObject {
    store: Store,
    location: Path,
    sealed_len: u64,
    /// On local disk it is opened once.
    file: Option<local::LazyFile>,
}

impl StoredObject {
    /// Exactly these bytes; an object of another length is told from an outage.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.store.stats.watch(Operation::Get, self.fetch(range)).await
    }

    async fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        if let Some(file) = &self.file {
            return file.read(range, self.sealed_len).await;
        }
        let asked = range.end - range.start;
        let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
        let answer = match self.store.objects.get_opts(&self.location, options).await {
            Ok(answer) if answer.meta.size != self.sealed_len => {
                return Err(StoreError::WrongLength(answer.meta.size));
            }
            Ok(answer) => answer.bytes().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(bytes) if bytes.len() as u64 == asked => Ok(bytes),
            Ok(_) => Err(StoreError::Unavailable("the answer is shorter than the range".into())),
            Err(error @ object_store::Error::NotFound { .. }) => Err(self.store.not_done("get", error)),
            // A range outside a truncated object is refused in as many ways as there are stores.
            Err(error) => match self.store.objects.head(&self.location).await {
                Ok(meta) if meta.size != self.sealed_len => Err(StoreError::WrongLength(meta.size)),
                _ => Err(self.store.not_done("get", error)),
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
