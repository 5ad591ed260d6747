//! `/v1/uploads` and `/v1/uploads/{id}`: a recording that arrives in pieces, and goes on where it was cut.
//!
//! One resource, two dialects. A request with `Tus-Resumable` is tus 1.0 (`resumable/tus.rs`); any other is the resumable
//! upload of the IETF (`resumable/ietf.rs`). An upload may be begun in one and gone on with in the other. Its id is the
//! recording's.
//!
//! # Promise
//! An offset that was told is durable, and is accepted by the next request that names it. Who may send, and whether it can be
//! received, is decided before the body is polled ([`super::upload`]). A sender who hangs up does not take his piece with him:
//! what arrived is kept. A request that was wrong leaves nothing: neither its piece, nor the upload that it would have begun.
//!
//! # Secrecy
//! An upload is never described back: tus would have `HEAD` repeat `Upload-Metadata`, which may hold numbers and names, to
//! whoever has the scope `ingest`.

mod fields;
mod ietf;
mod tus;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LOCATION, HeaderName, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};

use super::body::TimedBody;
use super::later::later;
use super::metadata::Description;
use super::outlive::Outlive;
use super::trail::{by, note_recording};
use super::upload::check_name;
use super::{Face, SharedFace};
use crate::catalog::Tenant;
use crate::ingest::Upload;
use crate::ingest::digest::ExpectedDigests;
use crate::ingest::resumable::{Piece, Progress};
use crate::model::{Error, Problem, RecordingId, ReplicaName, Result};

const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const UPLOAD_LENGTH: HeaderName = HeaderName::from_static("upload-length");

/// What a request may be sent to.
#[derive(Clone, Copy)]
enum Target<'a> {
    /// `/v1/uploads`, where uploads begin.
    Uploads,
    /// `/v1/uploads/{id}`, with the id as it was written.
    Upload(&'a str),
}

impl Target<'_> {
    fn allow(self) -> &'static str {
        match self {
            Target::Uploads => "OPTIONS, POST",
            Target::Upload(_) => "OPTIONS, HEAD, GET, PATCH, DELETE",
        }
    }
}

/// `/v1/uploads`
pub async fn collection(face: SharedFace, request: Request) -> Response {
    later(async move { answer(&face, request, Target::Uploads).await })
}

/// `/v1/uploads/{id}`
pub async fn item(face: SharedFace, request: Request, id: String) -> Response {
    later(async move { answer(&face, request, Target::Upload(&id)).await })
}

async fn answer(face: &SharedFace, request: Request, target: Target<'_>) -> Response {
    let (parts, body) = request.into_parts();
    if let Target::Upload(id) = target
        && let Ok(id) = parse_id(id)
    {
        note_recording(&parts, id);
    }
    if parts.method == Method::OPTIONS {
        return face.offer(target);
    }
    if tus::is_spoken(&parts.headers) {
        return tus::answer(face, &parts, body, target).await;
    }
    ietf::answer(face, &parts, body, target).await
}

/// The other server that holds the upload which is asked for.
async fn elsewhere(face: &SharedFace, tenant: &Tenant, target: Target<'_>) -> Result<Option<ReplicaName>> {
    match target {
        Target::Upload(id) if face.peers.is_one_of_many => face.ingest.upload_elsewhere(tenant, parse_id(id)?).await,
        _ => Ok(None),
    }
}

/// What became of a request that begins an upload: an error is that of its first piece.
struct Begun {
    progress: Progress,
    refusal: Option<Error>,
}

/// Begins an upload and takes its first piece, where the request has one.
async fn begin(face: &SharedFace, upload: Upload, first: Option<Piece>, body: Body) -> Result<Begun> {
    let (ingest, tenant) = (face.ingest.clone(), upload.tenant.clone());
    let body = TimedBody::new(body, face);
    let begun = async move {
        let progress = ingest.create(upload).await?;
        let Some(first) = first else { return Ok(Begun { progress, refusal: None }) };
        if progress.offset > 0 {
            // It goes on with what was received under its name, and the body is what was received already, or something else.
            let detail = "something was received under this name before: go on at this offset";
            let refusal = Error::new(Problem::OffsetMismatch, detail).at_offset(progress.offset);
            return Ok(Begun { progress, refusal: Some(refusal) });
        }
        match ingest.append(&tenant, progress.id, first, body).await {
            Ok(progress) => Ok(Begun { progress, refusal: None }),
            Err(error) if keeps_nothing(error.problem) => {
                ingest.terminate(&tenant, progress.id).await?;
                Err(error)
            }
            Err(error) => Ok(Begun { progress, refusal: Some(error) }),
        }
    };
    Outlive::new(begun).await
}

