//! `GET /v1/audit`: who did what, newest first.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};
use hyper::http::request::Parts;
use schemars::JsonSchema;
use serde::Serialize;

use super::metadata::query;
use super::tokens::{not_done, unprocessable};
use super::trail::{note_count, note_what};
use super::{Face, SharedFace};
use crate::audit::line;
use crate::catalog::TrailQuery;
use crate::model::shape::Moment;
use crate::model::trail::{Action, HOUSE, Verdict};
use crate::model::{RecordingId, Result, TenantNumber, Timestamp, TokenId};

// Limit: an entry is 4 KB at most.
pub const LIMIT_MAX: u32 = 1_000;
const LIMIT_DEFAULT: u32 = 100;

/// A page of a trail.
#[derive(Serialize, JsonSchema)]
pub struct TrailPage {
    entries: Vec<TrailLine>,
    /// Give it back as `cursor` for the next page; `null`: this was the last.
    cursor: Option<String>,
    /// The last signed checkpoint, a JWS in compact form (RFC 7515): keep it, for `callvault audit verify --checkpoints`.
    checkpoint: Option<String>,
}

/// An entry in its place, as `callvault audit export` writes it.
#[derive(Serialize, JsonSchema)]
pub struct TrailLine {
    /// The tenant's number; 0: the house.
    tenant: u32,
    /// From 1, without gaps.
    seq: u64,
    /// Over its place, the hash before it, and the entry's text.
    hash: String,
    entry: TrailEntry,
}

/// Who did what.
#[derive(Serialize, JsonSchema)]
pub struct TrailEntry {
    #[schemars(with = "Moment")]
    at: String,
    action: Action,
    result: Verdict,
    /// The name of the problem that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    who: TrailWho,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<RecordingId>")]
    recording: Option<String>,
    /// What else it was done to: the id of a token, a person, a link; a tenant's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// In a `played`: `seq` of the `play` that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    play: Option<u64>,
    /// Bytes that were served, first and last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Who asked.
#[derive(Serialize, JsonSchema)]
pub struct TrailWho {
    /// `pbx`, `app`, `person`, `link`, `operator`, `system` or `unknown`.
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<TokenId>")]
    token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// Of a person at that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    clearance: Option<String>,
}

pub async fn list(face: SharedFace, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    face.list_trail(&parts).await.unwrap_or_else(IntoResponse::into_response)
}

impl Face {
    /// The entries are the lines of `callvault audit export`, byte for byte: their hashes can be checked.
    async fn list_trail(&self, parts: &Parts) -> Result<Response> {
        let tenant = self.authorise_auditor(parts).await?.map_or(HOUSE, |tenant| tenant.number);
        let asked = read(parts, tenant)?;
        let limit = asked.limit as usize;
        let mut rows = self.catalog.trail(TrailQuery { limit: asked.limit + 1, ..asked }).await.map_err(not_done)?;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        note_count(parts, rows.len());
        let cursor = rows.last().filter(|_| has_more).map_or("null".into(), |row| format!("\"{}\"", row.seq));
        let checkpoint = self.catalog.last_checkpoint(tenant).await.map_err(not_done)?;
        // A JWS in compact form needs no escaping.
        let checkpoint = checkpoint.map_or("null".into(), |row| format!("\"{}\"", row.jws));
        let lines: Vec<_> = rows.iter().map(line).collect();
        let body = format!("{{\"entries\":[{}],\"cursor\":{cursor},\"checkpoint\":{checkpoint}}}", lines.join(","));
        let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
        Ok((StatusCode::OK, headers, Body::from(body)).into_response())
    }
}

fn read(parts: &Parts, tenant: TenantNumber) -> Result<TrailQuery> {
    let mut asked =
        TrailQuery { tenant, recording: None, action: None, from: None, to: None, below: None, limit: LIMIT_DEFAULT };
    let instant = |name: &str, text: &str| {
        text.parse::<Timestamp>().map_err(|_| unprocessable(format!("'{name}' is an RFC 3339 time")))
    };
    let parameters = query(parts);
    for (index, (name, value)) in parameters.iter().enumerate() {
        if parameters[..index].iter().any(|(before, _)| before == name) {
            return Err(unprocessable("each parameter is given once"));
        }
        match name.as_str() {
            "recording" => {
                let id = value.parse::<RecordingId>().map_err(|_| unprocessable("'recording' is a recording's id"))?;
                asked.recording = Some(id);
            }
            "action" => asked.action = Some(value.parse::<Action>().map_err(unprocessable)?),
            "from" => asked.from = Some(instant("from", value)?),
            "to" => asked.to = Some(instant("to", value)?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                asked.limit = limit.ok_or_else(|| unprocessable(format!("'limit' is 1 to {LIMIT_MAX}")))?;
            }
            "cursor" => {
                let below = value.parse().ok().filter(|below| (1..=i64::MAX as u64).contains(below));
                asked.below = Some(below.ok_or_else(|| unprocessable("'cursor' is not one of ours"))?);
            }
            _ => return Err(unprocessable("a trail takes recording, action, from, to, limit, cursor")),
        }
    }
    let names: Vec<_> = parameters.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "cursor").collect();
    if !names.is_empty() {
        note_what(parts, format!("by {}", names.join(", ")));
    }
    Ok(asked)
}
