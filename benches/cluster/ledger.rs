//! What was sent and what was acknowledged, every request as its client saw it, and what went wrong for good.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Live,
    Bulk,
    Resumable,
    /// A PUT under a name that is known: the same bytes, or others.
    Again,
    Play,
    List,
    Erase,
    /// Playback of what is erased or has ended.
    Dead,
}

impl Kind {
    pub const ALL: [(Kind, &str); 8] = [
        (Kind::Live, "live upload"),
        (Kind::Bulk, "bulk upload"),
        (Kind::Resumable, "tus upload: create, HEAD, PATCH"),
        (Kind::Again, "known name sent again"),
        (Kind::Play, "playback, ranges"),
        (Kind::List, "listing, JSON"),
        (Kind::Erase, "erasure"),
        (Kind::Dead, "playback of dead ones"),
    ];

    pub fn is_upload(self) -> bool {
        matches!(self, Kind::Live | Kind::Bulk | Kind::Resumable)
    }
}

/// How a request ended, for its client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    Served,
    /// Refused with this status and problem.
    Refused(u16, String),
    Broken,
}

pub struct Sample {
    pub kind: Kind,
    pub at: Instant,
    pub seen: Seen,
    /// Of an upload that was acknowledged, from its last byte; of a playback, from the request to the first byte.
    pub waited: Option<Duration>,
}

/// One recording that somebody sent. Its bytes follow from its place in the ledger.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub kind: Kind,
    pub len: u64,
    pub began: Instant,
    pub acknowledged: Option<Acknowledged>,
    pub life: Life,
    /// Requests that go on with it.
    pub uses: usize,
}

#[derive(Clone)]
pub struct Acknowledged {
    pub id: String,
    pub status: u16,
    pub at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Lives,
    /// Its sender hung up and does not come back: it may be there as far as it came.
    GivenUp,
    /// An erasure was sent.
    Dying,
    Erased,
    /// Its term ends at this moment.
    Ends(Instant),
}

/// One stretch of the run, named after what is done to the cluster at its beginning.
#[derive(Clone)]
pub struct Phase {
    pub name: String,
    pub began: Instant,
    /// When the part was told to go on, or the run of expire was over.
    pub repaired: Option<Instant>,
}

#[derive(Default)]
pub struct Ledger {
    pub entries: Mutex<Vec<Entry>>,
    pub samples: Mutex<Vec<Sample>>,
    pub phases: Mutex<Vec<Phase>>,
    pub faults: Mutex<BTreeMap<String, usize>>,
}

impl Ledger {
    pub fn begin(&self, kind: Kind, len: u64, life: Life) -> usize {
        let mut entries = self.entries.lock().expect("no holder panics");
        let index = entries.len();
        let name = format!("{kind:?}/{index}").to_lowercase();
        entries.push(Entry { name, kind, len, began: Instant::now(), acknowledged: None, life, uses: 0 });
        index
    }

    pub fn entry(&self, index: usize) -> Entry {
        self.entries.lock().expect("no holder panics")[index].clone()
    }

    pub fn sample(&self, kind: Kind, seen: Seen, waited: Option<Duration>) {
        let sample = Sample { kind, at: Instant::now(), seen, waited };
        self.samples.lock().expect("no holder panics").push(sample);
    }

    /// An acknowledgement; a second one under another id is a fault.
    pub fn acknowledge(&self, index: usize, id: &str, status: u16) {
        let mut entries = self.entries.lock().expect("no holder panics");
        let entry = &mut entries[index];
        match &entry.acknowledged {
            Some(known) if known.id != id => {
                let text = format!("a name was acknowledged as two recordings ({} and {id})", known.id);
                drop(entries);
                self.fault(text);
            }
            Some(_) => {}
            None => entry.acknowledged = Some(Acknowledged { id: id.to_owned(), status, at: Instant::now() }),
        }
    }

    pub fn set(&self, index: usize, life: Life) {
        self.entries.lock().expect("no holder panics")[index].life = life;
    }

    /// Takes one that fits in use, beginning at a random place.
    pub fn take(&self, random: u64, life: Option<Life>, fits: impl Fn(&Entry) -> bool) -> Option<usize> {
        let mut entries = self.entries.lock().expect("no holder panics");
        let count = entries.len();
        let start = (random % count.max(1) as u64) as usize;
        let index = (0..count).map(|offset| (start + offset) % count).find(|index| fits(&entries[*index]))?;
        entries[index].uses += 1;
        if let Some(life) = life {
            entries[index].life = life;
        }
        Some(index)
    }

    pub fn release(&self, index: usize) {
        self.entries.lock().expect("no holder panics")[index].uses -= 1;
    }

    /// Something that must never be.
    pub fn fault(&self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("FAULT: {text}");
        *self.faults.lock().expect("no holder panics").entry(text).or_default() += 1;
    }

    pub fn phase(&self, name: &str) {
        eprintln!("{name}");
        let phase = Phase { name: name.to_owned(), began: Instant::now(), repaired: None };
        self.phases.lock().expect("no holder panics").push(phase);
    }

    pub fn repaired(&self) {
        let mut phases = self.phases.lock().expect("no holder panics");
        phases.last_mut().expect("a phase has begun").repaired = Some(Instant::now());
    }
}
