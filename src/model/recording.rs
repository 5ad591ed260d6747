//! States of a recording. "Gone" is a state with a reason, not an absence.

use std::fmt;
use std::str::FromStr;

/// Where a recording is in its life. Stored bytes depend on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Bytes are arriving, or a crash interrupted them and the next start finishes what arrived.
    Receiving = 0,
    /// Durable in the spool, on its way to the object store.
    Spooled = 1,
    /// Durable in the object store.
    Stored = 2,
    /// Stored, and kept beyond its term by a legal hold.
    Held = 3,
    /// Its term is over and a run is destroying its keys.
    Expiring = 4,
    /// Its keys were destroyed at the end of its term.
    Shredded = 5,
    /// Its keys are destroyed, or will be by the next run, because a data subject asked for it.
    Erased = 6,
    /// Deleted by the tenant before its term ended.
    Deleted = 7,
}

impl State {
    pub const ALL: [State; 8] = [
        State::Receiving,
        State::Spooled,
        State::Stored,
        State::Held,
        State::Expiring,
        State::Shredded,
        State::Erased,
        State::Deleted,
    ];

    pub fn from_number(number: u8) -> Option<State> {
        State::ALL.get(usize::from(number)).copied()
    }

    pub fn as_str(self) -> &'static str {
        match self {
            State::Receiving => "receiving",
            State::Spooled => "spooled",
            State::Stored => "stored",
            State::Held => "held",
            State::Expiring => "expiring",
            State::Shredded => "shredded",
            State::Erased => "erased",
            State::Deleted => "deleted",
        }
    }

    /// Whether reads answer 410.
    pub fn is_gone(self) -> bool {
        matches!(self, State::Expiring | State::Shredded | State::Erased | State::Deleted)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<State, String> {
        State::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = State::ALL.iter().map(|state| state.as_str()).collect();
            format!("a state is one of {}", names.join(", "))
        })
    }
}

/// Whether all of the sender's bytes arrived. Bound into the wraps: stored bytes depend on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Completeness {
    Receiving = 0,
    Complete = 1,
    Partial = 2,
}

impl Completeness {
    pub fn from_number(number: u8) -> Option<Completeness> {
        [Completeness::Receiving, Completeness::Complete, Completeness::Partial]
            .into_iter()
            .find(|completeness| *completeness as u8 == number)
    }
}
