//! Objects in S3-compatible storage.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path;
use object_store::{ClientConfigKey, MultipartUpload, ObjectStore, ObjectStoreExt, RetryConfig};

use tokio::sync::Semaphore;

use super::date::Dates;
use super::{Result, Store, StoreError, UPLOADS_MAX, not_done};

/// Up to here an object is one request; a three-minute call in G.711 is 1.4 MB.
const PUT_LEN_MAX: u64 = 16 << 20;
/// Above it, parts of this length, one after the other: this is all the memory that an upload of any size takes. S3 allows
/// 10,000 parts, so an object can be 160 GB.
const PART_LEN: usize = 16 << 20;

/// An upload that the store does not take is acknowledged from the spool: nobody waits long for that.
const CONNECT_TIMEOUT: &str = "5s";
const REQUEST_TIMEOUT: &str = "30s";
const RETRIES_MAX: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);

pub fn open(place: &str) -> Result<Store> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    if bucket.is_empty() {
        return Err(StoreError::Misconfigured("store is s3://<bucket>/<prefix>: the bucket is missing".into()));
    }
    let dates = Dates::default();
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        // One by one: replacing the client's options would drop those that came from the environment.
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::ConnectTimeout), CONNECT_TIMEOUT)
        .with_config(AmazonS3ConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT)
        .with_http_connector(dates.clone())
        .with_retry(RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() });
    let objects = builder.build().map_err(|error| {
        StoreError::Misconfigured(format!("the S3 store {bucket} cannot be used, check the AWS_* variables: {error}"))
    })?;
    let prefix = Path::parse(prefix).map_err(|error| StoreError::Misconfigured(error.to_string()))?;
    Ok(Store {
        objects: Arc::new(objects),
        prefix,
        root: None,
        description: format!("s3://{place}"),
        dates: Some(dates),
        uploads: Arc::new(Semaphore::new(UPLOADS_MAX)),
        stats: Arc::default(),
    })
}

pub async fn upload(objects: &dyn ObjectStore, location: &Path, mut file: File, sealed_len: u64) -> Result<()> {
    if sealed_len <= PUT_LEN_MAX {
        let bytes = read_part(&mut file, sealed_len as usize).await?;
        return objects.put(location, bytes.into()).await.map(|_| ()).map_err(not_done);
    }
    let mut upload = objects.put_multipart(location).await.map_err(not_done)?;
    match upload_parts(&mut *upload, file, sealed_len).await {
        Ok(()) => Ok(()),
        Err(error) => {
            // An upload that is neither completed nor aborted stays in the bucket, unseen and paid for.
            if let Err(abort_error) = upload.abort().await {
                tracing::warn!(error = %abort_error, "a multipart upload could not be aborted");
            }
            Err(error)
        }
    }
}

async fn upload_parts(upload: &mut dyn MultipartUpload, mut file: File, sealed_len: u64) -> Result<()> {
    let mut left = sealed_len;
    while left > 0 {
        let part_len = left.min(PART_LEN as u64);
        let part = read_part(&mut file, part_len as usize).await?;
        upload.put_part(part.into()).await.map_err(not_done)?;
        left -= part_len;
    }
    upload.complete().await.map(|_| ()).map_err(not_done)
}

async fn read_part(file: &mut File, len: usize) -> Result<Bytes> {
    let mut file = file.try_clone().map_err(|error| StoreError::Unavailable(error.into()))?;
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = BytesMut::zeroed(len);
        file.read_exact(&mut bytes).map(|()| bytes.freeze())
    });
    let read = read.await.unwrap_or_else(|panic| Err(std::io::Error::other(panic)));
    read.map_err(|error| StoreError::Unavailable(error.into()))
}
