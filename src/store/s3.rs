//! Objects in S3-compatible storage.
//!
//! # Promise
//! An upload of any length takes the memory of one part. One that fails, or whose future is dropped, is aborted; what a
//! crash leaves is swept a day later ([`super::Store::sweep_uploads`]).
//! # Retries
//! A name is written with one content only, so a second delivery of a request changes nothing. Where a store answers that
//! second one with "taken" or "no such upload", what lies there is compared with the file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};

use super::{Result, StoreError};
use crate::bucket::{Bucket, BucketError, Fault, S3Settings};

/// One object on its way to a bucket.
pub struct Sending<'a> {
    pub bucket: &'a Bucket,
    pub settings: &'a S3Settings,
    pub location: &'a Path,
    pub sealed_len: u64,
}

impl Sending<'_> {
    pub async fn run(&self, mut file: File) -> Result<()> {
        let sent = match self.sealed_len <= self.settings.multipart_above {
            true => self.put(&mut file).await,
            false => self.put_in_parts(&mut file).await,
        };
        match sent {
            Err(Failure::Bucket(error)) if matches!(error.fault, Fault::Exists | Fault::NoObject) => {
                if self.is_there(&mut file).await? { Ok(()) } else { Err(failed(error)) }
            }
            sent => sent.map_err(Failure::into_store_error),
        }
    }

    async fn put(&self, file: &mut File) -> std::result::Result<(), Failure> {
        let bytes = read_part(file, self.sealed_len as usize).await?;
        let put = self.bucket.objects().put(self.location, bytes.into()).await;
        put.map(|_| ()).map_err(|error| self.failed("put", &error))
    }

    async fn put_in_parts(&self, file: &mut File) -> std::result::Result<(), Failure> {
        let upload = self.bucket.objects().put_multipart(self.location).await;
        let mut upload = Begun(Some(upload.map_err(|error| self.failed("put", &error))?), self.bucket.describe());
        let sent = self.send_parts(upload.get(), file).await;
        match sent {
            Ok(()) => upload.0 = None,
            Err(_) => upload.abort().await,
        }
        sent
    }

    async fn send_parts(&self, upload: &mut dyn MultipartUpload, file: &mut File) -> std::result::Result<(), Failure> {
        let mut left = self.sealed_len;
        while left > 0 {
            let part_len = left.min(self.settings.part_len);
            let part = read_part(file, part_len as usize).await?;
            upload.put_part(part.into()).await.map_err(|error| self.failed("put", &error))?;
            left -= part_len;
        }
        upload.complete().await.map(|_| ()).map_err(|error| self.failed("put", &error))
    }

    /// Whether the bucket holds exactly the file's bytes under the name.
    async fn is_there(&self, file: &mut File) -> Result<bool> {
        let objects = self.bucket.objects();
        let unread = |error: &object_store::Error| failed(self.bucket.error("get", error));
        match objects.head(self.location).await {
            Ok(meta) if meta.size == self.sealed_len => {}
            Ok(_) | Err(object_store::Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(unread(&error)),
        }
        file.seek(SeekFrom::Start(0)).map_err(|error| StoreError::Unavailable(error.into()))?;
        let mut at = 0;
        while at < self.sealed_len {
            let end = self.sealed_len.min(at + self.settings.part_len);
            let theirs = objects.get_range(self.location, at..end).await.map_err(|error| unread(&error))?;
            let ours = read_part(file, (end - at) as usize).await.map_err(Failure::into_store_error)?;
            if ours != theirs {
                return Ok(false);
            }
            at = end;
        }
        Ok(true)
    }

    fn failed(&self, verb: &'static str, error: &object_store::Error) -> Failure {
        Failure::Bucket(self.bucket.error(verb, error))
    }
}

enum Failure {
    Bucket(BucketError),
    File(std::io::Error),
}

impl Failure {
    fn into_store_error(self) -> StoreError {
        match self {
            Failure::Bucket(error) => failed(error),
            Failure::File(error) => StoreError::Unavailable(error.into()),
        }
    }
}

/// A multipart upload that was begun. One that is neither completed nor aborted stays in the bucket, unseen and paid for.
struct Begun<'a>(Option<Box<dyn MultipartUpload>>, &'a str);

impl Begun<'_> {
    fn get(&mut self) -> &mut dyn MultipartUpload {
        &mut **self.0.as_mut().expect("it is taken by its end only")
    }

    async fn abort(&mut self) {
        if let Some(upload) = self.0.take() {
            abort(upload, self.1.to_owned()).await;
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let (Some(upload), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(abort(upload, self.1.to_owned()));
        }
    }
}

async fn abort(mut upload: Box<dyn MultipartUpload>, place: String) {
    if upload.abort().await.is_err() {
        tracing::warn!(place, "a multipart upload could not be aborted; a later expire run sweeps it");
    }
}

/// What a verb of the store makes of a bucket's error.
pub fn failed(error: BucketError) -> StoreError {
    match error.fault {
        Fault::NoObject => StoreError::Missing,
        _ => StoreError::Unavailable(error.into()),
    }
}

async fn read_part(file: &mut File, len: usize) -> std::result::Result<Bytes, Failure> {
    let mut file = file.try_clone().map_err(Failure::File)?;
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = BytesMut::zeroed(len);
        file.read_exact(&mut bytes).map(|()| bytes.freeze())
    });
    let read = read.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    read.map_err(Failure::File)
}
