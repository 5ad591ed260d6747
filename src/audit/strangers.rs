//! Refusals that are counted and not told one by one: requests with no token that anybody knows, and those of a token that asks
//! too often. Whoever tries tokens, or storms, is on record once a minute, and cannot fill a disk.
//!
//! # Limits
//! Counts of the last minute are lost with the process. No answer waits for them: these refusals reveal nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Trail;
use crate::model::error::chain;
use crate::model::trail::{Action, HOUSE, Verdict, Who};
use crate::model::{Problem, TenantNumber};

// Limit: who is told one by one for a minute; what comes from more is one count of nobody in particular.
const COUNTED_MAX: usize = 256;

/// Who was refused, in whose trail it is told, and with what problem.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Refused {
    pub tenant: TenantNumber,
    pub who: Who,
    pub problem: Problem,
}

#[derive(Clone)]
pub struct Strangers {
    trail: Trail,
    counts: Arc<Mutex<HashMap<Refused, u64>>>,
}

impl Strangers {
    pub fn new(trail: Trail) -> Strangers {
        Strangers { trail, counts: Arc::default() }
    }

    pub fn count(&self, refused: Refused) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = counts.len() < COUNTED_MAX || counts.contains_key(&refused);
        let anybody = Refused { tenant: HOUSE, who: Who::unknown(None), problem: refused.problem };
        *counts.entry(if has_room { refused } else { anybody }).or_default() += 1;
    }

    /// Writes the counts since the last time; what cannot be written is counted on.
    pub async fn tell(&self) {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if counts.is_empty() {
            return;
        }
        let entries = counts.iter().map(|(refused, count)| {
            let mut entry = self.trail.entry(Action::Refused, refused.who.clone()).counting(*count);
            (entry.result, entry.problem) = (Verdict::Denied, Some(refused.problem.name()));
            (refused.tenant, entry)
        });
        if let Err(error) = self.trail.append_all(entries.collect()).await {
            tracing::warn!(error = chain(&error), "refusals could not be written into the audit trail yet");
            let mut later = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.into_iter().for_each(|(refused, count)| *later.entry(refused).or_default() += count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::catalog::SharedCatalog;
    use crate::catalog::sqlite::Sqlite;
    use crate::model::clock::SystemClock;

    #[tokio::test]
    async fn a_flood_from_many_addresses_is_a_bounded_number_of_entries() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let catalog: SharedCatalog = Arc::new(Sqlite::open(&dir.path().join("catalog.db")).expect("ours"));
        let strangers = Strangers::new(Trail { catalog: catalog.clone(), clock: Arc::new(SystemClock) });
        for number in 0..10_000_u32 {
            let who = Who::unknown(Some(IpAddr::from((number / 3).to_be_bytes())));
            strangers.count(Refused { tenant: HOUSE, who, problem: Problem::Unauthorized });
        }

        strangers.tell().await;
        strangers.tell().await;

        let rows = catalog.trail_after(HOUSE, 0, 10_000).await.expect("it answers");
        assert_eq!(rows.len(), COUNTED_MAX + 1);
        let counts = rows.iter().map(|row| {
            serde_json::from_str::<serde_json::Value>(&row.text).expect("JSON")["count"].as_u64().expect("a count")
        });
        assert_eq!(counts.sum::<u64>(), 10_000);
    }
}
