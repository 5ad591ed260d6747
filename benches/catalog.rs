//! What the two backends of the catalog do in a second, beside what the disk does: `cargo bench --bench catalog`.
//!
//! * begin and finish of recordings, by 1, 16 and 64 senders at once, beside the raw rate of fsync in the same directory
//! * shredding of 100,000 due recordings: time per thousand; and how long an upload's two verbs take while it goes on, beside
//!   how long they take otherwise (50 a second, the 99th percentile)

#[path = "../tests/it/support/postgres.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod cluster;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use callvault::catalog::postgres::{Limits, Postgres, Settings};
use callvault::catalog::sqlite::Sqlite;
use callvault::catalog::{
    Announcement, CommittedGeneration, Finished, NewRecording, NewTenant, SearchTokens, SharedCatalog, WrapRow,
};
use callvault::crypto::random::random;
use callvault::model::epoch::{Tag, TreeId};
use callvault::model::{
    Class, Clock, Completeness, Epoch, ObjectId, RecordingId, ReplicaName, State, TenantNumber, Term, TimePath,
    Timestamp,
};
use jiff::SignedDuration;

const DUE: usize = 100_000;
const BATCH: u32 = 1_000;
const UPLOADS_PER_SECOND: u64 = 50;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    println!("fsync of 8 KiB, one after the other: {:.0}/s", fsyncs_per_second(dir.path()));
    let cluster = cluster::Cluster::start(&["max_wal_size=4GB"]);
    runtime.block_on(async {
        let sqlite = Arc::new(Sqlite::open(&dir.path().join("catalog.db")).expect("a new file"));
        measure("SQLite", sqlite).await;
        let limits = Limits {
            pool_max: 16,
            statement_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            gone_keep: Duration::from_secs(9_600 * 3_600),
        };
        let settings = Settings::parse(&cluster.empty(), None, limits).expect("a sound URL");
        let postgres = Arc::new(Postgres::open(&settings).await.expect("a new database"));
        measure("PostgreSQL", postgres).await;
    });
}

fn fsyncs_per_second(dir: &Path) -> f64 {
    let mut file = std::fs::File::create(dir.join("fsync")).expect("a file");
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&[0; 8_192]).expect("room");
        file.sync_data().expect("it syncs");
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

async fn measure(name: &str, catalog: SharedCatalog) {
    println!("\n{name}");
    let tenant = tenant(&catalog).await;
    for senders in [1, 16, 64] {
        let rate = uploads_per_second(&catalog, tenant, senders).await;
        println!("  begin + finish, {senders:>2} senders at once: {rate:>6.0}/s");
    }
    fill(&catalog, tenant).await;
    let before = paced(&catalog, tenant, Arc::new(AtomicBool::new(false)), Duration::from_secs(10)).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let uploads = tokio::spawn({
        let (catalog, is_over) = (catalog.clone(), is_over.clone());
        async move { paced(&catalog, tenant, is_over, Duration::from_secs(600)).await }
    });
    let (took, sweep) = shred(&catalog).await;
    is_over.store(true, Relaxed);
    let during = uploads.await.expect("no panic");
    println!("  shred of {DUE} due: {:.2} ms per thousand", took.as_secs_f64() * 1e6 / DUE as f64);
    println!("  their objects from the queue: {:.2} ms per thousand", sweep.as_secs_f64() * 1e6 / DUE as f64);
    println!("  an upload's verbs, p50 and p99: {}", shown(before));
    println!("  the same while that went on:    {}", shown(during));
}

fn shown(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("{:.1} ms, {:.1} ms ({} uploads)", at(0.5), at(0.99), times.len())
}

async fn tenant(catalog: &SharedCatalog) -> TenantNumber {
    let tenant = NewTenant {
        slug: "bench".parse().expect("a slug"),
        name: "Bench".into(),
        recording: true,
        customer_term: Term::Days(90),
        training_term: Term::Days(30),
        cdr_term: Term::Days(90),
        created_at: now(),
    };
    catalog.create_tenant(tenant).await.expect("a new slug").number
}

fn now() -> Timestamp {
    callvault::model::clock::SystemClock.now()
}

