//! The ring's mark, the lease, the guards and the runs.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{CommittedGeneration, Ending, ReceiptRow, RingMark};
use crate::model::{Class, Epoch, SubjectId, TenantNumber};

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).expect("below 2^20")
}

fn receipt(tenant: TenantNumber, run: u64, number: u64) -> ReceiptRow {
    ReceiptRow { tenant, run, number, jws: format!("header.{run}-{number}.signature") }
}

pub async fn first_generation_is_set_once(backend: &impl Backend) {
    let catalog = backend.open();
    let empty = RingMark { generation: 0, floor: Epoch::FIRST, run: None };
    assert_eq!(catalog.ring_mark().await.expect("it answers"), empty);

    catalog.set_first_generation(1, epoch(12)).await.expect("there is none");
    assert_refused!(catalog.set_first_generation(2, epoch(13)).await, WrongState);

    let mark = backend.open().ring_mark().await.expect("it answers");
    assert_eq!(mark, RingMark { generation: 1, floor: epoch(12), run: None });
}

pub async fn mark_never_falls(backend: &impl Backend) {
    let catalog = backend.open();
    catalog.set_first_generation(5, epoch(100)).await.expect("there is none");

    catalog.catch_up(4, epoch(120)).await.expect("it answers");
    catalog.catch_up(6, epoch(90)).await.expect("it answers");
    let run = catalog.announce(announcement(epoch(110), 0)).await.expect("no run is open");
    let lower = CommittedGeneration { generation: 2, ring_after: [2; 32] };
    catalog.commit_generation(run.id, lower).await.expect("it is announced");

    let mark = catalog.ring_mark().await.expect("it answers");
    assert_eq!((mark.generation, mark.floor), (6, epoch(120)));
}

pub async fn lease_is_held_by_one_and_ends_with_its_holder(backend: &impl Backend) {
    let (one, other) = (backend.open(), backend.open());

    let held = one.lease_expiry().await.expect("it answers").expect("nobody holds it");
    assert!(one.lease_expiry().await.expect("it answers").is_none());
    assert!(other.lease_expiry().await.expect("it answers").is_none());
    drop(held);

    assert!(other.lease_expiry().await.expect("it answers").is_some());
}

pub async fn announcement_is_replaced_until_it_is_committed(backend: &impl Backend) {
    let catalog = backend.open();
    let forgotten = catalog.announce(announcement(epoch(100), 0)).await.expect("no run is open");

    let run = catalog.announce(announcement(epoch(101), 0)).await.expect("it was not committed");
    let committed = CommittedGeneration { generation: 2, ring_after: [2; 32] };
    assert_refused!(catalog.commit_generation(forgotten.id, committed).await, NotFound);
    assert_eq!(catalog.ring_mark().await.expect("it answers").run, Some(run.clone()));
    catalog.commit_generation(run.id, committed).await.expect("it is announced");

    assert_refused!(catalog.announce(announcement(epoch(102), 0)).await, WrongState);
    let open = backend.open().ring_mark().await.expect("it answers").run.expect("it is not finished");
    assert_eq!((open.id, open.floor, open.committed), (run.id, epoch(101), Some(committed)));
}

pub async fn announced_floor_refuses_reads(backend: &impl Backend) {
    let catalog = backend.open();
    let path = wrap(Class::Customer, days(90)).path;
    assert!(!catalog.ring_mark().await.expect("it answers").is_dying(&path));

    catalog.announce(announcement(path.epoch.saturating_add(1), 0)).await.expect("no run is open");

    assert!(catalog.ring_mark().await.expect("it answers").is_dying(&path));
}

pub async fn commit_is_idempotent_and_sets_the_mark(backend: &impl Backend) {
    let catalog = backend.open();
    catalog.set_first_generation(1, epoch(10)).await.expect("there is none");
    let run = catalog.announce(announcement(epoch(20), 0)).await.expect("no run is open");
    let committed = CommittedGeneration { generation: 2, ring_after: [2; 32] };

    catalog.commit_generation(run.id, committed).await.expect("it is announced");
    catalog.commit_generation(run.id, committed).await.expect("the same again changes nothing");
    let other = CommittedGeneration { generation: 3, ..committed };
    assert_refused!(catalog.commit_generation(run.id, other).await, WrongState);
    assert_refused!(catalog.commit_generation(run.id + 1, committed).await, NotFound);

    let mark = catalog.ring_mark().await.expect("it answers");
    assert_eq!((mark.generation, mark.floor), (2, epoch(20)));
}

