//! A cluster on one machine under a mixed load, while its parts are lost one after the other.
//!
//! `cargo bench --bench cluster -- --minutes 10 [--load 1.0] [--seed N]`
//!
//! Two servers with a spool each, PostgreSQL and an S3 server, all processes of their own. Calls as they go on, files,
//! resumable uploads in pieces, playback, listing and erasure alternate between the servers and try again as real clients
//! do. In turn each server is killed with -9, PostgreSQL is restarted in both its ways, `expire` runs, and S3 is away for a
//! tenth of the time. Afterwards every recording is played from both servers and compared with what was sent. Ends with 1 if
//! anything that was acknowledged is not there byte for byte, or anything plays that is dead.
//!
//! `cargo bench --bench cluster -- --due 100000`
//!
//! What destroying so many recordings costs, and what uploads feel of it.

#[path = "../live/audio.rs"]
mod audio;
mod bucket;
mod check;
mod due;
mod faults;
mod ledger;
mod listeners;
mod load;
mod parts;
#[path = "../../tests/it/support/postgres.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod postgres;
mod report;
mod senders;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;

use parts::Parts;
use report::Report;
use wire::World;

/// How long the spools may take to empty, besides a tenth of the run.
const FORWARDING_TIME_MAX: Duration = Duration::from_secs(60);

/// A cluster under load whose parts are lost in turn
#[derive(Parser)]
struct Plan {
    /// How long the load lasts; the faults come at fractions of it
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Requests in a second, as a multiple of the usual
    #[arg(long, default_value_t = 1.0)]
    load: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Measure the destruction of so many recordings instead
    #[arg(long, value_name = "RECORDINGS")]
    due: Option<usize>,
    /// The process of the S3 server
    #[arg(long, hide = true, requires = "s3_address")]
    s3: Option<PathBuf>,
    #[arg(long, hide = true)]
    s3_address: Option<SocketAddr>,
    /// Cargo gives this
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let plan = Plan::parse();
    if let (Some(dir), Some(address)) = (&plan.s3, plan.s3_address) {
        bucket::serve(dir, address).await;
    }
    let dir = tempfile::Builder::new().prefix("cluster-").tempdir().expect("a temporary directory");
    let is_sound = match plan.due {
        Some(due) => due::run(dir.path(), due).await,
        None => run(dir.path(), &plan).await,
    };
    if !is_sound {
        eprintln!("what there was is left in {}", dir.keep().display());
    }
    ExitCode::from(u8::from(!is_sound))
}

async fn run(dir: &std::path::Path, plan: &Plan) -> bool {
    let total = Duration::from_secs_f64(plan.minutes * 60.0);
    eprintln!("seed {}", plan.seed);
    let mut parts = Parts::new(dir, Some(faults::LONG_AGO));
    let addresses: Vec<_> = parts.replicas.iter().map(|replica| replica.address).collect();
    let mut world = World::new(addresses, &parts.token, plan.seed, total);
    faults::prepare(&mut parts, &world).await;
    world.began = Instant::now();
    let world = Arc::new(world);
    world.ledger.phase("undisturbed");
    let load = load::start(&world, plan.load);
    let destroyed = faults::run(&mut parts, &world).await;
    let put_off = load.join_all().await.into_iter().sum();
    eprintln!("emptying the spools");
    let forwarded = parts.forwarded(FORWARDING_TIME_MAX + total / 10).await;
    match parts.tried(&["expire"], None) {
        Ok(report) => assert!(report["objects_left"] == 0, "{report}"),
        Err(text) => world.ledger.fault(format!("the last expire: {text}")),
    }
    eprintln!("playing everything back");
    let checked = check::run(&parts, &world).await;
    Report { plan, parts: &parts, world: &world, destroyed, forwarded, put_off, checked }.print()
}