async fn upload(catalog: &SharedCatalog, tenant: TenantNumber, ends_in: SignedDuration) {
    let now = now();
    let expires_at = Timestamp::from_second((now + ends_in).as_second()).expect("this century");
    let tag = Tag::from_random(u64::from_be_bytes(random()));
    let path = TimePath { tree: TreeId(1), epoch: Epoch::of(expires_at), tag };
    let (id, object) = (RecordingId::new(now, random()), ObjectId(random()));
    let holder: ReplicaName = "bench".parse().expect("a name");
    let new = NewRecording {
        id,
        tenant,
        received_at: now,
        object,
        name_token: Some(random()),
        tokens: SearchTokens { a_number: Some(random()), b_number: Some(random()), call_id: Some(random()) },
        label: vec![7; 104],
        wraps: vec![WrapRow { class: Class::Customer, path, expires_at, sealed: Some([1; 72]) }],
        call: None,
        resume: None,
        holder: holder.clone(),
    };
    catalog.begin(new).await.expect("a free name and path");
    let finished = Finished {
        id,
        state: State::Stored,
        completeness: Completeness::Complete,
        plain_len: 1_440_000,
        object,
        sealed_len: 1_441_500,
        digest: random(),
        label: None,
        wraps: vec![(Class::Customer, [2; 72])],
        changed_at: now,
        holder,
    };
    catalog.finish(finished).await.expect("it was begun");
}

const LONG: SignedDuration = SignedDuration::from_hours(24 * 90);

async fn uploads_per_second(catalog: &SharedCatalog, tenant: TenantNumber, senders: usize) -> f64 {
    let (started, count) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..senders {
        let (catalog, count) = (catalog.clone(), count.clone());
        tasks.spawn(async move {
            while started.elapsed() < Duration::from_secs(8) {
                upload(&catalog, tenant, LONG).await;
                count.fetch_add(1, Relaxed);
            }
        });
    }
    tasks.join_all().await;
    count.load(Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Recordings that end in the hours to come.
async fn fill(catalog: &SharedCatalog, tenant: TenantNumber) {
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..64 {
        let catalog = catalog.clone();
        tasks.spawn(async move {
            for index in (worker..DUE).step_by(64) {
                upload(&catalog, tenant, SignedDuration::from_mins(60 + (index % 1_400) as i64)).await;
            }
        });
    }
    tasks.join_all().await;
}

/// Uploads at a fixed pace, and how long each took.
async fn paced(
    catalog: &SharedCatalog,
    tenant: TenantNumber,
    is_over: Arc<AtomicBool>,
    at_most: Duration,
) -> Vec<Duration> {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_micros(1_000_000 / UPLOADS_PER_SECOND));
    let mut tasks = tokio::task::JoinSet::new();
    while !is_over.load(Relaxed) && started.elapsed() < at_most {
        ticks.tick().await;
        let catalog = catalog.clone();
        tasks.spawn(async move {
            let began = Instant::now();
            upload(&catalog, tenant, LONG).await;
            began.elapsed()
        });
    }
    tasks.join_all().await
}

/// The rows of a run, and the queue of the sweep without a store.
async fn shred(catalog: &SharedCatalog) -> (Duration, Duration) {
    let floor = Epoch::of(now() + SignedDuration::from_hours(48));
    let announcement = Announcement {
        started_at: now(),
        from_generation: 0,
        floor_before: Epoch::FIRST,
        floor,
        last_puncture: 0,
        ring_before: [1; 32],
    };
    let run = catalog.announce(announcement).await.expect("no run is open");
    let committed = CommittedGeneration { generation: 1, ring_after: [2; 32] };
    catalog.commit_generation(run.id, committed).await.expect("it is announced");
    let (started, mut count) = (Instant::now(), 0);
    loop {
        match catalog.shred(run.id, BATCH, now()).await.expect("it is committed") {
            0 => break,
            done => count += done,
        }
    }
    let took = started.elapsed();
    assert_eq!(count, DUE as u64);
    let started = Instant::now();
    loop {
        let objects = catalog.objects_to_sweep(BATCH).await.expect("it answers");
        if objects.is_empty() {
            break;
        }
        catalog.swept(&objects).await.expect("it answers");
    }
    let swept = started.elapsed();
    catalog.finish_run(run.id, Vec::new()).await.expect("it is committed");
    (took, swept)
}
