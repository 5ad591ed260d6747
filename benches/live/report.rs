//! The figures as a table for the README, and whether anything is wrong.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use super::check::Kept;
use super::load::{Ending, OPENING_MAX, Sent};
use super::{Plan, Steady};

pub struct Report<'a> {
    plan: &'a Plan,
    lines: Vec<(String, String)>,
    faults: Vec<String>,
}

impl<'a> Report<'a> {
    pub fn new(plan: &'a Plan) -> Report<'a> {
        Report { plan, lines: Vec::new(), faults: Vec::new() }
    }

    pub fn line(&mut self, what: impl Display, figure: impl Display) {
        self.lines.push((what.to_string(), figure.to_string()));
    }

    pub fn opening(&mut self, waited: &[Duration], all_in: Duration) {
        let waited = spread(waited.iter().map(millis), "ms");
        let what = format!("calls begun, at most {OPENING_MAX} at once");
        self.line(what, format!("all in {:.1} s; each {waited}", all_in.as_secs_f64()));
    }

    pub fn steady(&mut self, steady: &Steady, late_max: Duration, skipped: u64) {
        let streams = self.plan.streams as f64;
        let (before, max) = (steady.memory_before_kib, steady.memory_max_kib);
        let each = max.saturating_sub(before) as f64 / streams;
        let mib = |kib: u64| kib as f64 / 1024.0;
        let memory = format!("{each:.1} KiB (RSS {:.0} MiB before, at most {:.0} MiB)", mib(before), mib(max));
        self.line("server memory per call", memory);
        let share = |seconds: f64| seconds / steady.took_s * 100.0;
        let percent = share(steady.server_cpu_s);
        let cpu = format!("{percent:.0} % of one core; {:.1} % per 1,000 calls", percent / streams * 1e3);
        self.line("server CPU", cpu);
        let asked = streams * self.plan.rate as f64 / 1e6;
        let sent = steady.sent_bytes as f64 / steady.took_s / 1e6;
        self.line("sent while all calls went on", format!("{sent:.1} of {asked:.1} MB a second that were asked for"));
        let (percent, waited) = (share(steady.load_cpu_s), share(steady.load_waited_s));
        let late = millis(&late_max);
        let load = format!(
            "{percent:.0} % of one core, waited for a core {waited:.0} % of the time; late by at most {late:.0} ms; \
             {skipped} writes put off"
        );
        self.line("the load itself", load);
        if let Some(down) = steady.down {
            let what =
                if self.plan.is_cut() { "killed; listening again after" } else { "killed; all calls go on after" };
            self.line(what, format!("{:.2} s", down.as_secs_f64()));
        }
        if !steady.sent_again.is_empty() {
            self.within_a_second("bytes of a call that the killed server did not have", &steady.sent_again);
        }
    }

    pub fn endings(&mut self, endings: &[Ending]) {
        if endings.is_empty() {
            return;
        }
        let mut statuses = BTreeMap::<u16, usize>::new();
        for ending in endings {
            *statuses.entry(ending.status).or_default() += 1;
        }
        let what = format!("last byte to acknowledgement, {} ends a second", self.plan.ends_per_s);
        self.line(what, spread(endings.iter().map(|ending| millis(&ending.waited)), "ms"));
        let statuses: Vec<_> = statuses.iter().map(|(status, count)| format!("{count} x {status}")).collect();
        self.line("answers", statuses.join(", "));
    }

    /// What is in the vault, beside what was sent.
    pub fn kept(&mut self, sent: &[Sent], kept: &[Kept], played_in: Duration) {
        let pairs = || sent.iter().zip(kept);
        let missing: Vec<_> = pairs().map(|(sent, kept)| sent.len.saturating_sub(kept.len)).collect();
        let found = kept.iter().filter(|kept| kept.len > 0).count();
        let same = pairs().filter(|(sent, kept)| (1..=sent.len).contains(&kept.len) && kept.is_identical).count();
        let partial = kept.iter().filter(|kept| !kept.is_complete).count();
        let (gb, took_s) = (kept.iter().map(|kept| kept.len).sum::<u64>() as f64 / 1e9, played_in.as_secs_f64());
        self.line("played back and identical", format!("{same} of {} ({gb:.2} GB in {took_s:.1} s)", kept.len()));
        if same < found {
            self.faults.push(format!("{} recordings are not what was sent", found - same));
        }
        if self.plan.is_cut() {
            return self.within_a_second("bytes of a call lost by the kill", &missing);
        }
        let lost: u64 = missing.iter().sum();
        self.line("lost bytes", lost);
        if lost > 0 {
            self.faults.push(format!("{lost} bytes were lost"));
        }
        if partial > 0 {
            self.faults.push(format!("{partial} recordings are not complete"));
        }
    }

    /// Prints everything; 1 if anything is wrong.
    pub fn print(mut self, failures: &BTreeMap<String, usize>) -> ExitCode {
        let Plan { streams, rate, every_ms, seconds, mode, .. } = self.plan;
        let mode = format!("{mode:?}").to_lowercase();
        let kill = self.plan.kill_after.map_or(String::new(), |after| format!(" --kill-after {after}"));
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "\n| `--streams {streams} --rate {rate} --every-ms {every_ms} --seconds {seconds} --mode {mode}{kill}` | {cores} cores, \
             load on the same |\n|---|---|"
        );
        for (what, figure) in &self.lines {
            println!("| {what} | {figure} |");
        }
        println!();
        self.faults.extend(failures.iter().map(|(reason, count)| format!("{count} streams failed: {reason}")));
        for fault in &self.faults {
            println!("FAULT: {fault}");
        }
        ExitCode::from(u8::from(!self.faults.is_empty()))
    }

    /// A crash may cost a call the second that was on its way to the disk, and no more.
    fn within_a_second(&mut self, what: &str, bytes: &[u64]) {
        let (rate, max) = (self.plan.rate, bytes.iter().copied().max().unwrap_or(0));
        let spread = spread(bytes.iter().map(|bytes| *bytes as f64), "bytes");
        self.line(what, format!("{spread} (at most one second: {rate})"));
        let over = bytes.iter().filter(|bytes| **bytes > rate).count();
        if over > 0 {
            self.faults.push(format!("{what}: {over} calls lost more than one second, up to {max} bytes"));
        }
    }
}

fn millis(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn spread(values: impl Iterator<Item = f64>, unit: &str) -> String {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return "none".to_owned() };
    let at = |part: f64| values[(last as f64 * part).round() as usize];
    format!("p50 {:.0}, p99 {:.0}, max {:.0} {unit}", at(0.5), at(0.99), at(1.0))
}
