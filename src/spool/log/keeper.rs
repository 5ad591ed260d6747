//! The thread that keeps the log: gathers, writes, syncs, removes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::{FLUSH_EVERY, IDLE, LogFile, Shared, State, Trouble};

/// After the disk refused.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Until the log is dropped; what is gathered then is written and synced first.
pub fn keep(shared: &Shared) {
    loop {
        let mut state = wait_for_work(shared);
        let is_stopping = state.is_stopping;
        state = write(shared, state);
        shared.room.look();
        if state.is_due(shared.sync_every) || is_stopping {
            state = sync(shared, state);
        }
        let has_trouble = state.trouble.is_some();
        remove_and_tell(shared, state);
        if is_stopping {
            return;
        }
        if has_trouble {
            std::thread::sleep(RETRY_EVERY);
        }
    }
}

/// Frames gather for [`FLUSH_EVERY`] unless somebody waits for them or there are many.
fn wait_for_work(shared: &Shared) -> MutexGuard<'_, State> {
    let mut state = shared.lock();
    let mut gathering_since: Option<Instant> = None;
    loop {
        let has_gathered = state.files.values().any(LogFile::is_behind);
        let has_many = state.files.values().any(|file| !file.full.is_empty());
        if state.is_stopping || state.wanted > state.durable() || has_many {
            return state;
        }
        let now = Instant::now();
        let flush_at = has_gathered.then(|| *gathering_since.get_or_insert(now) + FLUSH_EVERY);
        let sync_at = state.dirty_since.filter(|_| !has_gathered).map(|since| since + shared.sync_every);
        let remove_at = state.files.values().filter_map(|file| file.removable_at()).min();
        let next = [flush_at, sync_at, remove_at].into_iter().flatten().min();
        match next {
            Some(next) if next <= now => return state,
            Some(next) => state = shared.work.wait_timeout(state, next - now).expect(UNPOISONED).0,
            None => state = shared.work.wait(state).expect(UNPOISONED),
        }
    }
}

/// Hands what was gathered to the operating system, block by block, without holding the lock while it does.
fn write<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    let starts: Vec<u64> = state.files.iter().filter(|(_, file)| file.is_behind()).map(|(start, _)| *start).collect();
    for start in starts {
        let file = state.files.get_mut(&start).expect(ONLY_HERE);
        if !file.gathered.is_empty() {
            file.close_block();
        }
        while let Some(block) = state.files.get(&start).expect(ONLY_HERE).full.front().cloned() {
            let file = state.files.get(&start).expect(ONLY_HERE);
            let (handle, at) = (file.file.clone(), file.written);
            drop(state);
            let written = handle.write_all_at(&block, at);
            state = shared.lock();
            if let Err(error) = written {
                // Nothing is lost: it stays in memory, in its order, and is tried again.
                tracing::warn!(%error, "the spool's log cannot be written; it is tried again");
                set_trouble(shared, &mut state, Some(Trouble::of(&error)));
                return state;
            }
            let file = state.files.get_mut(&start).expect(ONLY_HERE);
            file.full.pop_front();
            file.written += block.len() as u64;
            state.backlog_len = state.backlog_len.saturating_sub(block.len());
            set_trouble(shared, &mut state, None);
        }
    }
    state
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
    for (start, written, _) in &dirty {
        let file = state.files.get_mut(start).expect(ONLY_HERE);
        file.synced = *written;
        // What a failed sync leaves in the page cache is not to be trusted, and never to be built upon.
        file.takes_frames &= synced.is_ok();
    }
    if synced.is_err() {
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

fn set_trouble(shared: &Shared, state: &mut State, trouble: Option<Trouble>) {
    if state.trouble != trouble {
        state.trouble = trouble;
        shared.reached.send_modify(|reached| reached.trouble = trouble);
    }
}

impl State {
    fn is_due(&self, sync_every: Duration) -> bool {
        let has_unsynced = self.files.values().any(|file| file.synced < file.written);
        let is_wanted = self.wanted > self.durable();
        has_unsynced && (is_wanted || self.dirty_since.is_none_or(|since| since.elapsed() >= sync_every))
    }
}

impl LogFile {
    /// `None`: somebody needs it.
    fn removable_at(&self) -> Option<Instant> {
        let is_free = self.live == 0 && !self.is_behind();
        is_free.then(|| if self.takes_frames { self.last_append + IDLE } else { self.last_append })
    }
}

impl Trouble {
    fn of(error: &io::Error) -> Trouble {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Trouble::Full,
            kind => Trouble::Disk(kind),
        }
    }
}

const ONLY_HERE: &str = "only this thread removes logs";
const UNPOISONED: &str = "no holder of the log's lock panics";
