//! Time as the keys see it: epochs of one hour, days of 24 epochs, and paths in the time tree.

use jiff::{SignedDuration, Timestamp};

/// 2024-01-01T00:00:00Z. Stored bytes depend on it: every path in every ring counts from here.
pub const ORIGIN_S: i64 = 1_704_067_200;
pub const EPOCH_S: i64 = 3_600;
pub const EPOCHS_PER_DAY: u32 = 24;
/// Bits of an epoch in a path: 2^20 hours last until the year 2143.
pub const EPOCH_BITS: u8 = 20;
/// Bits of a tag in a path.
pub const TAG_BITS: u8 = 44;
/// How long an epoch outlives its end before it is destroyed: room for clocks that differ.
pub const GRACE: SignedDuration = SignedDuration::from_mins(15);

/// An hour since [`ORIGIN_S`]; always below 2^20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u32);

impl Epoch {
    pub const FIRST: Epoch = Epoch(0);
    pub const LAST: Epoch = Epoch((1 << EPOCH_BITS) - 1);

    pub fn new(number: u32) -> Option<Epoch> {
        (number <= Epoch::LAST.0).then_some(Epoch(number))
    }

    /// The epoch that holds the instant, rounded down; instants outside the 119 years are moved to the nearest end.
    pub fn of(instant: Timestamp) -> Epoch {
        let hours = (instant.as_second() - ORIGIN_S).div_euclid(EPOCH_S);
        Epoch(hours.clamp(0, i64::from(Epoch::LAST.0)) as u32)
    }

    /// The floor that may be set at `now`: everything below it ended at least [`GRACE`] ago.
    pub fn floor_at(now: Timestamp) -> Epoch {
        Epoch::of(now.checked_sub(GRACE).unwrap_or(Timestamp::MIN))
    }

    pub fn number(self) -> u32 {
        self.0
    }

    pub fn start(self) -> Timestamp {
        Timestamp::from_second(ORIGIN_S + i64::from(self.0) * EPOCH_S)
            .expect("2^20 hours after 2024 is a valid instant")
    }

    pub fn day(self) -> Day {
        Day(self.0 / EPOCHS_PER_DAY)
    }

    /// `self + hours`, at most [`Epoch::LAST`].
    pub fn saturating_add(self, hours: u32) -> Epoch {
        Epoch(self.0.saturating_add(hours).min(Epoch::LAST.0))
    }
}

/// A day since 2024-01-01, of 24 epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub u32);

impl Day {
    pub fn of(instant: Timestamp) -> Day {
        Epoch::of(instant).day()
    }

    /// The last epoch of the day; its reserved leaf opens the day's index key.
    pub fn last_epoch(self) -> Epoch {
        Epoch((self.0 * EPOCHS_PER_DAY + EPOCHS_PER_DAY - 1).min(Epoch::LAST.0))
    }
}

/// The lower 44 bits of a path: random, unique below its epoch, so that erasing one recording kills no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

impl Tag {
    /// Reserved for the index keys of the epoch's day; never given to a wrap.
    pub const INDEX: Tag = Tag((1 << TAG_BITS) - 1);

    pub fn new(number: u64) -> Option<Tag> {
        (number <= Tag::INDEX.0).then_some(Tag(number))
    }

    /// A tag for a wrap from random bits: never [`Tag::INDEX`].
    pub fn from_random(random: u64) -> Tag {
        Tag((random >> (64 - TAG_BITS)) % Tag::INDEX.0)
    }

    pub fn number(self) -> u64 {
        self.0
    }
}

/// Which of a ring's time trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeId(pub u16);

/// One leaf of a time tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimePath {
    pub tree: TreeId,
    pub epoch: Epoch,
    pub tag: Tag,
}

impl TimePath {
    /// `epoch(20) || tag(44)`, most significant bit first.
    pub fn bits(&self) -> u64 {
        u64::from(self.epoch.0) << TAG_BITS | self.tag.0
    }
}
