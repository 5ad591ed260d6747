//! Expire: everything whose term has ended becomes unreadable, for ever, for everyone.
//!
//! ```text
//! 0 lease   1 clocks   2 find the present ring, complete what a crash left   3 the new floor, and the guards
//! 4 announce (reads refused)   5 next generation on all mirrors, read back, canary   6 watermark
//! 7 destroy the old generation   <- point of no return   8 only the new one is left
//! 9 rows nulled, receipts   10 objects swept   11 replicas follow
//! ```
//!
//! # Promise
//! `Ok` means that every key below the new floor and every queued puncture is destroyed on every mirror, and that receipts
//! say so. [`ExpireError::Failed`] and [`ExpireError::Guarded`] mean that nothing was destroyed by this run (unless the
//! guard says "after"). After a crash at any step the next run completes it: live recordings stay readable, dead ones stay
//! dead. It takes no input but clocks and state, and running it twice changes nothing.
//! # Cost
//! Steps 5 to 8 write one ring, whatever the number of recordings. Steps 9 and 10 are work per row, and resumable.

pub mod receipts;
pub mod replicas;
mod restored;
mod stats;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde::Serialize;
use thiserror::Error;
use tracing::Instrument;

pub use receipts::{ReceiptBody, VerifyReport, verify_chain};
pub use stats::ExpireStats;

use crate::audit;
use crate::catalog::{
    Announcement, CommittedGeneration, Lease, Puncture, QueuedPuncture, RingMark, Run, SharedCatalog,
};
use crate::keyring::{Destroyed, Keyring, KeyringError, Present};
use crate::model::error::chain;
use crate::model::term::TERM_MIN;
use crate::model::trail::{Action, Entry, HOUSE, TrailTerm, Who};
use crate::model::{Clock, Epoch, ObjectId, Timestamp};
use crate::spans;
use crate::store::{Store, StoreError};

/// Clocks that differ by more stop the run: one of them is wrong.
pub const CLOCK_SPREAD_MAX: SignedDuration = SignedDuration::from_secs(300);
/// Hours that a run may destroy on the word of a single clock.
pub const SINGLE_CLOCK_EPOCHS_MAX: u32 = 48;
/// How long a run waits for another to end.
const LEASE_WAIT: Duration = Duration::from_secs(60);
// Limit: how often a run begins again because another, which does not share its lease, was quicker.
const OVERTAKEN_MAX: u32 = 5;
// Limit: rows of one transaction; uploads wait at most this long behind it.
const SHRED_BATCH: u32 = 1_000;
/// Keys of one bulk request of S3.
const SWEEP_BATCH: u32 = 1_000;
// Limit: objects that a run leaves before it gives up; a store that refuses so many refuses all.
const SWEEP_FAILED_MAX: usize = 10_000;

#[derive(Debug, Error)]
pub enum ExpireError {
    /// Exit code 1.
    #[error("nothing was destroyed: {0}")]
    Failed(String),
    /// Exit code 2: a key store is in a place that does not destroy.
    #[error("nothing was destroyed: {0}")]
    Misconfigured(String),
    /// Met in the middle of a run, which then begins again.
    #[error("nothing was destroyed by this run: others make generations of the same keys ({0}); run one at a time")]
    Overtaken(u64),
    /// Exit code 3: past the point of no return, and not at its end. The next run goes on.
    #[error("destruction is pending: {0}")]
    Pending(String),
    /// Exit code 4.
    #[error("refused by a guard: {0}")]
    Guarded(String),
}

/// One source of the time.
#[derive(Clone)]
pub struct NamedClock {
    pub name: &'static str,
    pub clock: Arc<dyn Clock>,
}

/// The verb.
#[derive(Clone)]
pub struct Expire {
    pub catalog: SharedCatalog,
    pub keyring: Arc<Keyring>,
    pub store: Store,
    /// At least one: the machine's first. The catalog's and the store's are asked besides, where they are other machines'.
    pub clocks: Vec<NamedClock>,
    /// How long audit trails are kept.
    pub audit_term: TrailTerm,
}

