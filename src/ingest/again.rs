//! A name that is known: a retry is recognised by its bytes, and a partial recording may grow, never change.
//!
//! The bytes that were received are not kept in any comparable form (a digest in the clear would tell whether two calls are
//! the same long after both are dead), so a retry is compared with the stored recording itself while it streams in.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::StreamExt;

use super::digest::ExpectedDigests;
use super::intake::{End, Intake, check};
use super::{
    Body, BodyBreak, Committed, Ingest, Outcome, Received, Target, Upload, broken, elsewhere, not_committed,
    not_spooled, wrong_length,
};
use crate::catalog::Recording;
use crate::crypto::random::random;
use crate::crypto::stream::SealedObject;
use crate::model::range::{ByteRange, UploadRange};
use crate::model::trail::Who;
use crate::model::{Completeness, Error, ObjectId, Problem, Result};
use crate::reading::live::{Claim, Place};
use crate::reading::{Opened, ReadError};

/// What a comparison of a body with what is stored came to.
enum Compared {
    /// The body ended where the stored recording ends.
    Same,
    /// The stored recording ended first: this is the rest of the frame in which it did.
    Longer(Bytes),
    Different,
    Broken(BodyBreak),
}

impl Ingest {
    pub(super) async fn receive_again(
        &self,
        upload: Upload,
        known: Recording,
        body: impl Body,
        _place: Place,
    ) -> Result<Received> {
        let still_receiving = || Error::new(Problem::StillReceiving, "an upload under this name is still running");
        if self.leftovers.of(known.id).is_some() {
            // What a crash interrupted becomes a recording now, not when its turn comes.
            self.recover_recording(known.id).await?;
        }
        let claim = self.live.claim(known.id).ok_or_else(still_receiving)?;
        // Read again under the claim: another upload may have finished it in between.
        let known = self.catalog.recording(None, known.id).await.map_err(not_committed)?.ok_or_else(still_receiving)?;
        let stored_len = known.plain_len.ok_or_else(still_receiving)?;
        if let Some(holder) = self.held_elsewhere(&known).await? {
            return Err(elsewhere(&holder));
        }
        let mark = self.catalog.ring_mark().await.map_err(not_committed)?;
        if self.reader.state_at(&known, &mark, self.clock.now()).is_gone() {
            return Err(Error::new(
                Problem::Ended,
                "what was received under this name has ended; send under another name",
            ));
        }
        match upload.range.filter(|range| !range.is_whole()) {
            None => self.compare(upload, known, body, &claim).await,
            Some(range) if known.completeness == Completeness::Partial && range.first == stored_len => {
                self.append_to_known(upload, known, body, &claim).await
            }
            Some(_) => Err(Error::new(
                Problem::OffsetMismatch,
                "what was received under this name does not end where this Content-Range begins",
            )
            .at_offset(stored_len)),
        }
    }

    /// A whole upload under a known name: the same bytes are acknowledged again, a longer upload of which a partial
    /// recording is the beginning completes it, anything else is refused.
    async fn compare(
        &self,
        mut upload: Upload,
        known: Recording,
        mut body: impl Body,
        claim: &Claim,
    ) -> Result<Received> {
        let data_key = self.reader.any_data_key(&known).map_err(|error| self.not_read(error))?;
        let opened = self.reader.open(&known, &data_key).await.map_err(|error| self.not_read(error))?;
        let is_partial = known.completeness == Completeness::Partial;
        match compare_body(&opened, &mut upload, &mut body).await.map_err(|error| self.not_read(error))? {
            Compared::Same if upload.range.is_some_and(|range| Some(range.len()) != known.plain_len) => {
                Err(wrong_length())
            }
            Compared::Same if !is_partial => {
                check(upload.digests)?;
                Ok(Received { recording: known, outcome: Outcome::Known })
            }
            Compared::Same => {
                check(upload.digests)?;
                let target = Target { object: known.object, data_key, row: known, by: Arc::clone(&upload.by) };
                let recording = self.complete_as_it_is(&target).await?;
                Ok(Received { recording, outcome: Outcome::Known })
            }
            Compared::Longer(rest) if is_partial => {
                let rest = futures::stream::iter([Ok(rest)]).chain(body);
                self.append_to_known(upload, known, rest, claim).await
            }
            Compared::Broken(reason) if is_partial => Err(broken(End::Broken(reason), known.plain_len.unwrap_or(0))),
            Compared::Broken(reason) => Err(Error::new(
                reason.problem(),
                "the body broke off; what was received under this name before is complete, and stays as it was",
            )),
            Compared::Longer(_) | Compared::Different => {
                let detail = "other audio was received under this name; it was not replaced";
                let conflict = Error::new(Problem::Conflict, detail);
                Err(if is_partial { conflict.at_offset(known.plain_len.unwrap_or(0)) } else { conflict })
            }
        }
    }

