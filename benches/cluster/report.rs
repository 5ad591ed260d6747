//! The figures as tables for the README, and whether anything is wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Plan;
use super::check::Checked;
use super::ledger::{Kind, Phase, Sample, Seen};
use super::parts::Parts;
use super::wire::World;

pub struct Report<'a> {
    pub plan: &'a Plan,
    pub parts: &'a Parts,
    pub world: &'a World,
    /// What `expire` told, in the middle.
    pub destroyed: Value,
    /// How long it took until the spools were empty, or what was left in them.
    pub forwarded: Result<Duration, u64>,
    pub put_off: usize,
    pub checked: Checked,
}

impl Report<'_> {
    /// Prints everything; whether nothing is wrong.
    pub fn print(self) -> bool {
        if let Err(held) = self.forwarded {
            self.world.ledger.fault(format!("{held} recordings are still in the spools"));
        }
        let (samples, phases) = (&self.world.ledger.samples, &self.world.ledger.phases);
        let samples = samples.lock().expect("no holder panics");
        let phases = phases.lock().expect("no holder panics");
        let within: Vec<Vec<&Sample>> = (0..phases.len())
            .map(|number| {
                let end = phases.get(number + 1).map(|next| next.began);
                let is_within =
                    |sample: &&Sample| sample.at >= phases[number].began && end.is_none_or(|end| sample.at < end);
                samples.iter().filter(is_within).collect()
            })
            .collect();
        println!();
        self.print_phases(&phases, &within);
        self.print_kinds(&phases, &within);
        self.print_kept();
        for path in &self.checked.spool_files {
            eprintln!("left in a spool: {path}");
        }
        for line in self.checked.logged_errors.iter().take(10) {
            eprintln!("logged: {line}");
        }
        let faults = self.world.ledger.faults.lock().expect("no holder panics");
        for (fault, count) in faults.iter() {
            println!("FAULT ({count}): {fault}");
        }
        faults.is_empty()
    }

    fn print_phases(&self, phases: &[Phase], within: &[Vec<&Sample>]) {
        println!(
            "| `cargo bench --bench cluster -- --minutes {}`: phase | requests, failed | what clients saw | part away; last \
             failure after it was back | upload acknowledged: p50, p99 | first byte of a playback: p50, p99 |",
            self.plan.minutes
        );
        println!("|---|---|---|---|---|---|");
        for (phase, samples) in phases.iter().zip(within) {
            let failed: Vec<_> = samples.iter().filter(|sample| sample.seen != Seen::Served).collect();
            let mut seen = BTreeMap::<&Seen, usize>::new();
            for sample in &failed {
                *seen.entry(&sample.seen).or_default() += 1;
            }
            let seen: Vec<_> = seen.iter().map(|(seen, count)| format!("{count} x {}", describe(seen))).collect();
            let share = failed.len() as f64 / samples.len().max(1) as f64 * 100.0;
            let waited = |fits: fn(Kind) -> bool| {
                spread(samples.iter().filter(|sample| fits(sample.kind)).filter_map(|sample| sample.waited).collect())
            };
            println!(
                "| {} | {}, {} ({share:.1} %) | {} | {} | {} | {} |",
                phase.name,
                samples.len(),
                failed.len(),
                if seen.is_empty() { "-".to_owned() } else { seen.join(", ") },
                recovery(phase, failed.iter().map(|sample| sample.at).max()),
                waited(Kind::is_upload),
                waited(|kind| kind == Kind::Play),
            );
        }
        println!();
    }

    fn print_kinds(&self, phases: &[Phase], within: &[Vec<&Sample>]) {
        let names: Vec<_> = phases.iter().map(|phase| phase.name.as_str()).collect();
        println!("| requests of a kind, and the share that failed | all | {} |", names.join(" | "));
        println!("|---|---|{}", "---|".repeat(names.len()));
        for (kind, name) in Kind::ALL {
            let cell = |samples: &[&Sample]| {
                let of_kind: Vec<_> = samples.iter().filter(|sample| sample.kind == kind).collect();
                let failed = of_kind.iter().filter(|sample| sample.seen != Seen::Served).count();
                match failed {
                    0 => of_kind.len().to_string(),
                    _ => format!("{}: {:.1} %", of_kind.len(), failed as f64 / of_kind.len() as f64 * 100.0),
                }
            };
            let cells: Vec<_> = within.iter().map(|samples| cell(samples)).collect();
            println!("| {name} | {} | {} |", cell(&within.concat()), cells.join(" | "));
        }
        println!();
    }

    fn print_kept(&self) {
        let Checked { acknowledged, identical, bytes, given_up, dead, dead_readable, rows, objects, ended, .. } =
            &self.checked;
        println!("| afterwards | |\n|---|---|");
        let gb = *bytes as f64 / 1e9;
        println!("| acknowledged; whole and identical from both servers | {acknowledged}; {identical} ({gb:.2} GB) |");
        let [nothing, part, whole] = given_up;
        println!(
            "| calls cut off whose sender did not come back | {}: of {part} a part is kept and plays, {whole} are whole, of \
             {nothing} nothing had come |",
            nothing + part + whole
        );
        println!("| erased or ended; readable | {dead}; {dead_readable} |");
        println!(
            "| recordings listed; objects in the store | {rows}; {objects}, up to {ended} of what ended this hour |"
        );
        if let Ok(took) = self.forwarded {
            println!("| spools empty after the last upload within | {:.1} s |", took.as_secs_f64());
        }
        println!("| files left in the spools | {} |", self.checked.spool_files.len());
        let destroyed = &self.destroyed;
        println!(
            "| `expire` in the middle | {} keys in {} ms, rows {} ms, {} objects in {} ms; servers behind: {} |",
            destroyed["keys_destroyed"],
            destroyed["destruction_ms"],
            destroyed["rows_ms"],
            destroyed["objects_swept"],
            destroyed["sweep_ms"],
            destroyed["replicas_behind"].as_array().map_or(0, Vec::len),
        );
        println!(
            "| errors that the servers logged; requests put off by the load | {}; {} |",
            self.checked.logged_errors.len(),
            self.put_off
        );
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let fsyncs = fsync_rate(&self.parts.dir);
        println!("| machine | {cores} cores for servers, PostgreSQL, S3 and load; {fsyncs:.0} raw syncs a second |\n");
    }
}

