//! tus 1.0 (tus.io/protocols/resumable-upload) with its extensions creation, creation-with-upload, creation-defer-length,
//! expiration, checksum and termination.
//!
//! A call that is still going on is an upload with `Upload-Defer-Length: 1`; its length follows with a later `PATCH`. The
//! request that completes an upload is answered with `Content-Location`, the recording's address.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};

use super::fields::single;
use super::{Begun, Target, UPLOAD_LENGTH, UPLOAD_OFFSET};
use crate::catalog::Tenant;
use crate::http::SharedFace;
use crate::http::audio::http_date;
use crate::http::metadata::{Description, UNKNOWN_TYPE, content_digests, content_len, media_type_of};
use crate::http::trail::{by, note_action};
use crate::ingest::digest::{CHECKSUM_ALGORITHMS, ExpectedDigests};
use crate::ingest::resumable::{Last, Piece, Progress};
use crate::model::trail::Action;
use crate::model::{Error, Problem, RecordingId, Result, Scope};

const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const TUS_EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
const TUS_MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
const TUS_CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
const UPLOAD_DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
const UPLOAD_EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
const METHOD_OVERRIDE: &str = "x-http-method-override";

const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination";
const MEDIA_TYPE: &str = "application/offset+octet-stream";

/// As senders write it: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub fn is_spoken(headers: &HeaderMap) -> bool {
    headers.contains_key(TUS_RESUMABLE)
}

/// What `OPTIONS` tells.
pub fn offer(headers: &mut HeaderMap, bytes_max: u64) {
    headers.insert(TUS_RESUMABLE, VERSION);
    headers.insert(TUS_VERSION, VERSION);
    headers.insert(TUS_EXTENSION, HeaderValue::from_static(EXTENSIONS));
    headers.insert(TUS_MAX_SIZE, bytes_max.into());
    headers.insert(TUS_CHECKSUM_ALGORITHM, HeaderValue::from_static(CHECKSUM_ALGORITHMS));
}

pub async fn answer(face: &SharedFace, parts: &Parts, body: Body, target: Target<'_>) -> Response {
    let mut response = respond(face, parts, body, target).await.unwrap_or_else(refuse);
    response.headers_mut().insert(TUS_RESUMABLE, VERSION);
    response
}

