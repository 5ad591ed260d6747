//! The uploads that are open in this process: one place for each, one request at a time on each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use super::super::Target;
use super::super::digest::ExpectedDigests;
use super::super::intake::Intake;
use crate::catalog::{Recording, Resume};
use crate::model::{RecordingId, TenantNumber};
use crate::reading::live::Claim;

#[derive(Clone, Default)]
pub struct OpenUploads(Arc<Mutex<HashMap<RecordingId, Arc<OpenUpload>>>>);

pub(super) struct OpenUpload {
    pub tenant: TenantNumber,
    /// Counts requests: one that runs ends when it is not the last any more.
    turn: watch::Sender<u64>,
    state: tokio::sync::Mutex<State>,
}

pub(super) enum State {
    /// Whoever locks it first opens it.
    Unopened,
    Open(Opened),
    /// It became a recording, or nothing.
    Over,
}

pub(super) struct Opened {
    pub claim: Claim,
    pub way: Way,
    pub resume: Resume,
}

/// The way of the next piece into the spool.
pub(super) enum Way {
    /// No byte has come.
    Fresh(Box<Target>, ExpectedDigests),
    /// A partial recording that is to grow.
    Known(Box<Recording>),
    Open(Box<Intake>),
    /// It could not be opened, and its row was taken back.
    Gone,
}

impl OpenUploads {
    pub(super) fn get(&self, id: RecordingId) -> Option<Arc<OpenUpload>> {
        self.lock().get(&id).cloned()
    }

    /// The upload's place, made where there is none. `None`: there are as many as there may be.
    pub(super) fn insert(&self, id: RecordingId, tenant: TenantNumber, open_max: usize) -> Option<Arc<OpenUpload>> {
        let mut open = self.lock();
        if let Some(known) = open.get(&id) {
            return Some(known.clone());
        }
        if open.len() >= open_max {
            return None;
        }
        let turn = watch::Sender::new(0);
        let upload = Arc::new(OpenUpload { tenant, turn, state: tokio::sync::Mutex::new(State::Unopened) });
        open.insert(id, upload.clone());
        Some(upload)
    }

    pub(super) fn remove(&self, id: RecordingId) {
        self.lock().remove(&id);
    }

    pub(super) fn all(&self) -> Vec<(RecordingId, Arc<OpenUpload>)> {
        self.lock().iter().map(|(id, open)| (*id, open.clone())).collect()
    }

    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RecordingId, Arc<OpenUpload>>> {
        self.0.lock().expect("no holder of the open uploads' lock panics")
    }
}

impl OpenUpload {
    /// Ends a request that runs; it is this one's turn when the lock is had.
    pub fn take_turn(&self) -> u64 {
        let mut mine = 0;
        self.turn.send_modify(|turn| {
            *turn += 1;
            mine = *turn;
        });
        mine
    }

    pub fn is_turn(&self, mine: u64) -> bool {
        *self.turn.borrow() == mine
    }

    /// Resolves when a newer request came.
    pub fn moved_on(&self, mine: u64) -> impl Future<Output = ()> + Send + use<> {
        let mut turn = self.turn.subscribe();
        async move {
            let _ = turn.wait_for(|turn| *turn != mine).await;
        }
    }

    pub async fn lock(&self) -> tokio::sync::MutexGuard<'_, State> {
        self.state.lock().await
    }

    pub fn try_lock(&self) -> Option<tokio::sync::MutexGuard<'_, State>> {
        self.state.try_lock().ok()
    }
}

impl Opened {
    /// Bytes of the recording that came.
    pub fn offset(&self) -> u64 {
        match &self.way {
            Way::Open(intake) => intake.plain_len(),
            Way::Known(row) => row.plain_len.unwrap_or(0),
            Way::Fresh(..) | Way::Gone => 0,
        }
    }
}
