//! What requests leave in the audit trail: one note for each, which grows while the request is answered, and is appended before
//! the answer leaves.
//!
//! request -> [`Note`] in its extensions -> `auth` writes down who asks -> the handler what it is about -> entry -> answer

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::http::request::Parts;

use crate::model::trail::Who;

/// What is known of a request so far.
#[derive(Clone, Default)]
pub struct Note(Arc<Mutex<Noted>>);

#[derive(Default)]
pub struct Noted {
    pub who: Option<Arc<Who>>,
}

impl Note {
    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who asks, once he was let in.
pub(super) fn by(parts: &Parts) -> Arc<Who> {
    let who = parts.extensions.get::<Note>().and_then(|note| note.lock().who.clone());
    who.unwrap_or_else(|| Arc::new(Who::unknown(None)))
}
