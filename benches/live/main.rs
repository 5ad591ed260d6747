//! Calls that go on at once, as PBXes stream them: many slow uploads, each a few bytes at a time.
//!
//! `cargo bench --bench live -- --streams 10000 --rate 8000 --every-ms 200 --seconds 120 [--kill-after 40] [--mode put|tus]`
//!
//! The server is a process of its own on a fresh directory, the load is one thread on the same machine. Afterwards every
//! recording is played back and compared with what was sent. Ends with 1 if a byte was lost, a stream failed, or a recording
//! is not what was sent.
//! With `--kill-after` the server is killed and started again on the same place. `put`: what it kept of each call is compared
//! with what had been sent; the calls are over. `tus`: every call asks where the server stands, goes on, and must be whole.

mod audio;
mod check;
mod load;
mod report;
mod server;
mod wire;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use load::Load;
use report::Report;
use server::{Server, cpu_s, fsync_rate, waited_s};

/// Files that a process has open besides a socket for each stream.
const FILES_BESIDES: u64 = 200;
/// How often in the steady phase the server's memory is looked at.
const LOOKS: u32 = 10;

/// Calls that go on at once: what they cost, and whether a byte is lost
#[derive(Parser)]
struct Plan {
    /// Calls at once
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    streams: u64,
    /// Bytes a second of each call; G.711 is 8000
    #[arg(long, default_value_t = 8_000)]
    rate: u64,
    /// Milliseconds from one write of a call to the next
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    every_ms: u64,
    /// How long all calls go on at once
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Calls that end in a second, after that
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    ends_per_s: u64,
    /// Kill the server after so many seconds, and start it again
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    kill_after: Option<u64>,
    #[arg(long, value_enum, default_value_t = Mode::Put)]
    mode: Mode,
    /// Cargo gives this
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// One PUT with a chunked body
    Put,
    /// A resumable upload (tus 1.0): one long PATCH, then one that tells the length
    Tus,
}

impl Plan {
    fn tick_time(&self) -> Duration {
        Duration::from_millis(self.every_ms)
    }

    fn tick_len(&self) -> u64 {
        (self.rate * self.every_ms / 1_000).max(1)
    }

    fn steady_time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn name(&self, index: usize) -> String {
        format!("live/{index}")
    }

    /// A plain upload ends with its connection: what was cut off stays partial.
    fn is_cut(&self) -> bool {
        self.mode == Mode::Put && self.kill_after.is_some()
    }
}

/// What was measured while all calls went on.
#[derive(Default)]
struct Steady {
    memory_before_kib: u64,
    memory_max_kib: u64,
    took_s: f64,
    server_cpu_s: f64,
    load_cpu_s: f64,
    /// How long the load was ready to run and another process had the core.
    load_waited_s: f64,
    sent_bytes: u64,
    /// From the kill until every call went on.
    down: Option<Duration>,
    /// Of each call, what it had to send again.
    sent_again: Vec<u64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let plan = Plan::parse();
    if let Err(reason) = raise_file_limit(&plan) {
        eprintln!("{reason}");
        return ExitCode::from(2);
    }
    if plan.kill_after.is_some_and(|after| after >= plan.seconds) {
        eprintln!("--kill-after is a moment within --seconds");
        return ExitCode::from(2);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let fsyncs = fsync_rate(dir.path());
    let mut server = Server::start(dir.path(), &plan);
    let mut steady = Steady { memory_before_kib: server.memory_kib(), ..Steady::default() };
    eprintln!("opening {} streams", plan.streams);
    let opening_since = Instant::now();
    let mut load = Load::open(&plan, &server).await;
    let opened_in = opening_since.elapsed();
    eprintln!("streaming for {} s", plan.seconds);
    steady.run(&plan, &mut server, &mut load).await;
    let endings = if plan.is_cut() { Vec::new() } else { load.end().await };
    eprintln!("playing back");
    let playing_since = Instant::now();
    let sent = load.sent();
    let kept = check::kept(&server, &sent).await.expect("the server answers");
    let mut report = Report::new(&plan);
    report.line("raw fsync rate in the same run", format!("{fsyncs:.0} a second"));
    report.opening(&load.opening, opened_in);
    report.steady(&steady, load.late_max, load.skipped);
    report.endings(&endings);
    report.kept(&sent, &kept, playing_since.elapsed());
    report.print(&load.failures)
}

impl Steady {
    async fn run(&mut self, plan: &Plan, server: &mut Server, load: &mut Load<'_>) {
        let started = Instant::now();
        let kill_after = plan.kill_after.map(Duration::from_secs);
        let (server_cpu_s, load_cpu_s) = (server.cpu_s(), cpu_s(std::process::id()));
        let load_waited_s = waited_s();
        let watched = kill_after.unwrap_or(plan.steady_time());
        for look in 1..=LOOKS {
            load.turn(started + watched * look / LOOKS).await;
            self.memory_max_kib = self.memory_max_kib.max(server.memory_kib());
        }
        self.took_s = started.elapsed().as_secs_f64();
        self.server_cpu_s = server.cpu_s() - server_cpu_s;
        self.load_cpu_s = cpu_s(std::process::id()) - load_cpu_s;
        self.load_waited_s = waited_s() - load_waited_s;
        self.sent_bytes = load.sent().iter().map(|sent| sent.len).sum();
        if kill_after.is_none() {
            return;
        }
        eprintln!("killing the server");
        let killed = Instant::now();
        server.kill();
        server.start_again();
        if plan.mode == Mode::Tus {
            self.sent_again = load.resume(server).await;
        }
        self.down = Some(killed.elapsed());
        if plan.mode == Mode::Tus {
            load.turn(started + plan.steady_time()).await;
        }
    }
}

/// A socket is a file; the server, which inherits the limit, has one for each stream as well.
fn raise_file_limit(plan: &Plan) -> Result<(), String> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let needed = plan.streams + FILES_BESIDES;
    if maximum.is_some_and(|maximum| maximum < needed) {
        let maximum = maximum.unwrap_or_default();
        return Err(format!("{needed} open files are needed and {maximum} allowed (ulimit -Hn): take fewer --streams"));
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|error| format!("the limit of open files cannot be raised: {error}"))
}
