//! What requests leave in the audit trail: one note for each, which grows while the request is answered, and becomes an entry
//! before the answer leaves.
//!
//! ```text
//! request -> Note in its extensions -> auth writes down who asks -> the handler what it is about -> entry -> answer
//! ```
//!
//! # Promise
//! No answer that reveals or changes something leaves before its entry is durable; where there is no entry, there is 503. What
//! changes something is in the trail before it is done (`Face::note_granted`), and once more if it did not work out. An upload
//! is two entries, which [`crate::ingest`] appends beside its rows; a playback session is one before its first byte and what it
//! served ([`crate::audit::Sessions`]).
//! # Secrecy
//! A note holds no address of a request, and no header but a reason.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::{Face, SharedFace};
use crate::audit::{Listening, Playing, Refused, SessionLimits, Sessions, Strangers, Trail};
use crate::model::trail::{Action, Entry, HOUSE, Verdict, Who};
use crate::model::{Class, Problem, RecordingId, Result, TenantNumber};
use crate::spans;

/// How often sessions are looked after.
const TEND_EVERY: Duration = Duration::from_secs(1);
/// Refusals of strangers are told once in so many looks.
const STRANGERS_EVERY: u32 = 60;

/// Every route, as it stands in `routes.rs`; and what its methods are in a trail. `None`: it reveals nothing about anybody.
#[rustfmt::skip]
pub const TABLE: &[(&str, &[(&str, Action)])] = &[
    ("/v1/recordings", &[("POST", Action::Upload), ("GET", Action::List)]),
    ("/v1/recordings/{*rest}", &[("PUT", Action::Upload), ("GET", Action::Show), ("PATCH", Action::Change), ("DELETE", Action::Delete)]),
    ("/v1/recordings/{id}/audio", &[("GET", Action::Play)]),
    ("/v1/recordings/{id}/hold", &[("PUT", Action::Hold), ("DELETE", Action::Release)]),
    ("/v1/recordings/{id}/links", &[("POST", Action::LinkCreate)]),
    ("/v1/uploads", &[("POST", Action::Upload)]),
    ("/v1/uploads/{id}", &[("GET", Action::UploadShow), ("PATCH", Action::Uploaded), ("DELETE", Action::UploadCancel), ("POST", Action::Uploaded)]),
    ("/v1/links/{id}", &[("DELETE", Action::LinkRevoke)]),
    ("/v1/play/{link}", &[("GET", Action::Play)]),
    ("/v1/tokens", &[("GET", Action::TokenList), ("POST", Action::TokenCreate)]),
    ("/v1/tokens/{id}", &[("DELETE", Action::TokenRevoke)]),
    ("/v1/people", &[("GET", Action::PersonList), ("POST", Action::PersonAdd)]),
    ("/v1/people/{id}", &[("GET", Action::PersonList), ("PATCH", Action::PersonSet)]),
    ("/v1/receipts", &[("GET", Action::Receipts)]),
    ("/v1/audit", &[("GET", Action::AuditRead)]),
    ("/in/{*rest}", &[("POST", Action::Upload), ("PUT", Action::Upload), ("GET", Action::Upload)]),
    ("/v1/calls", &[("GET", Action::Calls), ("POST", Action::Calls)]),
    ("/v1/calls/{*rest}", &[("GET", Action::Calls)]),
    ("/v1/requests", &[("GET", Action::Requests), ("POST", Action::Requests)]),
    ("/v1/requests/{*rest}", &[("GET", Action::Requests)]),
    ("/", &[]),
    ("/openapi.json", &[]),
    ("/problems", &[]),
    ("/problems/{name}", &[]),
    ("/healthz", &[]),
    ("/readyz", &[]),
];

/// What a request is in a trail; a method that an address does not take is [`Action::Other`].
fn action_of(method: &Method, path: &str) -> Option<Action> {
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let matches = |pattern: &str| {
        let mut wanted = pattern.trim_start_matches('/').split('/');
        let mut given = parts.iter();
        loop {
            match (wanted.next(), given.next()) {
                (Some("{*rest}"), Some(_)) => return true,
                (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {}
                (Some(wanted), Some(given)) if wanted == *given => {}
                (None, None) => return true,
                _ => return false,
            }
        }
    };
    // Of a recording's name, a PUT takes whatever stands behind the slash, but for a hold.
    let held = path.strip_suffix("/hold").and_then(|path| path.rsplit('/').next());
    let is_upload = method == "PUT" && held.is_none_or(|id| id.parse::<RecordingId>().is_err());
    let parts_first = TABLE.iter().filter(|(pattern, _)| pattern.contains("{id}/") && !is_upload);
    let (_, methods) = parts_first.chain(TABLE).find(|(pattern, _)| matches(pattern))?;
    let found = methods.iter().find(|(known, _)| *known == method).map(|(_, action)| *action);
    found.or((!methods.is_empty()).then_some(Action::Other))
}

/// What is known of a request so far.
#[derive(Clone)]
pub struct Note(Arc<Mutex<Noted>>);

struct Noted {
    action: Action,
    address: Option<IpAddr>,
    who: Option<Arc<Who>>,
    /// Whose trail it goes to.
    tenant: Option<TenantNumber>,
    recording: Option<RecordingId>,
    class: Option<Class>,
    subject: Option<String>,
    reason: Option<String>,
    count: Option<u64>,
    note: Option<String>,
    told: Told,
}

/// What the trail has of a request before it is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    /// That it was granted; if it did not work out, that is told too.
    Granted,
    /// Another server tells it.
    Elsewhere,
}

