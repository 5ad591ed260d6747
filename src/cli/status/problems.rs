//! What is wrong, how bad that is, and what to do: the first lines of `status`.

use serde::Serialize;

use super::super::output::{size, span};
use super::{ReplicaStatus, SpoolStatus, Status, since};

/// A recording that waits longer for the object store is a reason to look.
const SPOOLED_AGE_MAX_S: i64 = 15 * 60;
/// The promise: an hour, the grace of 15 minutes, and a period of expire, which is an hour.
const SHRED_LAG_MAX_S: i64 = 2 * 3_600 + 15 * 60;
/// Two runs of expire in a row did not come to anything.
const RING_LAG_MAX_S: i64 = 3 * 3_600;
/// A run takes seconds, and minutes where a hundred thousand rows died.
const RUN_OPEN_MAX_S: i64 = 15 * 60;
/// Servers follow within 15 seconds.
const FOLLOW_MAX_S: i64 = 60;
/// Of what the spool holds and may take more.
const SPOOL_FREE_MIN_PERCENT: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A promise is broken, or will be while nobody acts.
    Critical,
    Warning,
}

#[derive(Clone, Debug, Serialize)]
pub struct Problem {
    pub severity: Severity,
    pub what: String,
    /// What to do about it.
    pub advice: String,
}

struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, severity: Severity, what: String, advice: &str) {
        self.0.push(Problem { severity, what, advice: advice.into() });
    }
}

/// The worst first; `warnings` are those of the key stores' file systems.
pub fn of(status: &Status, warnings: Vec<String>) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    found.expire(status);
    found.mirrors(status);
    found.replicas(status);
    found.spool(&status.spool);
    if !status.store_up {
        let what = format!("the object store {} does not answer", status.store);
        found.add(
            Severity::Warning,
            what,
            "uploads wait in the spool and nothing that is stored plays: look at the store",
        );
    }
    for ending in &status.people.ending {
        let what = format!("the clearance of {} runs out on {:.0}", ending.name, ending.until);
        found.add(
            Severity::Warning,
            what,
            "ask for a new certificate of conduct: 'callvault person set ID --vog YYYY-MM-DD'",
        );
    }
    for warning in warnings {
        found.add(Severity::Warning, warning, "give the store a place on another file system, see the README");
    }
    let mut problems = found.0;
    problems.sort_by_key(|problem| problem.severity);
    problems
}

impl Found {
    fn expire(&mut self, status: &Status) {
        let ring = &status.ring;
        let run = "run 'callvault expire' and read what it says";
        if status.shred_lag_s > SHRED_LAG_MAX_S {
            let lag = span(status.shred_lag_s);
            self.add(Severity::Critical, format!("a key has outlived its term by {lag}"), run);
        } else if ring.lag_s > RING_LAG_MAX_S {
            let lag = span(ring.lag_s);
            self.add(Severity::Critical, format!("expire is {lag} behind: it does not run, or is refused"), run);
        }
        let open_s = since(ring.run_open_since, status.at);
        if open_s > RUN_OPEN_MAX_S {
            let what = format!("a run of expire has been open for {}: destruction is pending", span(open_s));
            self.add(Severity::Critical, what, run);
        }
        if ring.level == 1 {
            let what = "level 1: without a generation store, destruction rests on the key store alone";
            self.add(
                Severity::Warning,
                what.into(),
                "a vault is made with its level: see generation_store in the README",
            );
        }
    }

    fn mirrors(&mut self, status: &Status) {
        let generation = status.ring.generation;
        for mirror in &status.mirrors {
            let place = &mirror.place;
            let missing = !mirror.generations.contains(&generation);
            if missing || mirror.error.is_some() {
                let reason = mirror.error.clone().unwrap_or_else(|| "the present generation is not on it".into());
                let what = format!("{} mirror {place}: {reason}", mirror.kind);
                let advice = "expire destroys nothing until it answers: bring it back, or take it out of the settings and run 'callvault init'";
                self.add(Severity::Critical, what, advice);
            }
            if mirror.generations.iter().any(|held| *held != generation) {
                let what = format!("{} mirror {place} holds other generations: run 'callvault expire'", mirror.kind);
                self.add(Severity::Critical, what, "run 'callvault expire': it destroys them");
            }
        }
    }

    fn replicas(&mut self, status: &Status) {
        let has_had_time = since(Some(status.ring.created_at), status.at) > FOLLOW_MAX_S;
        for replica in &status.replicas {
            let ReplicaStatus { name, generation, held, .. } = replica;
            if !replica.alive && *held > 0 {
                let age = span(since(replica.held_since, status.at));
                let what = format!(
                    "replica '{name}' is not there, and the spool that it left holds {held} recordings, for up to {age}"
                );
                let advice = format!(
                    "start it again with its spool; if that is lost for ever, 'callvault replica forget {name}'"
                );
                self.add(Severity::Critical, what, &advice);
            }
            if replica.alive && *generation < status.ring.generation && has_had_time {
                let what = format!("replica '{name}' is at generation {generation} and does not follow");
                self.add(Severity::Warning, what, "its log says why it cannot read the key store; restart it");
            }
        }
    }

    fn spool(&mut self, spool: &SpoolStatus) {
        if spool.oldest_age_s > SPOOLED_AGE_MAX_S {
            let (count, age) = (spool.spooled, span(spool.oldest_age_s));
            let what =
                format!("{count} recordings wait in the spool, for up to {age}: the object store does not take them");
            self.add(Severity::Warning, what, "the server's log says why; the spool must last until the store is back");
        }
        let severity = match spool.free_bytes {
            0 => Severity::Critical,
            free if free < (spool.used_bytes + free) / 100 * SPOOL_FREE_MIN_PERCENT => Severity::Warning,
            _ => return,
        };
        let what = format!(
            "the spool takes {} more, of {}",
            size(spool.free_bytes),
            size(spool.used_bytes + spool.free_bytes)
        );
        self.add(
            severity,
            what,
            "make room on its disk, raise spool.bytes_max, or see why the object store takes nothing",
        );
    }
}