/// Takes one piece.
async fn append(face: &SharedFace, tenant: &Tenant, id: RecordingId, piece: Piece, body: Body) -> Result<Progress> {
    face.drain.admit()?;
    let (ingest, tenant) = (face.ingest.clone(), tenant.clone());
    let body = TimedBody::new(body, face);
    Outlive::new(async move { ingest.append(&tenant, id, piece, body).await }).await
}

/// Whether the request was wrong, in contrast to one that broke off.
fn keeps_nothing(problem: Problem) -> bool {
    use Problem::{ChecksumMismatch, EmptyBody, InconsistentLength, LengthMismatch, TooLarge};
    matches!(problem, ChecksumMismatch | EmptyBody | InconsistentLength | LengthMismatch | TooLarge)
}

/// A piece that broke off, or was ended by a newer request, while its sender still listens. What is there is not what he
/// sent: 409, after which tus-js-client asks for the offset and goes on. After any other 4xx it gives the whole upload up.
fn as_conflict(mut error: Error) -> Error {
    let is_kept = error.offset.is_some();
    if is_kept && matches!(error.problem, Problem::BadRequest | Problem::TooSlow) {
        error.problem = Problem::Conflict;
    }
    error
}

impl Face {
    /// What both dialects offer. It needs no token, and tells nothing that depends on one.
    fn offer(&self, target: Target) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static(target.allow()));
        tus::offer(headers, self.ingest.limits.bytes_max);
        ietf::offer(headers, self.ingest.limits.bytes_max);
        response
    }

    /// The upload that a request begins, if it can be received.
    fn admit_upload(
        &self,
        parts: &Parts,
        tenant: Tenant,
        description: Description,
        media_type: String,
        declared_len: Option<u64>,
    ) -> Result<Upload> {
        self.drain.admit()?;
        let classes = description.classes();
        let Description { name, call, .. } = description;
        let (name, digests) = (name.map(check_name).transpose()?, ExpectedDigests::default());
        let by = by(parts);
        let upload = Upload { tenant, by, name, classes, media_type, call, declared_len, range: None, digests };
        self.ingest.admit(&upload)?;
        Ok(upload)
    }

    /// Seconds for which the upload can still be gone on with.
    fn remaining_s(&self, progress: &Progress) -> u64 {
        let left = progress.resume_until.as_second() - self.clock.now().as_second();
        u64::try_from(left).unwrap_or(0)
    }
}

fn parse_id(text: &str) -> Result<RecordingId> {
    text.parse().map_err(|_| Error::new(Problem::NotFound, "this tenant has no such upload"))
}

/// The length of the whole, where it is known.
fn whole_len(progress: &Progress) -> Option<u64> {
    progress.declared_len.or(progress.finished.as_ref().map(|_| progress.offset))
}

/// What an answer about an upload says in both dialects.
fn describe(headers: &mut HeaderMap, progress: &Progress) {
    headers.insert(UPLOAD_OFFSET, progress.offset.into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if progress.finished.is_some() {
        headers.insert(CONTENT_LOCATION, address("recordings", progress.id));
    }
}

fn insert_location(headers: &mut HeaderMap, id: RecordingId) {
    headers.insert(LOCATION, address("uploads", id));
}

fn address(kind: &str, id: RecordingId) -> HeaderValue {
    HeaderValue::try_from(format!("/v1/{kind}/{id}")).expect("a UUID is ASCII")
}

fn wrong_method(parts: &Parts, target: Target) -> Response {
    let detail = match (target, &parts.method) {
        (Target::Upload(_), &Method::POST) => "uploads begin at /v1/uploads",
        _ => "the 'Allow' header says what this address takes",
    };
    ([(ALLOW, target.allow())], Error::new(Problem::MethodNotAllowed, detail)).into_response()
}