/// What a run did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub generation: u64,
    pub floor_before: Option<Timestamp>,
    pub floor: Option<Timestamp>,
    /// Set when a guard held the floor back: what would be destroyed without it.
    pub floor_wanted: Option<Timestamp>,
    /// Keys whose destruction this run recorded: one for each class of a recording, and those of call data.
    pub keys_destroyed: u64,
    pub punctures: u64,
    pub receipts: u64,
    pub objects_swept: u64,
    pub objects_left: u64,
    /// Multipart uploads that nobody finished.
    pub uploads_aborted: u64,
    pub leftovers_destroyed: u64,
    /// Audit trails whose heads were signed, and entries that were past their term.
    pub checkpoints: u64,
    pub entries_cut: u64,
    /// Audit trails that are not whole and were not signed; `callvault audit verify` tells more.
    pub trail_faults: Vec<String>,
    /// Replicas that have not followed; their memory ages by their own clocks.
    pub replicas_behind: Vec<String>,
    /// Steps 5 to 8.
    pub destruction_ms: u64,
    pub key_store_written_bytes: u64,
    /// Step 9.
    pub rows_ms: u64,
    /// Step 10.
    pub sweep_ms: u64,
}

/// What step 3 decided.
struct Plan {
    floor: Epoch,
    /// What the clocks alone would allow.
    wanted: Epoch,
    punctures: Vec<QueuedPuncture>,
}

/// What the clocks say.
struct Clocks {
    /// Keys die by this one.
    earliest: Timestamp,
    latest: Timestamp,
    count: usize,
}

impl Expire {
    /// `confirmed`: a floor that a person typed, up to which a single clock is believed.
    pub async fn run(&self, confirmed: Option<Timestamp>) -> Result<Report, ExpireError> {
        let span = spans::run("expire");
        let ran = self.take_steps(confirmed).instrument(span.clone()).await;
        if let Err(error) = &ran {
            spans::failed(&span, error.kind());
        }
        ran
    }

    async fn take_steps(&self, confirmed: Option<Timestamp>) -> Result<Report, ExpireError> {
        let _lease = self.lease().instrument(spans::part("expire lease")).await?;
        let clocks = self.read_clocks().instrument(spans::part("expire clocks")).await?;
        let mut report = Report::default();
        let mut advanced = self.advance(&clocks, confirmed, &mut report).await;
        for _ in 0..OVERTAKEN_MAX {
            // Nothing of ours was made: what the other run made is the present generation, and may be all that is needed.
            let Err(ExpireError::Overtaken(generation)) = advanced else { break };
            tracing::warn!(generation, "another run is at work on the same keys; this one begins again");
            advanced = self.advance(&clocks, confirmed, &mut report).await;
        }
        let plan = advanced?;
        self.seal_trails(clocks.earliest, &mut report).await?;
        self.sweep(&mut report).instrument(spans::part("expire sweep")).await?;
        report.replicas_behind =
            self.wait_for_replicas(report.generation).instrument(spans::part("expire replicas")).await;
        if plan.wanted > plan.floor {
            report.floor_wanted = Some(plan.wanted.start());
            return Err(self.held_back(&plan));
        }
        Ok(report)
    }

    /// Steps 2 to 9.
    async fn advance(
        &self,
        clocks: &Clocks,
        confirmed: Option<Timestamp>,
        report: &mut Report,
    ) -> Result<Plan, ExpireError> {
        let now = clocks.earliest;
        let present = self.complete(report, now).instrument(spans::part("expire complete")).await?;
        let plan = self.plan(&present, clocks, confirmed).instrument(spans::part("expire plan")).await?;
        report.floor_before = Some(present.floor.start());
        report.generation = present.generation;
        report.floor = Some(plan.floor.start());
        if plan.floor > present.floor || !plan.punctures.is_empty() {
            let run = self.announce(&present, &plan, now).instrument(spans::part("expire announce")).await?;
            self.destroy(&present, &plan, &run, now, report).instrument(spans::part("expire destroy")).await?;
            self.record(&run, now, report).instrument(spans::part("expire record")).await?;
        }
        Ok(plan)
    }

