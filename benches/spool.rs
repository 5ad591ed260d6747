//! Why the newest bytes of all calls share one log: the log beside a file for each call, on this disk.
//!
//! `cargo bench --bench spool -- --calls 10000 --seconds 30`
//!
//! Every call appends a frame five times a second, and once a second everything that was written is made durable. The raw fsync
//! rate of the disk stands beside the figures: without it they say nothing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// 200 ms of G.711, and what a frame adds.
const FRAME_LEN: usize = 1_648;
/// In each, half of the calls append.
const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_S: u64 = 10;
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// Threads that sync files, where each is synced by itself.
const SYNCERS: usize = 8;
/// Open files besides those of the calls.
const FILES_BESIDES: u64 = 100;

/// One log, or a file for each call
#[derive(Parser)]
struct Plan {
    /// Calls at once
    #[arg(long, default_value_t = 2_000)]
    calls: usize,
    /// How long each way is measured
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(2..))]
    seconds: u64,
    /// Cargo gives this
    #[arg(long, hide = true)]
    bench: bool,
}

/// A way to keep the newest bytes of all calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Log,
    FileEach,
    /// As many files, one sync of the file system.
    FilesTogether,
    /// Opened anew for each append and sync: ten thousand open files are more than many machines allow.
    FilesReopened,
}

impl Way {
    const ALL: [(Way, &str); 4] = [
        (Way::Log, "one log, fdatasync"),
        (Way::FileEach, "a file for each call, fdatasync for each"),
        (Way::FilesTogether, "a file for each call, one syncfs"),
        (Way::FilesReopened, "a file for each call, opened anew, one syncfs"),
    ];
}

/// What was measured of one way.
#[derive(Default)]
struct Figures {
    took_s: f64,
    cpu_s: f64,
    written_bytes: u64,
    syncs_ms: Vec<f64>,
    ticks_ms: Vec<f64>,
    /// How late the writing was at worst.
    late_max_ms: f64,
}

fn main() {
    let plan = Plan::parse();
    raise_file_limit(plan.calls as u64 + FILES_BESIDES);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let before = fsync_rate(dir.path());
    println!(
        "\n| {} calls, {} s each | durable after, ms | a tick's appends, ms | late | CPU |",
        plan.calls, plan.seconds
    );
    println!("|---|---|---|---|---|");
    for (way, name) in Way::ALL {
        let place = dir.path().join("calls");
        std::fs::create_dir(&place).expect("a new name");
        let Figures { took_s, cpu_s, written_bytes, syncs_ms, ticks_ms, late_max_ms } = measure(way, &plan, &place);
        println!(
            "| {name} | {} | {} | {late_max_ms:.0} ms | {:.2} s/s, {:.1} MB/s |",
            spread(syncs_ms),
            spread(ticks_ms),
            cpu_s / took_s,
            written_bytes as f64 / 1e6 / took_s
        );
        std::fs::remove_dir_all(&place).expect("removed");
    }
    println!("\nraw fsync rate: {before:.0} a second before, {:.0} after\n", fsync_rate(dir.path()));
}

/// Where the bytes go.
struct Target {
    way: Way,
    root: File,
    /// By call; the log alone, where there is one.
    paths: Vec<PathBuf>,
    files: Vec<File>,
}

impl Target {
    fn new(way: Way, calls: usize, dir: &Path) -> Target {
        let count = if way == Way::Log { 1 } else { calls };
        let paths: Vec<PathBuf> = (0..count).map(|call| dir.join(call.to_string())).collect();
        let made = paths.iter().map(|path| open(path));
        // Those that are opened anew are made, and not held.
        let files = made.filter(|_| way != Way::FilesReopened).collect();
        let root = File::open(dir).expect("a directory");
        rustix::fs::syncfs(&root).expect("synced");
        Target { way, root, paths, files }
    }

