//! Step 11: servers load the new ring within seconds; a run ends when those that live have done so.
//!
//! Clocks are not compared: a server lives if its beat rises while the run looks.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Expire;
use crate::catalog::Replica;

/// A server follows every [`BEAT_EVERY`]; after three of them without a sign it is not waited for.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(250);

impl Expire {
    /// Returns those that live and have not followed. Rows of dead servers are removed.
    pub(super) async fn wait_for_replicas(&self, generation: u64) -> Vec<String> {
        let deadline = Instant::now() + WAIT_MAX;
        let mut first_beats: Option<BTreeMap<String, u64>> = None;
        loop {
            let replicas = match self.catalog.replicas().await {
                Ok(replicas) => replicas,
                Err(error) => {
                    tracing::warn!(%error, "the replicas cannot be looked up");
                    return Vec::new();
                }
            };
            let behind: Vec<Replica> = replicas.into_iter().filter(|r| r.generation < generation).collect();
            if behind.is_empty() {
                return Vec::new();
            }
            let first = first_beats
                .get_or_insert_with(|| behind.iter().map(|r| (r.id.clone(), r.beat)).collect::<BTreeMap<_, _>>());
            if Instant::now() < deadline {
                tokio::time::sleep(LOOK_EVERY).await;
                continue;
            }
            let (dead, alive): (Vec<_>, Vec<_>) =
                behind.into_iter().partition(|replica| first.get(&replica.id) == Some(&replica.beat));
            for replica in dead {
                if let Err(error) = self.catalog.forget_replica(&replica.id).await {
                    tracing::warn!(%error, "a replica that is gone cannot be forgotten");
                }
            }
            return alive.into_iter().map(|replica| replica.id).collect();
        }
    }
}