/// Of a part that was away: for how long, and how long clients still felt it.
fn recovery(phase: &Phase, last_failure: Option<Instant>) -> String {
    let Some(repaired) = phase.repaired else { return "-".to_owned() };
    let away = repaired.duration_since(phase.began).as_secs_f64();
    match last_failure {
        None => format!("{away:.1} s; none failed"),
        Some(at) if at <= repaired => format!("{away:.1} s; 0 s"),
        Some(at) => format!("{away:.1} s; {:.1} s", at.duration_since(repaired).as_secs_f64()),
    }
}

fn describe(seen: &Seen) -> String {
    match seen {
        Seen::Served => "served".to_owned(),
        Seen::Broken => "broken connection".to_owned(),
        Seen::Refused(status, problem) if problem.is_empty() => status.to_string(),
        Seen::Refused(status, problem) => format!("{status} {problem}"),
    }
}

/// In milliseconds.
pub fn spread(mut waited: Vec<Duration>) -> String {
    waited.sort();
    let Some(last) = waited.len().checked_sub(1) else { return "-".to_owned() };
    let at = |part: f64| waited[(last as f64 * part).round() as usize].as_secs_f64() * 1e3;
    format!("{:.0} ms, {:.0} ms", at(0.5), at(0.99))
}

/// How often a second one thread can append a block and sync it.
pub fn fsync_rate(dir: &std::path::Path) -> f64 {
    use std::io::Write;
    let mut file = std::fs::File::create(dir.join("fsync")).expect("a file");
    let (started, count) = (Instant::now(), 300);
    for _ in 0..count {
        file.write_all(&[7; 4096]).expect("written");
        file.sync_data().expect("synced");
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}
