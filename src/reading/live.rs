//! Which uploads are running in this process: counted against a limit, claimed so that nobody else touches them, and with
//! the whole chunks that listeners may already have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;

use crate::model::RecordingId;
use crate::spool::SegmentName;

#[derive(Clone, Default)]
pub struct Live(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    count: usize,
    claimed: HashMap<RecordingId, watch::Receiver<Reach>>,
}

/// How far whole sealed chunks of a recording reach that is still arriving.
#[derive(Clone, Default)]
pub struct Reach {
    /// In the order of their starts; each reaches to the start of the next, the last to `len`.
    pub segments: Arc<[SegmentName]>,
    /// Plaintext bytes from the recording's beginning.
    pub len: u64,
    /// Nothing more comes this way: the catalog says what became of it.
    pub is_over: bool,
}

/// One body that is being received; gives its place back when it is dropped.
pub struct Place(Live);

/// The right to touch one recording's bytes in the spool; given back when it is dropped.
pub struct Claim {
    live: Live,
    recording: RecordingId,
    reach: watch::Sender<Reach>,
}

impl Live {
    /// `None`: there are as many as there may be.
    pub fn enter(&self, count_max: usize) -> Option<Place> {
        let mut running = self.lock();
        if running.count >= count_max {
            return None;
        }
        running.count += 1;
        Some(Place(self.clone()))
    }

    /// `None`: an upload or a recovery has it.
    pub fn claim(&self, recording: RecordingId) -> Option<Claim> {
        let mut running = self.lock();
        if running.claimed.contains_key(&recording) {
            return None;
        }
        let (reach, watched) = watch::channel(Reach::default());
        running.claimed.insert(recording, watched);
        Some(Claim { live: self.clone(), recording, reach })
    }

    /// Bodies at this moment.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// Whether an upload or a recovery is at work on the recording.
    pub fn is_claimed(&self, recording: RecordingId) -> bool {
        self.lock().claimed.contains_key(&recording)
    }

    /// To follow a recording that is arriving in this process.
    pub fn follow(&self, recording: RecordingId) -> Option<watch::Receiver<Reach>> {
        self.lock().claimed.get(&recording).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().expect("no holder of the live uploads' lock panics")
    }
}

impl Claim {
    pub fn recording(&self) -> RecordingId {
        self.recording
    }

    /// Tells followers how far whole chunks reach.
    pub fn reach(&self, segments: impl FnOnce() -> Arc<[SegmentName]>, len: u64) {
        self.reach.send_if_modified(|reach| {
            let is_new = reach.len != len;
            if is_new {
                if reach.segments.is_empty() {
                    reach.segments = segments();
                }
                reach.len = len;
            }
            is_new
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.lock().count -= 1;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.reach.send_modify(|reach| reach.is_over = true);
        self.live.lock().claimed.remove(&self.recording);
    }
}
