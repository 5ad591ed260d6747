//! The thread that makes the log durable, and removes what nobody needs.
//!
//! It is another than the one that writes: a sync takes as long as the disk likes, and what ten thousand calls send
//! meanwhile would pile up in memory.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use super::{IDLE, LogFile, Shared, State, UNPOISONED};

/// Until the log is dropped; what was written then is synced first.
pub fn keep(shared: &Shared) {
    loop {
        let mut state = wait_for_work(shared);
        let is_stopping = state.is_written_out;
        let now = Instant::now();
        if state.sync_at(shared, now).is_some_and(|at| at <= now) || is_stopping {
            state = sync(shared, state);
        }
        remove_and_tell(shared, state);
        if is_stopping {
            return;
        }
    }
}

fn wait_for_work(shared: &Shared) -> MutexGuard<'_, State> {
    let mut state = shared.lock();
    loop {
        let now = Instant::now();
        let remove_at = state.files.values().filter_map(LogFile::removable_at).min();
        match [state.sync_at(shared, now), remove_at].into_iter().flatten().min() {
            _ if state.is_written_out => return state,
            Some(next) if next <= now => return state,
            Some(next) => state = shared.work.wait_timeout(state, next - now).expect(UNPOISONED).0,
            None => state = shared.work.wait(state).expect(UNPOISONED),
        }
    }
}

/// One sync for all that was written.
fn sync<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    if state.trouble.is_some() {
        return state;
    }
    let dirty = state.files.iter().filter(|(_, file)| file.synced < file.written);
    let dirty: Vec<_> = dirty.map(|(start, file)| (*start, file.written, file.file.clone())).collect();
    state.dirty_since = None;
    drop(state);
    let synced = sync_names(shared).and_then(|()| {
        // Durability: the frames; offsets and acknowledgements that were asked for wait for this.
        dirty.iter().try_for_each(|(_, _, file)| file.sync_data())
    });
    let mut state = shared.lock();
    if let Err(error) = &synced {
        tracing::error!(%error, "the spool's log was not made durable; uploads that wait for it end here");
    }
    let mut is_lost = synced.is_err();
    for (start, written, _) in &dirty {
        let file = state.files.get_mut(start).expect(ONLY_HERE);
        file.synced = *written;
        // What a failed sync leaves in the page cache is not to be trusted, and never to be built upon: nor what was written
        // while it failed, which a later sync would call durable.
        file.has_failed |= synced.is_err();
        file.takes_frames &= !file.has_failed;
        is_lost |= file.has_failed;
    }
    if is_lost {
        let to = state.durable();
        shared.reached.send_modify(|told| told.failed.push((told.durable, to)));
    }
    if state.files.values().any(|file| file.written > file.synced || file.is_behind()) {
        state.dirty_since.get_or_insert(Instant::now());
    }
    state
}

fn sync_names(shared: &Shared) -> io::Result<()> {
    if shared.has_new_names.swap(false, Relaxed) {
        // Durability: frames are of no use without the names of their log and of the segments before them.
        let synced = File::open(&shared.dir).and_then(|dir| dir.sync_all());
        shared.has_new_names.fetch_or(synced.is_err(), Relaxed);
        return synced;
    }
    Ok(())
}

/// Removes logs of which nobody needs a frame, and tells how far durability has come.
fn remove_and_tell(shared: &Shared, mut state: MutexGuard<'_, State>) {
    let now = Instant::now();
    let is_done = |at: Option<Instant>| at.is_some_and(|at| at <= now);
    let starts: Vec<u64> =
        state.files.iter().filter(|(_, file)| is_done(file.removable_at())).map(|(start, _)| *start).collect();
    let removed: Vec<(PathBuf, u64)> = starts
        .iter()
        .filter_map(|start| state.files.remove(start))
        .map(|file| (file.path.clone(), file.len()))
        .collect();
    let durable = state.durable();
    drop(state);
    if shared.reached.borrow().durable != durable {
        shared.reached.send_modify(|reached| reached.durable = durable);
    }
    if removed.is_empty() {
        return;
    }
    // Durability: the chunks that replaced the frames are in segments that nobody has synced yet. Through a descriptor of its own,
    // as old as the spool: a failed write is told to each once, and nobody else hears of it in our place.
    let synced = shared.root.lock().expect(UNPOISONED).take().map(|root| rustix::fs::syncfs(&root).map(|()| root));
    match synced {
        Some(Ok(root)) => *shared.root.lock().expect(UNPOISONED) = Some(root),
        Some(Err(error)) => {
            tracing::error!(%error, "the spool cannot be synced; its old logs stay until the next start");
            return;
        }
        // What was lost then may be what replaced these.
        None => return,
    }
    for (path, len) in removed {
        match std::fs::remove_file(&path) {
            Ok(()) => shared.room.give_back(len),
            Err(error) => tracing::warn!(%error, "an old log of the spool cannot be removed"),
        }
    }
}

impl State {
    /// `None`: nothing is to be synced, or the disk refuses what comes before it.
    fn sync_at(&self, shared: &Shared, now: Instant) -> Option<Instant> {
        let has_unsynced = self.files.values().any(|file| file.synced < file.written);
        if !has_unsynced || self.trouble.is_some() {
            return None;
        }
        // One sync for all that somebody waits for: what is still to be written of it comes first.
        let is_wanted = self.wanted > self.durable() && self.wanted <= self.written();
        let since = self.dirty_since.filter(|_| !is_wanted);
        Some(since.map_or(now, |since| since + shared.sync_every))
    }
}

impl LogFile {
    /// `None`: somebody needs it.
    fn removable_at(&self) -> Option<Instant> {
        let is_free = self.live == 0 && !self.is_behind();
        is_free.then(|| if self.takes_frames { self.last_append + IDLE } else { self.last_append })
    }
}

const ONLY_HERE: &str = "only this thread removes logs";
