//! What a server does beside serving: it follows the ring, tells that it lives, and sends on what is in the spool.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Vault;
use crate::expire::ExpireError;
use crate::expire::replicas::FOLLOW_EVERY;

/// Spooled recordings are looked for this often; one look costs a row of an index.
const FORWARD_EVERY: Duration = Duration::from_secs(2);
/// Where the store takes nothing, the pause doubles up to this.
const FORWARD_PAUSE_MAX: Duration = Duration::from_secs(10);
const RECOVER_EVERY: Duration = Duration::from_secs(5);
/// The first expire run of a server waits, so that a clock which is set right after a start is right by then.
const FIRST_EXPIRE_AFTER: Duration = Duration::from_secs(60);
/// After a guard refused, the next run of a server waits a day: a clock that stays wrong then costs two days of terms a day
/// at most, and a person has time to look. `callvault expire` run by hand does not wait.
const AFTER_REFUSAL: Duration = Duration::from_secs(86_400);

/// One server's background work; ends when it is dropped.
pub struct Follower {
    tasks: Vec<JoinHandle<()>>,
}

impl Follower {
    /// Of a server that has its name to itself.
    pub fn start(vault: Arc<Vault>) -> Follower {
        let mut tasks = vec![
            tokio::spawn(follow_ring(vault.clone())),
            tokio::spawn(forward_spool(vault.clone())),
            tokio::spawn(recover_spool(vault.clone())),
        ];
        if let Some(every) = vault.config.expire_every {
            tasks.push(tokio::spawn(expire_at_intervals(vault, every)));
        }
        Follower { tasks }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Each round is a sign of life.
async fn follow_ring(vault: Arc<Vault>) {
    let mut ticks = tokio::time::interval(FOLLOW_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let followed = async {
            let mark = vault.catalog.ring_mark().await.map_err(|error| error.to_string())?;
            vault.latest.learn(vault.catalog.now().await.map_err(|error| error.to_string())?);
            let now = vault.clock.now();
            vault.keyring.follow(mark.generation, now).await.map_err(|error| error.to_string())?;
            let generation = vault.keyring.view().map_or(0, |view| view.generation);
            let told = vault.catalog.set_replica_generation(&vault.config.replica.name, generation, now).await;
            told.map_err(|error| error.to_string())
        };
        if let Err(error) = followed.await {
            tracing::error!(error, "the ring cannot be followed; what this server has in memory goes on");
        }
    }
}

/// Sends on what is spooled; a store that refuses is asked less and less often.
async fn forward_spool(vault: Arc<Vault>) {
    let mut pause = FORWARD_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        pause = match vault.ingest.forward().await {
            Ok(forwarded) => {
                if forwarded.sent > 0 {
                    tracing::info!(count = forwarded.sent, "spooled recordings reached the store");
                }
                if forwarded.refused == 0 || forwarded.sent > 0 {
                    FORWARD_EVERY
                } else {
                    (pause * 2).min(FORWARD_PAUSE_MAX)
                }
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "the spool cannot be gone through");
                (pause * 2).min(FORWARD_PAUSE_MAX)
            }
        };
    }
}

/// Goes on with what a dead process left, and with uploads that could not be finished.
async fn recover_spool(vault: Arc<Vault>) {
    let mut ticks = tokio::time::interval(RECOVER_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = vault.ingest.recover(Duration::MAX).await {
            tracing::error!(error = &error as &dyn std::error::Error, "what is left in the spool cannot be recovered");
        }
        vault.ingest.tend_uploads().await;
    }
}

async fn expire_at_intervals(vault: Arc<Vault>, every: Duration) {
    tokio::time::sleep(every.min(FIRST_EXPIRE_AFTER)).await;
    loop {
        let run = vault.expire.run(None).await;
        vault.expire_stats.note(&run);
        let pause = match run {
            Ok(report) => {
                tracing::info!(generation = report.generation, keys = report.keys_destroyed, "expire is done");
                every
            }
            Err(error @ ExpireError::Guarded(_)) => {
                tracing::error!(%error, "expire was refused; the next try is in a day");
                AFTER_REFUSAL.max(every)
            }
            Err(error) => {
                tracing::error!(%error, "expire did not finish; the next run goes on");
                every
            }
        };
        tokio::time::sleep(pause).await;
    }
}