pub async fn young_row_is_guarded_until_it_is_erased(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut young = recording(tenant, days(10));
    young.wraps = vec![wrap(Class::Customer, days(40))];
    let mut old = recording(tenant, days(0));
    old.wraps = vec![wrap(Class::Customer, days(30))];
    keep(&catalog, &young).await;
    keep(&catalog, &old).await;
    let path = young.wraps[0].path;
    let above = path.epoch.saturating_add(1);

    assert_eq!(catalog.guarded_row(path.epoch, days(5)).await.expect("it answers"), None);
    assert_eq!(catalog.guarded_row(above, days(10)).await.expect("it answers"), None);
    let guarded = catalog.guarded_row(above, days(5)).await.expect("it answers").expect("it is too young");
    assert_eq!((guarded.subject, guarded.epoch), (SubjectId::from(young.id), path.epoch));
    assert_eq!((guarded.received_at, guarded.is_held), (days(10), false));

    catalog.end(young.id, Ending::Erase, days(11)).await.expect("it is alive");
    assert_eq!(catalog.guarded_row(above, days(5)).await.expect("it answers"), None);
}

pub async fn young_recording_guards_its_call(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut young = recording(tenant, days(10));
    let call = call(vec![wrap(Class::Cdr, days(40))]);
    young.call = Some(call.clone());
    keep(&catalog, &young).await;
    let floor = Epoch::of(days(41));

    let guarded = catalog.guarded_row(floor, days(5)).await.expect("it answers").expect("it is too young");

    assert_eq!((guarded.subject, guarded.received_at), (SubjectId::from(call.id), days(10)));
    assert_eq!(catalog.guarded_row(floor, days(10)).await.expect("it answers"), None);
}

pub async fn receipts_are_numbered_without_gaps(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    assert_eq!(catalog.last_receipt(tenant).await.expect("it answers"), None);

    let first = committed_run(&catalog, epoch(10)).await.id;
    assert_refused!(catalog.finish_run(first, vec![receipt(tenant, first, 2)]).await, WrongState);
    assert_refused!(catalog.finish_run(first, vec![receipt(tenant, first + 1, 1)]).await, WrongState);
    assert!(catalog.receipts(tenant).await.expect("it answers").is_empty());
    catalog.finish_run(first, vec![receipt(tenant, first, 1)]).await.expect("1 is next");
    let second = committed_run(&catalog, epoch(20)).await.id;
    let both = vec![receipt(tenant, second, 2), receipt(other, second, 1)];
    catalog.finish_run(second, both).await.expect("2 and 1 are next");

    let own = [receipt(tenant, first, 1), receipt(tenant, second, 2)];
    assert_eq!(catalog.receipts(tenant).await.expect("it answers"), own);
    assert_eq!(catalog.last_receipt(tenant).await.expect("it answers"), own.last().cloned());
    assert_eq!(catalog.receipts(other).await.expect("it answers"), [receipt(other, second, 1)]);
}

pub async fn run_is_finished_once(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    keep(&catalog, &new).await;
    catalog.end(new.id, Ending::Erase, at(5)).await.expect("it is alive");
    let announced = catalog.announce(announcement(epoch(10), 1)).await.expect("no run is open");
    assert_refused!(catalog.finish_run(announced.id, Vec::new()).await, WrongState);
    let run = committed_run(&catalog, epoch(10)).await;

    assert_eq!(shredded(&catalog, &run, 10).await, 1);
    assert_eq!(catalog.punctures().await.expect("it answers").len(), 1, "queued until the run is finished");
    catalog.finish_run(run.id, vec![receipt(tenant, run.id, 1)]).await.expect("it is committed");
    catalog.finish_run(run.id, vec![receipt(tenant, run.id, 1)]).await.expect("again changes nothing");

    assert_eq!(catalog.ring_mark().await.expect("it answers").run, None);
    assert!(catalog.punctures().await.expect("it answers").is_empty());
    assert_eq!(catalog.receipts(tenant).await.expect("it answers").len(), 1);
    assert_eq!(catalog.shred(run.id, 10, days(100)).await.expect("it answers"), 0);
    assert_refused!(catalog.finish_run(run.id + 1, Vec::new()).await, NotFound);
}
