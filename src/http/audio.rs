//! `GET,HEAD /v1/recordings/{id}/audio`: a recording is played.

use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, StatusCode};

use super::auth::{Caller, Grounds, Licence, may_play};
use super::metadata::query;
use super::range::{Asked, asked};
use super::trail::{note_class, note_reason, note_recording};
use super::{Face, SharedFace};
use crate::audit::Playing;
use crate::model::range::ByteRange;
use crate::model::{Class, Error, Problem, RecordingId, Result, Scope, Timestamp};
use crate::playback::{Form, Located, Session};

const SUNSET: HeaderName = HeaderName::from_static("sunset");

pub async fn play(face: SharedFace, parts: &Parts, id: RecordingId) -> Response {
    face.answer_playback(parts, id).await.unwrap_or_else(IntoResponse::into_response)
}

impl Face {
    async fn answer_playback(&self, parts: &Parts, id: RecordingId) -> Result<Response> {
        let begun = Instant::now();
        let caller = self.authorise_listener(parts).await?;
        note_recording(parts, id);
        note_reason(parts, caller.reason(parts)?.as_deref());
        let located = self.playback.locate(caller.tenant.number, id).await?;
        let named = query(parts).into_iter().find(|(name, _)| name == "class").map(|(_, class)| class);
        let class = choose_class(named.as_deref(), &caller, &located).map_err(|error| self.refuse(&caller, error))?;
        let grounds = caller.grounds();
        self.serve_audio(parts, located, class, grounds, begun).await
    }

    /// The audio of a recording, to somebody who may hear it.
    pub(super) async fn serve_audio(
        &self,
        parts: &Parts,
        located: Located,
        class: Class,
        grounds: Grounds,
        begun: Instant,
    ) -> Result<Response> {
        let licence = Licence::new(self.catalog.clone(), self.clock.clone(), grounds, Scope::play(class));
        let (tenant, id) = (located.recording.tenant, located.recording.id);
        note_class(parts, class);
        if let Some(holder) = self.playback.held_elsewhere(&located) {
            return self.play_from(parts, holder).await;
        }
        let is_get = parts.method == Method::GET;
        let follows = flag(parts, "follow")?;
        if follows && located.recording.plain_len.is_none() {
            let session = self.playback.open_to_follow(&located, class).await?;
            let playing = self.note_playing(parts, tenant, id, class).await?;
            let mut response = Response::new(Body::empty());
            describe(response.headers_mut(), &session, id);
            // Its end is not known: there is no length, no part, and no version of it yet.
            response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("none"));
            if is_get {
                *response.body_mut() =
                    Body::from_stream(telling(licence.hold(self.playback.follow(located, session)), playing, 0));
            }
            return Ok(response);
        }
        let session = self.playback.open(&located, class).await?;
        let playing = self.note_playing(parts, tenant, id, class).await?;
        let plain_len = session.plain_len();
        let form = if flag(parts, "raw")? { Form::Raw } else { Form::Playable };
        let etag = session.etag(form);
        let (status, range) = match asked(&parts.headers, is_get, &etag, plain_len) {
            Asked::Whole => (StatusCode::OK, ByteRange::whole(plain_len)),
            Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, Some(range)),
            Asked::NotModified => return Ok(not_modified(&session, etag)),
            Asked::PreconditionFailed => {
                return Err(Error::new(Problem::PreconditionFailed, "the recording's ETag is another one"));
            }
            Asked::NotSatisfiable => return Ok(not_satisfiable(plain_len)),
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        describe(response.headers_mut(), &session, id);
        response.headers_mut().insert(ETAG, ascii(etag));
        response.headers_mut().insert(CONTENT_LENGTH, range.map_or(0, ByteRange::len).into());
        if let (StatusCode::PARTIAL_CONTENT, Some(range)) = (status, range) {
            let text = format!("bytes {}-{}/{plain_len}", range.first(), range.last());
            response.headers_mut().insert(CONTENT_RANGE, ascii(text));
        }
        if let (true, Some(range)) = (is_get, range) {
            let stream = licence.hold(self.playback.stream(&session, range, form).await?);
            *response.body_mut() = Body::from_stream(telling(stream, playing, range.first()));
            self.playback.stats.first_byte.note(begun.elapsed());
        }
        Ok(response)
    }
}

