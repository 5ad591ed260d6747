//! Which uploads are running in this process: counted against a limit, and named so that nobody else touches them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::RecordingId;

#[derive(Clone, Default)]
pub struct Live(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    count: usize,
    recordings: HashSet<RecordingId>,
}

/// One running upload; gives its place back when it is dropped.
pub struct Slot {
    live: Live,
    held: Option<RecordingId>,
}

impl Live {
    /// `None`: there are as many as there may be.
    pub fn enter(&self, count_max: usize) -> Option<Slot> {
        let mut running = self.lock();
        if running.count >= count_max {
            return None;
        }
        running.count += 1;
        Some(Slot { live: self.clone(), held: None })
    }

    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// Whether an upload or a recovery is at work on the recording.
    pub fn is_held(&self, recording: RecordingId) -> bool {
        self.lock().recordings.contains(&recording)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().expect("no holder of the live uploads' lock panics")
    }
}

impl Slot {
    /// Claims the recording. `false`: another upload has it.
    pub fn hold(&mut self, recording: RecordingId) -> bool {
        let claimed = self.live.lock().recordings.insert(recording);
        if claimed {
            self.held = Some(recording);
        }
        claimed
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut running = self.live.lock();
        running.count -= 1;
        if let Some(recording) = self.held {
            running.recordings.remove(&recording);
        }
    }
}
