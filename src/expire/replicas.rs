//! Step 11: servers load the new ring within seconds; a run ends when those that live have done so.

use std::time::{Duration, Instant};

use super::Expire;
use crate::catalog::Replica;

/// How often a server looks for a new generation.
pub const FOLLOW_EVERY: Duration = Duration::from_secs(2);
/// A server that lives and has not followed by then is told of, and not waited for: its memory ages by its own clock.
const WAIT_MAX: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Expire {
    /// Returns those that live and have not followed.
    pub(super) async fn wait_for_replicas(&self, generation: u64) -> Vec<String> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let replicas = match self.catalog.replicas().await {
                Ok(replicas) => replicas,
                Err(error) => {
                    tracing::warn!(%error, "the replicas cannot be looked up");
                    return Vec::new();
                }
            };
            let lags = |replica: &Replica| replica.is_alive && replica.generation < generation;
            let behind: Vec<_> = replicas.into_iter().filter(lags).collect();
            if behind.is_empty() || Instant::now() > deadline {
                return behind.into_iter().map(|replica| replica.name.to_string()).collect();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
