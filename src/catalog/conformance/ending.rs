//! Deletion and erasure.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{Ending, NewRecording, Puncture, SharedCatalog, WrapRow};
use crate::model::{Class, State, SubjectId, TenantNumber};

fn with_call(tenant: TenantNumber) -> NewRecording {
    let mut new = recording(tenant, at(0));
    new.wraps.push(wrap(Class::Training, days(30)));
    new.call = Some(call(vec![wrap(Class::Cdr, days(90)), wrap(Class::Finance, days(180))]));
    new
}

async fn targets(catalog: &SharedCatalog) -> Vec<Puncture> {
    let punctures = catalog.punctures().await.expect("it answers");
    assert!(punctures.windows(2).all(|pair| pair[0].id < pair[1].id));
    punctures.into_iter().map(|puncture| puncture.target).collect()
}

fn paths(tenant: TenantNumber, subject: SubjectId, wraps: &[WrapRow]) -> Vec<Puncture> {
    wraps.iter().map(|wrap| Puncture::Path { path: wrap.path, tenant, subject, class: wrap.class }).collect()
}

pub async fn deleted_recording_keeps_no_secret_and_queues_no_puncture(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = with_call(tenant);
    keep(&catalog, &new).await;
    let before = found(&catalog, new.id).await;

    assert_eq!(catalog.end(new.id, Ending::Delete, at(50)).await.expect("it is alive"), before);

    let after = found(&catalog, new.id).await;
    assert_eq!((after.state, after.changed_at, after.label), (State::Deleted, at(50), None));
    assert!(after.wraps.iter().all(|wrap| wrap.sealed.is_none()) && after.wraps.len() == 2);
    let call = after.call.expect("the row stays");
    assert!(call.blob.is_none() && call.wraps.iter().all(|wrap| wrap.sealed.is_none()));
    assert_eq!(after.digest, before.digest);
    assert_eq!(to_sweep(&catalog).await, [new.object]);
    assert!(targets(&catalog).await.is_empty());
    let a_number = new.tokens.a_number.into_iter().collect();
    let by_number = crate::catalog::Listing {
        state: Some(State::Deleted),
        numbers: Some(a_number),
        limit: 9,
        ..Default::default()
    };
    assert!(catalog.list(by_number).await.expect("it answers").is_empty());
}

pub async fn erased_recording_queues_a_puncture_of_every_path(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = with_call(tenant);
    keep(&catalog, &new).await;

    catalog.end(new.id, Ending::Erase, at(50)).await.expect("it is alive");

    assert_eq!(found(&catalog, new.id).await.state, State::Erased);
    let call = new.call.expect("it has one");
    let expected = [paths(tenant, new.id.into(), &new.wraps), paths(tenant, call.id.into(), &call.wraps)].concat();
    assert_eq!(targets(&catalog).await, expected);
}

pub async fn deleted_recording_can_be_erased(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = with_call(tenant);
    keep(&catalog, &new).await;
    catalog.end(new.id, Ending::Delete, at(50)).await.expect("it is alive");
    catalog.swept(&[new.object]).await.expect("it answers");

    let before = catalog.end(new.id, Ending::Erase, at(60)).await.expect("a deleted one may be erased");

    assert_eq!((before.state, before.changed_at), (State::Deleted, at(50)));
    let after = found(&catalog, new.id).await;
    assert_eq!((after.state, after.changed_at), (State::Erased, at(60)));
    assert_eq!(targets(&catalog).await.len(), 4);
}

pub async fn ended_recording_does_not_end_again(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [deleted, erased] = [recording(tenant, at(0)), recording(tenant, at(1))];
    keep(&catalog, &deleted).await;
    keep(&catalog, &erased).await;
    catalog.end(deleted.id, Ending::Delete, at(50)).await.expect("it is alive");
    catalog.end(erased.id, Ending::Erase, at(50)).await.expect("it is alive");

    assert_refused!(catalog.end(deleted.id, Ending::Delete, at(60)).await, WrongState);
    assert_refused!(catalog.end(erased.id, Ending::Delete, at(60)).await, WrongState);
    assert_refused!(catalog.end(erased.id, Ending::Erase, at(60)).await, WrongState);
    assert_refused!(catalog.end(recording(tenant, at(0)).id, Ending::Erase, at(60)).await, NotFound);

    assert_eq!(found(&catalog, deleted.id).await.changed_at, at(50));
    assert_eq!(targets(&catalog).await.len(), 1);
}

pub async fn name_is_free_after_the_end(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let first = recording(tenant, at(0));
    keep(&catalog, &first).await;
    catalog.end(first.id, Ending::Delete, at(50)).await.expect("it is alive");
    let name = first.name_token.expect("it has a name");
    assert!(catalog.recording_by_name(tenant, &[name]).await.expect("it answers").is_none());

    let mut second = recording(tenant, at(60));
    second.name_token = Some(name);
    keep(&catalog, &second).await;

    let by_name = catalog.recording_by_name(tenant, &[name]).await.expect("it answers");
    assert_eq!(by_name.map(|found| found.id), Some(second.id));
}

pub async fn call_ends_with_the_last_of_its_recordings(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let first = with_call(tenant);
    let second = NewRecording { call: first.call.clone(), ..recording(tenant, at(1)) };
    keep(&catalog, &first).await;
    keep(&catalog, &second).await;

    catalog.end(first.id, Ending::Erase, at(50)).await.expect("it is alive");
    assert_eq!(found(&catalog, second.id).await.call, first.call);
    assert_eq!(targets(&catalog).await, paths(tenant, first.id.into(), &first.wraps));

    catalog.end(second.id, Ending::Erase, at(60)).await.expect("it is alive");
    assert!(found(&catalog, second.id).await.call.expect("the row stays").blob.is_none());
    assert_eq!(targets(&catalog).await.len(), 2 + 1 + 2);
}

pub async fn recording_ends_while_it_is_received(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    catalog.begin(new.clone()).await.expect("the row is new");

    let before = catalog.end(new.id, Ending::Erase, at(5)).await.expect("receiving counts as alive");

    assert_eq!(before.state, State::Receiving);
    assert_eq!(found(&catalog, new.id).await.state, State::Erased);
    assert_eq!(to_sweep(&catalog).await, [new.object]);
    assert_refused!(catalog.abandon(new.id).await, WrongState);
}
