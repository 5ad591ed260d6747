//! Audit trails: chains without gaps and forks, pages, checkpoints, cuts.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{CheckpointRow, SharedCatalog, TrailHead, TrailQuery, TrailRow};
use crate::crypto::trail::{entry_hash, genesis};
use crate::model::trail::{Action, Entry, HOUSE, Who};
use crate::model::{RecordingId, TenantNumber, Timestamp};

fn entry(at: Timestamp, action: Action) -> Entry {
    Entry::new(at, action, Who::operator(1_000))
}

async fn append(catalog: &SharedCatalog, tenant: TenantNumber, entry: Entry) -> u64 {
    let numbers = catalog.append_trail(vec![(tenant, entry)]).await.expect("there is room");
    assert_eq!(numbers.len(), 1);
    numbers[0]
}

async fn all(catalog: &SharedCatalog, tenant: TenantNumber) -> Vec<TrailRow> {
    catalog.trail_after(tenant, 0, 10_000).await.expect("it answers")
}

fn query(tenant: TenantNumber) -> TrailQuery {
    TrailQuery { tenant, recording: None, action: None, from: None, to: None, below: None, limit: 100 }
}

async fn numbers(catalog: &SharedCatalog, query: TrailQuery) -> Vec<u64> {
    catalog.trail(query).await.expect("it answers").into_iter().map(|row| row.seq).collect()
}

/// Numbers without a gap from 1, each hash over the one before, and the head at the end.
async fn assert_chained(catalog: &SharedCatalog, tenant: TenantNumber) {
    let mut head = TrailHead { seq: 0, hash: genesis(tenant) };
    for row in all(catalog, tenant).await {
        assert_eq!((row.tenant, row.seq), (tenant, head.seq + 1));
        assert_eq!(row.hash, entry_hash(tenant, row.seq, &head.hash, &row.text));
        head = TrailHead { seq: row.seq, hash: row.hash };
    }
    assert_eq!(catalog.trail_head(tenant).await.expect("it answers"), Some(head).filter(|head| head.seq > 0));
}

pub async fn entries_read_back_as_written_and_chained(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let recording = RecordingId::from_bytes(bytes16());
    let first = entry(at(1), Action::Play).of(recording).because("a 'quoted' \"reason\" ✓\u{0}\\");
    assert_eq!(catalog.trail_head(tenant).await.expect("it answers"), None);

    assert_eq!(append(&catalog, tenant, first.clone()).await, 1);
    assert_eq!(append(&catalog, tenant, entry(at(2), Action::List)).await, 2);

    let rows = all(&backend.open(), tenant).await;
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].at, rows[0].action.as_str(), rows[0].recording), (at(1), "play", Some(recording)));
    assert_eq!(rows[0].text, first.to_text());
    assert_chained(&catalog, tenant).await;
}

pub async fn each_tenant_and_the_house_have_a_chain_of_their_own(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;

    let mixed = [tenant, HOUSE, other, tenant, HOUSE].map(|tenant| (tenant, entry(at(1), Action::Show)));
    let numbers = catalog.append_trail(mixed.to_vec()).await.expect("there is room");

    assert_eq!(numbers, [1, 1, 1, 2, 2]);
    assert_eq!(catalog.trail_tenants().await.expect("it answers"), [HOUSE, tenant, other]);
    for tenant in [HOUSE, tenant, other] {
        assert_chained(&catalog, tenant).await;
    }
}

pub async fn servers_that_append_at_once_make_no_fork_and_no_gap(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let servers = [catalog.clone(), backend.open(), backend.open()];

    let inputs = (0..300).map(|number| (servers[number % 3].clone(), [tenant, other][number % 2])).collect();
    let results = at_once(inputs, |(server, tenant)| async move {
        server.append_trail(vec![(tenant, entry(at(3), Action::Show)), (HOUSE, entry(at(3), Action::Other))]).await?;
        Ok(())
    })
    .await;

    assert!(results.iter().all(Result::is_ok), "{results:?}");
    for (tenant, count) in [(tenant, 150), (other, 150), (HOUSE, 300)] {
        assert_eq!(all(&catalog, tenant).await.len(), count);
        assert_chained(&catalog, tenant).await;
    }
}

