//! `POST /v1/recordings` and `PUT /v1/recordings/{name}`: a body becomes a recording.
//!
//! # Promise
//! The answer is 200, 201 or 202, or a problem; never a redirection, which senders turn into a request without a body. Who
//! may send, and whether it can be received, is decided before the body is polled: a client that expects `100 Continue`
//! sends nothing that is refused, and one that does not expect it gets to read the refusal ([`super::linger`]).

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use hyper::http::request::Parts;

use super::body::TimedBody;
use super::later::later;
use super::metadata::Metadata;
use super::outlive::Outlive;
use super::trail::{Note, by};
use super::{Face, SharedFace};
use crate::catalog::Tenant;
use crate::ingest::{Outcome, Received, Upload};
use crate::model::{Error, Problem, ReplicaName, Result, Scope, State};

// Limit: as long as an S3 key may be; a name is a key of the catalog, never a path.
pub const NAME_LEN_MAX: usize = 512;

/// Takes an upload to its end, whatever becomes of the connection.
///
/// Limit: of ten thousand calls that go on, each keeps only what its body needs. The request's head is gone by then (its
/// fields lie in the connection's buffer, which would be kept with them), and so is the future that read it.
pub fn receive(face: SharedFace, request: Request, name: Option<String>) -> Response {
    let opening = Box::pin(open(face.clone(), request, name));
    later(async move {
        let (upload, body, note) = match opening.await {
            Ok(Opened::Here(upload, body, note)) => (upload, body, note),
            Ok(Opened::PassedOn(answer)) => return answer,
            Err(error) => return error.into_response(),
        };
        let tenant = Box::new(upload.tenant.clone());
        let ingest = face.ingest.clone();
        // A sender who hangs up drops this future; the recording is finished all the same.
        match Outlive::new(async move { ingest.receive(upload, body).await }).await {
            Ok(received) => {
                if let (Outcome::Known, Some(note)) = (received.outcome, note) {
                    note.received_before(received.recording.id);
                }
                Box::pin(face.answer(received, &tenant)).await.unwrap_or_else(IntoResponse::into_response)
            }
            Err(error) => error.into_response(),
        }
    })
}

enum Opened {
    Here(Box<Upload>, TimedBody, Option<Note>),
    /// Another server has taken it to its end.
    PassedOn(Response),
}

/// Everything before the body is polled; all of it, where another server holds what was received under the name.
async fn open(face: SharedFace, request: Request, name: Option<String>) -> Result<Opened> {
    let (parts, body) = request.into_parts();
    let upload = face.describe_upload(&parts, name).await?;
    match face.known_elsewhere(&upload).await? {
        Some(holder) => Ok(Opened::PassedOn(Box::pin(face.pass_on(&parts, body, &holder)).await?)),
        None => {
            let note = parts.extensions.get::<Note>().cloned();
            Ok(Opened::Here(Box::new(upload), TimedBody::new(body, &face), note))
        }
    }
}

impl Face {
    async fn describe_upload(&self, parts: &Parts, name: Option<String>) -> Result<Upload> {
        self.drain.admit()?;
        let caller = self.authorise(parts, Scope::Ingest).await?;
        let name = name.map(check_name).transpose()?;
        let Metadata { classes, media_type, call, declared_len, range, digests } = Metadata::read(parts)?;
        if range.is_some() && name.is_none() {
            let detail = "'Content-Range' continues a name: send it with PUT /v1/recordings/{name}";
            return Err(Error::new(Problem::BadRequest, detail));
        }
        let by = by(parts);
        let upload =
            Upload { tenant: caller.tenant, by, name, classes, media_type, call, declared_len, range, digests };
        self.ingest.admit(&upload)?;
        Ok(upload)
    }

    /// Who else holds what was received under the name. A lone server does not ask: nobody does.
    pub(super) async fn known_elsewhere(&self, upload: &Upload) -> Result<Option<ReplicaName>> {
        if self.peers.is_one_of_many { self.ingest.known_elsewhere(upload).await } else { Ok(None) }
    }

    /// A recording that was received, as JSON.
    pub(super) async fn answer(&self, received: Received, tenant: &Tenant) -> Result<Response> {
        let Received { recording, outcome } = received;
        let status = match (outcome, recording.state) {
            (_, State::Spooled) => StatusCode::ACCEPTED,
            (Outcome::Created, _) => StatusCode::CREATED,
            (Outcome::Known, _) => StatusCode::OK,
        };
        let view = self.view(&recording, tenant).await?;
        let location = HeaderValue::try_from(format!("/v1/recordings/{}", recording.id)).expect("a UUID is ASCII");
        let mut response = super::recordings::json(status, &view);
        response.headers_mut().insert(LOCATION, location);
        Ok(response)
    }
}

/// A name as a sender may choose it.
pub fn check_name(name: String) -> Result<String> {
    let sound = (1..=NAME_LEN_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
    if sound {
        return Ok(name);
    }
    let detail = format!("a name has 1 to {NAME_LEN_MAX} bytes and no control characters");
    Err(Error::new(Problem::BadRequest, detail))
}
