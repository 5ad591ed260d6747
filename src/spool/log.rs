//! The log: the newest bytes of all calls, in one file, made durable by one sync.
//!
//! frame ──► memory of the log ──(every 100 ms)──► file ──(every `spool.sync_every`, or when somebody asks)──► disk
//!
//! One thread writes and another syncs; whoever appends only copies. Logs are rotated at `LOG_LEN_MAX`; one whose frames are all
//! released is removed.
//!
//! # Promise
//! After [`Log::durable`] frames survive a power cut. [`Log::read`] gives a frame as it was appended, from the moment it was
//! until it is released.
//! # Invariants
//! A log is removed only after everything that replaced its frames (chunks in segments) was made durable. A frame's sequence
//! number is used once, whatever becomes of the frame. A log whose sync failed is never called durable again.

mod files;
mod keeper;
mod syncer;

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

pub(super) use files::files_in;

use super::SpoolError;
use super::room::Room;
use crate::crypto::CryptoError;
use crate::crypto::frame::{FRAME_OVERHEAD, FRAME_PLAIN_LEN_MAX, FrameHead, FrameKey, LogSalt};
use crate::crypto::keys::DataKey;
use crate::model::{ObjectId, RecordingId, TenantNumber};

/// How long frames gather before they are given to the operating system: what a killed process loses.
pub const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// Frames gather in blocks of this length; a full one is written without waiting longer.
const BLOCK_LEN: usize = 256 << 10;
// Limit: frames in memory when the disk does not keep up; whoever appends waits then.
const BACKLOG_LEN_MAX: usize = 64 << 20;
// Limit: what one frame that is needed keeps from being removed; a second of 8,000 calls.
const LOG_LEN_MAX: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };
/// Calls that hold frames in a log that is this many behind append them anew: a gigabyte of old logs at most.
const STALE_AFTER: u64 = 16;
/// A log with no frame in use is removed when nothing has come for this long.
const IDLE: Duration = Duration::from_millis(250);

/// The writing and reading end, shared by all calls. The last one that is dropped writes and syncs what is left.
#[derive(Clone)]
pub struct Log(Arc<Running>);

struct Running {
    shared: Arc<Shared>,
    is_kept: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Where a frame stands: a position in all logs, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrameAt {
    position: u64,
    frame_len: u32,
}

/// A frame that was read, still sealed, with what its key is made of.
pub struct FrameRead {
    pub sealed: BytesMut,
    log: u64,
    salt: LogSalt,
}

/// One recording's keys to the logs: the present log's is kept, others are made when they are needed.
pub struct FrameKeys {
    tenant: TenantNumber,
    recording: RecordingId,
    object: ObjectId,
    present: Option<(u64, FrameKey)>,
}

struct Shared {
    dir: PathBuf,
    /// For syncs before a log is removed; `None` after one that failed.
    root: Mutex<Option<File>>,
    sync_every: Duration,
    room: Arc<Room>,
    has_new_names: Arc<AtomicBool>,
    state: Mutex<State>,
    work: Condvar,
    reached: watch::Sender<Reached>,
}

#[derive(Default)]
struct State {
    /// By the position of their first byte.
    files: BTreeMap<u64, LogFile>,
    next_number: Option<u64>,
    /// Behind the last frame that was appended.
    end: u64,
    /// Somebody waits for durability up to here.
    wanted: u64,
    backlog_len: usize,
    /// When the oldest byte that is not durable was appended.
    dirty_since: Option<Instant>,
    trouble: Option<Trouble>,
    is_stopping: bool,
    /// Nothing is written any more.
    is_written_out: bool,
}

struct LogFile {
    number: u64,
    salt: LogSalt,
    file: Arc<File>,
    path: PathBuf,
    /// Bytes that are with the operating system.
    written: u64,
    /// What follows them, in blocks of whole frames: full ones, and the one that is being filled. The keeper takes a block
    /// away when it was written.
    full: VecDeque<Bytes>,
    gathered: BytesMut,
    synced: u64,
    /// Frames that somebody needs.
    live: u64,
    next_sequence: u64,
    /// The last one takes frames; the others are read only.
    takes_frames: bool,
    /// A sync failed: nothing in here is called durable from then on.
    has_failed: bool,
    last_append: Instant,
}

/// How far durability has come, for those who wait.
#[derive(Clone, Debug, Default)]
struct Reached {
    durable: u64,
    /// Spans, each behind its start up to its end, that a failed sync took.
    failed: Vec<(u64, u64)>,
    trouble: Option<Trouble>,
}

/// Why the disk takes nothing at the moment. What was gathered stays in memory and is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Full,
    Disk(io::ErrorKind),
}

