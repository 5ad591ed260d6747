//! The page for people: what is wrong first, then the replicas, the spool, expire, the mirrors, and the counts.

use std::io::IsTerminal;

use super::super::output::{size, span};
use super::problems::Severity;
use super::{Status, describe_replica, since};
use crate::keyring::MirrorState;

/// Colours, where somebody sees them.
#[derive(Clone, Copy)]
pub enum Paint {
    Colours,
    Plain,
}

impl Paint {
    /// Colours on a terminal, unless `NO_COLOR` or a dumb one says otherwise.
    pub fn of_stdout() -> Paint {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
            true => Paint::Colours,
            false => Paint::Plain,
        }
    }

    fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Paint::Colours => format!("\x1b[{colour}m{text}\x1b[0m"),
            Paint::Plain => text.to_owned(),
        }
    }
}

pub fn text(status: &Status, paint: Paint) -> String {
    let mut text = verdict(status, paint);
    let mut line = |name: &str, value: String| text += &format!("{name:<11} {value}\n");
    if status.replicas.is_empty() {
        line("replicas", paint.yellow("none: nothing serves this vault"));
    }
    for replica in &status.replicas {
        line("replica", describe_replica(replica));
    }
    line("spool", spool(status));
    let ring = &status.ring;
    let (floor, behind) = (ring.floor, span(ring.lag_s));
    line("expire", format!("everything that ended before {floor} is destroyed ({behind} behind)"));
    let made = span(since(Some(ring.created_at), status.at));
    let open = status.ring.run_open_since.map_or(String::new(), |at| format!("; a run is open since {at}"));
    line(
        "ring",
        format!("generation {}, {made} old, level {}, {} subtrees{open}", ring.generation, ring.level, ring.subtrees),
    );
    let next = match (status.next_expiry, status.shred_lag_s) {
        (None, _) => "nothing".to_owned(),
        (Some(at), 0) => at.to_string(),
        (Some(at), _) => format!("{at}, {} ago: the next run writes that down", span(since(Some(at), status.at))),
    };
    line("next end", next);
    line("waiting", format!("{} objects to sweep, {} erasures", status.sweep_pending, status.punctures_pending));
    if status.people.count > 0 {
        line("people", format!("{}, {} cleared to reach recordings", status.people.count, status.people.cleared));
    }
    for mirror in &status.mirrors {
        line(mirror.kind, mirror_line(mirror));
    }
    let answer = match status.store_up {
        true => format!("answered in {} ms", status.store_answer_ms),
        false => paint.red("does not answer"),
    };
    line("store", format!("{}, {answer}", status.store));
    line("catalog", status.catalog.clone());
    let recordings: Vec<_> = status.recordings.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let recordings = if recordings.is_empty() { "none".into() } else { recordings.join(", ") };
    line("recordings", format!("{recordings}; {} live, {} tenants", size(status.live_bytes), status.tenants));
    text
}

fn verdict(status: &Status, paint: Paint) -> String {
    let head = format!("callvault {} at {}", status.version, status.at.round(jiff::Unit::Second).unwrap_or(status.at));
    if status.problems.is_empty() {
        return format!("{head}: {}\n\n", paint.green("nothing needs attention"));
    }
    let count = status.problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    let mut text = format!("{head}: {}\n", paint.red(&format!("{count} {noun}")));
    for problem in &status.problems {
        let word = match problem.severity {
            Severity::Critical => paint.red("CRITICAL"),
            Severity::Warning => paint.yellow("WARNING "),
        };
        text += &format!("  {word} {}\n           {}\n", problem.what, problem.advice);
    }
    text + "\n"
}

fn spool(status: &Status) -> String {
    let spool = &status.spool;
    let (used, max, free) = (size(spool.used_bytes), size(spool.bytes_max), size(spool.free_bytes));
    let waiting = match spool.spooled {
        0 => "nothing waits for the store".to_owned(),
        count => format!("{count} wait for the store, for up to {}", span(spool.oldest_age_s)),
    };
    format!("{used} of {max} in {} segments, {free} free; {waiting}", spool.segments)
}

fn mirror_line(mirror: &MirrorState) -> String {
    let generations: Vec<_> = mirror.generations.iter().map(u64::to_string).collect();
    format!("{} [{}]", mirror.place, generations.join(" "))
}
