//! Requests with no token that anybody knows: counted for each address, and told in the house's trail once a minute, so that
//! whoever tries tokens is on record and cannot fill a disk.
//!
//! # Limits
//! Counts of the last minute are lost with the process. No answer waits for them: a refusal reveals nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::Trail;
use crate::model::error::chain;
use crate::model::trail::{Action, HOUSE, Verdict, Who};

// Limit: addresses that are told one by one for a minute; what comes from more is one count without an address.
const ADDRESSES_MAX: usize = 256;

#[derive(Clone)]
pub struct Strangers {
    trail: Trail,
    counts: Arc<Mutex<HashMap<Option<IpAddr>, u64>>>,
}

impl Strangers {
    pub fn new(trail: Trail) -> Strangers {
        Strangers { trail, counts: Arc::default() }
    }

    pub fn count(&self, address: Option<IpAddr>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = counts.len() < ADDRESSES_MAX || counts.contains_key(&address);
        *counts.entry(address.filter(|_| has_room)).or_default() += 1;
    }

    /// Writes the counts since the last time; what cannot be written is counted on.
    pub async fn tell(&self) {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if counts.is_empty() {
            return;
        }
        let entries = counts.iter().map(|(address, count)| {
            let mut entry = self.trail.entry(Action::Unknown, Who::unknown(*address)).counting(*count);
            (entry.result, entry.problem) = (Verdict::Denied, Some("unauthorized"));
            (HOUSE, entry)
        });
        if let Err(error) = self.trail.append_all(entries.collect()).await {
            tracing::warn!(error = chain(&error), "refusals could not be written into the house's audit trail yet");
            let mut later = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.into_iter().for_each(|(address, count)| *later.entry(address).or_default() += count);
        }
    }
}

#[cfg(test)]
mod tests {
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
            strangers.count(Some(IpAddr::from((number / 3).to_be_bytes())));
        }

        strangers.tell().await;
        strangers.tell().await;

        let rows = catalog.trail_after(HOUSE, 0, 10_000).await.expect("it answers");
        assert_eq!(rows.len(), ADDRESSES_MAX + 1);
        let counts = rows.iter().map(|row| {
            serde_json::from_str::<serde_json::Value>(&row.text).expect("JSON")["count"].as_u64().expect("a count")
        });
        assert_eq!(counts.sum::<u64>(), 10_000);
    }
}