impl FrameAt {
    pub fn end(self) -> u64 {
        self.position + u64::from(self.frame_len)
    }
}

impl FrameKeys {
    pub fn new(tenant: TenantNumber, recording: RecordingId, object: ObjectId) -> FrameKeys {
        FrameKeys { tenant, recording, object, present: None }
    }

    /// Opens a frame that was read; gives its plaintext, which stands in the frame.
    pub fn open<'a>(&mut self, data_key: &DataKey, frame: &'a mut FrameRead) -> Result<&'a [u8], CryptoError> {
        let (number, salt) = (frame.log, frame.salt);
        self.key(data_key, number, &salt).open(&mut frame.sealed)
    }

    fn key(&mut self, data_key: &DataKey, number: u64, salt: &LogSalt) -> &FrameKey {
        if self.present.as_ref().is_none_or(|(known, _)| *known != number) {
            self.present = Some((number, FrameKey::derive(data_key, salt, self.tenant, self.recording)));
        }
        &self.present.as_ref().expect("it was set just now").1
    }
}

impl Log {
    pub(super) fn new(dir: &Path, room: Arc<Room>, has_new_names: Arc<AtomicBool>) -> io::Result<Log> {
        let shared = Shared {
            dir: dir.to_owned(),
            root: Mutex::new(Some(File::open(dir)?)),
            sync_every: room.limits.sync_every,
            room,
            has_new_names,
            state: Mutex::default(),
            work: Condvar::new(),
            reached: watch::Sender::new(Reached::default()),
        };
        let running = Running { shared: Arc::new(shared), is_kept: AtomicBool::new(false), threads: Mutex::default() };
        Ok(Log(Arc::new(running)))
    }

    /// Seals a piece of a recording and appends it. It is in memory when this returns, with the operating system
    /// [`FLUSH_EVERY`] later.
    pub fn append(
        &self,
        keys: &mut FrameKeys,
        data_key: &DataKey,
        offset: u64,
        plain: &[u8],
    ) -> Result<FrameAt, SpoolError> {
        let shared = &self.0.shared;
        let mut state = shared.lock();
        if let Some(trouble) = state.trouble {
            return Err(trouble.into());
        }
        let frame_len = FRAME_OVERHEAD + plain.len();
        if !shared.room.has_for_frame(frame_len as u64) {
            return Err(SpoolError::Full);
        }
        let now = Instant::now();
        let (start, file) = state.taking(shared)?;
        let head = FrameHead {
            plain_len: plain.len() as u32,
            recording: keys.recording,
            object: keys.object,
            offset,
            sequence: file.next_sequence,
        };
        let key = keys.key(data_key, file.number, &file.salt);
        let at = FrameAt { position: start + file.len(), frame_len: frame_len as u32 };
        file.next_sequence += 1;
        // The keeper sleeps while there is nothing to write; a new log has its header to be written.
        let is_first = file.gathered.is_empty() || file.written == 0;
        key.seal(&head, plain, &mut file.gathered);
        file.live += 1;
        file.last_append = now;
        let is_full = file.gathered.len() >= BLOCK_LEN;
        if is_full {
            file.close_block();
        }
        state.end = at.end();
        state.backlog_len += frame_len;
        state.dirty_since.get_or_insert(now);
        drop(state);
        shared.room.count(frame_len as u64);
        self.keep();
        if is_first || is_full {
            shared.work.notify_all();
        }
        Ok(at)
    }