    fn append(&self, calls: impl Iterator<Item = usize>, gathered: &mut Vec<u8>) {
        let frame = [0x5a; FRAME_LEN];
        match self.way {
            Way::Log => {
                gathered.clear();
                calls.for_each(|_| gathered.extend_from_slice(&frame));
                (&self.files[0]).write_all(gathered).expect("written");
            }
            Way::FileEach | Way::FilesTogether => {
                calls.for_each(|call| (&self.files[call]).write_all(&frame).expect("written"));
            }
            Way::FilesReopened => calls.for_each(|call| open(&self.paths[call]).write_all(&frame).expect("written")),
        }
    }

    fn sync(&self) {
        match self.way {
            Way::Log => self.files[0].sync_data().expect("synced"),
            Way::FilesTogether | Way::FilesReopened => rustix::fs::syncfs(&self.root).expect("synced"),
            Way::FileEach => {
                let next = AtomicUsize::new(0);
                scope(|scope| {
                    for _ in 0..SYNCERS {
                        scope.spawn(|| {
                            while let Some(file) = self.files.get(next.fetch_add(1, Relaxed)) {
                                file.sync_data().expect("synced");
                            }
                        });
                    }
                });
            }
        }
    }
}

fn measure(way: Way, plan: &Plan, dir: &Path) -> Figures {
    let target = Target::new(way, plan.calls, dir);
    let is_over = AtomicBool::new(false);
    let mut figures = Figures::default();
    let (cpu_before, started) = (cpu_s(), Instant::now());
    scope(|scope| {
        let (target, is_over) = (&target, &is_over);
        let syncing = scope.spawn(move || sync_until(target, is_over, started));
        let mut gathered = Vec::new();
        for tick in 0..plan.seconds * TICKS_PER_S {
            let due = started + TICK * tick as u32;
            sleep(due.saturating_duration_since(Instant::now()));
            figures.late_max_ms = figures.late_max_ms.max(millis(due));
            let began = Instant::now();
            let calls = (tick as usize % 2..plan.calls).step_by(2);
            figures.written_bytes += (calls.len() * FRAME_LEN) as u64;
            target.append(calls, &mut gathered);
            figures.ticks_ms.push(millis(began));
        }
        is_over.store(true, Relaxed);
        figures.syncs_ms = syncing.join().expect("it ends");
    });
    figures.took_s = started.elapsed().as_secs_f64();
    figures.cpu_s = cpu_s() - cpu_before;
    figures
}

/// Once a second; how long each took. One that takes longer is followed by the next at once.
fn sync_until(target: &Target, is_over: &AtomicBool, started: Instant) -> Vec<f64> {
    let (mut took_ms, mut next) = (Vec::new(), started + SYNC_EVERY);
    loop {
        sleep(next.saturating_duration_since(Instant::now()));
        if is_over.load(Relaxed) && !took_ms.is_empty() {
            return took_ms;
        }
        let began = Instant::now();
        target.sync();
        took_ms.push(millis(began));
        next = (next + SYNC_EVERY).max(Instant::now());
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a file")
}

fn raise_file_limit(wanted: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    assert!(maximum.is_none_or(|maximum| maximum >= wanted), "{wanted} open files are needed (ulimit -Hn)");
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the hard limit");
}

/// User and system time of this process so far.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("this process runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11..13].iter().map(|field| field.parse::<f64>().expect("a number")).sum();
    ticks / rustix::param::clock_ticks_per_second() as f64
}

/// How often a second one thread can append a block and sync it.
fn fsync_rate(dir: &Path) -> f64 {
    let mut file = File::create(dir.join("fsync")).expect("a file");
    let (started, count) = (Instant::now(), 300);
    for _ in 0..count {
        file.write_all(&[7; 4096]).expect("written");
        file.sync_data().expect("synced");
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return "none".to_owned() };
    let at = |part: f64| values[(last as f64 * part).round() as usize];
    format!("p50 {:.1}, p99 {:.1}, max {:.1}", at(0.5), at(0.99), at(1.0))
}
