//! The conformance suite, and what only this backend has: partitions, the mark, restarts of the database, plans.

#[path = "../../../tests/it/support/postgres.rs"]
mod cluster;
mod plans;
mod restarts;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::Handle;

use self::cluster::{Cluster, column, run};
use super::partitions::{AHEAD, PERIOD_EPOCHS};
use super::*;
use crate::catalog::Access;
use crate::catalog::conformance::{Backend, conformance, fixtures::*};
use crate::model::{Class, Completeness, SubjectId};

/// A database of its own in the cluster of all tests.
struct InDatabase(String);

fn limits() -> Limits {
    Limits {
        pool_max: 8,
        statement_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(5),
        gone_keep: Duration::from_secs(9_600 * 3_600),
    }
}

fn settings(url: &str) -> Settings {
    Settings::parse(url, None, limits()).expect("a sound URL")
}

impl InDatabase {
    /// With the schema and its partitions, copied from one in which they were made.
    fn empty() -> InDatabase {
        static TEMPLATE: OnceLock<String> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let url = Cluster::shared().empty();
            let made = InDatabase(url.clone());
            drop(made.postgres());
            let name = url.rsplit('/').next().expect("a database").to_owned();
            // The pool's connections close a little later.
            let idle = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
            while column(&format!("{}/postgres", Cluster::shared().server), &idle) != ["0"] {
                std::thread::sleep(Duration::from_millis(5));
            }
            name
        });
        InDatabase(Cluster::shared().database(template))
    }

    fn postgres(&self) -> Arc<Postgres> {
        let open = async { Arc::new(Postgres::open(&settings(&self.0)).await.expect("the database is ours")) };
        match Handle::try_current() {
            Ok(handle) => tokio::task::block_in_place(|| handle.block_on(open)),
            Err(_) => tokio::runtime::Runtime::new().expect("a runtime").block_on(open),
        }
    }

    fn column(&self, sql: &str) -> Vec<String> {
        column(&self.0, sql)
    }
}

impl Backend for InDatabase {
    fn open(&self) -> SharedCatalog {
        self.postgres()
    }
}

use crate::catalog::SharedCatalog;

conformance!(InDatabase::empty);

