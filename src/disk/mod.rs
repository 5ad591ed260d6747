//! The disk: whoever needs a sync while others wait joins them, and one sync serves all.
//!
//! ```text
//! fewer than four at once ──► each syncs its own files     a sync of the file system would write what is nobody's concern
//! from there on ────────────► they gather in a round       one syncfs for all that had come before it began
//! ```
//! A disk that syncs 250 times a second and calls that end 500 times a second: alone, each would wait for all before it.
//! Rounds need no delay to form: while one sync is under way, the next round gathers.
//!
//! # Promise
//! After `Ok` of [`Disk::sync`] everything that this caller had written to the named files and folders before the call is
//! durable. An error of a round's sync is an error for everyone in the round, and is not tried again.
//! # Invariants
//! A round takes only those who came before its sync began. A sync of the file system tells of each failed write once, to
//! whoever asks first; so it is asked through one descriptor that is older than every [`Mark`], one round after the other, and
//! nobody who began to write before a round failed is served by a later round: each syncs his own files, which tell their own
//! failures.
//! # Limits
//! One thread for rounds, three for syncs beside them, and `ALONE_MAX` for those who may not join; as many descriptors, and
//! one. Whoever waits holds none.
//! # Cancel safety
//! Dropping a waiter harms nobody: what it waited for is done for the others, or is skipped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// From so many on, one sync of the file system is cheaper than theirs.
const ROUND_MIN: usize = 4;
// Limit: syncs of those who may not join a round; as many as a disk can make use of.
const ALONE_MAX: usize = 64;

/// One file system, as far as its syncs go; the same for everyone in this process who asks for it.
#[derive(Clone)]
pub struct Disk(Arc<Shared>);

/// A moment before something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    failures: u64,
}

/// How to sync; tests have ways of their own.
struct Syncs {
    own: Box<SyncOwn>,
    /// `None`: what this file system says of it is not to be relied on.
    all: Option<Box<SyncAll>>,
}

type SyncOwn = dyn Fn(&[PathBuf]) -> io::Result<()> + Send + Sync;
type SyncAll = dyn Fn() -> io::Result<()> + Send + Sync;

struct Shared {
    device: u64,
    syncs: Syncs,
    /// For those who come when no round is under way.
    few: Arc<Semaphore>,
    /// For those who may not join a round.
    alone: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The next round.
    waiting: Vec<Waiter>,
    /// A thread serves rounds; it looks at `waiting` before it ends.
    is_serving: bool,
    /// Rounds that failed.
    failures: u64,
}

struct Waiter {
    paths: Vec<PathBuf>,
    since: Mark,
    told: oneshot::Sender<io::Result<()>>,
}

/// How a sync is gone about.
enum Way {
    Own(OwnedSemaphorePermit, Vec<PathBuf>),
    Round(oneshot::Receiver<io::Result<()>>),
}

impl Disk {
    /// The one on which this directory lies.
    pub fn of(dir: &Path) -> io::Result<Disk> {
        static DISKS: Mutex<BTreeMap<u64, Weak<Shared>>> = Mutex::new(BTreeMap::new());
        let root = File::open(dir)?;
        let device = root.metadata()?.dev();
        let mut disks = DISKS.lock().expect(UNPOISONED);
        if let Some(shared) = disks.get(&device).and_then(Weak::upgrade) {
            return Ok(Disk(shared));
        }
        let disk = Disk::with(device, Syncs::of(root));
        disks.retain(|_, shared| shared.strong_count() > 0);
        disks.insert(device, Arc::downgrade(&disk.0));
        Ok(disk)
    }

    fn with(device: u64, syncs: Syncs) -> Disk {
        let (few, alone) = (Arc::new(Semaphore::new(ROUND_MIN - 1)), Arc::new(Semaphore::new(ALONE_MAX)));
        Disk(Arc::new(Shared { device, syncs, few, alone, state: Mutex::default() }))
    }

    /// Taken before the first byte or name is written that a sync is asked for later.
    pub fn mark(&self) -> Mark {
        Mark { failures: self.0.lock().failures }
    }

    /// Makes files and folders durable that were written since the mark. `None`: it is not known since when, and they are
    /// synced by themselves.
    pub async fn sync(&self, paths: Vec<PathBuf>, since: Option<Mark>) -> io::Result<()> {
        let (place, paths) = match since.filter(|_| self.0.serves(&paths)) {
            None => (self.0.alone.clone().acquire_owned().await.expect(OPEN), paths),
            Some(since) => match self.0.join(paths, since) {
                Way::Own(place, paths) => (place, paths),
                Way::Round(told) => return told.await.unwrap_or_else(|_| Err(io::Error::other("a sync was given up"))),
            },
        };
        let shared = self.0.clone();
        let synced = tokio::task::spawn_blocking(move || {
            let _place = place;
            (shared.syncs.own)(&paths)
        });
        synced.await.unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }

