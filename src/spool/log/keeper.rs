//! The thread that writes the log: frames gather, blocks go to the operating system.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use super::{FLUSH_EVERY, LogFile, Shared, State, Trouble, UNPOISONED};

/// After the disk refused.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// Until the log is dropped; what is gathered then is written first.
pub fn keep(shared: &Shared) {
    loop {
        let mut state = wait_for_work(shared);
        let is_stopping = state.is_stopping;
        state = write(shared, state);
        let has_trouble = state.trouble.is_some();
        state.is_written_out = is_stopping;
        // Whoever syncs may wait for exactly this.
        if is_stopping || state.wanted > state.durable() || state.dirty_since.is_some() {
            shared.work.notify_all();
        }
        drop(state);
        shared.room.look();
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
        if state.is_stopping || state.wanted > state.written() || has_many {
            return state;
        }
        let now = Instant::now();
        match has_gathered.then(|| *gathering_since.get_or_insert(now) + FLUSH_EVERY) {
            Some(flush_at) if flush_at <= now => return state,
            Some(flush_at) => state = shared.work.wait_timeout(state, flush_at - now).expect(UNPOISONED).0,
            None => state = shared.work.wait(state).expect(UNPOISONED),
        }
    }
}

/// Hands what was gathered to the operating system, block by block, without holding the lock while it does.
fn write<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    let starts: Vec<u64> = state.files.iter().filter(|(_, file)| file.is_behind()).map(|(start, _)| *start).collect();
    for start in starts {
        let file = state.files.get_mut(&start).expect(STAYS);
        if !file.gathered.is_empty() {
            file.close_block();
        }
        while let Some(block) = state.files.get(&start).expect(STAYS).full.front().cloned() {
            let file = state.files.get(&start).expect(STAYS);
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
            let file = state.files.get_mut(&start).expect(STAYS);
            file.full.pop_front();
            file.written += block.len() as u64;
            state.backlog_len = state.backlog_len.saturating_sub(block.len());
            set_trouble(shared, &mut state, None);
        }
    }
    state
}

fn set_trouble(shared: &Shared, state: &mut State, trouble: Option<Trouble>) {
    if state.trouble != trouble {
        state.trouble = trouble;
        shared.reached.send_modify(|reached| reached.trouble = trouble);
    }
}

impl State {
    /// Everything below is with the operating system.
    pub(super) fn written(&self) -> u64 {
        let first_open = self.files.iter().find(|(_, file)| file.is_behind());
        first_open.map_or(self.end, |(start, file)| start + file.written)
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

const STAYS: &str = "a log that has bytes to be written is not removed";