fn refusal(result: Result<Postgres>) -> OpenError {
    match result {
        Err(CatalogError::Unavailable(source)) => *source.downcast().expect("refused when it was opened"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn a_database_without_a_vault_is_not_made_one_by_opening_an_existing_one() {
    let url = Cluster::shared().empty();

    let refusal = refusal(Postgres::open_existing(&settings(&url)).await);

    assert!(matches!(refusal, OpenError::Missing(_)));
    assert!(column(&url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn schema_of_a_newer_program_is_refused() {
    let database = InDatabase::empty();
    run(&database.0, "INSERT INTO schema_version (version) VALUES (99)");

    let refusal = refusal(Postgres::open(&settings(&database.0)).await);

    assert!(matches!(refusal, OpenError::NewerSchema { found: 99, .. }));
    assert!(refusal.to_string().contains("99"));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_start_at_once_migrate_once() {
    let url = Cluster::shared().empty();

    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let url = url.clone();
        opening.spawn(async move { Postgres::open(&settings(&url)).await.map(drop) });
    }

    for opened in opening.join_all().await {
        opened.expect("it waited for the others");
    }
    let migrations = open::MIGRATIONS.len();
    assert_eq!(column(&url, "SELECT count(*) FROM schema_version"), [migrations.to_string()]);
    let partitions = column(&url, "SELECT count(*) FROM pg_class WHERE relname ~ '^wrap_p[0-9]+$'");
    assert_eq!(partitions, [(AHEAD + 1).to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_before_its_log_is_synced_is_set_right() {
    let database = InDatabase::empty();
    let name = database.0.rsplit('/').next().expect("a database");
    Cluster::shared().admin(&format!("ALTER DATABASE {name} SET synchronous_commit = off"));

    let catalog = database.postgres();

    let shown = catalog.pool.read(|db| async move { db.first("SHOW synchronous_commit", &[]).await }).await;
    assert_eq!(shown.expect("it answers").expect("a row").get::<_, String>(0), "on");
    assert!(catalog.describe().contains("synchronous_commit=on"), "{}", catalog.describe());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_that_is_asked_for_is_never_done_without() {
    let url = InDatabase::empty().0;
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = Postgres::open(&settings(&format!("{url}?sslmode={mode}"))).await.err().expect("it has no TLS");
        let text = crate::model::error::chain(&refused);
        assert!(text.contains("TLS") && !text.contains("secret"), "{text}");
    }
    assert!(Postgres::open(&settings(&format!("{url}?sslmode=prefer"))).await.is_ok());
}

/// A recording whose last wrap lies in the n-th period after the one of `at(0)`, and the epoch in which that ends.
fn in_period(tenant: TenantNumber, periods: i64) -> NewRecording {
    let mut new = recording(tenant, at(0));
    new.wraps = vec![wrap(Class::Customer, days(28 * periods))];
    new
}

fn period_of(new: &NewRecording) -> u32 {
    new.wraps[0].path.epoch.number() / PERIOD_EPOCHS as u32
}

async fn run_to(catalog: &SharedCatalog, floor: Epoch) {
    let run = committed_run(catalog, floor).await;
    shredded(catalog, &run, 1_000).await;
    catalog.finish_run(run.id, Vec::new()).await.expect("it is committed");
}

fn end_of(period: u32) -> Epoch {
    Epoch::new((period + 1) * PERIOD_EPOCHS as u32).expect("below 2^20")
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_without_a_partition_lie_in_the_rest_and_are_moved_by_the_next_look() {
    let database = InDatabase::empty();
    let (catalog, tenant) = inhabited(&database).await;
    let mut new = in_period(tenant, 4);
    new.call = Some(call(vec![wrap(Class::Cdr, days(200))]));
    keep(&catalog, &new).await;
    let before = (found(&catalog, new.id).await, catalog.counts().await.expect("it answers"));
    assert_eq!(database.column("SELECT count(*) FROM recording_rest"), ["1"]);

    let again = database.open();

    for table in ["recording", "content", "call", "wrap"] {
        assert_eq!(database.column(&format!("SELECT count(*) FROM {table}_rest")), ["0"], "{table}");
    }
    let after = (found(&again, new.id).await, again.counts().await.expect("it answers"));
    assert_eq!(after, before);
    let mut second = recording(tenant, at(1));
    second.name_token = new.name_token;
    assert!(matches!(again.begin(second).await, Err(CatalogError::NameTaken)));
}

/// What pg_dump holds from its beginning to its end: every table, for reading.
async fn dump(database: &InDatabase) -> Session {
    let session = database.postgres().pool.session().await.expect("it answers");
    let every = "BEGIN; DO $$ DECLARE t regclass; BEGIN
        FOR t IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace
            LOOP EXECUTE format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', t); END LOOP; END $$";
    session.batch(every).await.expect("it is locked");
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_the_database_puts_partitions_off_and_keeps_nobody_out() {
    let database = InDatabase::empty();
    let (catalog, tenant) = inhabited(&database).await;
    let dump = dump(&database).await;
    let late = in_period(tenant, 5);
    keep(&catalog, &late).await;
    let left = || database.column("SELECT count(*) FROM recording_rest");

    let opened = database.open();

    assert_eq!(left(), ["1"]);
    assert_eq!(found(&opened, late.id).await.id, late.id);
    dump.batch("ROLLBACK").await.expect("it ends");
    dump.settle();
    let again = database.open();
    assert_eq!((left(), found(&again, late.id).await.id), (vec!["0".to_owned()], late.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_through_while_a_dump_reads_every_table() {
    let database = InDatabase::empty();
    let (catalog, tenant) = inhabited(&database).await;
    let (first, second) = (in_period(tenant, 4), in_period(tenant, 6));
    keep(&catalog, &first).await;
    keep(&catalog, &second).await;
    run_to(&catalog, end_of(period_of(&first))).await;
    let dump = dump(&database).await;

    run_to(&catalog, end_of(period_of(&second))).await;

    assert_eq!(found(&catalog, second.id).await.state, State::Shredded);
    assert_eq!(database.column("SELECT count(*) FROM died"), ["2"], "what could not be emptied waits for the next run");
    dump.batch("ROLLBACK").await.expect("it ends");
    dump.settle();
    let third = in_period(tenant, 8);
    keep(&catalog, &third).await;
    run_to(&catalog, end_of(period_of(&third))).await;
    assert_eq!(database.column("SELECT count(*) FROM died"), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_period_is_dropped_and_what_was_in_it_is_told_as_gone() {
    let database = InDatabase::empty();
    let (catalog, tenant) = inhabited(&database).await;
    let (mut dead, alive) = (in_period(tenant, 4), in_period(tenant, 8));
    dead.call = Some(call(vec![wrap(Class::Cdr, days(28 * 8))]));
    keep(&catalog, &dead).await;
    keep(&catalog, &alive).await;
    let catalog = database.open();
    let tables = |kind: &str| {
        database.column(&format!("SELECT relname FROM pg_class WHERE relname = '{kind}_p{}'", period_of(&dead)))
    };
    assert_eq!(tables("wrap").len(), 1);

    run_to(&catalog, end_of(period_of(&dead))).await;

    assert!(tables("wrap").is_empty() && tables("content").is_empty() && tables("call").is_empty());
    assert_eq!(tables("recording").len(), 1);
    let gone = found(&catalog, dead.id).await;
    assert_eq!((gone.state, gone.changed_at, gone.label), (State::Shredded, days(100), None));
    assert_eq!((gone.wraps[0].expires_at, gone.wraps[0].sealed), (dead.wraps[0].expires_at, None));
    assert!(gone.call.expect("it lives longer").blob.is_some());
    assert_eq!(found(&catalog, alive.id).await.state, State::Stored);
    assert_eq!(to_sweep(&catalog).await, [dead.object]);
    let counts = catalog.counts().await.expect("it answers");
    assert_eq!(counts.recordings, [(State::Stored, 1), (State::Shredded, 1)]);
    let told = Listing { state: Some(State::Shredded), limit: 9, ..Listing::default() };
    assert_eq!(catalog.list(told).await.expect("it answers").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_is_forgotten_when_it_was_gone_for_as_long_as_is_set() {
    let database = InDatabase::empty();
    let (catalog, tenant) = inhabited(&database).await;
    let (dead, alive) = (in_period(tenant, 4), in_period(tenant, 40));
    keep(&catalog, &dead).await;
    keep(&catalog, &alive).await;
    let catalog = database.open();

    let kept = end_of(period_of(&dead)).saturating_add(9_600);
    run_to(&catalog, Epoch::new(kept.number() - 1).expect("below 2^20")).await;
    assert_eq!(found(&catalog, dead.id).await.state, State::Shredded);
    run_to(&catalog, kept).await;

    assert!(catalog.recording(None, dead.id).await.expect("it answers").is_none());
    let counts = catalog.counts().await.expect("it answers");
    assert_eq!(counts.recordings, [(State::Stored, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_recording_is_guarded_never_shredded_and_keeps_its_partition() {
    let database = InDatabase::empty();
    let (catalog, tenant) = inhabited(&database).await;
    let mut held = in_period(tenant, 4);
    held.call = Some(call(vec![wrap(Class::Cdr, days(28 * 4))]));
    let other = in_period(tenant, 4);
    keep(&catalog, &held).await;
    keep(&catalog, &other).await;
    let (id, never) = (uuid::Uuid::from_bytes(*held.id.as_bytes()), super::rows::Place::NEVER.epoch);
    run(
        &database.0,
        &format!(
            "UPDATE recording SET state = 3, ends = {never} WHERE id = '{id}'; UPDATE content SET ends = {never} WHERE id = '{id}'"
        ),
    );
    let catalog_after = database.open();
    let floor = end_of(period_of(&held));

    let guarded = catalog.guarded_row(floor, days(50)).await.expect("it answers").expect("it is held");
    assert!(guarded.is_held);
    assert!([SubjectId::from(held.id), held.call.as_ref().expect("it has one").id.into()].contains(&guarded.subject));
    assert!(matches!(catalog.end(held.id, Ending::Erase, days(1)).await, Err(CatalogError::WrongState)));
    catalog.offboard_tenant(tenant, days(2)).await.expect("it is there");
    let run = committed_run(&catalog, floor).await;
    assert_eq!(shredded(&catalog, &run, 10).await, 1);
    catalog.finish_run(run.id, Vec::new()).await.expect("it is committed");

    let found = found(&catalog_after, held.id).await;
    assert_eq!(found.state, State::Held);
    assert!(found.wraps[0].sealed.is_some() && found.call.expect("it has one").blob.is_some());
    assert_eq!(catalog.in_state(State::Held, None, None, 9).await.expect("it answers").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_the_same_after_their_changes_were_added_up() {
    let database = InDatabase::empty();
    let (catalog, tenant) = inhabited(&database).await;
    for second in 0..5 {
        keep(&catalog, &recording(tenant, at(second))).await;
    }
    let deleted = recording(tenant, at(9));
    keep(&catalog, &deleted).await;
    catalog.end(deleted.id, Ending::Delete, at(10)).await.expect("it is alive");
    let before = catalog.counts().await.expect("it answers");

    database.postgres().tend().await;

    assert_eq!(catalog.counts().await.expect("it answers"), before);
    assert_eq!(database.column("SELECT count(*) FROM tally"), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verb_that_fails_leaves_its_connection_fit_for_the_next() {
    let database = InDatabase::empty();
    let mut few = settings(&database.0);
    few.limits.pool_max = 1;
    let catalog = Postgres::open(&few).await.expect("the database is ours");

    let panicked = catalog.pool.write(|db| async move {
        db.execute("INSERT INTO sweep VALUES (gen_random_uuid())", &[]).await?;
        if db.batch("SELECT 1").await.is_ok() {
            panic!("as a test of panics");
        }
        Ok(())
    });

    assert!(matches!(panicked.await, Err(CatalogError::Unavailable(_))));
    assert!(matches!(
        catalog.revoke_token(crate::model::TokenId::from_bytes([1; 16]), at(0)).await,
        Err(CatalogError::NotFound)
    ));
    assert!(catalog.objects_to_sweep(9).await.expect("it answers").is_empty());
}