    /// Whether a round covers these: a folder may be a mount of another disk.
    fn serves(&self, paths: &[PathBuf]) -> bool {
        let is_here = |path: &PathBuf| std::fs::metadata(path).is_ok_and(|found| found.dev() == self.device);
        self.syncs.all.is_some() && paths.iter().all(is_here)
    }

    fn join(self: &Arc<Shared>, paths: Vec<PathBuf>, since: Mark) -> Way {
        let mut state = self.lock();
        if !state.is_serving
            && let Ok(place) = self.few.clone().try_acquire_owned()
        {
            return Way::Own(place, paths);
        }
        let (told, hears) = oneshot::channel();
        state.waiting.push(Waiter { paths, since, told });
        if !state.is_serving {
            let server = Server(self.clone());
            match std::thread::Builder::new().name("sync".into()).spawn(move || server.serve()) {
                Ok(_) => state.is_serving = true,
                Err(error) => state.give_up(&error),
            }
        }
        Way::Round(hears)
    }
}

impl State {
    fn give_up(&mut self, error: &io::Error) {
        tracing::error!(%error, "no thread can be had for syncs");
        self.waiting.clear();
    }
}

/// The thread that serves rounds while there are any.
struct Server(Arc<Shared>);

impl Server {
    fn serve(&self) {
        while let Some((round, failures)) = self.next_round() {
            // What a failed round wrote or lost is not known: whoever had begun to write before it asks for himself.
            let (mut joined, mut alone): (Vec<_>, Vec<_>) =
                round.into_iter().partition(|waiter| waiter.since.failures == failures);
            if joined.len() < ROUND_MIN {
                alone.append(&mut joined);
            } else {
                self.sync_all(joined);
            }
            for waiter in alone {
                // Nobody listens any more: that is his decision.
                let _ = waiter.told.send((self.0.syncs.own)(&waiter.paths));
            }
        }
    }

    fn next_round(&self) -> Option<(Vec<Waiter>, u64)> {
        let mut state = self.0.lock();
        state.waiting.retain(|waiter| !waiter.told.is_closed());
        state.is_serving = !state.waiting.is_empty();
        state.is_serving.then(|| (std::mem::take(&mut state.waiting), state.failures))
    }

    fn sync_all(&self, round: Vec<Waiter>) {
        let all = self.0.syncs.all.as_ref().expect("only those wait whom a round can serve");
        let synced = all().map_err(Arc::new);
        if let Err(error) = &synced {
            self.0.lock().failures += 1;
            tracing::error!(%error, waiters = round.len(), "a disk was not synced; whoever waited for it is told");
        }
        for waiter in round {
            let told = synced.clone().map_err(|error| io::Error::new(error.kind(), error));
            let _ = waiter.told.send(told);
        }
    }
}

impl Drop for Server {
    /// A round that panicked must not leave those waiting who came meanwhile.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.lock();
            state.waiting.clear();
            state.is_serving = false;
        }
    }
}

impl Syncs {
    fn of(root: File) -> Syncs {
        let all = tells_every_failure(&root).then(|| {
            // Durability: all that was written to the file system; it is opened once, so that no failure is overlooked.
            Box::new(move || Ok(rustix::fs::syncfs(&root)?)) as Box<SyncAll>
        });
        Syncs { own: Box::new(sync_each), all }
    }
}

fn sync_each(paths: &[PathBuf]) -> io::Result<()> {
    paths.iter().try_for_each(|path| {
        let file = File::open(path)?;
        // Durability: the bytes of a file with its length, the names in a folder.
        if file.metadata()?.is_dir() { file.sync_all() } else { file.sync_data() }
    })
}

/// File systems on a block device of their own, whose sync waits for the device: ext2 to ext4, XFS, Btrfs, F2FS. A file system
/// above others or in another process (overlayfs, FUSE) may call done what is not.
const TRUSTED: [u64; 4] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010];
/// Linux tells failed writes since 5.8, and what the file system itself says since 5.17.
const KERNEL_MIN: (u32, u32) = (5, 17);

fn tells_every_failure(root: &File) -> bool {
    let is_trusted =
        rustix::fs::fstatfs(root).is_ok_and(|found| TRUSTED.contains(&(found.f_type as u64 & 0xFFFF_FFFF)));
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    is_trusted && (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= KERNEL_MIN
}

const UNPOISONED: &str = "no holder of this lock panics";
const OPEN: &str = "the semaphore is never closed";

#[cfg(test)]
mod tests;
