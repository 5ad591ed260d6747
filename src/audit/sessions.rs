//! Playback sessions: one `play` before the first byte, one `played` with what was served, however many requests it took.
//!
//! A player opens a dozen connections for a seek, each for a range. They are one session: the same listener, from the same
//! address, with the same reason, at the same recording and class, until nothing was asked for [`SessionLimits::idle`].
//!
//! # Promise
//! [`Sessions::begin`] answers `Ok` after the session's `play` is durable. What is served from then on is in a `played` when
//! the session has been idle, at the end of the server, and every [`SessionLimits::write_every`] while it lasts. After a crash a
//! `play` without a `played` says that up to everything may have been heard.
//! # Cancel safety
//! Of several requests that begin a session, one appends; when it is dropped, another does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;

use super::Trail;
use crate::model::error::chain;
use crate::model::trail::{Action, Entry, RANGES_MAX, Spans, Who};
use crate::model::{Class, RecordingId, Result, TenantNumber};

/// Limits of playback sessions, each a setting.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// A session that asks for nothing for so long is over.
    pub idle: Duration,
    /// What a session serves is written at the latest after so long.
    pub write_every: Duration,
}

// Limit: spans of a session that wait to be written, 4 KiB; a request that finds more writes them first.
const SPANS_WAITING_MAX: usize = 4 * RANGES_MAX;

/// Who listens to what: requests that agree in this are one session.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Listening {
    pub tenant: TenantNumber,
    pub who: Arc<Who>,
    pub recording: RecordingId,
    pub class: Class,
    pub reason: Option<String>,
}

impl Listening {
    fn entry(&self, trail: &Trail, action: Action) -> Entry {
        let entry = trail.entry(action, (*self.who).clone()).of(self.recording);
        let entry = Entry { class: Some(self.class), ..entry };
        match &self.reason {
            Some(reason) => entry.because(reason),
            None => entry,
        }
    }
}

/// The sessions of this server.
#[derive(Clone)]
pub struct Sessions {
    trail: Trail,
    limits: SessionLimits,
    open: Arc<Mutex<HashMap<Listening, Arc<Session>>>>,
}

struct Session {
    /// The number of its `play`.
    play: OnceCell<u64>,
    served: Mutex<Served>,
}

struct Served {
    spans: Spans,
    /// Requests that are being answered.
    running: usize,
    last_used: Instant,
    last_written: Instant,
}

/// One request of a session; it tells what it serves.
pub struct Playing(Arc<Session>);

impl Sessions {
    pub fn new(trail: Trail, limits: SessionLimits) -> Sessions {
        Sessions { trail, limits, open: Arc::default() }
    }

    /// Sessions that are open.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Begins a session or joins one; durable before it returns.
    pub async fn begin(&self, listening: Listening) -> Result<Playing> {
        let session = self.join(&listening);
        let playing = Playing(Arc::clone(&session));
        let append = async {
            let entry = listening.entry(&self.trail, Action::Play);
            self.trail.append(listening.tenant, entry).await
        };
        if let Err(error) = session.play.get_or_try_init(|| append).await {
            self.forget_unbegun(&listening, &session);
            return Err(error);
        }
        if session.lock().spans.len() >= SPANS_WAITING_MAX {
            self.write(&listening, &session).await?;
        }
        Ok(playing)
    }

    /// Counted as running before the map is let go: no session is closed under a request that joins it.
    fn join(&self, listening: &Listening) -> Arc<Session> {
        let mut open = self.lock();
        let session = Arc::clone(open.entry(listening.clone()).or_insert_with(|| Arc::new(Session::new())));
        session.lock().running += 1;
        session
    }

    fn forget_unbegun(&self, listening: &Listening, session: &Arc<Session>) {
        let mut open = self.lock();
        let is_ours = open.get(listening).is_some_and(|found| Arc::ptr_eq(found, session));
        if is_ours && session.play.get().is_none() {
            open.remove(listening);
        }
    }

    /// Writes what is due, and closes what is over. What cannot be written waits for the next time.
    pub async fn tend(&self) {
        for (listening, session) in self.all() {
            let (is_over, is_due) = {
                let served = session.lock();
                let is_over = served.running == 0 && served.last_used.elapsed() >= self.limits.idle;
                let is_due = !served.spans.is_empty() && served.last_written.elapsed() >= self.limits.write_every;
                (is_over, is_due)
            };
            if is_over || is_due {
                self.close_or_keep(&listening, &session).await;
            }
        }
    }

    /// Writes what every session has served, before the server ends.
    pub async fn end(&self) {
        for (listening, session) in self.all() {
            self.close_or_keep(&listening, &session).await;
        }
    }

    async fn close_or_keep(&self, listening: &Listening, session: &Arc<Session>) {
        if let Err(error) = self.write(listening, session).await {
            tracing::warn!(
                recording.id = %listening.recording,
                error = chain(&error),
                "what a playback served could not be written into the audit trail yet"
            );
            return;
        }
        let mut open = self.lock();
        let served = session.lock();
        if served.running == 0 && served.spans.is_empty() && served.last_used.elapsed() >= self.limits.idle {
            open.remove(listening);
        }
    }

    /// What cannot be written is taken back.
    async fn write(&self, listening: &Listening, session: &Session) -> Result<()> {
        let Some(play) = session.play.get() else { return Ok(()) };
        let spans = std::mem::take(&mut session.lock().spans).into_ranges();
        if spans.is_empty() {
            return Ok(());
        }
        let entries = spans.chunks(RANGES_MAX).map(|ranges| {
            let entry = listening.entry(&self.trail, Action::Played);
            (listening.tenant, Entry { reason: None, play: Some(*play), ranges: ranges.to_vec(), ..entry })
        });
        let written = self.trail.append_all(entries.collect()).await;
        let mut served = session.lock();
        match written {
            Ok(_) => served.last_written = Instant::now(),
            Err(_) => spans.iter().for_each(|(first, last)| served.spans.add(*first, *last)),
        }
        written.map(|_| ())
    }

    fn all(&self) -> Vec<(Listening, Arc<Session>)> {
        self.lock().iter().map(|(listening, session)| (listening.clone(), Arc::clone(session))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Listening, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn new() -> Session {
        let now = Instant::now();
        let served = Served { spans: Spans::default(), running: 0, last_used: now, last_written: now };
        Session { play: OnceCell::new(), served: Mutex::new(served) }
    }

    fn lock(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Playing {
    /// These bytes are about to leave.
    pub fn serves(&self, first: u64, len: u64) {
        if let Some(last) = (first + len).checked_sub(1).filter(|_| len > 0) {
            self.0.lock().spans.add(first, last);
        }
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        let mut served = self.0.lock();
        served.running -= 1;
        served.last_used = Instant::now();
    }
}

#[cfg(test)]
mod tests;
