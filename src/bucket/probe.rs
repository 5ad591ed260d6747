//! The start-up check of a bucket, and the canary of a key store.

use std::time::Duration;

use super::{Bucket, BucketError, Created, Fault, Result, Written};
use crate::crypto::random::random;
use crate::model::text::hex;

/// A start waits no longer for a bucket to answer.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);
const PROBE_LEN: usize = 32;

/// Why a bucket is not fit for keys, and what to do.
#[derive(Debug)]
pub enum Unfit {
    /// It could not be found out.
    Failed(BucketError),
    No(String),
}

impl From<BucketError> for Unfit {
    fn from(error: BucketError) -> Unfit {
        Unfit::Failed(error)
    }
}

impl Bucket {
    /// Puts, gets and deletes a small object. What is wrong with credentials, bucket or policy is told by [`BucketError`].
    pub async fn probe(&self) -> Result<()> {
        let probing = async {
            self.credentials().await?;
            let (name, bytes) = (format!("probe-{}", hex(&random::<8>())), random::<PROBE_LEN>());
            self.overwrite(&name, bytes.to_vec()).await?;
            let read = self.read(&name).await;
            let removed = self.remove(&name).await;
            match read? {
                Some(read) if *read.bytes == bytes => removed,
                _ => Err(self.failed("get", Fault::Refused, "what was put was not got back")),
            }
        };
        let unanswered = || self.failed("put", Fault::Down, "no answer in time");
        tokio::time::timeout(PROBE_PATIENCE, probing).await.unwrap_or_else(|_| Err(unanswered()))
    }

    /// Whether the store keeps what a key store relies on: a name is created once, and what was destroyed is gone.
    pub async fn vet(&self) -> std::result::Result<(), Unfit> {
        self.vet_for_reading().await?;
        let name = format!("canary.{}", hex(&random::<8>()));
        let vetted = self.vet_by_canary(&name).await;
        // Whatever it found, the canary goes.
        let removed = self.remove(&name).await;
        vetted?;
        removed?;
        if self.read(&name).await?.is_some() {
            return Err(Unfit::No(format!("{} still gives out an object that was deleted", self.place)));
        }
        if self.keeps_versions(&name).await? == Some(true) {
            return Err(self.unfit("it lists versions of a canary that was overwritten and deleted"));
        }
        Ok(())
    }

    /// The part of [`Bucket::vet`] that writes nothing.
    pub async fn vet_for_reading(&self) -> std::result::Result<(), Unfit> {
        match self.is_set_to_keep().await? {
            Some(reason) => Err(self.unfit(reason)),
            None => Ok(()),
        }
    }

    fn unfit(&self, reason: &str) -> Unfit {
        Unfit::No(self.keeps(reason))
    }

    async fn vet_by_canary(&self, name: &str) -> std::result::Result<(), Unfit> {
        let (first, second) = (random::<PROBE_LEN>(), random::<PROBE_LEN>());
        match self.create(name, &first).await? {
            Created::New(Written::Plain) => {}
            Created::New(Written::Versioned) => return Err(self.unfit("it gave a canary a version")),
            Created::Exists => return Err(Unfit::No(format!("{} says that a new name is taken", self.place))),
        }
        if self.create(name, &second).await? != Created::Exists || self.bytes(name).await? != Some(first.to_vec()) {
            return Err(Unfit::No(format!(
                "{} does not honour If-None-Match: a name can be created twice, and two runs could each destroy what the other \
                 made; use a store that knows conditional writes, or file:// on a volume that all replicas mount",
                self.place
            )));
        }
        if self.overwrite(name, vec![0; PROBE_LEN]).await? == Written::Versioned {
            return Err(self.unfit("it gave an overwritten canary a version"));
        }
        match self.bytes(name).await? {
            Some(bytes) if bytes == [0; PROBE_LEN] => Ok(()),
            _ => Err(Unfit::No(format!("{} still gives out bytes that were overwritten", self.place))),
        }
    }

    async fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.read(name).await?.map(|read| read.bytes.to_vec()))
    }

    /// Why keys must not lie here, for a person.
    pub fn keeps(&self, reason: &str) -> String {
        format!(
            "the bucket of {} keeps what is overwritten and deleted ({reason}): keys in it would outlive their destruction. Use \
             a bucket of its own for them, made without versioning, object lock, soft delete, replication and backups",
            self.place
        )
    }

    async fn credentials(&self) -> Result<()> {
        let Err(error) = self.s3.credentials().get_credential().await else { return Ok(()) };
        let mut error = self.error("sign in", &error);
        if self.is_by_role {
            error.fault = Fault::WrongKey;
            error.reason =
                format!("no credentials were given, and this machine has no role of its own ({})", error.reason);
        } else if !error.is_down() {
            error.fault = Fault::WrongKey;
        }
        Err(error)
    }
}
