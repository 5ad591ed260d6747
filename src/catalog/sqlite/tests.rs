//! The conformance suite on SQLite, and what only SQLite promises.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, params_from_iter};
use tempfile::TempDir;

use super::{OpenError, Sqlite, expiry, listing, open, shred};
use crate::catalog::conformance::fixtures::*;
use crate::catalog::conformance::{Backend, conformance};
use crate::catalog::{Catalog, CatalogError, Ending, Listing, SharedCatalog};
use crate::model::{Completeness, Epoch, State, SubjectId, TenantNumber};

struct InFolder(TempDir);

impl InFolder {
    fn empty() -> InFolder {
        InFolder(tempfile::tempdir().expect("there is room for a folder"))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("catalog.db")
    }

    fn sqlite(&self) -> Arc<Sqlite> {
        Arc::new(Sqlite::open(&self.path()).expect("the folder is ours"))
    }

    /// As another process would have it.
    fn raw(&self) -> Connection {
        Connection::open(self.path()).expect("the file is there")
    }
}

impl Backend for InFolder {
    fn open(&self) -> SharedCatalog {
        self.sqlite()
    }
}

conformance!(InFolder::empty);

fn refusal(result: Result<Sqlite, CatalogError>) -> OpenError {
    match result {
        Err(CatalogError::Unavailable(source)) => *source.downcast().expect("refused when it was opened"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[test]
fn missing_catalog_is_not_made_by_opening_an_existing_one() {
    let folder = InFolder::empty();

    let refusal = refusal(Sqlite::open_existing(&folder.path()));

    assert!(matches!(refusal, OpenError::Missing(path) if path == folder.path()));
    assert!(!folder.path().exists());
}

#[test]
fn file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = InFolder::empty();

    let _catalog = folder.sqlite();

    for entry in std::fs::read_dir(folder.0.path()).expect("it is ours") {
        let entry = entry.expect("it is ours");
        let mode = entry.metadata().expect("it is ours").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", entry.path().display());
    }
}

#[test]
fn schema_of_a_newer_program_is_refused() {
    let folder = InFolder::empty();
    drop(folder.sqlite());
    folder.raw().execute_batch("PRAGMA user_version = 99").expect("any number is taken");

    let refusal = refusal(Sqlite::open(&folder.path()));

    assert!(matches!(refusal, OpenError::NewerSchema { found: 99, .. }));
    assert!(refusal.to_string().contains("99"));
}

#[test]
fn file_that_is_no_database_is_damaged() {
    let folder = InFolder::empty();
    std::fs::write(folder.path(), [b'x'; 4096]).expect("there is room");

    assert!(matches!(Sqlite::open(&folder.path()), Err(CatalogError::Damaged(_))));
}

#[test]
fn every_connection_is_durable_and_forgets() {
    let folder = InFolder::empty();
    let _catalog = folder.sqlite();
    let [writer, reader] =
        [open::writer(&folder.path()), open::reader(&folder.path())].map(|db| db.expect("it is there"));

    let expected = [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("secure_delete", "1"),
        ("foreign_keys", "1"),
        ("busy_timeout", "10000"),
    ];
    for (name, value) in expected {
        assert_eq!(open::pragma(&writer, name).expect("it answers"), value, "{name}");
        assert_eq!(open::pragma(&reader, name).expect("it answers"), value, "{name}");
    }
    assert_eq!(open::pragma(&reader, "query_only").expect("it answers"), "1");
    assert!(reader.execute("DELETE FROM sweep", []).is_err());
}

#[tokio::test]
async fn acknowledged_rows_survive_a_process_that_never_closes() {
    let folder = InFolder::empty();
    let (catalog, tenant) = inhabited(&folder).await;
    let new = recording(tenant, at(0));
    keep(&catalog, &new).await;

    // What lies on the disk while the first process still runs is what a `kill -9` leaves.
    let copy = InFolder::empty();
    for name in ["catalog.db", "catalog.db-wal"] {
        std::fs::copy(folder.0.path().join(name), copy.0.path().join(name)).expect("there is room");
    }

    assert_eq!(found(&copy.open(), new.id).await, found(&catalog, new.id).await);
}

#[tokio::test]
async fn queued_verbs_are_carried_out_when_the_catalog_is_dropped() {
    let folder = InFolder::empty();
    let (catalog, tenant) = inhabited(&folder).await;
    let all: Vec<_> = (0..30).map(|_| recording(tenant, at(0))).collect();
    for new in &all {
        let mut begin = Box::pin(catalog.begin(new.clone()));
        // One poll queues it.
        let _ = futures::poll!(&mut begin);
    }
    drop(catalog);

    let receiving = folder.open().in_state(State::Receiving, None, None, 100).await.expect("it answers");
    assert_eq!(receiving.len(), all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_that_queue_together_share_a_commit() {
    const TASKS: u64 = 64;
    const ROUNDS: u64 = 5;
    let folder = InFolder::empty();
    let catalog = folder.sqlite();
    let tenant = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let commits_before = catalog.commits();

    let writing = Arc::clone(&catalog);
    let results = at_once((0..TASKS).collect(), move |_| {
        let catalog = Arc::clone(&writing);
        async move {
            for _ in 0..ROUNDS {
                let new = recording(tenant, at(0));
                let finished = finished(&new, State::Spooled, Completeness::Complete);
                catalog.begin(new).await?;
                catalog.finish(finished).await?;
            }
            Ok(())
        }
    })
    .await;

    assert!(results.iter().all(Result::is_ok));
    let commits = catalog.commits() - commits_before;
    assert!(commits < TASKS * ROUNDS * 2 / 4, "{commits} commits");
    let counts = catalog.counts().await.expect("it answers");
    assert_eq!(counts.recordings, [(State::Spooled, TASKS * ROUNDS)]);
}

#[tokio::test]
async fn verb_that_panics_leaves_nothing_and_the_writer_goes_on() {
    let folder = InFolder::empty();
    let catalog = folder.sqlite();

    let panicked: Result<(), _> = catalog
        .write(|db| {
            db.execute("INSERT INTO sweep VALUES (zeroblob(16))", []).expect("there is room");
            panic!("as a test of panics")
        })
        .await;

    assert!(matches!(panicked, Err(CatalogError::Unavailable(_))));
    catalog.set_replica_generation(&replica("vault-0"), 1, at(0)).await.expect("the writer goes on");
    assert!(catalog.objects_to_sweep(9).await.expect("it answers").is_empty());
}

#[tokio::test]
async fn writes_of_another_process_are_seen() {
    let folder = InFolder::empty();
    let catalog = folder.open();
    let _lease = catalog.enter_replica(&replica("vault-0"), None).await.expect("nobody has the name");

    folder.raw().execute("UPDATE replica SET generation = 9", []).expect("nobody else writes");

    assert_eq!(catalog.replicas().await.expect("it answers")[0].generation, 9);
    catalog.set_replica_generation(&replica("vault-1"), 1, at(0)).await.expect("the lock is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_waits_for_another_process() {
    let folder = InFolder::empty();
    let catalog = folder.open();
    let other = folder.raw();
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");

    let waiting = tokio::spawn({
        let catalog = catalog.clone();
        async move { catalog.set_replica_generation(&replica("vault-0"), 1, at(0)).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    assert!(catalog.replicas().await.expect("readers do not wait").is_empty());
    other.execute_batch("COMMIT").expect("nothing was written");

    waiting.await.expect("it did not panic").expect("the lock came free");
}

#[tokio::test]
async fn full_disk_is_told_and_later_room_is_used() {
    let folder = InFolder::empty();
    let catalog = folder.sqlite();
    let tenant = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let pages_max = |pages: String| {
        let catalog = Arc::clone(&catalog);
        async move {
            let set = catalog.write(move |db| Ok(db.query_row(&pages, [], |row| row.get::<_, i64>(0)))).await;
            set.expect("the writer answers").expect("SQLite knows it")
        }
    };
    // SQLite takes no limit below the size of the file, so that this is exactly its size.
    pages_max("PRAGMA max_page_count = 1".into()).await;

    let mut acknowledged = Vec::new();
    let refused = loop {
        let mut new = recording(tenant, at(0));
        new.label = vec![1; 2_000];
        match catalog.begin(new.clone()).await {
            Ok(()) => acknowledged.push(new.id),
            Err(error) => break (new, error),
        }
    };

    assert!(matches!(refused.1, CatalogError::Full(_)), "{:?}", refused.1);
    assert!(catalog.recording(None, refused.0.id).await.expect("reads go on").is_none());
    pages_max("PRAGMA max_page_count = 1000000".into()).await;
    catalog.begin(refused.0).await.expect("there is room again");
    let receiving = catalog.in_state(State::Receiving, None, None, 1_000).await.expect("it answers");
    assert_eq!(receiving.len(), acknowledged.len() + 1);
}

#[tokio::test]
async fn nulled_secrets_are_not_in_the_file_after_a_checkpoint() {
    const MARKER: &[u8; 24] = b"mark of a sealed secret!";
    let folder = InFolder::empty();
    let (catalog, tenant) = inhabited(&folder).await;
    let mut ids = Vec::new();
    for index in 0..400 {
        let mut new = recording(tenant, at(index));
        new.label = MARKER.repeat(1 + index as usize % 9);
        let mut finished = finished(&new, State::Stored, Completeness::Complete);
        finished.wraps[0].1[..24].copy_from_slice(MARKER);
        catalog.begin(new.clone()).await.expect("the row is new");
        catalog.finish(finished).await.expect("it is being received");
        ids.push(new.id);
    }
    checkpoint(&folder);
    assert!(occurrences(&folder, MARKER) > 400, "the marker is found while it is there");

    for (index, id) in ids.iter().enumerate() {
        let ending = if index % 2 == 0 { Ending::Delete } else { Ending::Erase };
        catalog.end(*id, ending, at(1_000)).await.expect("it is alive");
    }
    checkpoint(&folder);

    assert_eq!(occurrences(&folder, MARKER), 0);
}

fn checkpoint(folder: &InFolder) {
    let busy = folder.raw().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    assert_eq!(busy.expect("it answers"), 0);
}

fn occurrences(folder: &InFolder, marker: &[u8]) -> usize {
    let count = |path: &Path| {
        let bytes = std::fs::read(path).expect("it is ours");
        bytes.windows(marker.len()).filter(|window| *window == marker).count()
    };
    std::fs::read_dir(folder.0.path()).expect("it is ours").map(|entry| count(&entry.expect("it is ours").path())).sum()
}

#[tokio::test]
async fn held_recording_is_guarded_and_never_shredded() {
    let folder = InFolder::empty();
    let (catalog, tenant) = inhabited(&folder).await;
    let mut held = recording(tenant, at(0));
    held.call = Some(call(vec![wrap(crate::model::Class::Cdr, days(90))]));
    let other = recording(tenant, at(0));
    keep(&catalog, &held).await;
    keep(&catalog, &other).await;
    folder.raw().execute("UPDATE recording SET state = 3 WHERE id = ?1", [held.id.as_bytes()]).expect("it is there");
    let floor = Epoch::of(days(91));

    let guarded = catalog.guarded_row(floor, days(50)).await.expect("it answers").expect("it is held");
    assert_eq!((guarded.subject, guarded.is_held), (SubjectId::from(held.id), true));
    assert!(matches!(catalog.end(held.id, Ending::Erase, days(1)).await, Err(CatalogError::WrongState)));
    catalog.offboard_tenant(tenant, days(2)).await.expect("it is there");
    let run = committed_run(&catalog, floor).await;
    assert_eq!(shredded(&catalog, &run, 10).await, 1);

    let found = found(&catalog, held.id).await;
    assert_eq!(found.state, State::Held);
    assert!(found.wraps[0].sealed.is_some() && found.call.expect("it has one").blob.is_some());
    assert_eq!(catalog.in_state(State::Held, None, None, 9).await.expect("it answers").len(), 1);
}

/// Every step of SQLite's plan, one a line.
fn plan(db: &Connection, sql: &str, values: Vec<rusqlite::types::Value>) -> String {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).expect("it is SQL");
    let steps = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).expect("it is SQL");
    steps.map(|step| step.expect("it is text")).collect::<Vec<_>>().join("\n")
}

fn assert_plan(plan: &str, expected: &[&str]) {
    for step in expected {
        assert!(plan.contains(step), "no '{step}' in:\n{plan}");
    }
    assert!(!plan.lines().any(|step| step.starts_with("SCAN r") || step.starts_with("SCAN w")), "{plan}");
}

#[test]
fn listings_are_read_from_their_indexes() {
    let folder = InFolder::empty();
    let _catalog = folder.sqlite();
    let db = folder.raw();
    let plan_of = |listing: Listing| {
        let query = listing::query(&listing);
        plan(&db, &query.sql, query.values)
    };
    let after = Some((at(9), recording(TenantNumber(1), at(0)).id));
    let by_time =
        Listing { tenant: Some(TenantNumber(1)), after, alive_at: Some(at(0)), limit: 50, ..Listing::default() };
    let tokens = Some((0..397).map(|_| bytes16()).collect::<Vec<_>>());

    let by_time_plan = plan_of(by_time.clone());
    assert_plan(&by_time_plan, &["recording_by_time (tenant=? AND gone=? AND (received_at,id)<(?,?))"]);
    assert!(!by_time_plan.contains("TEMP B-TREE"), "{by_time_plan}");
    let of_all_plan = plan_of(Listing { tenant: None, ..by_time.clone() });
    assert_plan(&of_all_plan, &["recording_by_age (gone=? AND (received_at,id)<(?,?))"]);
    assert!(!of_all_plan.contains("TEMP B-TREE"), "{of_all_plan}");
    let by_number = plan_of(Listing { numbers: tokens.clone(), ..by_time.clone() });
    assert_plan(
        &by_number,
        &["recording_by_a (a_token=?)", "recording_by_b (b_token=?)", "SEARCH r USING PRIMARY KEY"],
    );
    let by_call_id = plan_of(Listing { call_ids: tokens, ..by_time });
    assert_plan(&by_call_id, &["recording_by_call_id (call_token=?)", "SEARCH r USING PRIMARY KEY"]);
    let by_name = listing::name_query(TenantNumber(1), &[bytes16(); 13]);
    assert_plan(&plan(&db, &by_name.sql, by_name.values), &["recording_by_name (tenant=? AND name_token=?)"]);
}

#[test]
fn due_wraps_are_read_from_their_indexes() {
    let folder = InFolder::empty();
    let _catalog = folder.sqlite();
    let db = folder.raw();

    assert_plan(
        &plan(&db, shred::DUE, vec![1.into(), 1.into()]),
        &["wrap_due (epoch<?)", "recording_by_call (call=?)"],
    );
    assert!(!plan(&db, shred::DUE, vec![1.into(), 1.into()]).contains("TEMP B-TREE"));
    assert_plan(&plan(&db, shred::OF_TENANT, vec![1.into(), 1.into()]), &["wrap_by_tenant (tenant=?)"]);
    assert_plan(&plan(&db, shred::QUEUED, vec![1.into(), 1.into()]), &["puncture_by_run (run=? AND id<?)"]);
    let [of_recordings, of_calls] = expiry::GUARDED.map(|sql| plan(&db, sql, vec![1.into(), 1.into()]));
    assert_plan(&of_recordings, &["wrap_due (epoch<?)", "SEARCH r USING PRIMARY KEY (id=?)"]);
    assert_plan(&of_calls, &["wrap_due (epoch<?)", "recording_by_call (call=?)"]);
}
