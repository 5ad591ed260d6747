//! `GET /v1/receipts`: proofs of destruction, newest first.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;

use super::recordings::json;
use super::trail::note_count;
use super::{Face, SharedFace};
use crate::model::{Error, Problem, Result, Scope};

/// Proofs of destruction.
#[derive(Serialize, JsonSchema)]
pub struct Receipts {
    /// JWS in compact form (RFC 7515); `callvault receipts verify` reads them, and so does any JOSE library.
    receipts: Vec<String>,
}

pub async fn list(face: SharedFace, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    face.list_receipts(&parts).await.unwrap_or_else(IntoResponse::into_response)
}

impl Face {
    async fn list_receipts(&self, parts: &hyper::http::request::Parts) -> Result<Response> {
        let caller = self.authorise(parts, Scope::Audit).await?;
        let rows = self.catalog.receipts(caller.tenant.number).await;
        let rows = rows.map_err(|e| Error::new(Problem::Unavailable, "the catalog does not answer").because(e))?;
        note_count(parts, rows.len());
        let receipts = rows.into_iter().rev().map(|row| row.jws).collect();
        Ok(json(StatusCode::OK, &Receipts { receipts }))
    }
}
