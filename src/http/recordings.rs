//! Recordings as JSON: listing, showing, deleting.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Serialize;

use super::auth::Caller;
use super::metadata::query;
use super::trail::{note_action, note_count, note_recording, note_what};
use super::{Face, SharedFace, audio, links, upload};
use crate::catalog::{Asked, CatalogError, Confirmation, Ending, Listing, Recording, Tenant};
use crate::model::call::FIELD_LEN_MAX;
use crate::model::epoch::GRACE;
use crate::model::shape::Moment;
use crate::model::trail::Action;
use crate::model::{Class, Epoch, Error, Problem, RecordingId, Result, Scope, State, Timestamp};
use crate::reading::ReadError;
use crate::reading::life::{self, RecordingView};

// Limit: each row of a page costs two unwrapped keys.
pub const LIMIT_MAX: u32 = 1_000;
pub const LIMIT_DEFAULT: u32 = 100;

/// A part of a listing.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RecordingPage")]
pub struct Page {
    recordings: Vec<RecordingView>,
    /// Give it back as `cursor` for the next page; `null`: this was the last.
    cursor: Option<String>,
}

/// What is final when.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Ending")]
pub struct Ended {
    #[schemars(with = "RecordingId")]
    id: String,
    #[schemars(with = "State")]
    state: &'static str,
    /// What can still open it, and until when.
    final_when: &'static str,
    /// `null`: the next expire run.
    #[schemars(with = "Option<Moment>")]
    final_at: Option<Timestamp>,
    /// Nothing has happened: a second person confirms it by then (four_eyes).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Moment>")]
    confirm_by: Option<Timestamp>,
}

/// `/v1/recordings`
pub async fn collection(face: SharedFace, request: Request) -> Response {
    match *request.method() {
        Method::POST => upload::receive(face, request, None),
        Method::GET | Method::HEAD => {
            let (parts, _) = request.into_parts();
            face.list(&parts).await.unwrap_or_else(IntoResponse::into_response)
        }
        _ => method_not_allowed("GET, HEAD, POST"),
    }
}

/// `/v1/recordings/{rest}`: a name for PUT, an id and what belongs to it for everything else. One place tells them apart,
/// since a name may hold anything, `/audio` too.
pub async fn item(face: SharedFace, request: Request, rest: String) -> Response {
    if request.method() == Method::PUT && !is_hold(&rest) {
        return upload::receive(face, request, Some(rest));
    }
    let (parts, body) = request.into_parts();
    known_item(face, parts, body, &rest).await
}

async fn known_item(face: SharedFace, parts: Parts, body: Body, rest: &str) -> Response {
    let (id, part) = rest.split_once('/').map_or((rest, ""), |(id, part)| (id, part));
    match (id.parse::<RecordingId>(), part, &parts.method) {
        (Ok(id), "audio", &Method::GET | &Method::HEAD) => audio::play(face, &parts, id).await,
        (Ok(_), "audio", _) => method_not_allowed("GET, HEAD"),
        (Ok(id), "", &Method::GET | &Method::HEAD) => {
            face.show(&parts, id).await.unwrap_or_else(IntoResponse::into_response)
        }
        (Ok(id), "", &Method::DELETE) => face.end(&parts, id).await.unwrap_or_else(IntoResponse::into_response),
        (Ok(id), "links", _) => links::collection(face, parts, body, id).await,
        (Ok(_), "", &Method::PATCH) | (Ok(_), "hold", _) => super::routes::not_built().await,
        (Ok(_), "", _) => method_not_allowed("GET, HEAD, PUT, DELETE"),
        _ => face.unknown(&parts).await,
    }
}

impl Face {
    async fn list(&self, parts: &Parts) -> Result<Response> {
        let caller = self.authorise(parts, Scope::Read).await?;
        let now = self.clock.now();
        let listing = self.read_listing(parts, &caller.tenant, now)?;
        note_what(parts, told(parts, listing.class));
        let limit = listing.limit as usize;
        let asks_for_gone = listing.state.is_some_and(State::is_gone);
        let mark = self.catalog.ring_mark().await.map_err(not_read)?;
        let mut rows = self.catalog.list(Listing { limit: listing.limit + 1, ..listing }).await.map_err(not_read)?;
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let cursor = rows.last().filter(|_| has_more).map(write_cursor);
        // A restored catalog may hold rows whose keys are destroyed: they are as gone as any.
        rows.retain(|row| asks_for_gone || !self.reader.state_at(row, &mark, now).is_gone());
        note_count(parts, rows.len());
        let views = rows.iter().map(|row| self.reader.view(row, &caller.tenant, &mark, now).map_err(not_opened));
        Ok(json(StatusCode::OK, &Page { recordings: views.collect::<Result<_>>()?, cursor }))
    }