async fn respond(face: &SharedFace, parts: &Parts, body: Body, target: Target<'_>) -> Result<Response> {
    let tenant = face.authorise(parts, Scope::Ingest).await?.tenant;
    check_version(&parts.headers)?;
    if let Some(holder) = super::elsewhere(face, &tenant, target).await? {
        return face.pass_on(parts, body, &holder).await;
    }
    match (target, method(parts)?) {
        (Target::Uploads, Method::POST) => begin(face, parts, body, tenant).await,
        (Target::Upload(id), Method::HEAD | Method::GET) => {
            let progress = face.ingest.progress(&tenant, super::parse_id(id)?).await?;
            Ok(tell(&progress))
        }
        (Target::Upload(id), Method::PATCH) => go_on(face, parts, body, &tenant, super::parse_id(id)?).await,
        (Target::Upload(id), Method::DELETE) => {
            let id = super::parse_id(id)?;
            note_action(parts, Action::UploadCancel);
            face.note_granted(parts).await?;
            face.ingest.terminate(&tenant, id).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        (_, Method::OPTIONS) => Ok(face.offer(target)),
        _ => Ok(super::wrong_method(parts, target)),
    }
}

fn check_version(headers: &HeaderMap) -> Result<()> {
    if single(headers, "tus-resumable").is_some_and(|version| version.trim() == "1.0.0") {
        return Ok(());
    }
    Err(Error::new(Problem::UnsupportedVersion, "'Tus-Resumable' is 1.0.0 here"))
}

/// What `X-HTTP-Method-Override` says stands before the method itself: some networks let only GET and POST through.
fn method(parts: &Parts) -> Result<Method> {
    let Some(value) = parts.headers.get(METHOD_OVERRIDE) else { return Ok(parts.method.clone()) };
    let method = value.to_str().ok().and_then(|text| text.trim().to_ascii_uppercase().parse().ok());
    method.ok_or_else(|| bad("'X-HTTP-Method-Override' is a method"))
}

async fn begin(face: &SharedFace, parts: &Parts, body: Body, tenant: Tenant) -> Result<Response> {
    let headers = &parts.headers;
    let declared_len = match (length(headers, UPLOAD_LENGTH)?, single(headers, UPLOAD_DEFER_LENGTH.as_str())) {
        (Some(len), None) => Some(len),
        (None, Some("1")) => None,
        _ => return Err(bad("send 'Upload-Length: <bytes>', or 'Upload-Defer-Length: 1' where it is not known yet")),
    };
    let content_len = content_len(headers)?;
    let has_content = content_len != Some(0);
    if has_content {
        check_media_type(headers)?;
    }
    let (description, media_type) = describe(parts)?;
    let upload = face.admit_upload(parts, tenant, description, media_type, declared_len)?;
    if let Some(holder) = face.known_elsewhere(&upload).await? {
        return face.pass_on(parts, body, &holder).await;
    }
    let digests = digests(headers)?;
    let piece = Piece { by: by(parts), offset: 0, declared_len, last: Last::WhenFull, digests, content_len };
    let Begun { progress, refusal } = super::begin(face, upload, has_content.then_some(piece), body).await?;
    let mut response = match refusal {
        None => StatusCode::CREATED.into_response(),
        // Not an error in tus: the server says how much of the first piece it took, and the sender goes on there.
        Some(refusal) if refusal.problem == Problem::OffsetMismatch => {
            let mut response = StatusCode::CREATED.into_response();
            // The body was not read; what is left of it is no request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Some(refusal) => {
            let mut response = refuse(refusal);
            super::insert_location(response.headers_mut(), progress.id);
            return Ok(response);
        }
    };
    super::insert_location(response.headers_mut(), progress.id);
    describe_state(response.headers_mut(), &progress);
    Ok(response)
}

async fn go_on(face: &SharedFace, parts: &Parts, body: Body, tenant: &Tenant, id: RecordingId) -> Result<Response> {
    let headers = &parts.headers;
    check_media_type(headers)?;
    let offset = length(headers, UPLOAD_OFFSET)?.ok_or_else(|| bad("send 'Upload-Offset: <bytes>'"))?;
    let (declared_len, content_len) = (length(headers, UPLOAD_LENGTH)?, content_len(headers)?);
    let piece =
        Piece { by: by(parts), offset, declared_len, last: Last::WhenFull, digests: digests(headers)?, content_len };
    let progress = match super::append(face, tenant, id, piece, body).await {
        Ok(progress) => progress,
        Err(error) => already_there(face, tenant, id, error, (offset, content_len)).await?,
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    describe_state(response.headers_mut(), &progress);
    Ok(response)
}

/// An empty piece at the end of a complete upload: whoever lost the answer to his last piece, and sends the rest of nothing.
async fn already_there(
    face: &SharedFace,
    tenant: &Tenant,
    id: RecordingId,
    error: Error,
    piece: (u64, Option<u64>),
) -> Result<Progress> {
    if error.problem != Problem::CompletedUpload {
        return Err(error);
    }
    let progress = face.ingest.progress(tenant, id).await?;
    if piece == (progress.offset, Some(0)) { Ok(progress) } else { Err(error.at_offset(progress.offset)) }
}

fn tell(progress: &Progress) -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    describe_state(headers, progress);
    match super::whole_len(progress) {
        Some(len) => headers.insert(UPLOAD_LENGTH, len.into()),
        None => headers.insert(UPLOAD_DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    response
}

fn describe_state(headers: &mut HeaderMap, progress: &Progress) {
    super::describe(headers, progress);
    if progress.finished.is_none() {
        let expires = HeaderValue::try_from(http_date(progress.resume_until)).expect("a date is ASCII");
        headers.insert(UPLOAD_EXPIRES, expires);
    }
}

fn refuse(error: Error) -> Response {
    let error = super::as_conflict(error);
    let (problem, offset) = (error.problem, error.offset);
    let mut response = error.into_response();
    if let Some(offset) = offset {
        response.headers_mut().insert(UPLOAD_OFFSET, offset.into());
    }
    if problem == Problem::UnsupportedVersion {
        response.headers_mut().insert(TUS_VERSION, VERSION);
    }
    response
}

/// `Upload-Metadata`, then the query and the headers that every upload may have; with the recording's media type.
fn describe(parts: &Parts) -> Result<(Description, String)> {
    let mut description = Description::default();
    let mut media_type = UNKNOWN_TYPE.to_owned();
    for (key, value) in pairs(&parts.headers)? {
        let key = key.to_ascii_lowercase().replace('-', "_");
        // What is not known may hold anything.
        let Ok(value) = std::str::from_utf8(&value) else { continue };
        match key.as_str() {
            "filetype" | "type" | "content_type" => media_type = media_type_of(value)?,
            "filename" => description.take("name", value)?,
            _ => description.take(&key, value)?,
        }
    }
    description.take_query(parts)?;
    description.take_headers(&parts.headers)?;
    Ok((description, media_type))
}

/// Keys with their values. Both are told apart by a space, pairs by a comma; a value is Base64, or missing.
fn pairs(headers: &HeaderMap) -> Result<Vec<(&str, Vec<u8>)>> {
    let malformed = || bad("'Upload-Metadata' is a list of '<key> <base64>' with commas between, and each key once");
    if !headers.contains_key("upload-metadata") {
        return Ok(Vec::new());
    }
    let text = single(headers, "upload-metadata").ok_or_else(malformed)?;
    let mut pairs: Vec<(&str, Vec<u8>)> = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = BASE64.decode(value.trim()).map_err(|_| malformed())?;
        if pairs.iter().any(|(known, _)| *known == key) {
            return Err(malformed());
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// A number of bytes.
fn length(headers: &HeaderMap, name: HeaderName) -> Result<Option<u64>> {
    if !headers.contains_key(&name) {
        return Ok(None);
    }
    let text = single(headers, name.as_str()).map(str::trim);
    // Digits only: Rust's parser also takes a `+`.
    let digits = text.filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let len = digits.and_then(|digits| digits.parse().ok());
    len.map(Some).ok_or_else(|| bad(format!("'{name}' is a number of bytes")))
}

fn digests(headers: &HeaderMap) -> Result<ExpectedDigests> {
    let mut digests = content_digests(headers)?;
    for value in headers.get_all("upload-checksum") {
        let text = value.to_str().map_err(|_| bad("'Upload-Checksum' is not ASCII"))?;
        digests.add_checksum(text).map_err(bad)?;
    }
    Ok(digests)
}

fn check_media_type(headers: &HeaderMap) -> Result<()> {
    let essence = single(headers, "content-type").and_then(|value| value.split(';').next());
    if essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(MEDIA_TYPE)) {
        return Ok(());
    }
    let detail = format!("a piece is sent with 'Content-Type: {MEDIA_TYPE}'");
    Err(Error::new(Problem::UnsupportedMediaType, detail))
}

fn bad(detail: impl Into<String>) -> Error {
    Error::new(Problem::BadRequest, detail)
}
