//! Uploads that arrive in pieces, over as many connections as it takes.

use super::digest::ExpectedDigests;
use super::{Body, Ingest, Upload};
use crate::catalog::{Recording, Tenant};
use crate::model::{Error, Problem, RecordingId, Result, Timestamp};

/// What is known of a resumable upload.
pub struct Progress {
    /// The upload's id is the recording's id.
    pub id: RecordingId,
    /// Durable when it is told.
    pub offset: u64,
    pub declared_len: Option<u64>,
    /// After that the upload is closed as a partial recording.
    pub resume_until: Timestamp,
    /// `Some`: the recording is complete.
    pub finished: Option<Recording>,
}

/// One piece of an upload.
pub struct Piece {
    pub offset: u64,
    /// Length of the whole, where this request tells it.
    pub declared_len: Option<u64>,
    pub last: Last,
    /// Over this piece; on mismatch nothing of it is kept.
    pub digests: ExpectedDigests,
    /// `Content-Length` of the request, if any.
    pub content_len: Option<u64>,
}

/// Whether the upload is complete with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    Yes,
    No,
    /// When the offset has reached the declared length.
    WhenFull,
}

impl Ingest {
    /// A new resumable upload; `upload.declared_len` is the whole's length if told. Under the name of a partial recording it
    /// goes on at that one's end.
    pub async fn create(&self, _upload: Upload) -> Result<Progress> {
        Err(not_built())
    }

    /// Appends a body exactly at the piece's offset; ends an older request on the same upload first.
    pub async fn append(&self, _: &Tenant, _: RecordingId, _: Piece, _body: impl Body) -> Result<Progress> {
        Err(not_built())
    }

    pub async fn progress(&self, _: &Tenant, _: RecordingId) -> Result<Progress> {
        Err(not_built())
    }

    pub async fn terminate(&self, _: &Tenant, _: RecordingId) -> Result<()> {
        Err(not_built())
    }
}

fn not_built() -> Error {
    Error::new(Problem::NotBuilt, "resumable uploads are not built yet")
}
