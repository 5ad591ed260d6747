//! The straight line from body to spool: frames are sealed on the task that reads them, and written in batches.
//!
//! # Invariants
//! Memory for one upload is a batch, whatever the body's size or framing: 128 KiB of sealed chunks, or the one chunk being
//! filled while nothing comes. What is sealed is written as soon as the sender pauses, so that a crash loses at most the
//! chunk being filled.

use std::path::PathBuf;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};

use super::digest::ExpectedDigests;
use super::{Body, BodyBreak, Target};
use crate::crypto::stream::{SealedObject, Sealer};
use crate::model::{Error, Problem};
use crate::spool::{Segment, Spool, SpoolError};

/// Sealed bytes that are written at once while a body comes fast.
pub const BATCH_LEN: usize = 8 * (16 << 10);

/// One body on its way into one segment.
pub struct Intake {
    sealer: Sealer,
    segment: Segment,
    digests: ExpectedDigests,
    plain_len_max: u64,
}

/// How a body ended.
#[derive(Debug)]
pub enum End {
    /// All of it arrived.
    Body,
    Broken(BodyBreak),
    TooLarge,
    Spool(SpoolError),
}

impl PartialEq for End {
    fn eq(&self, other: &End) -> bool {
        matches!((self, other), (End::Body, End::Body) | (End::TooLarge, End::TooLarge))
    }
}

impl Intake {
    pub fn begin(
        spool: &Spool,
        target: &Target,
        digests: ExpectedDigests,
        plain_len_max: u64,
    ) -> Result<Intake, SpoolError> {
        let segment = spool.begin(target.segment())?;
        let sealer = Sealer::new(&target.data_key, target.row.tenant, target.row.id);
        Ok(Intake { sealer, segment, digests, plain_len_max })
    }

    /// Plaintext bytes taken so far.
    pub fn plain_len(&self) -> u64 {
        self.sealer.plain_len()
    }

    /// Takes the body to its end or its break. What was sealed before a break is kept.
    pub async fn pump(&mut self, mut body: impl Body) -> End {
        loop {
            let frame = match body.next().now_or_never() {
                Some(frame) => frame,
                None => {
                    if let Err(error) = self.flush() {
                        return End::Spool(error);
                    }
                    body.next().await
                }
            };
            match frame {
                None => return End::Body,
                Some(Err(broken)) => return End::Broken(broken),
                Some(Ok(bytes)) if self.plain_len() + bytes.len() as u64 > self.plain_len_max => return End::TooLarge,
                Some(Ok(bytes)) => {
                    if let Err(error) = self.take(bytes) {
                        return End::Spool(error);
                    }
                }
            }
        }
    }

    /// Takes bytes that count as the sender's.
    pub fn take(&mut self, bytes: Bytes) -> Result<(), SpoolError> {
        self.digests.update(&bytes);
        self.copy(&bytes)
    }

    /// Takes bytes that were received before and are sealed again into this segment.
    pub fn copy(&mut self, bytes: &[u8]) -> Result<(), SpoolError> {
        for piece in bytes.chunks(BATCH_LEN) {
            self.sealer.write(piece);
            if self.sealer.sealed().len() >= BATCH_LEN {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Also of what was compared, not copied: digests are over the whole body.
    pub fn check_digests(&mut self) -> Result<(), Error> {
        check(std::mem::take(&mut self.digests))
    }

    /// Seals the last chunk and makes the segment durable: it is an object now. The reserve that the spool keeps free
    /// (`spool.disk_free_min`) is for this.
    pub async fn close(mut self) -> Result<(PathBuf, SealedObject), SpoolError> {
        let (rest, object) = self.sealer.finish();
        self.segment.append_last(&rest)?;
        assert_eq!(self.segment.len(), object.sealed_len, "the segment holds the object and nothing else");
        Ok((self.segment.close().await?, object))
    }

    fn flush(&mut self) -> Result<(), SpoolError> {
        if self.sealer.sealed().is_empty() {
            return Ok(());
        }
        self.segment.append(self.sealer.sealed())?;
        self.sealer.clear_sealed();
        Ok(())
    }
}

pub fn check(digests: ExpectedDigests) -> Result<(), Error> {
    if digests.hold() {
        return Ok(());
    }
    Err(Error::new(
        Problem::DigestMismatch,
        "the bytes that arrived do not match the digest that was sent; nothing was kept",
    ))
}
