//! Plans on a million rows: listings, searches and the steps of a run read indexes, and no table from end to end.

use super::*;
use crate::catalog::postgres::{expiry, listing, recordings, shred};
use tokio_postgres::types::ToSql;

/// Recordings of 50 tenants, in ten periods of which two are dead, and most of a third; made by the database: a million in a
/// minute.
const ROWS: &str = "
    INSERT INTO tenant SELECT n, 't' || n, 'T', true, '90d', '30d', '90d', 0 FROM generate_series(1, 50) n;
    ALTER TABLE recording DISABLE TRIGGER USER;
    CREATE TEMPORARY TABLE made AS SELECT n, md5('r' || n)::uuid AS id, 1 + n % 50 AS tenant,
        (FIRST + n * 6720::bigint / COUNT)::integer AS epoch, n::bigint AS tag FROM generate_series(1, COUNT - 1) n;
    INSERT INTO recording (id, tenant, state, gone, completeness, received_at, changed_at, plain_len, object, sealed_len, digest,
        customer_until, customer_epoch, ends, ends_tree, ends_tag)
    SELECT id, tenant, 2, false, 1, n, n, 1000, md5('o' || n)::uuid, 1088, '\\x00', 1704067200 + epoch::bigint * 3600, epoch, epoch, 1, tag
        FROM made;
    INSERT INTO content (id, ends, tenant, name_token, a_token, b_token, call_token)
    SELECT id, epoch, tenant, md5('n' || n)::uuid, md5('a' || n / 10)::uuid, md5('b' || n)::uuid, md5('c' || n)::uuid FROM made;
    INSERT INTO wrap (subject, class, tenant, tree, epoch, tag, expires_at, received_at, sealed)
    SELECT id, 1, tenant, 1, epoch, tag, 1704067200 + epoch::bigint * 3600, n, '\\x00' FROM made;
    INSERT INTO tally VALUES (0, 2, COUNT, 0);
    UPDATE shredded SET epoch = FIRST + 1944;
    ANALYZE recording; ANALYZE content; ANALYZE wrap";

fn uuids(kind: &str, count: usize) -> Vec<uuid::Uuid> {
    (0..count).map(|n| uuid::Uuid::from_bytes(<md5::Md5 as md5::Digest>::digest(format!("{kind}{n}")).into())).collect()
}