    fn read_listing(&self, parts: &Parts, tenant: &Tenant, now: Timestamp) -> Result<Listing> {
        let mut listing =
            Listing { tenant: Some(tenant.number), limit: LIMIT_DEFAULT, alive_at: Some(now), ..Listing::default() };
        let instant = |name: &str, text: &str| {
            text.parse::<Timestamp>().map_err(|_| unprocessable(format!("'{name}' is an RFC 3339 time")))
        };
        let parameters = query(parts);
        for (index, (name, value)) in parameters.iter().enumerate() {
            // Limit: the search tokens of a number are some hundred keys; they are made once for a request.
            if parameters[..index].iter().any(|(before, _)| before == name) || value.len() > FIELD_LEN_MAX {
                return Err(unprocessable(format!("each parameter is given once, with at most {FIELD_LEN_MAX} bytes")));
            }
            match name.as_str() {
                "class" => listing.class = Some(value.parse::<Class>().map_err(unprocessable)?),
                "from" => listing.from = Some(instant("from", value)?),
                "to" => listing.to = Some(instant("to", value)?),
                "number" => {
                    let tokens = self.reader.number_tokens(tenant.number, now, value);
                    listing.numbers = Some(tokens.map_err(not_opened)?);
                }
                "call_id" => {
                    let tokens = self.reader.call_id_tokens(tenant.number, now, value);
                    listing.call_ids = Some(tokens.map_err(not_opened)?);
                }
                "state" => {
                    let state = value.parse::<State>().map_err(unprocessable)?;
                    listing.state = Some(state);
                    listing.alive_at = listing.alive_at.filter(|_| !state.is_gone());
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                    listing.limit = limit.ok_or_else(|| unprocessable(format!("'limit' is 1 to {LIMIT_MAX}")))?;
                }
                "cursor" => {
                    let cursor = read_cursor(value);
                    listing.after = Some(cursor.ok_or_else(|| unprocessable("'cursor' is not one of ours".into()))?);
                }
                _ => {
                    return Err(unprocessable(
                        "a listing takes class, from, to, number, call_id, state, limit, cursor".into(),
                    ));
                }
            }
        }
        Ok(listing)
    }

    async fn show(&self, parts: &Parts, id: RecordingId) -> Result<Response> {
        note_recording(parts, id);
        let caller = self.authorise(parts, Scope::Read).await?;
        let located = self.playback.locate(caller.tenant.number, id).await?;
        Ok(json(StatusCode::OK, &self.view(&located.recording, &caller.tenant).await?))
    }

    /// A recording as JSON.
    pub(super) async fn view(&self, recording: &Recording, tenant: &Tenant) -> Result<RecordingView> {
        let mark = self.catalog.ring_mark().await.map_err(not_read)?;
        self.reader.view(recording, tenant, &mark, self.clock.now()).map_err(not_opened)
    }

    async fn end(&self, parts: &Parts, id: RecordingId) -> Result<Response> {
        let erase = query(parts).into_iter().find(|(name, _)| name == "erase").map(|(_, value)| value);
        let ending = match erase.as_deref() {
            None | Some("0") => Ending::Delete,
            Some("1") => Ending::Erase,
            Some(_) => return Err(unprocessable("'erase' is 0 or 1".into())),
        };
        note_recording(parts, id);
        let scope = match ending {
            Ending::Delete => Scope::Manage,
            Ending::Erase => {
                note_action(parts, Action::Erase);
                Scope::Rights
            }
        };
        let caller = self.authorise(parts, scope).await?;
        let known = self.catalog.recording(Some(caller.tenant.number), id).await.map_err(not_read)?;
        let known = known.ok_or_else(|| Error::new(Problem::NotFound, "this tenant has no such recording"))?;
        if let (Ending::Erase, Some(window)) = (ending, self.limits.four_eyes)
            && let Some(until) = self.waits_for_another(parts, &caller, &known, window).await?
        {
            note_what(parts, "asked for; waits for a second person");
            return Ok(json(StatusCode::ACCEPTED, &describe_waiting(&known, until)));
        }
        self.note_granted(parts).await?;
        let ended = self.catalog.end(id, ending, self.clock.now()).await;
        match ended {
            Ok(before) => Ok(json(StatusCode::ACCEPTED, &describe_ending(&before, ending))),
            Err(CatalogError::WrongState) => {
                let problem = life::gone(known.state);
                Err(Error::new(problem, format!("{} before", problem.title())))
            }
            Err(error) => Err(not_read(error)),
        }
    }

