//! What it costs to destroy very many recordings, and what uploads feel of it.
//!
//! The rows are as a server would have written them a month ago, with wraps that open; their objects are small. The run of
//! `expire` is the command, the uploads go over HTTP to both servers before it and while it goes on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use callvault::app::Vault;
use callvault::catalog::{Finished, NewRecording, SearchTokens, WrapRow};
use callvault::config::{Config, RawSettings};
use callvault::crypto::keys::{DataKey, KekScope};
use callvault::crypto::random::random;
use callvault::crypto::wrap::Binding;
use callvault::model::{Class, Clock, Completeness, ObjectId, RecordingId, State, TenantNumber, Term, Timestamp};
use jiff::SignedDuration;
use tokio::task::JoinSet;

use super::bucket::Shelf;
use super::faults::{LONG_AGO, now};
use super::ledger::{Kind, Life};
use super::parts::Parts;
use super::report::{fsync_rate, spread};
use super::wire::World;

const UPLOADS_PER_SECOND: u64 = 20;
const UPLOAD_LEN: u64 = 40_000;
/// How long uploads are measured without a run.
const UNDISTURBED: Duration = Duration::from_secs(20);
/// Rows that are written at once.
const WRITERS: usize = 32;
/// The hours over which their terms end.
const HOURS: usize = 20;

pub async fn run(dir: &Path, due: usize) -> bool {
    println!("\nraw syncs a second: {:.0}", fsync_rate(dir));
    println!(
        "\n| `cargo bench --bench cluster -- --due {due}`: recordings due | destruction | written to the key store | rows, \
         per thousand | objects, per thousand | uploads ({UPLOADS_PER_SECOND} a second of {UPLOAD_LEN} bytes) acknowledged \
         without: p50, p99 | while it went on |\n|---|---|---|---|---|---|---|"
    );
    let mut is_sound = true;
    for (number, count) in [due / 100, due].into_iter().enumerate() {
        let dir = dir.join(number.to_string());
        std::fs::create_dir(&dir).expect("a directory");
        is_sound &= measure(&dir, count).await;
    }
    is_sound
}

async fn measure(dir: &Path, count: usize) -> bool {
    let mut parts = Parts::new(dir, Some(LONG_AGO));
    let began = Instant::now();
    // Nothing of it needs to survive a power cut before it is measured.
    set_fsync(&parts, "off");
    fill(&parts, count).await;
    set_fsync(&parts, "on");
    eprintln!("{count} recordings written in {:.0} s", began.elapsed().as_secs_f64());
    for number in 0..parts.replicas.len() {
        parts.start(number, None).await;
    }
    let addresses = parts.replicas.iter().map(|replica| replica.address).collect();
    let world = Arc::new(World::new(addresses, &parts.token, 1, Duration::MAX));
    let is_over = Arc::new(AtomicBool::new(false));
    let uploads = tokio::spawn(upload(world.clone(), is_over.clone()));
    tokio::time::sleep(UNDISTURBED).await;
    let began = Instant::now();
    let report = tokio::task::block_in_place(|| parts.ok(&["expire"], None));
    let ended = Instant::now();
    is_over.store(true, Relaxed);
    uploads.await.expect("no upload panics");
    if report["keys_destroyed"] != count || report["objects_swept"] != count {
        world.ledger.fault(format!("{count} were due: {report}"));
    }
    let waited = |fits: &dyn Fn(Instant) -> bool| {
        let samples = world.ledger.samples.lock().expect("no holder panics");
        spread(samples.iter().filter(|sample| fits(sample.at)).filter_map(|sample| sample.waited).collect())
    };
    let each = |field: &str| report[field].as_f64().unwrap_or_default() * 1e3 / count as f64;
    println!(
        "| {count} | {} ms | {} bytes | {:.0} ms | {:.0} ms | {} | {} ({:.1} s) |",
        report["destruction_ms"],
        report["key_store_written_bytes"],
        each("rows_ms"),
        each("sweep_ms"),
        waited(&|at| at < began),
        waited(&|at| at >= began && at < ended + Duration::from_millis(100)),
        ended.duration_since(began).as_secs_f64(),
    );
    let faults = world.ledger.faults.lock().expect("no holder panics");
    faults.keys().for_each(|fault| println!("FAULT: {fault}"));
    faults.is_empty()
}

