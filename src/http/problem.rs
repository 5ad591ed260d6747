//! Errors as the stranger sees them: `application/problem+json` (RFC 9457), and pages that say what to do.

mod pages;

pub use pages::{page, pages};

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::model::error::chain;
use crate::model::shape::Address;
use crate::model::{Error, Kind, Problem};

/// Seconds after which a sender may try again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("5");

/// How often each problem was the answer, since this process began.
static ANSWERED: [AtomicU64; Problem::ALL.len()] = [const { AtomicU64::new(0) }; Problem::ALL.len()];

/// Every problem, also those that never were an answer.
pub fn answered() -> impl Iterator<Item = (&'static str, u64)> {
    Problem::ALL.iter().zip(&ANSWERED).map(|(problem, count)| (problem.name(), count.load(Relaxed)))
}

/// A problem as RFC 9457 has it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Document<'a> {
    /// Which problem: an address that explains it.
    #[serde(rename = "type")]
    #[schemars(with = "Address")]
    kind: String,
    /// The same for each problem of this type.
    title: &'a str,
    status: u16,
    /// What to do about this one.
    detail: &'a str,
    /// Where an upload can be continued.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    mismatch: Option<Mismatch>,
}

/// The members of `#mismatching-upload-offset`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Mismatch {
    expected_offset: u64,
    provided_offset: u64,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let kind = local_type(self.problem);
        self.into_problem(kind, None)
    }
}

impl Error {
    /// With the type that IANA keeps for it, where draft-ietf-httpbis-resumable-upload registers one; `provided` is the offset
    /// that the request had.
    pub fn into_registered_response(self, provided: Option<u64>) -> Response {
        let Some(kind) = registered_type(self.problem) else { return self.into_response() };
        let offsets = self.offset.zip(provided).filter(|_| self.problem == Problem::OffsetMismatch);
        let mismatch = offsets.map(|(expected_offset, provided_offset)| Mismatch { expected_offset, provided_offset });
        self.into_problem(kind, mismatch)
    }

    /// Logs once, here at the edge, what the stranger is not told.
    fn into_problem(self, kind: String, mismatch: Option<Mismatch>) -> Response {
        let problem = self.problem;
        ANSWERED[problem as usize].fetch_add(1, Relaxed);
        match self.kind() {
            Kind::Internal | Kind::Integrity => {
                let source = self.source.as_deref().map(|source| chain(source));
                tracing::error!(problem = problem.name(), source, "a request failed");
            }
            Kind::Unavailable => {
                let source = self.source.as_deref().map(|source| chain(source));
                tracing::warn!(problem = problem.name(), source, "a request could not be served");
            }
            _ => tracing::debug!(problem = problem.name(), "a request was refused"),
        }
        let retry_after = self.retry_after_s.map_or(RETRY_AFTER_S, HeaderValue::from);
        let document = Document {
            kind,
            title: problem.title(),
            status: problem.status(),
            detail: &self.public,
            offset: self.offset,
            mismatch,
        };
        let body = serde_json::to_vec(&document).expect("a problem has only texts and numbers");
        let status = StatusCode::from_u16(problem.status()).expect("the table holds valid statuses");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.extensions_mut().insert(problem);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => challenge(headers),
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(RETRY_AFTER, retry_after);
            }
            _ => {}
        }
        response
    }
}

/// The page that explains a problem.
pub fn local_type(problem: Problem) -> String {
    format!("/problems/{}", problem.name())
}

/// What IANA keeps for it, where draft-ietf-httpbis-resumable-upload registers something.
pub fn registered_type(problem: Problem) -> Option<String> {
    let name = match problem {
        Problem::OffsetMismatch => "mismatching-upload-offset",
        Problem::CompletedUpload | Problem::InconsistentLength => problem.name(),
        _ => return None,
    };
    Some(format!("https://iana.org/assignments/http-problem-types#{name}"))
}

/// Both schemes: some clients send what they have only when they are asked for it.
fn challenge(headers: &mut HeaderMap) {
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"callvault\", charset=\"UTF-8\""));
    headers.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"callvault\""));
}