/// Every step of a plan that was carried out, with what it really read.
async fn plan(db: &Session, sql: &str, params: &[&(dyn ToSql + Sync)]) -> String {
    let rows = db.all_once(&format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {sql}"), params).await.expect("it is SQL");
    rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>().join("\n")
}

const BIG: [&str; 4] = ["recording_p", "content_p", "call_p", "wrap_p"];

/// That no partition of a big table is read from end to end, nothing is sorted that an index could give in order, and the whole
/// takes few pages.
fn assert_reads_indexes(what: &str, plan: &str, pages_max: u64) {
    for line in plan.lines().filter(|line| line.contains("Seq Scan") && !line.contains("never executed")) {
        assert!(!BIG.iter().any(|table| line.contains(table)), "{what}: {line}\n{plan}");
    }
    let buffers = plan.lines().find(|line| line.trim_start().starts_with("Buffers:")).unwrap_or_default();
    let pages: u64 = buffers.split(['=', ' ']).filter_map(|part| part.parse::<u64>().ok()).sum();
    assert!(pages <= pages_max, "{what}: {pages} pages\n{plan}");
}

/// That no more rows are looked at than what is looked for has: those that a step gave and those that it threw away.
fn assert_looks_at_few(what: &str, plan: &str, rows_max: u64) {
    let number = |line: &str, name: &str| {
        let rest = line.split_once(name)?.1;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    let (mut rows, mut loops) = (0, 1);
    for line in plan.lines() {
        if let Some((_, actual)) = line.split_once("(actual ") {
            loops = number(actual, "loops=").unwrap_or(1);
            rows += if line.contains("Scan") { number(actual, "rows=").unwrap_or(0) * loops } else { 0 };
        }
        rows += number(line, "Rows Removed by Filter: ").unwrap_or(0) * loops;
        rows += number(line, "Rows Removed by Join Filter: ").unwrap_or(0) * loops;
    }
    assert!(rows <= rows_max, "{what}: {rows} rows\n{plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_are_listed_searched_and_passed_by_their_indexes() {
    assert_plans_of(50_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the rows take a minute: cargo test --lib a_million_recordings -- --ignored"]
async fn a_million_recordings_are_listed_searched_and_passed_by_their_indexes() {
    assert_plans_of(1_000_000).await;
}

async fn assert_plans_of(count: u64) {
    let database = InDatabase::empty();
    let catalog = database.postgres();
    let first = database
        .column("SELECT min(substring(relname from 7)::integer) * 672 FROM pg_class WHERE relname ~ '^wrap_p[0-9]+$'");
    run(&database.0, &ROWS.replace("FIRST", &first[0]).replace("COUNT", &count.to_string()));
    let tenant = Some(TenantNumber(7));
    let alive_at = Some(Timestamp::from_second(1_704_067_200).expect("an instant"));
    let after = Some((
        Timestamp::from_millisecond(count as i64 * 6 / 10).expect("an instant"),
        recording(TenantNumber(1), at(0)).id,
    ));
    let by_time = Listing { tenant, alive_at, after, limit: 50, ..Listing::default() };
    // The newest, which live: a token of 'a' is ten recordings', one of 'c' is one's.
    let tokens = |kind, count: u64| {
        Some(uuids(kind, count as usize).into_iter().rev().take(397).map(uuid::Uuid::into_bytes).collect::<Vec<_>>())
    };

    let db = catalog.pool.session().await.expect("it answers");
    let listings = [
        ("by time", by_time.clone(), 2_500),
        ("of all tenants", Listing { tenant: None, ..by_time.clone() }, 2_500),
        ("stored", Listing { state: Some(State::Stored), ..by_time.clone() }, 2_500),
        ("of a class", Listing { class: Some(Class::Customer), ..by_time.clone() }, 2_500),
        ("by number", Listing { numbers: tokens("a", count / 10), after: None, ..by_time.clone() }, 60_000),
        ("by call id", Listing { call_ids: tokens("c", count), after: None, ..by_time }, 60_000),
    ];
    for (what, listing, pages_max) in listings {
        let query = listing::query(&listing);
        let plan = plan(&db, &query.sql, &query.params()).await;
        assert_reads_indexes(what, &plan, pages_max);
        // A page of 50 and what belongs to it; or the hits of 397 tokens, of which a number has ten.
        assert_looks_at_few(what, &plan, if pages_max > 2_500 { 20_000 } else { 1_000 });
    }
    let id = uuids("r", 40_001)[40_000];
    let sql = format!("SELECT {} FROM recording r {} WHERE r.id = $1", recordings::COLUMNS, recordings::JOINS);
    assert_reads_indexes("one", &plan(&db, &sql, &[&id]).await, 200);
    // Names that this tenant has not, as is the rule when an upload begins.
    let named = &uuids("n", count as usize)[count as usize - 13..];
    let by_name = plan(&db, &listing::name_sql(), &[&7_i64, &named]).await;
    assert_reads_indexes("by name", &by_name, 1_000);
    assert_looks_at_few("by name", &by_name, 50);
    let unfinished = listing::state_sql(State::Spooled, "");
    assert_reads_indexes("spooled", &plan(&db, &unfinished, &[&uuid::Uuid::nil(), &100_i64]).await, 200);
    let stored = listing::state_sql(State::Stored, "");
    assert_reads_indexes("all stored", &plan(&db, &stored, &[&uuid::Uuid::nil(), &100_i64]).await, 6_000);
    let floor = first[0].parse::<i32>().expect("a number") + 1_944 + 48;
    for sql in expiry::GUARDED {
        assert_reads_indexes("guarded", &plan(&db, sql, &[&floor, &(2 * count as i64)]).await, 60_000);
    }
    db.batch("BEGIN").await.expect("it answers");
    let pass = plan(&db, shred::PASS, &[&1_i64, &(floor - 48), &0_i32, &0_i64, &floor, &1_000_i64]).await;
    assert_reads_indexes("passed", &pass, 40_000);
    let of_tenant = plan(&db, shred::OF_TENANT, &[&1_i64, &7_i64, &1_000_i64]).await;
    assert_reads_indexes("of a tenant", &of_tenant, 60_000);
    db.batch("ROLLBACK").await.expect("it answers");
    db.settle();
    let started = std::time::Instant::now();
    let counts = catalog.counts().await.expect("it answers");
    assert_eq!(counts.count(State::Stored), count);
    assert!(started.elapsed() < Duration::from_secs(1), "counting reads no table");
}