    /// Whether the disk is so far behind that whoever appends should wait for [`Log::settled`] first.
    pub fn is_behind(&self) -> bool {
        self.0.shared.lock().backlog_len > BACKLOG_LEN_MAX
    }

    /// A frame as it was appended.
    pub fn read(&self, at: FrameAt) -> Result<FrameRead, SpoolError> {
        let state = self.0.shared.lock();
        let missing = || SpoolError::Disk(io::Error::new(io::ErrorKind::NotFound, "no log holds the frame"));
        let (start, file) = state.files.range(..=at.position).next_back().ok_or_else(missing)?;
        let (from, len) = (at.position - start, at.frame_len as usize);
        let (log, salt) = (file.number, file.salt);
        if let Some(bytes) = file.in_memory(from, len) {
            return Ok(FrameRead { sealed: BytesMut::from(bytes), log, salt });
        }
        let file = file.file.clone();
        drop(state);
        let mut sealed = BytesMut::zeroed(len);
        file.read_exact_at(&mut sealed, from).map_err(SpoolError::Disk)?;
        Ok(FrameRead { sealed, log, salt })
    }

    /// Frames that nobody needs any more: their bytes are in a segment, or their upload is over.
    pub fn release(&self, frames: impl IntoIterator<Item = FrameAt>) {
        let shared = &self.0.shared;
        let mut state = shared.lock();
        let mut has_emptied = false;
        for at in frames {
            if let Some((_, file)) = state.files.range_mut(..=at.position).next_back() {
                file.live = file.live.saturating_sub(1);
                has_emptied |= file.live == 0;
            }
        }
        drop(state);
        if has_emptied {
            self.keep();
            shared.work.notify_all();
        }
    }

    /// Whether the frame keeps an old log from being removed.
    pub fn is_stale(&self, at: FrameAt) -> bool {
        let state = self.0.shared.lock();
        let number_of = |position| state.files.range(..=position).next_back().map_or(0, |(_, file)| file.number);
        number_of(at.position) + STALE_AFTER <= number_of(state.end)
    }

    /// Waits until everything up to the end of a frame is durable. Many who wait share one sync.
    pub async fn durable(&self, at: FrameAt) -> Result<(), SpoolError> {
        let shared = &self.0.shared;
        let mut reached = shared.reached.subscribe();
        {
            let mut state = shared.lock();
            state.wanted = state.wanted.max(at.end());
        }
        self.keep();
        shared.work.notify_all();
        let decided = reached.wait_for(|reached| reached.verdict(at).is_some()).await;
        let stopped = || SpoolError::Disk(io::Error::other("the log is closed"));
        decided.map_err(|_| stopped())?.verdict(at).expect("it was waited for")
    }

    /// Waits until everything that was appended is durable.
    pub async fn settled(&self) -> Result<(), SpoolError> {
        let end = self.0.shared.lock().end;
        self.durable(FrameAt { position: end, frame_len: 0 }).await
    }

    /// Makes the old logs of a dead process readable; gives their frames. Each counts as needed until it is released.
    pub(super) fn take_over(&self) -> Result<Vec<(FrameHead, FrameAt)>, SpoolError> {
        let shared = &self.0.shared;
        let mut state = shared.lock();
        let mut frames = Vec::new();
        for (path, _) in files_in(&shared.dir).map_err(SpoolError::Disk)? {
            files::take_over(&mut state, &path, &mut frames).map_err(SpoolError::Disk)?;
        }
        let end = state.end;
        drop(state);
        shared.reached.send_modify(|reached| reached.durable = end);
        self.keep();
        shared.work.notify_all();
        Ok(frames)
    }

