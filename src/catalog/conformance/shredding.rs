//! What a committed run does to the rows.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{ClassCount, Ending, NewRecording};
use crate::model::{Class, Epoch, State, TenantNumber};

fn with_call(tenant: TenantNumber) -> NewRecording {
    let mut new = recording(tenant, at(0));
    new.call = Some(call(vec![wrap(Class::Cdr, days(90)), wrap(Class::Finance, days(180))]));
    new
}

fn after_days(number: i64) -> Epoch {
    Epoch::of(days(number)).saturating_add(1)
}

pub async fn run_that_is_not_committed_shreds_nothing(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    keep(&catalog, &new).await;
    let run = catalog.announce(announcement(after_days(90), 0)).await.expect("no run is open");

    assert_refused!(catalog.shred(run.id, 10, days(100)).await, WrongState);
    assert_refused!(catalog.shred(run.id + 1, 10, days(100)).await, NotFound);

    assert_eq!(found(&catalog, new.id).await.state, State::Stored);
}

pub async fn shredding_resumes_after_every_wrap(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let due: Vec<_> = (0..5).map(|_| with_call(tenant)).collect();
    let mut alive = recording(tenant, at(0));
    alive.wraps = vec![wrap(Class::Customer, days(91))];
    for new in due.iter().chain([&alive]) {
        keep(&catalog, new).await;
    }
    let erased = recording(tenant, days(30));
    keep(&catalog, &erased).await;
    catalog.end(erased.id, Ending::Erase, days(31)).await.expect("it is alive");
    let run = committed_run(&catalog, after_days(90)).await;
    drop(catalog);

    // A new handle for every step, as after a crash.
    let mut count = 0;
    while backend.open().shred(run.id, 1, days(100)).await.expect("it is committed") == 1 {
        count += 1;
    }

    let catalog = backend.open();
    assert_eq!(count, 5 * 2 + 1);
    for new in &due {
        let found = found(&catalog, new.id).await;
        assert_eq!((found.state, found.changed_at, found.label), (State::Shredded, days(100), None));
        assert!(found.wraps.iter().all(|wrap| wrap.sealed.is_none()));
    }
    assert_eq!(found(&catalog, alive.id).await.state, State::Stored);
    let gone = sorted(due.iter().map(|new| new.object).chain([erased.object]));
    assert_eq!(to_sweep(&catalog).await, gone);
}

pub async fn recording_lives_until_its_last_wrap_dies(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut new = recording(tenant, at(0));
    new.wraps.push(wrap(Class::Training, days(30)));
    keep(&catalog, &new).await;

    let first = committed_run(&catalog, after_days(30)).await;
    assert_eq!(shredded(&catalog, &first, 10).await, 1);
    catalog.finish_run(first.id, Vec::new()).await.expect("it is committed");
    let between = found(&catalog, new.id).await;
    assert_eq!(between.state, State::Stored);
    assert!(between.wraps[0].sealed.is_some() && between.wraps[1].sealed.is_none());
    assert!(to_sweep(&catalog).await.is_empty());

    let second = committed_run(&catalog, after_days(90)).await;
    assert_eq!(shredded(&catalog, &second, 10).await, 1);
    assert_eq!(found(&catalog, new.id).await.state, State::Shredded);
    assert_eq!(to_sweep(&catalog).await, [new.object]);
}

pub async fn call_outlives_its_recording_until_its_last_wrap_dies(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = with_call(tenant);
    keep(&catalog, &new).await;

    let first = committed_run(&catalog, after_days(90)).await;
    assert_eq!(shredded(&catalog, &first, 10).await, 2);
    catalog.finish_run(first.id, Vec::new()).await.expect("it is committed");
    let between = found(&catalog, new.id).await;
    let call = between.call.expect("the row stays");
    assert_eq!(between.state, State::Shredded);
    assert!(call.blob.is_some() && call.wraps[0].sealed.is_none() && call.wraps[1].sealed.is_some());

    let second = committed_run(&catalog, after_days(180)).await;
    assert_eq!(shredded(&catalog, &second, 10).await, 1);
    assert!(found(&catalog, new.id).await.call.expect("the row stays").blob.is_none());
}

pub async fn recording_left_receiving_is_shredded(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    catalog.begin(new.clone()).await.expect("the row is new");
    let run = committed_run(&catalog, after_days(90)).await;

    assert_eq!(shredded(&catalog, &run, 10).await, 1);

    assert_eq!(found(&catalog, new.id).await.state, State::Shredded);
    assert_eq!(to_sweep(&catalog).await, [new.object]);
    let late = finished(&new, State::Stored, crate::model::Completeness::Complete);
    assert_refused!(catalog.finish(late).await, WrongState);
}