impl Note {
    /// `None` for what no trail wants to know.
    pub fn of(method: &Method, path: &str) -> Option<Note> {
        let action = action_of(method, path)?;
        Some(Note(Arc::new(Mutex::new(Noted {
            action,
            address: None,
            who: None,
            tenant: None,
            recording: None,
            class: None,
            subject: None,
            reason: None,
            count: None,
            note: None,
            told: Told::Nothing,
        }))))
    }

    /// An upload that was here before: nobody commits anything that tells it.
    pub fn received_before(&self, recording: RecordingId) {
        let mut noted = self.lock();
        (noted.recording, noted.note) = (Some(recording), Some("received before".into()));
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes into a request's note, where it has one.
fn write(parts: &Parts, what: impl FnOnce(&mut Noted)) {
    if let Some(note) = parts.extensions.get::<Note>() {
        what(&mut note.lock());
    }
}

/// Where a request comes from, before anybody knows whose it is.
pub(super) fn note_address(parts: &Parts, address: Option<IpAddr>) {
    write(parts, |noted| noted.address = address);
}

/// Who asks, and for which tenant where that is known.
pub(super) fn note_who(parts: &Parts, who: Who, tenant: Option<TenantNumber>) {
    tenant.into_iter().for_each(spans::note_tenant);
    write(parts, |noted| (noted.who, noted.tenant) = (Some(Arc::new(who)), tenant.or(noted.tenant)));
}

pub(super) fn note_tenant(parts: &Parts, tenant: TenantNumber) {
    spans::note_tenant(tenant);
    write(parts, |noted| noted.tenant = Some(tenant));
}

pub(super) fn note_action(parts: &Parts, action: Action) {
    write(parts, |noted| noted.action = action);
}

pub(super) fn note_recording(parts: &Parts, recording: RecordingId) {
    spans::note_recording(recording);
    write(parts, |noted| noted.recording = Some(recording));
}

pub(super) fn note_class(parts: &Parts, class: Class) {
    write(parts, |noted| noted.class = Some(class));
}

pub(super) fn note_subject(parts: &Parts, subject: impl ToString) {
    write(parts, |noted| noted.subject = Some(subject.to_string()));
}

pub(super) fn note_reason(parts: &Parts, reason: Option<&str>) {
    write(parts, |noted| noted.reason = reason.map(str::to_owned));
}

pub(super) fn note_count(parts: &Parts, count: usize) {
    write(parts, |noted| noted.count = Some(count as u64));
}

/// What was asked for or changed, in words of ours.
pub(super) fn note_what(parts: &Parts, what: impl ToString) {
    write(parts, |noted| noted.note = Some(what.to_string()));
}

/// Another server answers, and tells it.
pub(super) fn note_elsewhere(parts: &Parts) {
    write(parts, |noted| noted.told = Told::Elsewhere);
}

/// Who asks, once he was let in.
pub(super) fn by(parts: &Parts) -> Arc<Who> {
    let who = parts.extensions.get::<Note>().and_then(|note| note.lock().who.clone());
    who.unwrap_or_else(|| Arc::new(Who::unknown(None)))
}

/// Where requests leave their traces.
#[derive(Clone)]
pub struct Traces {
    pub trail: Trail,
    pub sessions: Sessions,
    pub strangers: Strangers,
}

impl Traces {
    pub fn new(trail: Trail, limits: SessionLimits) -> Traces {
        let sessions = Sessions::new(trail.clone(), limits);
        Traces { strangers: Strangers::new(trail.clone()), trail, sessions }
    }

    /// Looks after sessions and strangers until it is dropped.
    pub async fn tend(&self) {
        for look in (1u32..=STRANGERS_EVERY).cycle() {
            tokio::time::sleep(TEND_EVERY).await;
            self.sessions.tend().await;
            if look == STRANGERS_EVERY {
                self.strangers.tell().await;
            }
        }
    }

    /// After the last answer.
    pub async fn end(&self) {
        self.sessions.end().await;
        self.strangers.tell().await;
    }
}

impl Face {
    /// An entry that what is asked for was granted, before it is done.
    pub(super) async fn note_granted(&self, parts: &Parts) -> Result<()> {
        let Some(note) = parts.extensions.get::<Note>() else { return Ok(()) };
        let (tenant, entry) = self.entry(&note.lock());
        self.traces.trail.append(tenant, entry).await?;
        note.lock().told = Told::Granted;
        Ok(())
    }

    /// Before the first byte of a recording.
    pub(super) async fn note_playing(
        &self,
        parts: &Parts,
        tenant: TenantNumber,
        recording: RecordingId,
        class: Class,
    ) -> Result<Playing> {
        let reason = parts.extensions.get::<Note>().and_then(|note| note.lock().reason.clone());
        let listening = Listening { tenant, who: by(parts), recording, class, reason };
        let playing = self.traces.sessions.begin(listening).await?;
        write(parts, |noted| noted.told = Told::Granted);
        Ok(playing)
    }

    fn entry(&self, noted: &Noted) -> (TenantNumber, Entry) {
        let who = noted.who.as_deref().cloned().unwrap_or_else(|| Who::unknown(None));
        let mut entry = self.traces.trail.entry(noted.action, who);
        if let Some(reason) = &noted.reason {
            entry = entry.because(reason);
        }
        if let Some(subject) = &noted.subject {
            entry = entry.about(subject);
        }
        if let Some(note) = &noted.note {
            entry = entry.noting(note);
        }
        (entry.recording, entry.class, entry.count) = (noted.recording, noted.class, noted.count);
        (noted.tenant.unwrap_or(HOUSE), entry)
    }
}

/// The answer to a request, once the trail has what it is to have; else that it has not.
pub(super) async fn concluded(face: SharedFace, note: Note, response: Response) -> Response {
    let problem = response.extensions().get::<Problem>().copied();
    let to_be_told = {
        let noted = note.lock();
        match (&noted.who, verdict(&response)) {
            (_, _) if noted.told == Told::Elsewhere => None,
            // Told as counts: whoever storms makes no commit with each request.
            (who, Verdict::Denied) if who.is_none() || response.status() == StatusCode::TOO_MANY_REQUESTS => {
                let who = who.as_deref().cloned().unwrap_or_else(|| Who::unknown(noted.address));
                let tenant = noted.tenant.unwrap_or(HOUSE);
                problem.into_iter().for_each(|problem| {
                    face.traces.strangers.count(Refused { tenant, who: who.clone(), problem });
                });
                None
            }
            // Nobody was let in: what was answered depends on the request alone.
            (None, _) => None,
            (Some(_), Verdict::Allowed) if noted.told == Told::Granted || told_by_ingest(&noted) => None,
            (Some(_), result) => {
                let (tenant, entry) = face.entry(&noted);
                Some((tenant, Entry { result, problem: problem.map(Problem::name), ..entry }))
            }
        }
    };
    let Some((tenant, entry)) = to_be_told else { return response };
    match face.traces.trail.append(tenant, entry).await {
        Ok(_) => response,
        // It reveals nothing, and says more than we would.
        Err(_) if response.status().is_server_error() => response,
        Err(error) => error.into_response(),
    }
}

/// Uploads that go well are told by whoever commits them.
fn told_by_ingest(noted: &Noted) -> bool {
    noted.note.is_none() && matches!(noted.action, Action::Upload | Action::Uploaded | Action::UploadShow)
}

fn verdict(response: &Response) -> Verdict {
    match response.status().as_u16() {
        ..=399 => Verdict::Allowed,
        401 | 403 | 404 | 429 => Verdict::Denied,
        _ => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns of a table of routes: whatever stands between quotation marks and begins with a slash.
    fn patterns(routes: &str) -> Vec<&str> {
        routes.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/')).collect()
    }

    #[test]
    fn every_route_has_a_row_in_the_trails_table() {
        let routes = patterns(include_str!("routes.rs"));

        assert!(routes.len() > 15, "{routes:?}");
        for route in &routes {
            assert!(TABLE.iter().any(|(pattern, _)| pattern == route), "{route} has no row: what is it in a trail?");
        }
        for (pattern, _) in TABLE.iter().filter(|(pattern, _)| !pattern.contains("{id}/")) {
            assert!(routes.contains(pattern), "{pattern} is no route any more");
        }
    }

    #[test]
    fn requests_are_told_by_what_they_do() {
        for (method, path, action) in [
            ("GET", "/v1/recordings", Some(Action::List)),
            ("HEAD", "/v1/recordings/0197/audio", Some(Action::Play)),
            ("PUT", "/v1/recordings/calls/audio", Some(Action::Upload)),
            ("PUT", "/v1/recordings/calls/hold", Some(Action::Upload)),
            ("PUT", "/v1/recordings/0197b0f0-0000-7000-8000-000000000000/hold", Some(Action::Hold)),
            ("DELETE", "/v1/recordings/0197", Some(Action::Delete)),
            ("GET", "/v1/recordings/0197", Some(Action::Show)),
            ("GET", "/v1/recordings/0197/", Some(Action::Show)),
            ("PURGE", "/v1/recordings", Some(Action::Other)),
            ("GET", "/v1/play/abc", Some(Action::Play)),
            ("GET", "/healthz", None),
            ("GET", "/", None),
            ("GET", "/nowhere", None),
        ] {
            assert_eq!(action_of(&method.parse().expect("a method"), path), action, "{method} {path}");
        }
    }
}
