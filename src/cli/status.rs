//! `callvault status`: the page one wants to see when paged.

use serde::Serialize;

use super::Outcome;
use super::output::{Output, size, span};
use crate::app::Vault;
use crate::catalog::{CatalogError, Counts, Replica};
use crate::keyring::MirrorState;
use crate::model::{Epoch, State, Timestamp};

/// A recording that waits longer for the object store is a reason to look.
const SPOOLED_AGE_MAX_S: i64 = 15 * 60;

#[derive(Serialize)]
struct Status {
    ring: RingStatus,
    catalog: String,
    store: String,
    tenants: u64,
    /// By state.
    recordings: std::collections::BTreeMap<&'static str, u64>,
    live_bytes: u64,
    spool: SpoolStatus,
    sweep_pending: u64,
    punctures_pending: u64,
    next_expiry: Option<Timestamp>,
    mirrors: Vec<MirrorState>,
    replicas: Vec<ReplicaStatus>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct RingStatus {
    /// 1 master key only, 2 and a generation secret in a second place, 3 in a KMS.
    level: u8,
    generation: u64,
    /// Everything that ended before is destroyed.
    floor: Timestamp,
    /// How long ago the floor could have been moved on to the present hour.
    lag_s: i64,
    subtrees: usize,
    /// A run that was announced and has not finished.
    run_open: bool,
}

#[derive(Serialize)]
struct SpoolStatus {
    used_bytes: u64,
    bytes_max: u64,
    segments: u64,
    segments_max: u64,
    /// Recordings that wait for the object store.
    spooled: u64,
    /// Since when the one waits that has waited longest.
    oldest: Option<Timestamp>,
    oldest_age_s: i64,
}

#[derive(Serialize)]
pub(super) struct ReplicaStatus {
    name: String,
    generation: u64,
    /// Whether its process lives.
    alive: bool,
    url: Option<String>,
    seen_at: Option<Timestamp>,
    /// Recordings that lie in its spool alone; at most a thousand are counted.
    held: u64,
    held_since: Option<Timestamp>,
}

pub async fn run(vault: Vault, output: Output) -> Outcome {
    let (mark, counts) = (vault.catalog.ring_mark().await?, vault.catalog.counts().await?);
    let view = vault.keyring.view().expect("an opened vault has loaded its ring");
    let now = vault.clock.now();
    let lag_s = Epoch::floor_at(now).start().as_second() - view.floor.start().as_second();
    let mirrors = vault.keyring.mirrors().await;
    let mut warnings = vault.keyring.warnings();
    for mirror in &mirrors {
        let missing = !mirror.generations.contains(&view.generation);
        if missing || mirror.error.is_some() {
            let reason = mirror.error.clone().unwrap_or_else(|| "the present generation is not on it".into());
            warnings.push(format!("{} mirror {}: {reason}", mirror.kind, mirror.place));
        }
        if mirror.generations.iter().any(|generation| *generation != view.generation) {
            let place = &mirror.place;
            warnings.push(format!("{} mirror {place} holds other generations: run 'callvault expire'", mirror.kind));
        }
    }
    if view.level == 1 {
        warnings.push("level 1: without a generation store, destruction rests on the key store alone".into());
    }
    let spool = spool_status(&vault, &counts);
    if spool.oldest_age_s > SPOOLED_AGE_MAX_S {
        let (count, age) = (spool.spooled, span(spool.oldest_age_s));
        warnings.push(format!(
            "{count} recordings wait in the spool, for up to {age}: the object store does not take them; the server's log says why"
        ));
    }
    let replicas = replicas(&vault).await?;
    for replica in replicas.iter().filter(|replica| !replica.alive && replica.held > 0) {
        let ReplicaStatus { name, held, .. } = replica;
        let age = span(replica.held_since.map_or(0, |since| now.as_second() - since.as_second()));
        warnings.push(format!(
            "replica '{name}' is not there, and the spool that it left holds {held} recordings, for up to {age}: start it again with \
             its spool; if that is lost for ever, 'callvault replica forget {name}'"
        ));
    }
    let status = Status {
        ring: RingStatus {
            level: view.level,
            generation: view.generation,
            floor: view.floor.start(),
            lag_s,
            subtrees: view.cover_count,
            run_open: mark.run.is_some(),
        },
        catalog: vault.catalog.describe(),
        store: vault.reader.store.describe().to_owned(),
        tenants: counts.tenants,
        recordings: counts.recordings.iter().map(|(state, count)| (state.as_str(), *count)).collect(),
        live_bytes: counts.live_bytes,
        spool,
        sweep_pending: counts.objects_to_sweep,
        punctures_pending: counts.punctures_queued,
        next_expiry: counts.next_expiry,
        mirrors,
        replicas,
        warnings,
    };
    output.print(&status, describe);
    Ok(())
}

/// What the catalog and the directory tell; the server is another process.
fn spool_status(vault: &Vault, counts: &Counts) -> SpoolStatus {
    let spool = &vault.reader.spool;
    let since = counts.oldest_spooled;
    SpoolStatus {
        used_bytes: spool.used(),
        bytes_max: spool.limits().bytes_max,
        segments: spool.count(),
        segments_max: spool.limits().count_max,
        spooled: counts.count(State::Spooled),
        oldest: since,
        oldest_age_s: since.map_or(0, |since| vault.clock.now().as_second() - since.as_second()).max(0),
    }
}

pub(super) async fn replicas(vault: &Vault) -> Result<Vec<ReplicaStatus>, CatalogError> {
    let mut statuses = Vec::new();
    for Replica { name, generation, url, seen_at, is_alive } in vault.catalog.replicas().await? {
        let held = vault.catalog.held(&name).await?;
        let (held, held_since) = (held.recordings, held.oldest);
        let name = name.to_string();
        statuses.push(ReplicaStatus { name, generation, alive: is_alive, url, seen_at, held, held_since });
    }
    Ok(statuses)
}

pub(super) fn describe_replica(replica: &ReplicaStatus) -> String {
    let ReplicaStatus { name, generation, held, .. } = replica;
    let at = replica.url.as_ref().map_or(String::new(), |url| format!(" at {url}"));
    let life = match (replica.alive, replica.seen_at) {
        (true, _) => "lives".to_owned(),
        (false, Some(seen_at)) => format!("not there since {seen_at}"),
        (false, None) => "not there".to_owned(),
    };
    format!("{name}{at}: {life}, generation {generation}, {held} recordings in its spool alone")
}

fn describe(status: &Status) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:<12} {value}\n");
    let ring = &status.ring;
    line("ring", format!("generation {}, level {}, {} subtrees", ring.generation, ring.level, ring.subtrees));
    line("destroyed", format!("everything that ended before {} ({} h behind)", ring.floor, ring.lag_s / 3600));
    let next = status.next_expiry.map_or_else(|| "nothing".into(), |at| at.to_string());
    line("next end", next);
    let recordings: Vec<_> = status.recordings.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let recordings = if recordings.is_empty() { "none".into() } else { recordings.join(", ") };
    line("recordings", format!("{recordings}; {} live, {} tenants", size(status.live_bytes), status.tenants));
    let spool = &status.spool;
    let (used, max, segments) = (size(spool.used_bytes), size(spool.bytes_max), spool.segments);
    let waiting = match spool.spooled {
        0 => "nothing waits for the store".to_owned(),
        count => format!("{count} wait for the store, for up to {}", span(spool.oldest_age_s)),
    };
    line("spool", format!("{used} of {max} in {segments} segments; {waiting}"));
    line("waiting", format!("{} objects to sweep, {} punctures", status.sweep_pending, status.punctures_pending));
    line("catalog", status.catalog.clone());
    line("store", status.store.clone());
    for mirror in &status.mirrors {
        let generations: Vec<_> = mirror.generations.iter().map(u64::to_string).collect();
        line(mirror.kind, format!("{} [{}]", mirror.place, generations.join(" ")));
    }
    for replica in &status.replicas {
        line("replica", describe_replica(replica));
    }
    for warning in &status.warnings {
        line("WARNING", warning.clone());
    }
    text
}
