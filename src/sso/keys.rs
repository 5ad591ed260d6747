//! The provider's keys at hand, kept fresh by one task.
//!
//! # Promise
//! One fetch at a time, whoever asks: every `oidc.keys_refresh`, after a failure every `oidc.keys_pause`, and for tokens with an
//! unknown key at most once in `oidc.keys_pause`, however many of them come. A set that was fetched replaces the one before
//! whole; a fetch that fails replaces nothing. Only who waits for an unknown key waits.
//! # Cancel safety
//! Whoever asks may be dropped; the fetch goes on. Dropping [`Keys`] ends it.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::KeyTimes;
use super::fetch::Source;
use super::jwks::KeySet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFound {
    /// The provider publishes no such key.
    Unknown,
    /// It does, for something else.
    Unfit,
    /// Nobody can tell: there are no keys, or only such as are too old.
    Unavailable,
}

pub struct Keys {
    present: watch::Receiver<Present>,
    wanted: Arc<Notify>,
    times: KeyTimes,
    following: JoinHandle<()>,
}

/// What the last fetches left.
#[derive(Clone, Default)]
struct Present {
    fetched: Option<Fetched>,
    /// When the last fetch began that a token with an unknown key caused.
    asked_at: Option<Instant>,
}

#[derive(Clone)]
struct Fetched {
    keys: Arc<KeySet>,
    at: Instant,
}

impl Keys {
    pub fn start(source: Source, times: KeyTimes) -> Keys {
        let (sender, present) = watch::channel(Present::default());
        let wanted = Arc::new(Notify::new());
        let following = tokio::spawn(follow(source, times, wanted.clone(), sender));
        Keys { present, wanted, times, following }
    }

    /// The keys of a name for an algorithm, at least one.
    pub async fn find(&self, kid: &str, algorithm: Algorithm) -> Result<Vec<DecodingKey>, NotFound> {
        let mut present = self.present.clone();
        let before = present.borrow_and_update().clone();
        let found = before.find(kid, algorithm, self.times.max_age);
        let was_asked = before.asked_at.is_some_and(|at| at.elapsed() < self.times.pause);
        if was_asked || matches!(found, Ok(_) | Err(NotFound::Unfit)) {
            return found;
        }
        self.wanted.notify_one();
        // Whatever is told next was told after this was seen. A fetch that was under way may come first: two are waited for.
        let _ = tokio::time::timeout(self.times.timeout * 2, present.changed()).await;
        let after = present.borrow().clone();
        after.find(kid, algorithm, self.times.max_age)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Present {
    fn find(&self, kid: &str, algorithm: Algorithm, max_age: Duration) -> Result<Vec<DecodingKey>, NotFound> {
        let usable = self.fetched.as_ref().filter(|fetched| fetched.at.elapsed() < max_age);
        let keys = &usable.ok_or(NotFound::Unavailable)?.keys;
        match keys.fitting(kid, algorithm) {
            fitting if !fitting.is_empty() => Ok(fitting),
            _ if keys.has(kid) => Err(NotFound::Unfit),
            _ => Err(NotFound::Unknown),
        }
    }
}

async fn follow(source: Source, times: KeyTimes, wanted: Arc<Notify>, sender: watch::Sender<Present>) {
    let mut asked_at = None;
    let mut is_failing = false;
    loop {
        let begun = Instant::now();
        let fetched = source.fetch(times.timeout).await;
        let next = if fetched.is_ok() { times.refresh } else { times.pause.min(times.refresh) };
        sender.send_modify(|present| {
            present.asked_at = asked_at;
            tell(&fetched, present.fetched.as_ref(), is_failing);
            if let Ok(keys) = &fetched {
                present.fetched = Some(Fetched { keys: keys.clone(), at: begun });
            }
        });
        is_failing = fetched.is_err();
        let regular = tokio::time::sleep(next);
        tokio::pin!(regular);
        loop {
            tokio::select! {
                () = &mut regular => break,
                () = wanted.notified() => {
                    // Somebody may have asked before the last answer came, and have it.
                    if asked_at.is_none_or(|at: Instant| at.elapsed() >= times.pause) {
                        asked_at = Some(Instant::now());
                        break;
                    }
                }
            }
        }
    }
}

/// Says what changed, once.
fn tell(fetched: &Result<Arc<KeySet>, String>, before: Option<&Fetched>, was_failing: bool) {
    match fetched {
        Ok(keys) if keys.len() == 0 => {
            tracing::warn!("the single sign-on provider publishes no key that verifies tokens: nobody gets in by it");
        }
        Ok(keys) if was_failing || before.is_none_or(|before| !before.keys.is_like(keys)) => {
            tracing::info!(keys = keys.len(), "the keys of the single sign-on provider were fetched");
        }
        Ok(_) => {}
        Err(_) if was_failing => {}
        Err(error) => tracing::warn!(
            error,
            has_keys = before.is_some(),
            "the keys of the single sign-on provider cannot be fetched; those at hand are used until oidc.keys_max_age, and \
             it is tried again"
        ),
    }
}
