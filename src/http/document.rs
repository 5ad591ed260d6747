//! Small JSON documents that a request carries.

use axum::body::Body;
use futures::StreamExt;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use serde::de::{Deserialize, DeserializeOwned, Deserializer};

use super::Face;
use super::body::TimedBody;
use crate::ingest::BodyBreak;
use crate::model::{Error, Problem, Result};

// Limit: names, scopes and networks; nothing that we read as JSON is longer.
const DOCUMENT_LEN_MAX: usize = 64 << 10;

impl Face {
    /// Reads a document; who may send it was decided before. Nothing at all is the empty one.
    pub(super) async fn read_document<T: DeserializeOwned>(&self, parts: &Parts, body: Body) -> Result<T> {
        let media_type = parts.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let is_json = |media_type: &str| {
            let essence = media_type.split(';').next().unwrap_or_default().trim();
            essence.eq_ignore_ascii_case("application/json")
        };
        let mut body = TimedBody::new(body, self);
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            bytes.extend_from_slice(&piece.map_err(broken)?);
            if bytes.len() > DOCUMENT_LEN_MAX {
                let detail = format!("a document has at most {DOCUMENT_LEN_MAX} bytes");
                return Err(Error::new(Problem::TooLarge, detail));
            }
        }
        if bytes.is_empty() {
            bytes.extend_from_slice(b"{}");
        } else if !media_type.is_some_and(is_json) {
            let detail = "send the document as 'Content-Type: application/json'";
            return Err(Error::new(Problem::UnsupportedMediaType, detail));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            // Secrecy: the parser may quote what it read, and it goes to him who sent it and nowhere else.
            let problem = if error.is_data() { Problem::Unprocessable } else { Problem::BadRequest };
            Error::new(problem, format!("the document is not what this address takes: {error}"))
        })
    }
}

fn broken(reason: BodyBreak) -> Error {
    Error::new(reason.problem(), "the document broke off")
}

/// A member that may be left out (`None`), or be `null` (`Some(None)`).
pub fn told<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}
