//! Resumable uploads of the IETF: draft-ietf-httpbis-resumable-upload, interop version 8 (drafts 09 and later).
//!
//! `POST` creates an upload with the first piece, or with all of it (`Upload-Complete: ?1`); `PATCH` appends. What completes an
//! upload is answered as `POST /v1/recordings` is.
//!
//! # What is not done
//! There is no `104 (Upload Resumption Supported)`: the server below cannot send interim responses of its own. The draft allows
//! for that. A sender who wants to be able to go on begins with an upload that is empty (`Upload-Complete: ?0`,
//! `Content-Length: 0`) and reads `Location` from its answer; or he gives it a name, and asks for that name again.
//! `Repr-Digest` is verified where one request brings the whole; `Content-Digest` is verified for each piece.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};

use super::fields::{boolean, file_name, integer, single};
use super::{Begun, Target, UPLOAD_LENGTH, UPLOAD_OFFSET};
use crate::catalog::Tenant;
use crate::http::metadata::{Description, add_repr_digests, content_digests, content_len, media_type};
use crate::http::trail::{by, note_action};
use crate::http::{Face, SharedFace};
use crate::ingest::resumable::{Last, Piece, Progress};
use crate::ingest::{Outcome, Received};
use crate::model::trail::Action;
use crate::model::{Error, Problem, RecordingId, Result, Scope};

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
const UPLOAD_COMPLETE: HeaderName = HeaderName::from_static("upload-complete");
const UPLOAD_LIMIT: HeaderName = HeaderName::from_static("upload-limit");
const INTEROP_VERSION: HeaderName = HeaderName::from_static("upload-draft-interop-version");

const VERSION: u64 = 8;
const MEDIA_TYPE: &str = "application/partial-upload";
// Limit: the largest Integer that a structured field can hold (RFC 9651 section 3.3.1).
const INTEGER_MAX: u64 = 999_999_999_999_999;

const TRUE: HeaderValue = HeaderValue::from_static("?1");
const FALSE: HeaderValue = HeaderValue::from_static("?0");

/// What `OPTIONS` tells.
pub fn offer(headers: &mut HeaderMap, bytes_max: u64) {
    headers
        .insert(ACCEPT_PATCH, HeaderValue::from_static("application/partial-upload, application/offset+octet-stream"));
    headers.insert(UPLOAD_LIMIT, limit(bytes_max, None));
}

pub async fn answer(face: &SharedFace, parts: &Parts, body: Body, target: Target<'_>) -> Response {
    let mut response = respond(face, parts, body, target).await.unwrap_or_else(|error| refuse(face, parts, error));
    if parts.headers.contains_key(INTEROP_VERSION) {
        response.headers_mut().insert(INTEROP_VERSION, VERSION.into());
    }
    response
}

async fn respond(face: &SharedFace, parts: &Parts, body: Body, target: Target<'_>) -> Result<Response> {
    let tenant = face.authorise(parts, Scope::Ingest).await?.tenant;
    check_version(&parts.headers)?;
    if let Some(holder) = super::elsewhere(face, &tenant, target).await? {
        return face.pass_on(parts, body, &holder).await;
    }
    match (target, &parts.method) {
        (Target::Uploads, &Method::POST) => begin(face, parts, body, tenant).await,
        (Target::Upload(id), &Method::HEAD | &Method::GET) => {
            let progress = face.ingest.progress(&tenant, super::parse_id(id)?).await?;
            Ok(face.tell(&progress))
        }
        (Target::Upload(id), &Method::PATCH) => go_on(face, parts, body, &tenant, super::parse_id(id)?).await,
        (Target::Upload(id), &Method::DELETE) => {
            let id = super::parse_id(id)?;
            note_action(parts, Action::UploadCancel);
            face.note_granted(parts).await?;
            face.ingest.terminate(&tenant, id).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Ok(super::wrong_method(parts, target)),
    }
}

fn check_version(headers: &HeaderMap) -> Result<()> {
    if !headers.contains_key(INTEROP_VERSION) || integer(headers, INTEROP_VERSION.as_str()) == Some(VERSION) {
        return Ok(());
    }
    Err(bad(format!("'Upload-Draft-Interop-Version' is {VERSION} here; other versions of the draft are not spoken")))
}

async fn begin(face: &SharedFace, parts: &Parts, body: Body, tenant: Tenant) -> Result<Response> {
    let headers = &parts.headers;
    let is_whole = boolean(headers, UPLOAD_COMPLETE.as_str()).ok_or_else(|| {
        bad("send 'Upload-Complete: ?0' (more will follow) or '?1' (this is all), or 'Tus-Resumable: 1.0.0' with what tus \
             wants. A recording in one request goes to /v1/recordings")
    })?;
    let content_len = content_len(headers)?;
    let declared_len = declared_len(headers, 0, is_whole, content_len)?;
    let mut digests = content_digests(headers)?;
    if is_whole {
        add_repr_digests(&mut digests, headers)?;
    }
    let mut description = Description { name: file_name(headers), ..Description::default() };
    description.take_query(parts)?;
    description.take_headers(headers)?;
    let upload = face.admit_upload(parts, tenant.clone(), description, media_type(headers)?, declared_len)?;
    if let Some(holder) = face.known_elsewhere(&upload).await? {
        return face.pass_on(parts, body, &holder).await;
    }
    let last = if is_whole { Last::Yes } else { Last::No };
    let piece = Piece { by: by(parts), offset: 0, declared_len, last, digests, content_len };
    let has_content = content_len != Some(0);
    let Begun { progress, refusal } = super::begin(face, upload, has_content.then_some(piece), body).await?;
    let mut response = match refusal {
        None => face.acknowledge(&progress, &tenant, StatusCode::CREATED).await?,
        Some(refusal) => refuse_at(face, refusal, Some(0)),
    };
    // A complete recording is at an address of its own.
    if progress.finished.is_none() {
        super::insert_location(response.headers_mut(), progress.id);
    }
    Ok(response)
}

async fn go_on(face: &SharedFace, parts: &Parts, body: Body, tenant: &Tenant, id: RecordingId) -> Result<Response> {
    let headers = &parts.headers;
    let essence = single(headers, "content-type").and_then(|value| value.split(';').next());
    if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(MEDIA_TYPE)) {
        let detail = format!("a piece is sent with 'Content-Type: {MEDIA_TYPE}'; tus wants 'Tus-Resumable: 1.0.0' too");
        return Err(Error::new(Problem::UnsupportedMediaType, detail));
    }
    let offset = integer(headers, UPLOAD_OFFSET.as_str()).ok_or_else(|| bad("send 'Upload-Offset: <bytes>'"))?;
    let is_last = boolean(headers, UPLOAD_COMPLETE.as_str())
        .ok_or_else(|| bad("send 'Upload-Complete: ?0' (more will follow) or '?1' (this is the last piece)"))?;
    let content_len = content_len(headers)?;
    let declared_len = declared_len(headers, offset, is_last, content_len)?;
    let last = if is_last { Last::Yes } else { Last::No };
    let piece = Piece { by: by(parts), offset, declared_len, last, digests: content_digests(headers)?, content_len };
    let progress = super::append(face, tenant, id, piece, body).await?;
    face.acknowledge(&progress, tenant, StatusCode::NO_CONTENT).await
}