pub async fn append_whose_caller_leaves_is_whole_or_absent(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    for number in 0..50 {
        let entries = vec![(tenant, entry(at(number), Action::Show)), (tenant, entry(at(number), Action::Play))];
        let appending = catalog.append_trail(entries);
        let _ = tokio::time::timeout(std::time::Duration::from_micros(40 * number as u64), appending).await;
    }

    append(&catalog, tenant, entry(at(99), Action::List)).await;

    let rows = all(&catalog, tenant).await;
    assert_eq!(rows.len() % 2, 1);
    assert!(rows.chunks(2).filter(|pair| pair.len() == 2).all(|pair| pair[0].at == pair[1].at));
    assert_chained(&catalog, tenant).await;
}

pub async fn pages_of_a_trail_are_newest_first_and_filtered(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let recordings = [RecordingId::from_bytes(bytes16()), RecordingId::from_bytes(bytes16())];
    for number in 1..=20 {
        let action = if number % 2 == 0 { Action::Play } else { Action::Show };
        // Clocks of two servers: one is a minute behind.
        let time = at(3_600 * number - if number % 3 == 0 { 60 } else { 0 });
        append(&catalog, tenant, entry(time, action).of(recordings[number as usize % 2])).await;
    }

    assert_eq!(numbers(&catalog, query(tenant)).await, (1..=20).rev().collect::<Vec<_>>());
    let page = TrailQuery { below: Some(6), limit: 3, ..query(tenant) };
    assert_eq!(numbers(&catalog, page).await, [5, 4, 3]);
    let plays = TrailQuery { action: Some(Action::Play), limit: 3, ..query(tenant) };
    assert_eq!(numbers(&catalog, plays).await, [20, 18, 16]);
    let of_one = TrailQuery { recording: Some(recordings[1]), below: Some(5), ..query(tenant) };
    assert_eq!(numbers(&catalog, of_one).await, [3, 1]);
    let span = |from, to| TrailQuery { from, to, ..query(tenant) };
    assert_eq!(numbers(&catalog, span(Some(at(3_600 * 4)), Some(at(3_600 * 7)))).await, [6, 5, 4]);
    assert_eq!(numbers(&catalog, span(Some(at(3_600 * 9)), None)).await, (10..=20).rev().collect::<Vec<_>>());
    assert_eq!(numbers(&catalog, span(None, Some(at(3_600)))).await, [0; 0]);
    assert_eq!(numbers(&catalog, span(Some(at(3_600 * 99)), None)).await, [0; 0]);
    let both = TrailQuery { action: Some(Action::Show), ..span(Some(at(3_600 * 4)), Some(at(3_600 * 8))) };
    assert_eq!(numbers(&catalog, both).await, [7, 5]);
    assert_eq!(numbers(&catalog, query(HOUSE)).await, [0; 0]);
}

pub async fn cut_removes_what_is_old_and_leaves_the_chain_behind_it(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    for number in 1..=10 {
        append(&catalog, tenant, entry(days(number), Action::Show)).await;
    }
    let rows = all(&catalog, tenant).await;
    let old = |before, limit| catalog.trail_old(tenant, before, limit);
    assert_eq!(old(days(1), 100).await.expect("it answers"), None);
    let fourth = TrailHead { seq: 4, hash: rows[3].hash };
    assert_eq!(old(days(5), 100).await.expect("it answers"), Some(fourth));
    assert_eq!(old(days(99), 4).await.expect("it answers"), Some(fourth));
    let checkpoint = |seq: u64| CheckpointRow { tenant, seq, jws: format!("signed {seq}") };
    catalog.checkpoint_trail(checkpoint(2), None, 1).await.expect("there is room");
    catalog.checkpoint_trail(checkpoint(6), None, 1).await.expect("there is room");
    catalog.checkpoint_trail(checkpoint(8), Some(6), 1).await.expect("there is room");
    assert_eq!(catalog.checkpoints(tenant).await.expect("it answers"), [checkpoint(2), checkpoint(8)]);

    assert_eq!(catalog.last_checkpoint(tenant).await.expect("it answers"), Some(checkpoint(8)));

    catalog.checkpoint_trail(checkpoint(10), None, 5).await.expect("there is room");

    assert_eq!(catalog.checkpoints(tenant).await.expect("it answers"), [checkpoint(8), checkpoint(10)]);
    assert_eq!(all(&catalog, tenant).await, rows[4..]);
    assert_eq!(append(&catalog, tenant, entry(days(11), Action::Show)).await, 11);
}