    /// Step 0. The lease dies with its holder's process; a run that is going on is waited for.
    async fn lease(&self) -> Result<Lease, ExpireError> {
        let deadline = Instant::now() + LEASE_WAIT;
        loop {
            match self.catalog.lease_expiry().await.map_err(failed)? {
                Some(lease) => return Ok(lease),
                None if Instant::now() > deadline => {
                    return Err(ExpireError::Failed("another run holds the lease and does not end".into()));
                }
                None => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// Step 1: the earliest and the latest of the clocks that can be read.
    async fn read_clocks(&self) -> Result<Clocks, ExpireError> {
        let own = self.clocks.iter().map(|named| (named.name, named.clock.now()));
        let database = self.catalog.now().await.map_err(failed)?.map(|now| ("database", now));
        let store = self.store.now().await.map(|now| ("object store", now));
        let readings: Vec<_> = own.chain(database).chain(store).collect();
        let earliest = readings.iter().min_by_key(|(_, now)| *now).expect("there is at least one clock");
        let latest = readings.iter().max_by_key(|(_, now)| *now).expect("there is at least one clock");
        let spread = latest.1.duration_since(earliest.1);
        if spread > CLOCK_SPREAD_MAX {
            return Err(ExpireError::Guarded(format!(
                "the clocks of '{}' and '{}' differ by {} s; set them right",
                earliest.0,
                latest.0,
                spread.as_secs()
            )));
        }
        Ok(Clocks { earliest: earliest.1, latest: latest.1, count: readings.len() })
    }

    /// Step 2, and whatever a run that died did not get to: from here on there is one generation, and no run is open that
    /// was committed.
    async fn complete(&self, report: &mut Report, now: Timestamp) -> Result<Present, ExpireError> {
        let mark = self.catalog.ring_mark().await.map_err(failed)?;
        let present = self.keyring.find(mark.generation).await.map_err(failed)?;
        if present.generation > mark.generation {
            self.take_watermark(&mark, &present, now).await?;
        }
        let mark = self.catalog.ring_mark().await.map_err(failed)?;
        let committed = mark.run.filter(|run| run.committed.is_some());
        // What a run has committed itself to destroy is pending until it is gone; else nothing is begun here yet.
        let stopped = |error| if committed.is_some() { pending(error) } else { not_made(error) };
        self.keyring.vet().await.map_err(|error| match committed {
            Some(_) => pending(error),
            None => ExpireError::Misconfigured(chain(&error)),
        })?;
        self.keyring.replicate(&present).await.map_err(stopped)?;
        // One below the present generation was destroyed as far as a crash let it.
        report.leftovers_destroyed = self.keyring.clear(&present).await.map_err(stopped)? as u64;
        if !self.keyring.is_first(present.generation).await.map_err(stopped)? {
            let leftovers = self.keyring.retire(present.generation).await.map_err(pending)?;
            report.leftovers_destroyed += leftovers as u64;
        }
        if let Some(run) = &committed {
            self.record(run, now, report).await?;
        }
        Ok(present)
    }

    /// A ring that is ahead of the catalog: its run died before step 6, or the catalog was restored from a backup.
    async fn take_watermark(&self, mark: &RingMark, present: &Present, now: Timestamp) -> Result<(), ExpireError> {
        let successor_of = |run: &&Run| run.committed.is_none() && run.from_generation + 1 == present.generation;
        let committed = CommittedGeneration { generation: present.generation, ring_after: present.commitment };
        let run = mark.run.as_ref().filter(successor_of).filter(|run| run.floor == present.floor);
        let punctures = self.catalog.punctures().await.map_err(failed)?;
        let of_run = |run: &Run| {
            let last = run.last_puncture;
            punctures.iter().filter(move |queued| queued.id <= last).map(|queued| destroyed(&queued.target))
        };
        // The ring may be another run's, which knew of fewer punctures: they stay queued then.
        let taken = match run.filter(|run| present.is_without(of_run(run))) {
            Some(run) => self.catalog.commit_generation(run.id, committed).await,
            None => {
                self.tell_restored(mark, present).await?;
                self.learn_tenants(present, now).await?;
                self.catalog.catch_up(present.generation, present.floor).await
            }
        };
        taken.map_err(failed)
    }

    /// Every trail says from here on that it may lack what was appended after the backup.
    async fn tell_restored(&self, mark: &RingMark, present: &Present) -> Result<(), ExpireError> {
        let now = self.clocks[0].clock.now();
        let told = Entry::new(now, Action::Restored, Who::SYSTEM);
        let (catalog, keys) = (mark.generation, present.generation);
        let told = told.noting(format!("the catalog was of generation {catalog} and the keys of {keys}"));
        let mut trails = self.catalog.trail_tenants().await.map_err(failed)?;
        trails.retain(|tenant| *tenant != HOUSE);
        let trails = [HOUSE].into_iter().chain(trails).map(|tenant| (tenant, told.clone()));
        self.catalog.append_trail(trails.collect()).await.map_err(failed)?;
        Ok(())
    }

    /// Past the point of no return nothing is undone by a trail that cannot be signed; it is told, and tried again.
    async fn seal_trails(&self, now: Timestamp, report: &mut Report) -> Result<(), ExpireError> {
        let signer = self.keyring.signer();
        let sealed = audit::sealed(&self.catalog, &signer, self.audit_term, now, report.generation).await;
        let sealed = sealed.map_err(pending)?;
        for fault in &sealed.faults {
            tracing::error!(event = "integrity", fault, "an audit trail is not whole, and was not signed");
        }
        (report.checkpoints, report.entries_cut) = (sealed.checkpoints, sealed.cut);
        report.trail_faults = sealed.faults;
        Ok(())
    }

    /// Step 3.
    async fn plan(
        &self,
        present: &Present,
        clocks: &Clocks,
        confirmed: Option<Timestamp>,
    ) -> Result<Plan, ExpireError> {
        let now = clocks.earliest;
        let wanted = Epoch::floor_at(now);
        if Epoch::floor_at(clocks.latest) < present.floor || wanted < present.floor {
            return Err(ExpireError::Guarded(format!(
                "the clock says {now}, but everything before {} is destroyed already: the clock is behind",
                present.floor.start()
            )));
        }
        let believed = match confirmed {
            Some(floor) => Epoch::of(floor).max(present.floor),
            None if clocks.count > 1 => wanted,
            None => present.floor.saturating_add(SINGLE_CLOCK_EPOCHS_MAX),
        };
        let floor = wanted.min(believed);
        let young_after = now.checked_sub(TERM_MIN).unwrap_or(Timestamp::MIN);
        if let Some(row) = self.catalog.guarded_row(floor, young_after).await.map_err(failed)? {
            let reason = if row.is_held { "is under a legal hold" } else { "is younger than 30 days" };
            return Err(ExpireError::Guarded(format!(
                "a recording received at {} {reason}, and its key would die with the epoch of {}",
                row.received_at,
                row.epoch.start()
            )));
        }
        // What a person confirmed on purpose is not held back; what the guard cuts off is.
        let wanted = if confirmed.is_some() { floor } else { wanted };
        Ok(Plan { floor, wanted, punctures: self.catalog.punctures().await.map_err(failed)? })
    }

    /// Step 4. From here on, what will die is refused, and the intent is on record.
    async fn announce(&self, present: &Present, plan: &Plan, now: Timestamp) -> Result<Run, ExpireError> {
        let announcement = Announcement {
            started_at: now,
            from_generation: present.generation,
            floor_before: present.floor,
            floor: plan.floor,
            last_puncture: plan.punctures.last().map_or(0, |puncture| puncture.id),
            ring_before: present.commitment,
        };
        self.catalog.announce(announcement).await.map_err(failed)
    }

    /// Steps 5 to 8.
    async fn destroy(
        &self,
        present: &Present,
        plan: &Plan,
        run: &Run,
        now: Timestamp,
        report: &mut Report,
    ) -> Result<(), ExpireError> {
        let started = Instant::now();
        let punctures: Vec<_> = plan.punctures.iter().map(|queued| destroyed(&queued.target)).collect();
        let successor = self.keyring.succeed(present, plan.floor, &punctures, now).await.map_err(not_made)?;
        let generation = successor.generation;
        let committed = CommittedGeneration { generation, ring_after: successor.commitment };
        // After this attempt the successor may be the watermark, whatever the answer: it is never taken back.
        self.catalog.commit_generation(run.id, committed).await.map_err(failed)?;
        report.key_store_written_bytes = successor.written_len as u64;
        self.keyring.retire(generation).await.map_err(pending)?;
        if !self.keyring.is_first(generation).await.map_err(pending)? {
            return Err(ExpireError::Pending("an older generation is still on a mirror".into()));
        }
        self.keyring.adopt(successor);
        report.generation = generation;
        report.punctures = punctures.len() as u64;
        report.destruction_ms = started.elapsed().as_millis() as u64;
        tracing::info!(
            generation,
            epoch = plan.floor.number(),
            duration_ms = report.destruction_ms,
            "every key below the floor is destroyed"
        );
        Ok(())
    }

    /// Step 9: the rows are made to say what has happened, a batch at a time, and the receipts close the run.
    async fn record(&self, run: &Run, now: Timestamp, report: &mut Report) -> Result<(), ExpireError> {
        let started = Instant::now();
        loop {
            let count = self.catalog.shred(run.id, SHRED_BATCH, now).await.map_err(pending)?;
            report.keys_destroyed += count;
            if count == 0 {
                break;
            }
        }
        report.receipts += self.write_receipts(run.id, now).await.map_err(pending)?;
        report.rows_ms += started.elapsed().as_millis() as u64;
        Ok(())
    }

    /// Step 10. What the store does not delete is unreadable all the same, and is tried again by the next run.
    async fn sweep(&self, report: &mut Report) -> Result<(), ExpireError> {
        let started = Instant::now();
        // Those that the store did not delete stay queued, and do not keep the others from their turn.
        let mut left: HashSet<ObjectId> = HashSet::new();
        while left.len() < SWEEP_FAILED_MAX {
            let count = SWEEP_BATCH + left.len() as u32;
            let mut objects = self.catalog.objects_to_sweep(count).await.map_err(pending)?;
            objects.retain(|object| !left.contains(object));
            if objects.is_empty() {
                break;
            }
            let gone = match self.store.delete(&objects).await {
                Ok(gone) => gone,
                Err(error) => {
                    self.not_swept(&error, report, left.len() + objects.len());
                    break;
                }
            };
            self.catalog.swept(&gone).await.map_err(pending)?;
            report.objects_swept += gone.len() as u64;
            left.extend(objects);
            gone.iter().for_each(|object| _ = left.remove(object));
            report.objects_left = left.len() as u64;
        }
        match self.store.sweep_uploads().await {
            Ok(count) => report.uploads_aborted = count as u64,
            Err(error) => {
                tracing::warn!(error = chain(&error), "unfinished uploads stay in the store until the next run")
            }
        }
        report.sweep_ms = started.elapsed().as_millis() as u64;
        Ok(())
    }

    fn not_swept(&self, error: &StoreError, report: &mut Report, count: usize) {
        report.objects_left = count as u64;
        tracing::warn!(
            error = chain(error),
            "dead objects stay in the store until the next run; they cannot be opened"
        );
    }

    fn held_back(&self, plan: &Plan) -> ExpireError {
        let (floor, wanted) = (plan.floor.start(), plan.wanted.start());
        ExpireError::Guarded(format!(
            "on the word of one clock ('{}') a run destroys at most {SINGLE_CLOCK_EPOCHS_MAX} h: everything that ended before \
             {floor} is destroyed, what ended before {wanted} is not. If the clock is right, run \
             'callvault expire --floor {wanted}'",
            self.clocks[0].name
        ))
    }
}

impl ExpireError {
    fn kind(&self) -> &'static str {
        match self {
            ExpireError::Failed(_) | ExpireError::Misconfigured(_) | ExpireError::Overtaken(_) => "failed",
            ExpireError::Pending(_) => "pending",
            ExpireError::Guarded(_) => "guarded",
        }
    }
}

fn destroyed(puncture: &Puncture) -> Destroyed {
    match puncture {
        Puncture::Path { path, .. } => Destroyed::Path(*path),
        Puncture::Tenant(tenant) => Destroyed::Tenant(*tenant),
    }
}

fn failed(error: impl std::error::Error) -> ExpireError {
    ExpireError::Failed(chain(&error))
}

/// The present generation is as it was, unless another run has made the next.
fn not_made(error: KeyringError) -> ExpireError {
    match error {
        KeyringError::Overtaken(generation) => ExpireError::Overtaken(generation),
        // Servers may follow it from now on, and then refuse what is dead in it.
        error @ KeyringError::Unsettled { .. } => pending(error),
        error => failed(error),
    }
}

fn pending(error: impl std::error::Error) -> ExpireError {
    ExpireError::Pending(chain(&error))
}