    /// Starts the threads with the first that needs them.
    fn keep(&self) {
        if self.0.is_kept.swap(true, Relaxed) {
            return;
        }
        for (name, keep) in [("spool-log", keeper::keep as fn(&Shared)), ("spool-sync", syncer::keep)] {
            let shared = self.0.shared.clone();
            let thread = std::thread::Builder::new().name(name.into()).spawn(move || keep(&shared));
            let thread = thread.expect("the system gives two more threads");
            self.0.threads.lock().expect(UNPOISONED).push(thread);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.lock().is_stopping = true;
        self.shared.work.notify_all();
        for thread in self.threads.lock().expect(UNPOISONED).drain(..) {
            if thread.join().is_err() {
                tracing::error!("the spool's log had ended in a panic");
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }
}

impl State {
    /// The log that takes frames, made where there is none or it is long enough.
    fn taking(&mut self, shared: &Shared) -> Result<(u64, &mut LogFile), SpoolError> {
        let last = self.files.last_key_value().filter(|(_, file)| file.takes_frames);
        let (start, is_new) = match last {
            Some((start, file)) if file.len() < LOG_LEN_MAX => (*start, false),
            _ => (self.end, true),
        };
        if is_new {
            let number = match self.next_number {
                Some(number) => number,
                None => files::next_number(&shared.dir).map_err(super::failed)?,
            };
            let file = files::create(&shared.dir, number).map_err(super::failed)?;
            shared.has_new_names.store(true, Relaxed);
            shared.room.count(file.len());
            if let Some(mut last) = self.files.last_entry() {
                last.get_mut().takes_frames = false;
            }
            self.next_number = Some(number + 1);
            self.backlog_len += file.len() as usize;
            self.files.insert(start, file);
        }
        Ok((start, self.files.get_mut(&start).expect("it is there")))
    }
}

impl State {
    /// Everything below is durable, or not needed any more.
    fn durable(&self) -> u64 {
        let first_open = self.files.iter().find(|(_, file)| file.synced < file.len());
        first_open.map_or(self.end, |(start, file)| start + file.synced)
    }
}

impl LogFile {
    fn len(&self) -> u64 {
        self.written + self.full.iter().map(|block| block.len() as u64).sum::<u64>() + self.gathered.len() as u64
    }

    /// Whether there are bytes that are not with the operating system yet.
    fn is_behind(&self) -> bool {
        !self.full.is_empty() || !self.gathered.is_empty()
    }

    fn close_block(&mut self) {
        // Limit: a frame more than a block, so that a block never grows, and what was full is given back whole.
        let next = BytesMut::with_capacity(BLOCK_LEN + FRAME_OVERHEAD + FRAME_PLAIN_LEN_MAX);
        self.full.push_back(std::mem::replace(&mut self.gathered, next).freeze());
    }

    /// Bytes that are not with the operating system yet.
    fn in_memory(&self, from: u64, len: usize) -> Option<&[u8]> {
        let mut from = from.checked_sub(self.written)? as usize;
        for block in &self.full {
            match from.checked_sub(block.len()) {
                Some(behind) => from = behind,
                None => return block.get(from..from + len),
            }
        }
        self.gathered.get(from..from + len)
    }
}

impl Reached {
    /// `None`: not decided yet.
    fn verdict(&self, at: FrameAt) -> Option<Result<(), SpoolError>> {
        let is_lost = self.failed.iter().any(|(from, to)| *from < at.end() && at.end() <= *to);
        match self.trouble {
            _ if is_lost => Some(Err(SpoolError::Disk(io::Error::other("the log could not be synced")))),
            _ if self.durable >= at.end() => Some(Ok(())),
            Some(trouble) => Some(Err(trouble.into())),
            None => None,
        }
    }
}

impl From<Trouble> for SpoolError {
    fn from(trouble: Trouble) -> SpoolError {
        match trouble {
            Trouble::Full => SpoolError::Full,
            Trouble::Disk(kind) => SpoolError::Disk(kind.into()),
        }
    }
}

const UNPOISONED: &str = "no holder of the log's locks panics";

#[cfg(test)]
mod tests;