    /// Adds a body to a partial recording: both are sealed into one new object, and the row changes over when it is durable.
    async fn append_to_known(
        &self,
        upload: Upload,
        known: Recording,
        body: impl Body,
        claim: &Claim,
    ) -> Result<Received> {
        let before = known.plain_len.unwrap_or(0);
        let mut intake = self.reopen(known, upload.digests, Arc::clone(&upload.by)).await?;
        let end = intake.pump(body, claim).await;
        let added = intake.plain_len() - before;
        let refusal = match &end {
            End::TooLarge => Some(self.too_large()),
            End::Body => {
                // A whole range tells the length of both, any other that of what is added.
                let told = |range: UploadRange| if range.is_whole() { range.len() } else { before + range.len() };
                let is_wrong = upload.range.is_some_and(|range| told(range) != before + added);
                if is_wrong { Some(wrong_length()) } else { intake.check_digests().err() }
            }
            // Nothing new: the recording stays as it is.
            End::Broken(_) | End::Spool(_) => None,
        };
        if let Some(refusal) = refusal {
            intake.discard().map_err(not_spooled)?;
            return Err(refusal);
        }
        if added == 0 && end != End::Body {
            intake.discard().map_err(not_spooled)?;
            return Err(broken(end, before));
        }
        let is_last = upload.range.is_none_or(|range| range.is_final());
        let completeness = if is_last && end == End::Body { Completeness::Complete } else { Completeness::Partial };
        let recording = self.conclude(intake, completeness).await?;
        match end {
            End::Body => Ok(Received { recording, outcome: Outcome::Known }),
            end => Err(broken(end, recording.plain_len.unwrap_or(0))),
        }
    }

    /// The way into a new object for a recording that has one already, whose bytes it begins with.
    pub(super) async fn reopen(&self, known: Recording, digests: ExpectedDigests, by: Arc<Who>) -> Result<Intake> {
        let data_key = self.reader.any_data_key(&known).map_err(|error| self.not_read(error))?;
        let opened = self.reader.open(&known, &data_key).await.map_err(|error| self.not_read(error))?;
        let len = opened.geometry().plain_len();
        let target = Target { row: known, data_key, object: ObjectId(random()), by };
        let mut intake = self.begin_intake(target, digests).await?;
        let copied = async {
            let mut offset = 0;
            while let Some(range) = ByteRange::new(offset, len.saturating_sub(1), len) {
                for piece in opened.window(offset, range).await.map_err(|error| self.not_read(error))? {
                    offset += piece.len() as u64;
                    intake.copy(&piece).map_err(not_spooled)?;
                }
            }
            Ok(())
        };
        match copied.await {
            Ok(()) => Ok(intake),
            Err(error) => {
                intake.discard().map_err(not_spooled)?;
                Err(error)
            }
        }
    }

    /// A partial recording turns out to be all that there is.
    async fn complete_as_it_is(&self, target: &Target) -> Result<Recording> {
        let row = &target.row;
        let (Some(plain_len), Some(sealed_len), Some(digest)) = (row.plain_len, row.sealed_len, row.digest) else {
            return Err(Error::new(Problem::Internal, "the recording's row has no length"));
        };
        let object = SealedObject { plain_len, sealed_len, digest };
        let Committed { recording, noted } =
            self.commit(target, row.state, Completeness::Complete, object, None).await?;
        noted?;
        Ok(recording)
    }
}

/// Compares a body with a stored recording from their beginnings.
async fn compare_body(
    opened: &Opened,
    upload: &mut Upload,
    body: &mut impl Body,
) -> std::result::Result<Compared, ReadError> {
    let stored_len = opened.geometry().plain_len();
    let mut stored = Vec::new().into_iter();
    let mut piece = Bytes::new();
    let mut offset = 0;
    loop {
        let mut frame = match body.next().await {
            None if offset == stored_len => return Ok(Compared::Same),
            None => return Ok(Compared::Different),
            Some(Err(reason)) => return Ok(Compared::Broken(reason)),
            Some(Ok(frame)) => frame,
        };
        while !frame.is_empty() {
            if piece.is_empty() {
                if let Some(next) = stored.next() {
                    piece = next;
                    continue;
                }
                let Some(rest) = ByteRange::new(offset, stored_len.saturating_sub(1), stored_len) else {
                    return Ok(Compared::Longer(frame));
                };
                stored = opened.window(offset, rest).await?.into_iter();
                continue;
            }
            let len = frame.len().min(piece.len());
            if frame[..len] != piece[..len] {
                return Ok(Compared::Different);
            }
            upload.digests.update(&frame[..len]);
            frame.advance(len);
            piece.advance(len);
            offset += len as u64;
        }
    }
}
