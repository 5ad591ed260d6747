//! Which problems an operation can answer, by what it does.

use crate::model::Problem;
use crate::model::Problem::*;

/// What every request with a token can meet before it reaches anything.
pub const ASKED: &[Problem] = &[
    BadRequest,
    Unauthorized,
    Forbidden,
    AddressNotAllowed,
    NotCleared,
    NotFound,
    TenantNeeded,
    TooManyDenials,
    TooManyRequests,
    Internal,
    Unavailable,
];

/// What a request without one can meet, where something is looked for.
pub const SERVED: &[Problem] = &[BadRequest, NotFound, TooManyDenials, Internal, Unavailable];

/// A JSON document that is asked with.
pub const DOCUMENT: &[Problem] = &[UnsupportedMediaType, TooLarge, TooSlow, Draining, Unprocessable];

/// A person who listens.
pub const REASONED: &[Problem] = &[ReasonNeeded];

/// A parameter, or a value, that means nothing here.
pub const MEANT: &[Problem] = &[Unprocessable];

/// A recording that is looked for.
pub const FOUND: &[Problem] = &[NotFound, Ended, Erased, Deleted];

/// What is opened: a row, or an object.
pub const OPENED: &[Problem] = &[Integrity, Ended];

/// What may lie in another server's spool.
pub const HELD: &[Problem] = &[Elsewhere];

/// Playing, beside what is found and opened.
pub const PLAYED: &[Problem] = &[StillReceiving, PreconditionFailed, RangeNotSatisfiable];

/// A body of audio, however it comes: who may send, how much, how fast, and whether there is room.
pub const RECEIVED: &[Problem] = &[
    RecordingNotEnabled,
    EmptyBody,
    DigestMismatch,
    LengthMismatch,
    TooSlow,
    TooLarge,
    UnsupportedMediaType,
    Draining,
    Busy,
    SpoolFull,
];

/// What is known under a name already, or ends meanwhile.
pub const KNOWN: &[Problem] = &[Conflict, StillReceiving, OffsetMismatch, Ended, Erased, Deleted];

/// A recording that comes in one request.
pub const AT_ONCE: &[Problem] = &[LengthRequired];

/// An upload that goes on.
pub const RESUMED: &[Problem] = &[NotFound, UploadExpired, Superseded, CompletedUpload, UnsupportedVersion];

/// A piece of an upload.
pub const OF_A_PIECE: &[Problem] =
    &[InconsistentLength, ChecksumMismatch, CompletedUpload, Superseded, UnsupportedVersion];
