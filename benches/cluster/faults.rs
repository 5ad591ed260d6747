//! What is done to the cluster, and when: fractions of the time that the load lasts.

use std::time::{Duration, Instant};

use callvault::model::clock::SystemClock;
use callvault::model::{Clock, Timestamp};
use serde_json::Value;
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::ledger::{Kind, Life};
use super::parts::Parts;
use super::wire::World;

/// When the vault was made, by the clock of its first servers.
pub const LONG_AGO: &str = "-31d";
const TERM_SECONDS: u64 = 30 * 24 * 3_600;
/// Recordings whose term has ended before, and as many whose term ends in the run.
const ENDING: usize = 40;
const ENDING_LEN: u64 = 60_000;

/// Recordings that are dead when the load begins, and others that die under it.
pub async fn prepare(parts: &mut Parts, world: &World) {
    let ends_in = world.total / 4 + Duration::from_secs(15);
    let later = format!("-{}s", TERM_SECONDS - ends_in.as_secs());
    for at in [LONG_AGO, &later] {
        for number in 0..parts.replicas.len() {
            parts.start(number, Some(at)).await;
        }
        for _ in 0..ENDING {
            let index = world.ledger.begin(Kind::Bulk, ENDING_LEN, Life::Lives);
            world.send(index, None, false).await;
            let ends_at = if at == LONG_AGO { Instant::now() } else { Instant::now() + ends_in };
            world.ledger.set(index, Life::Ends(ends_at));
        }
        parts.forwarded(Duration::from_secs(30)).await.expect("all is stored");
        parts.replicas.iter_mut().for_each(|replica| replica.stop());
    }
    for number in 0..parts.replicas.len() {
        parts.start(number, None).await;
    }
}

/// In turn, until the load is over; what `expire` told.
pub async fn run(parts: &mut Parts, world: &World) -> Value {
    for number in 0..2 {
        until(world, 0.10 * (number + 1) as f64).await;
        world.ledger.phase(&format!("server {number} killed -9"));
        parts.replicas[number].kill();
        sleep(world.total.mul_f64(0.01).max(Duration::from_secs(1))).await;
        parts.start(number, None).await;
        world.ledger.repaired();
    }
    until(world, 0.30).await;
    world.ledger.phase("PostgreSQL restarted (fast)");
    block_in_place(|| parts.postgres.order("restart-fast"));
    world.ledger.repaired();
    until(world, 0.40).await;
    world.ledger.phase("`expire` runs");
    let destroyed = expire(parts, world);
    world.ledger.repaired();
    until(world, 0.50).await;
    world.ledger.phase("PostgreSQL restarted (immediate)");
    block_in_place(|| parts.postgres.order("restart"));
    world.ledger.repaired();
    until(world, 0.60).await;
    world.ledger.phase("S3 stopped");
    parts.bucket.kill();
    until(world, 0.70).await;
    world.ledger.phase("S3 is back");
    block_in_place(|| parts.bucket.start_again());
    world.ledger.repaired();
    until(world, 0.85).await;
    world.ledger.phase("undisturbed again");
    until(world, 1.0).await;
    destroyed
}

/// Must destroy what ended long ago, and what was erased so far.
fn expire(parts: &Parts, world: &World) -> Value {
    let erased = || {
        let entries = world.ledger.entries.lock().expect("no holder panics");
        entries.iter().filter(|entry| entry.life == Life::Erased).count() as u64
    };
    let due = erased() + ENDING as u64;
    let run = || parts.tried(&["expire"], None);
    match block_in_place(run) {
        Ok(report) if report["keys_destroyed"].as_u64().is_some_and(|count| count >= due) => report,
        Ok(report) => {
            world.ledger.fault(format!("expire destroyed fewer than the {due} keys that were due: {report}"));
            report
        }
        Err(text) => {
            world.ledger.fault(format!("expire: {text}"));
            Value::Null
        }
    }
}

async fn until(world: &World, fraction: f64) {
    let at = world.began + world.total.mul_f64(fraction);
    tokio::time::sleep_until(at.into()).await;
}

/// The time as the machine has it.
pub fn now() -> Timestamp {
    SystemClock.now()
}
