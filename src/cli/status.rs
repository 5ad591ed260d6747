//! `callvault status`: the page one wants to see when paged.

mod page;
mod problems;

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Outcome;
use super::output::Output;
use crate::app::Vault;
use crate::catalog::{CatalogError, Counts, Replica, RingMark};
use crate::keyring::{MirrorState, RingView};
use crate::model::{Epoch, State, Timestamp};
use page::Paint;
use problems::Problem;

/// A store that does not answer must not keep the page from being read.
const STORE_TIME_MAX: Duration = Duration::from_secs(5);

/// What `--json` prints; fields are added, never renamed.
#[derive(Serialize)]
struct Status {
    version: &'static str,
    at: Timestamp,
    /// What needs a person, the worst first.
    problems: Vec<Problem>,
    /// The same as texts.
    warnings: Vec<String>,
    ring: RingStatus,
    catalog: String,
    store: String,
    store_up: bool,
    store_answer_ms: u64,
    tenants: u64,
    /// By state.
    recordings: std::collections::BTreeMap<&'static str, u64>,
    live_bytes: u64,
    spool: SpoolStatus,
    sweep_pending: u64,
    punctures_pending: u64,
    next_expiry: Option<Timestamp>,
    /// How long the oldest overdue key has outlived its term.
    shred_lag_s: i64,
    mirrors: Vec<MirrorState>,
    replicas: Vec<ReplicaStatus>,
    people: PeopleStatus,
}

/// The provider's people who are not disabled.
#[derive(Serialize)]
struct PeopleStatus {
    count: usize,
    cleared: usize,
    /// Clearances that run out within 30 days, the next first.
    ending: Vec<EndingClearance>,
}

#[derive(Serialize)]
struct EndingClearance {
    person: String,
    name: String,
    until: Timestamp,
}

#[derive(Serialize)]
struct RingStatus {
    /// 1 master key only, 2 and a generation secret in a second place, 3 in a KMS.
    level: u8,
    generation: u64,
    /// When the last run that destroyed anything wrote it.
    created_at: Timestamp,
    /// Everything that ended before is destroyed.
    floor: Timestamp,
    /// How long ago the floor could have been moved on to the present hour.
    lag_s: i64,
    subtrees: usize,
    /// A run that was announced and has not finished.
    run_open: bool,
    run_open_since: Option<Timestamp>,
}

#[derive(Serialize)]
struct SpoolStatus {
    used_bytes: u64,
    bytes_max: u64,
    /// What its limit and its disk leave.
    free_bytes: u64,
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
    let asked = Instant::now();
    let store_up = matches!(tokio::time::timeout(STORE_TIME_MAX, vault.reader.store.probe()).await, Ok(Ok(())));
    let now = vault.clock.now();
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION"),
        at: now,
        problems: Vec::new(),
        warnings: Vec::new(),
        ring: ring_status(&view, &mark, now),
        catalog: vault.catalog.describe(),
        store: vault.reader.store.describe().to_owned(),
        store_up,
        store_answer_ms: asked.elapsed().as_millis() as u64,
        tenants: counts.tenants,
        recordings: counts.recordings.iter().map(|(state, count)| (state.as_str(), *count)).collect(),
        live_bytes: counts.live_bytes,
        spool: spool_status(&vault, &counts),
        sweep_pending: counts.objects_to_sweep,
        punctures_pending: counts.punctures_queued,
        next_expiry: counts.next_expiry,
        shred_lag_s: counts.shred_lag_s(mark.floor, now),
        mirrors: vault.keyring.mirrors().await,
        replicas: replicas(&vault).await?,
        people: people(&vault, now).await?,
    };
    status.problems = problems::of(&status, vault.keyring.warnings());
    status.warnings = status.problems.iter().map(|problem| problem.what.clone()).collect();
    output.print(&status, |status| page::text(status, Paint::of_stdout()));
    Ok(())
}

async fn people(vault: &Vault, now: Timestamp) -> Result<PeopleStatus, CatalogError> {
    let people = vault.catalog.people().await?;
    let people: Vec<_> = people.into_iter().filter(|person| person.disabled_at.is_none()).collect();
    let ending = people.iter().filter_map(|person| {
        let until = person.clearance.standing(now).ends_soon(now)?;
        Some(EndingClearance { person: person.id.to_string(), name: person.name.clone(), until })
    });
    let mut ending: Vec<_> = ending.collect();
    ending.sort_by_key(|ending| ending.until);
    let cleared = people.iter().filter(|person| person.clearance.standing(now).is_cleared()).count();
    Ok(PeopleStatus { count: people.len(), cleared, ending })
}

fn ring_status(view: &RingView, mark: &RingMark, now: Timestamp) -> RingStatus {
    RingStatus {
        level: view.level,
        generation: view.generation,
        created_at: view.created_at,
        floor: view.floor.start(),
        lag_s: Epoch::floor_at(now).start().as_second() - view.floor.start().as_second(),
        subtrees: view.cover_count,
        run_open: mark.run.is_some(),
        run_open_since: mark.run.as_ref().map(|run| run.started_at),
    }
}

/// What the catalog and the directory tell; the server is another process.
fn spool_status(vault: &Vault, counts: &Counts) -> SpoolStatus {
    let spool = &vault.reader.spool;
    SpoolStatus {
        used_bytes: spool.used(),
        bytes_max: spool.limits().bytes_max,
        free_bytes: spool.free().unwrap_or(0),
        segments: spool.count(),
        segments_max: spool.limits().count_max,
        spooled: counts.count(State::Spooled),
        oldest: counts.oldest_spooled,
        oldest_age_s: since(counts.oldest_spooled, vault.clock.now()),
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

/// Seconds that have passed since an instant; 0 where there is none, or it is still to come.
fn since(instant: Option<Timestamp>, now: Timestamp) -> i64 {
    instant.map_or(0, |instant| now.as_second() - instant.as_second()).max(0)
}