/// `Upload-Length`; and where the content is the rest, its end. Both must say the same.
fn declared_len(headers: &HeaderMap, offset: u64, is_last: bool, content_len: Option<u64>) -> Result<Option<u64>> {
    let told = integer(headers, UPLOAD_LENGTH.as_str());
    let end = content_len.filter(|_| is_last).map(|len| offset.saturating_add(len));
    if told.zip(end).is_some_and(|(told, end)| told != end) {
        let detail = "'Upload-Length' is not where this body, which is the last piece, ends";
        return Err(Error::new(Problem::InconsistentLength, detail));
    }
    Ok(told.or(end))
}

impl Face {
    /// What was taken: as JSON once the recording is complete, else as `status`.
    async fn acknowledge(&self, progress: &Progress, tenant: &Tenant, status: StatusCode) -> Result<Response> {
        let mut response = match &progress.finished {
            Some(recording) => {
                let received = Received { recording: recording.clone(), outcome: Outcome::Created };
                self.answer(received, tenant).await?
            }
            None => status.into_response(),
        };
        self.describe_state(response.headers_mut(), progress);
        Ok(response)
    }

    fn tell(&self, progress: &Progress) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        self.describe_state(response.headers_mut(), progress);
        if let Some(len) = super::whole_len(progress) {
            response.headers_mut().insert(UPLOAD_LENGTH, len.into());
        }
        response
    }

    fn describe_state(&self, headers: &mut HeaderMap, progress: &Progress) {
        super::describe(headers, progress);
        let is_complete = progress.finished.is_some();
        headers.insert(UPLOAD_COMPLETE, if is_complete { TRUE } else { FALSE });
        let max_age_s = Some(self.remaining_s(progress)).filter(|_| !is_complete);
        headers.insert(UPLOAD_LIMIT, limit(self.ingest.limits.bytes_max, max_age_s));
    }
}

fn limit(bytes_max: u64, max_age_s: Option<u64>) -> HeaderValue {
    let mut text = format!("max-size={}", bytes_max.min(INTEGER_MAX));
    if let Some(seconds) = max_age_s {
        text += &format!(", max-age={seconds}");
    }
    HeaderValue::try_from(text).expect("a dictionary of integers is ASCII")
}

fn refuse(face: &SharedFace, parts: &Parts, error: Error) -> Response {
    refuse_at(face, error, integer(&parts.headers, UPLOAD_OFFSET.as_str()))
}

/// A problem, with its registered type where it has one; `provided` is the offset of the request.
fn refuse_at(face: &SharedFace, error: Error, provided: Option<u64>) -> Response {
    let mut error = super::as_conflict(error);
    // 460 is a status of tus alone.
    if error.problem == Problem::ChecksumMismatch {
        error.problem = Problem::DigestMismatch;
    }
    let (problem, offset) = (error.problem, error.offset);
    let mut response = error.into_registered_response(provided);
    let headers = response.headers_mut();
    if let Some(offset) = offset {
        headers.insert(UPLOAD_OFFSET, offset.into());
    }
    if problem == Problem::TooLarge {
        headers.insert(UPLOAD_LIMIT, limit(face.ingest.limits.bytes_max, None));
    }
    response
}

fn bad(detail: impl Into<String>) -> Error {
    Error::new(Problem::BadRequest, detail)
}
