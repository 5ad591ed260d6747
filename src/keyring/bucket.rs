//! A key store in a bucket of S3: small objects under one prefix.
//!
//! # Promise
//! `create` is conditional (`If-None-Match: *`), so that of two runs one makes a generation. `destroy` writes zeros of the
//! same length over the object, deletes it, and looks that it is gone; a store that numbers one of these writes keeps the
//! bytes of before, and is an error.
//! # Limits
//! What a store's own disks and backups keep is out of reach, and versioning that it does not show too: `warning` says so.

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{KeyStore, KeyStoreError, KeyringError};
use crate::bucket::{Bucket, BucketError, Created, Unfit, Written};

/// One prefix of one bucket.
pub struct BucketKeyStore {
    bucket: Bucket,
}

impl BucketKeyStore {
    pub fn new(bucket: Bucket) -> BucketKeyStore {
        BucketKeyStore { bucket }
    }

    fn failed(&self, verb: &'static str, name: &str, source: std::io::Error) -> KeyStoreError {
        KeyStoreError { place: self.describe(), verb, name: name.to_owned(), source }
    }

    fn unmet(&self, verb: &'static str, name: &str) -> impl Fn(BucketError) -> KeyStoreError {
        let (place, name) = (self.describe(), name.to_owned());
        move |error| KeyStoreError {
            place: place.clone(),
            verb,
            name: name.clone(),
            source: std::io::Error::other(error),
        }
    }

    fn kept(&self, verb: &'static str, name: &str) -> KeyStoreError {
        self.failed(verb, name, std::io::Error::other(self.bucket.keeps("it numbers what is written")))
    }
}

#[async_trait]
impl KeyStore for BucketKeyStore {
    async fn names(&self) -> Result<Vec<String>, KeyStoreError> {
        self.bucket.names().await.map_err(self.unmet("list", "its objects"))
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<(), KeyStoreError> {
        match self.bucket.create(name, bytes).await.map_err(self.unmet("create", name))? {
            Created::New(Written::Plain) => Ok(()),
            Created::New(Written::Versioned) => Err(self.kept("create", name)),
            Created::Exists => Err(self.failed("create", name, std::io::ErrorKind::AlreadyExists.into())),
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        let read = self.bucket.read(name).await.map_err(self.unmet("read", name))?;
        Ok(read.map(|read| read.bytes))
    }

    async fn destroy(&self, name: &str) -> Result<(), KeyStoreError> {
        let unmet = self.unmet("destroy", name);
        let Some(present) = self.bucket.read(name).await.map_err(&unmet)? else { return Ok(()) };
        let zeros = vec![0; present.bytes.len()];
        drop(present.bytes);
        let overwritten = self.bucket.overwrite(name, zeros).await.map_err(&unmet)?;
        self.bucket.remove(name).await.map_err(&unmet)?;
        if self.bucket.read(name).await.map_err(&unmet)?.is_some() {
            return Err(self.failed("destroy", name, std::io::Error::other("it is still there after it was deleted")));
        }
        if present.is_versioned || overwritten == Written::Versioned {
            return Err(self.kept("destroy", name));
        }
        Ok(())
    }

    fn describe(&self) -> String {
        self.bucket.describe().to_owned()
    }

    fn warning(&self) -> Option<String> {
        None
    }

    async fn vet(&self) -> Result<(), KeyringError> {
        let vetted = self.bucket.vet().await;
        vetted.or_else(|unfit| match unfit {
            Unfit::No(reason) => Err(KeyringError::Unfit(reason)),
            // Whoever asked meets it again, and says what it means then.
            Unfit::Failed(error) if error.is_down() => Ok(()),
            Unfit::Failed(error) => Err(KeyringError::Unfit(error.to_string())),
        })
    }

    async fn vet_for_reading(&self) -> Result<(), KeyringError> {
        let seen = async {
            self.bucket.vet_for_reading().await?;
            for name in self.bucket.names().await?.iter().take(1) {
                if self.bucket.read(name).await?.is_some_and(|read| read.is_versioned) {
                    return Err(Unfit::No(self.bucket.keeps("it numbers the versions of what is read")));
                }
            }
            Ok(())
        };
        match seen.await {
            Err(Unfit::No(reason)) => Err(KeyringError::Unfit(reason)),
            Err(Unfit::Failed(error)) => {
                tracing::warn!(%error, "a key store mirror cannot be read");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}