fn set_fsync(parts: &Parts, to: &str) {
    for statement in [&*format!("ALTER SYSTEM SET fsync = {to}"), "SELECT pg_reload_conf()", "CHECKPOINT"] {
        parts.postgres.admin(statement);
    }
}

/// Uploads at a fixed pace, whatever becomes of those before.
async fn upload(world: Arc<World>, is_over: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / UPLOADS_PER_SECOND));
    let mut under_way = JoinSet::new();
    while !is_over.load(Relaxed) {
        ticks.tick().await;
        let world = world.clone();
        under_way.spawn(async move {
            let index = world.ledger.begin(Kind::Bulk, UPLOAD_LEN, Life::Lives);
            world.send(index, None, false).await;
        });
    }
    under_way.join_all().await;
}

/// Stored recordings whose terms have ended, without the way through HTTP.
async fn fill(parts: &Parts, count: usize) {
    let raw = RawSettings {
        data_dir: Some(parts.dir.join("data")),
        catalog: Some(parts.catalog.clone()),
        // The objects are put where the store's own process finds them.
        store: Some(format!("file://{}", parts.dir.join("none").display())),
        ..RawSettings::default()
    };
    let begins_at = now() - SignedDuration::from_hours(31 * 24 - 1);
    let clock: Arc<dyn Clock> = Arc::new(move || begins_at);
    let config = Config::check(raw).expect("the settings are sound");
    let vault = Arc::new(Vault::open_at(config, clock).await.expect("it was made"));
    let slug = "bench".parse().expect("a slug");
    let tenant = vault.catalog.tenant(&slug).await.expect("it answers").expect("it was made").number;
    let mut writers = JoinSet::new();
    let shelf = Arc::new(parts.bucket.shelf());
    for writer in 0..WRITERS {
        let (vault, shelf) = (vault.clone(), shelf.clone());
        writers.spawn(async move {
            for index in (writer..count).step_by(WRITERS) {
                let received_at = begins_at + SignedDuration::from_hours((index % HOURS) as i64);
                record(&vault, &shelf, tenant, received_at).await;
            }
        });
    }
    writers.join_all().await;
}

async fn record(vault: &Vault, shelf: &Shelf, tenant: TenantNumber, received_at: Timestamp) {
    let (id, object, data_key) = (RecordingId::new(received_at, random()), ObjectId(random()), DataKey::random());
    let expires_at = Term::Days(30).ends_at(received_at);
    let path = vault.keyring.new_path(expires_at).expect("the ring is loaded");
    let scope = KekScope { class: Class::Customer, tenant, subject: id.into(), path };
    let wrap = |plain_len, completeness| {
        let binding = Binding { expires_at, object, plain_len, completeness };
        vault.keyring.wrap(&scope, &data_key, &binding).expect("the path lives")
    };
    let recording = NewRecording {
        id,
        tenant,
        received_at,
        object,
        name_token: None,
        tokens: SearchTokens::default(),
        label: vec![0; 104],
        wraps: vec![WrapRow {
            class: Class::Customer,
            path,
            expires_at,
            sealed: Some(wrap(None, Completeness::Receiving)),
        }],
        call: None,
        resume: None,
        holder: vault.ingest.replica.clone(),
    };
    vault.catalog.begin(recording).await.expect("a free path");
    shelf.lay(&object.to_string(), &[0; 100]);
    let finished = Finished {
        id,
        state: State::Stored,
        completeness: Completeness::Complete,
        plain_len: 12,
        object,
        sealed_len: 100,
        label: None,
        digest: random(),
        wraps: vec![(Class::Customer, wrap(Some(12), Completeness::Complete))],
        changed_at: received_at,
        holder: vault.ingest.replica.clone(),
    };
    vault.catalog.finish(finished).await.expect("it was begun");
}
