//! What an expiry costs for 1,000 and for 100,000 recordings that are due: `cargo bench --bench expire`.
//!
//! Destruction (steps 5 to 8) must not grow with their number, in time or in bytes written to the key store; work per row
//! and per object is reported apart.

use std::path::Path;
use std::sync::Arc;

use callvault::app::{Vault, init};
use callvault::catalog::{Finished, NewRecording, NewTenant, SearchTokens, WrapRow};
use callvault::config::{Config, RawSettings};
use callvault::crypto::keys::{DataKey, KekScope};
use callvault::crypto::random::random;
use callvault::crypto::wrap::Binding;
use callvault::model::{Class, Clock, Completeness, ObjectId, RecordingId, State, TenantNumber, Term, Timestamp};
use jiff::SignedDuration;

#[tokio::main]
async fn main() {
    println!(
        "{:>10}  {:>14}  {:>16}  {:>12}  {:>12}",
        "due", "destruction ms", "key store bytes", "rows ms", "sweep ms"
    );
    for count in [1_000, 100_000] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        run(dir.path(), count).await;
    }
}

async fn run(dir: &Path, count: usize) {
    let config = || {
        let raw = RawSettings { data_dir: Some(dir.join("data")), ..RawSettings::default() };
        Config::check(raw).expect("defaults are sound")
    };
    init(&config()).await.expect("an empty directory");
    let vault = Vault::open(config()).await.expect("it was just made");
    let tenant = NewTenant {
        slug: "bench".parse().expect("a slug"),
        name: "Bench".into(),
        recording: true,
        customer_term: Term::Days(30),
        training_term: Term::Days(30),
        cdr_term: Term::Days(30),
        created_at: vault.clock.now(),
    };
    let tenant = vault.catalog.create_tenant(tenant).await.expect("a new slug").number;
    let vault = Arc::new(vault);
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..64 {
        let (vault, dir) = (vault.clone(), dir.to_owned());
        tasks.spawn(async move {
            for _ in (worker..count).step_by(64) {
                record(&vault, tenant, &dir).await;
            }
        });
    }
    tasks.join_all().await;
    let later = vault.clock.now() + SignedDuration::from_hours(24 * 32);
    let clock: Arc<dyn Clock> = Arc::new(move || later);
    let late = Vault::open_at(config(), clock).await.expect("it was made");
    let report = late.expire.run(Some(later)).await.expect("nothing stands in the way");
    assert_eq!(report.keys_destroyed, count as u64);
    assert_eq!(report.objects_swept, count as u64);
    println!(
        "{count:>10}  {:>14}  {:>16}  {:>12}  {:>12}",
        report.destruction_ms, report.key_store_written_bytes, report.rows_ms, report.sweep_ms
    );
}

/// A stored recording without the way through HTTP: its row, and a small file as its object.
async fn record(vault: &Vault, tenant: TenantNumber, dir: &Path) {
    let now: Timestamp = vault.clock.now();
    let (id, object, data_key) = (RecordingId::new(now, random()), ObjectId(random()), DataKey::random());
    let expires_at = Term::Days(30).ends_at(now);
    let path = vault.keyring.new_path(expires_at).expect("the ring is loaded");
    let scope = KekScope { class: Class::Customer, tenant, subject: id.into(), path };
    let wrap = |plain_len, completeness| {
        let binding = Binding { expires_at, object, plain_len, completeness };
        vault.keyring.wrap(&scope, &data_key, &binding).expect("the path lives")
    };
    let sealed = Some(wrap(None, Completeness::Receiving));
    let recording = NewRecording {
        id,
        tenant,
        received_at: now,
        object,
        name_token: None,
        tokens: SearchTokens::default(),
        label: vec![0; 104],
        wraps: vec![WrapRow { class: Class::Customer, path, expires_at, sealed }],
        call: None,
        resume: None,
        holder: vault.ingest.replica.clone(),
    };
    vault.catalog.begin(recording).await.expect("a free path");
    let name = object.to_string();
    let folder = dir.join("data/objects").join(&name[..2]);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(&name), [0; 100]).expect("a file");
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
        changed_at: now,
        holder: vault.ingest.replica.clone(),
    };
    vault.catalog.finish(finished).await.expect("it was begun");
}