/// What leaves is written down on its way.
fn telling<E>(
    stream: impl Stream<Item = std::result::Result<Bytes, E>> + Send,
    playing: Playing,
    first: u64,
) -> impl Stream<Item = std::result::Result<Bytes, E>> + Send {
    let mut next = first;
    stream.inspect(move |piece| {
        let len = piece.as_ref().map_or(0, Bytes::len) as u64;
        playing.serves(next, len);
        next += len;
    })
}

/// The class that is named; else the first that the recording has and the caller may play.
pub fn choose_class(named: Option<&str>, caller: &Caller, located: &Located) -> Result<Class> {
    let class = match named {
        Some(text) => Class::parse_audio(text)
            .ok_or_else(|| Error::new(Problem::Unprocessable, "'class' is 'customer' or 'training'"))?,
        None => {
            let tagged: Vec<_> = located.recording.wraps.iter().map(|wrap| wrap.class).collect();
            let first = tagged.iter().copied().find(|class| may_play(caller, *class));
            first.or(tagged.first().copied()).unwrap_or(Class::Customer)
        }
    };
    if may_play(caller, class) {
        return Ok(class);
    }
    Err(Error::new(Problem::Forbidden, format!("this token has no scope 'play:{class}'")))
}

/// A parameter that is 0 or 1.
fn flag(parts: &Parts, name: &str) -> Result<bool> {
    let value = query(parts).into_iter().find(|(known, _)| known == name).map(|(_, value)| value);
    match value.as_deref() {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(Error::new(Problem::Unprocessable, format!("'{name}' is 0 or 1"))),
    }
}

fn describe(headers: &mut HeaderMap, session: &Session, id: RecordingId) {
    let media_type = HeaderValue::try_from(session.media_type());
    headers.insert(CONTENT_TYPE, media_type.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.insert(SUNSET, ascii(http_date(session.expires_at())));
    headers.insert(CONTENT_DISPOSITION, ascii(disposition(session.name(), id)));
    // A recording is never a page, whatever its sender called it.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
}

fn not_modified(session: &Session, etag: String) -> Response {
    let headers = [(ETAG, ascii(etag)), (SUNSET, ascii(http_date(session.expires_at())))];
    (StatusCode::NOT_MODIFIED, headers, [(CACHE_CONTROL, "private, no-store")]).into_response()
}

fn not_satisfiable(plain_len: u64) -> Response {
    let error = Error::new(Problem::RangeNotSatisfiable, format!("the recording has {plain_len} bytes"));
    let mut response = error.into_response();
    response.headers_mut().insert(CONTENT_RANGE, ascii(format!("bytes */{plain_len}")));
    response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

/// RFC 6266, with the last part of the sender's name: plain letters as `filename`, all of it as `filename*` (RFC 8187).
fn disposition(name: Option<&str>, id: RecordingId) -> String {
    let fallback = id.to_string();
    let base = name.and_then(|name| name.rsplit(['/', '\\']).next()).filter(|base| !base.is_empty());
    let base = base.unwrap_or(&fallback);
    let plain: String =
        base.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.+ ".contains(c) { c } else { '_' }).collect();
    let encoded: String = base
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'+' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    format!("inline; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

/// RFC 9110 section 5.6.7.
pub fn http_date(instant: Timestamp) -> String {
    let seconds = u64::try_from(instant.as_second()).unwrap_or(0);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}

fn ascii(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("these values are made of visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_makes_a_safe_file_name() {
        let id = RecordingId::from_bytes([7; 16]);

        assert_eq!(
            disposition(Some("../../a\"b\r\nSet-Cookie: x/év.wav"), id),
            "inline; filename=\"_v.wav\"; filename*=UTF-8''%C3%A9v.wav"
        );
        assert!(disposition(Some("a/"), id).contains(&id.to_string()));
        assert!(disposition(None, id).contains(&id.to_string()));
    }
}
