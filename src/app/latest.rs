//! The clock by which reads are refused: this machine's, or the catalog's where that is ahead. What has ended by either has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use jiff::SignedDuration;

use crate::model::{Clock, Timestamp};

pub struct Latest {
    own: Arc<dyn Clock>,
    /// How far the catalog's clock is ahead of the own one; never negative.
    ahead_ms: AtomicI64,
}

impl Latest {
    pub fn of(own: Arc<dyn Clock>) -> Latest {
        Latest { own, ahead_ms: AtomicI64::new(0) }
    }

    /// Takes a reading of the catalog's clock; `None`: it has none of its own.
    pub fn learn(&self, catalog: Option<Timestamp>) {
        let ahead = catalog.map_or(SignedDuration::ZERO, |catalog| catalog.duration_since(self.own.now()));
        self.ahead_ms.store(i64::try_from(ahead.as_millis()).unwrap_or(0).max(0), Relaxed);
    }
}

impl Clock for Latest {
    fn now(&self) -> Timestamp {
        let ahead = SignedDuration::from_millis(self.ahead_ms.load(Relaxed));
        self.own.now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_of_the_catalog_that_is_ahead_counts_and_one_that_is_behind_does_not() {
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).expect("an instant");
        let latest = Latest::of(Arc::new(move || at(0)));
        assert_eq!(latest.now(), at(0));

        for (catalog, expected) in [(Some(at(90)), at(90)), (Some(at(-90)), at(0)), (Some(at(1)), at(1)), (None, at(0))]
        {
            latest.learn(catalog);
            assert_eq!(latest.now(), expected);
        }
    }
}