pub async fn erased_and_deleted_rows_stay_what_they_are_and_are_counted(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [deleted, erased, both] = [recording(tenant, at(0)), recording(tenant, days(20)), recording(tenant, days(20))];
    for new in [&deleted, &erased, &both] {
        keep(&catalog, new).await;
    }
    catalog.end(deleted.id, Ending::Delete, days(21)).await.expect("it is alive");
    catalog.end(erased.id, Ending::Erase, days(21)).await.expect("it is alive");
    catalog.end(both.id, Ending::Delete, days(21)).await.expect("it is alive");
    catalog.end(both.id, Ending::Erase, days(22)).await.expect("it was deleted");

    let run = committed_run(&catalog, after_days(90)).await;
    assert_eq!(shredded(&catalog, &run, 2).await, 3);

    let states = [(deleted.id, State::Deleted), (erased.id, State::Erased), (both.id, State::Erased)];
    for (id, state) in states {
        let found = found(&catalog, id).await;
        assert_eq!(found.state, state);
        assert_ne!(found.changed_at, days(100));
    }
    let in_run = catalog.run_recordings(run.id, tenant, None, 10).await.expect("it answers");
    assert_eq!(in_run.iter().map(|(id, _)| *id).collect::<Vec<_>>(), sorted([deleted.id, erased.id, both.id]));
}

pub async fn punctures_after_the_announcement_wait_for_the_next_run(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [before, after] = [recording(tenant, days(20)), recording(tenant, days(20))];
    keep(&catalog, &before).await;
    keep(&catalog, &after).await;
    catalog.end(before.id, Ending::Erase, days(21)).await.expect("it is alive");
    let run = committed_run(&catalog, after_days(30)).await;
    catalog.end(after.id, Ending::Erase, days(22)).await.expect("it is alive");

    assert_eq!(shredded(&catalog, &run, 10).await, 1);
    catalog.finish_run(run.id, Vec::new()).await.expect("it is committed");

    assert_eq!(catalog.punctures().await.expect("it answers").len(), 1);
    let next = committed_run(&catalog, after_days(30)).await;
    assert_eq!(shredded(&catalog, &next, 10).await, 1);
    catalog.finish_run(next.id, Vec::new()).await.expect("it is committed");
    assert!(catalog.punctures().await.expect("it answers").is_empty());
}

pub async fn offboarded_tenant_is_shredded_and_no_other(backend: &impl Backend) {
    let (catalog, leaving) = inhabited(backend).await;
    let staying = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let own: Vec<_> = (0..4).map(|_| with_call(leaving)).collect();
    let other = with_call(staying);
    for new in own.iter().chain([&other]) {
        keep(&catalog, new).await;
    }
    catalog.offboard_tenant(leaving, days(1)).await.expect("it is there");

    let run = committed_run(&catalog, after_days(2)).await;
    assert_eq!(shredded(&catalog, &run, 5).await, 4 * 3);

    for new in &own {
        let found = found(&catalog, new.id).await;
        assert_eq!(found.state, State::Shredded);
        assert!(found.call.expect("the row stays").blob.is_none());
    }
    assert_eq!(found(&catalog, other.id).await.state, State::Stored);
    assert_eq!(catalog.run_tenants(run.id).await.expect("it answers"), [leaving]);
}

pub async fn name_is_free_after_shredding(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let first = recording(tenant, at(0));
    keep(&catalog, &first).await;
    let run = committed_run(&catalog, after_days(90)).await;
    shredded(&catalog, &run, 10).await;

    let mut second = recording(tenant, days(101));
    second.name_token = first.name_token;

    catalog.begin(second).await.expect("the first is gone");
}

pub async fn run_is_told_by_tenant_class_and_recording(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let own: Vec<_> = (0..3).map(|_| with_call(tenant)).collect();
    let mut longer = recording(tenant, at(0));
    longer.wraps = vec![wrap(Class::Customer, days(80)), wrap(Class::Training, days(120))];
    for new in own.iter().chain([&longer, &recording(other, at(0))]) {
        keep(&catalog, new).await;
    }
    let run = committed_run(&catalog, after_days(90)).await;
    shredded(&catalog, &run, 2).await;

    assert_eq!(catalog.run_tenants(run.id).await.expect("it answers"), [tenant, other]);
    let [first_epoch, last_epoch] = [Epoch::of(days(80)), Epoch::of(days(90))];
    let customer = ClassCount { class: Class::Customer, count: 4, first_epoch, last_epoch };
    let cdr = ClassCount { class: Class::Cdr, count: 3, first_epoch: last_epoch, last_epoch };
    assert_eq!(catalog.run_classes(run.id, tenant).await.expect("it answers"), [customer, cdr]);
    let mut seen = Vec::new();
    loop {
        let after = seen.last().map(|(id, _)| *id);
        let page = catalog.run_recordings(run.id, tenant, after, 2).await.expect("it answers");
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen, own.iter().map(|new| (new.id, Some([0xD1; 32]))).collect::<Vec<_>>());
}
