//! `GET /readyz`: whether an upload that begins can be received, and how every part does.
//!
//! # Promise
//! 200 only where an upload that begins would be durable when it ends: the catalog answers, a ring is loaded, the spool has
//! room, and the server does not stop. A store or a key store that does not answer is told of and takes no server out of
//! service: uploads go into the spool, and the ring in memory goes on.
//! # Limits
//! What lies across a network or on a disk is asked at most once in [`PROBED_EVERY`], however many ask at once, and waited
//! for [`PROBE_TIME_MAX`] at most. What it says about a part is one of the fixed texts below: no address, no error's text.

use std::time::{Duration, Instant};

use axum::response::Response;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::recordings::json;
use super::super::{Face, SharedFace};
use crate::spool::SpoolError;

const PROBED_EVERY: Duration = Duration::from_secs(1);
const PROBE_TIME_MAX: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "PartState")]
enum State {
    Up,
    /// It works, and something of it does not.
    Degraded,
    Down,
}

/// How a part does.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
struct Part {
    state: State,
    /// Without it no upload is received.
    needed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// Whether an upload that begins would be received.
#[derive(Serialize, JsonSchema)]
pub struct Readiness {
    ready: bool,
    /// The server stops: it goes on with what runs, and takes nothing new.
    draining: bool,
    catalog: Part,
    ring: Part,
    spool: Part,
    store: Part,
    key_store: Part,
}

/// What was found when the parts were asked last.
#[derive(Default)]
pub struct Probes(Mutex<Option<(Instant, Probed)>>);

#[derive(Clone, Copy)]
struct Probed {
    catalog: Part,
    store: Part,
    key_store: Part,
}

impl Part {
    fn needed(state: State, detail: Option<&'static str>) -> Part {
        Part { state, needed: true, detail }
    }

    fn extra(state: State, detail: Option<&'static str>) -> Part {
        Part { state, needed: false, detail }
    }

    fn serves(&self) -> bool {
        !self.needed || self.state != State::Down
    }
}

pub async fn readyz(face: SharedFace) -> Response {
    let Probed { catalog, store, key_store } = face.probes.get(&face).await;
    let ring = match face.reader.keyring.view() {
        Some(_) => Part::needed(State::Up, None),
        None => Part::needed(State::Down, Some("no ring is loaded")),
    };
    let spool = spool(&face);
    let draining = face.drain.is_draining();
    let ready = !draining && [catalog, ring, spool, store, key_store].iter().all(Part::serves);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &Readiness { ready, draining, catalog, ring, spool, store, key_store })
}

impl Probes {
    /// Whoever comes while the parts are being asked waits for that answer.
    async fn get(&self, face: &Face) -> Probed {
        let mut last = self.0.lock().await;
        if let Some((at, probed)) = *last
            && at.elapsed() < PROBED_EVERY
        {
            return probed;
        }
        let (catalog, store, key_store) = tokio::join!(catalog(face), store(face), key_store(face));
        let probed = Probed { catalog, store, key_store };
        *last = Some((Instant::now(), probed));
        probed
    }
}

async fn catalog(face: &Face) -> Part {
    match timeout(PROBE_TIME_MAX, face.catalog.ring_mark()).await {
        Ok(Ok(_)) => Part::needed(State::Up, None),
        Ok(Err(_)) => Part::needed(State::Down, Some("it refuses to answer; the log says why")),
        Err(_) => Part::needed(State::Down, Some("it does not answer in time")),
    }
}

async fn store(face: &Face) -> Part {
    match timeout(PROBE_TIME_MAX, face.reader.store.probe()).await {
        Ok(Ok(())) if face.ingest.handover.is_down() => Part::extra(
            State::Degraded,
            Some("it answers, and did not take the last object; uploads wait in the spool"),
        ),
        Ok(Ok(())) => Part::extra(State::Up, None),
        Ok(Err(_)) => Part::extra(State::Down, Some("it refuses to answer; uploads wait in the spool")),
        Err(_) => Part::extra(State::Down, Some("it does not answer in time; uploads wait in the spool")),
    }
}

/// One mirror of the ring, and one of its secret, are enough to start; all are needed to destroy.
async fn key_store(face: &Face) -> Part {
    let Some(generation) = face.reader.keyring.view().map(|view| view.generation) else {
        return Part::extra(State::Down, Some("no ring is loaded"));
    };
    let Ok(mirrors) = timeout(PROBE_TIME_MAX, face.reader.keyring.mirrors()).await else {
        return Part::extra(State::Down, Some("a mirror does not answer in time; expire cannot destroy"));
    };
    let holds = |mirror: &crate::keyring::MirrorState| mirror.generations.iter().any(|held| *held >= generation);
    let kinds = ["ring", "generation"];
    let of_kind = |kind: &str| mirrors.iter().filter(|mirror| mirror.kind == kind).collect::<Vec<_>>();
    if kinds.iter().any(|kind| !of_kind(kind).is_empty() && !of_kind(kind).into_iter().any(holds)) {
        return Part::extra(State::Down, Some("no mirror holds the present generation: no server can start"));
    }
    match mirrors.iter().all(holds) {
        true => Part::extra(State::Up, None),
        false => Part::extra(State::Degraded, Some("a mirror is missing or behind; expire cannot destroy")),
    }
}

fn spool(face: &Face) -> Part {
    match face.reader.spool.has_room(0) {
        Ok(()) => Part::needed(State::Up, None),
        Err(SpoolError::Full) => Part::needed(State::Down, Some("it is full, or its disk is")),
        Err(_) => Part::needed(State::Down, Some("its disk does not work")),
    }
}