    /// Until when an erasure waits for a second person; `None`: he is the second.
    async fn waits_for_another(
        &self,
        parts: &Parts,
        caller: &Caller,
        known: &Recording,
        window: Duration,
    ) -> Result<Option<Timestamp>> {
        let person = caller.principal.person.ok_or_else(|| {
            let detail = "an erasure needs two persons: send it with a token of kind 'person'";
            self.refuse(caller, Error::new(Problem::SecondPersonNeeded, detail))
        })?;
        // What is gone is not asked for; erasing what was deleted is.
        if known.state.is_gone() && known.state != State::Deleted {
            return Ok(None);
        }
        let at = self.clock.now();
        let window = SignedDuration::try_from(window).unwrap_or(SignedDuration::MAX);
        let until = at.checked_add(window).unwrap_or(Timestamp::MAX);
        let asked = Asked { tenant: known.tenant, what: format!("erase {}", known.id), person, at, until };
        let by = match self.catalog.ask(asked.clone()).await.map_err(not_read)? {
            Confirmation::Waits { until } => return Ok(Some(until)),
            Confirmation::Confirmed { by } => by,
        };
        let first = self.catalog.person(by).await.map_err(not_read)?;
        if first.is_some_and(|first| first.disabled_at.is_none() && first.clearance.standing(at).is_cleared()) {
            note_what(parts, format!("asked for by {by}"));
            return Ok(None);
        }
        // Whoever asked counts no more: this one is the first.
        match self.catalog.ask(asked).await.map_err(not_read)? {
            Confirmation::Waits { until } => Ok(Some(until)),
            Confirmation::Confirmed { .. } => {
                Err(Error::new(Problem::Conflict, "others ask for it at this moment; send the request again"))
            }
        }
    }

    /// What is no id is nobody's recording, for those who may ask at all.
    async fn unknown(&self, parts: &Parts) -> Response {
        match self.authorise(parts, Scope::Read).await {
            Ok(_) => Error::new(Problem::NotFound, "this tenant has no such recording").into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// What a listing asks for, without the values that may be numbers.
fn told(parts: &Parts, class: Option<Class>) -> String {
    let names: Vec<_> = query(parts).into_iter().map(|(name, _)| name).filter(|name| name != "cursor").collect();
    let class = class.map(|class| format!("; class {class}")).unwrap_or_default();
    if names.is_empty() { "all".into() } else { format!("by {}{class}", names.join(", ")) }
}

/// Nothing has happened yet.
fn describe_waiting(known: &Recording, until: Timestamp) -> Ended {
    Ended {
        id: known.id.to_string(),
        state: known.state.as_str(),
        final_when: "not before another person sends the same request",
        final_at: None,
        confirm_by: Some(until),
    }
}

fn describe_ending(before: &Recording, ending: Ending) -> Ended {
    let calls = before.call.iter().flat_map(|call| &call.wraps);
    let last = before.wraps.iter().chain(calls).map(|wrap| wrap.expires_at).max();
    let keys_die_at = last.map(|expires_at| Epoch::of(expires_at).saturating_add(1).start() + GRACE);
    match ending {
        Ending::Delete => Ended {
            id: before.id.to_string(),
            state: State::Deleted.as_str(),
            final_when: "at once for everyone without a backup of the catalog; against a backup when that ages out, or when \
                         the term ends, whichever comes first",
            final_at: keys_die_at,
            confirm_by: None,
        },
        Ending::Erase => Ended {
            id: before.id.to_string(),
            state: State::Erased.as_str(),
            final_when: "at once for everyone without a backup of the catalog; against every backup after the next expire run",
            final_at: None,
            confirm_by: None,
        },
    }
}

/// `/v1/recordings/{id}/hold` takes PUT; every other PUT is an upload.
fn is_hold(rest: &str) -> bool {
    rest.strip_suffix("/hold").is_some_and(|id| id.parse::<RecordingId>().is_ok())
}

fn write_cursor(row: &Recording) -> String {
    let mut bytes = row.received_at.as_millisecond().to_be_bytes().to_vec();
    bytes.extend_from_slice(row.id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn read_cursor(text: &str) -> Option<(Timestamp, RecordingId)> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (millis, id) = bytes.split_first_chunk::<8>()?;
    let received_at = Timestamp::from_millisecond(i64::from_be_bytes(*millis)).ok()?;
    Some((received_at, RecordingId::from_bytes(id.try_into().ok()?)))
}

pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("our answers have only texts and numbers");
    let headers = [(hyper::header::CONTENT_TYPE, "application/json"), (hyper::header::CACHE_CONTROL, "no-store")];
    (status, headers, Body::from(body)).into_response()
}

pub fn method_not_allowed(allow: &'static str) -> Response {
    let error = Error::new(Problem::MethodNotAllowed, format!("this address takes {allow}"));
    ([(hyper::header::ALLOW, allow)], error).into_response()
}

fn unprocessable(detail: String) -> Error {
    Error::new(Problem::Unprocessable, detail)
}

fn not_read(error: CatalogError) -> Error {
    let problem = match error {
        CatalogError::Unavailable(_) | CatalogError::Full(_) => Problem::Unavailable,
        _ => Problem::Internal,
    };
    Error::new(problem, "the catalog cannot be asked; try again").because(error)
}

fn not_opened(error: ReadError) -> Error {
    match error {
        ReadError::Gone => Error::new(Problem::Ended, "the recording's key was destroyed"),
        ReadError::Integrity(_) => {
            Error::new(Problem::Integrity, "a row of the catalog is not what was written").because(error)
        }
        error => Error::new(Problem::Unavailable, "the recording cannot be read").because(error),
    }
}
