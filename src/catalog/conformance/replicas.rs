//! Several servers over one catalog: who lives, who holds what, and what becomes of what a dead one held.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{Ending, HeldCount, Replica, SharedCatalog};
use crate::model::clock::SystemClock;
use crate::model::{Clock, Completeness, RecordingId, ReplicaName, State};

async fn listed(catalog: &SharedCatalog) -> Vec<(String, bool)> {
    let replicas = catalog.replicas().await.expect("it answers");
    replicas.into_iter().map(|replica| (replica.name.to_string(), replica.is_alive)).collect()
}

async fn holder(catalog: &SharedCatalog, id: RecordingId) -> Option<ReplicaName> {
    found(catalog, id).await.holder
}

pub async fn replicas_stand_on_the_list_while_they_live(backend: &impl Backend) {
    let catalog = backend.open();
    let [one, two] = ["vault-0", "vault-1"].map(replica);
    let first = catalog.enter_replica(&one, Some("http://vault-0:8787")).await.expect("nobody has the name");
    let second = catalog.enter_replica(&two, None).await.expect("nobody has the name");
    catalog.set_replica_generation(&one, 4, at(7)).await.expect("it answers");

    let both = backend.open().replicas().await.expect("it answers");
    let url = Some("http://vault-0:8787".to_owned());
    let told = Replica { name: one.clone(), generation: 4, url, seen_at: Some(at(7)), is_alive: true };
    let untold = Replica { name: two.clone(), generation: 0, url: None, seen_at: None, is_alive: true };
    assert_eq!(both, [told, untold]);
    assert_refused!(catalog.enter_replica(&two, None).await, WrongState);
    assert_refused!(backend.open().enter_replica(&one, None).await, WrongState);

    drop(first);

    assert_eq!(listed(&catalog).await, [("vault-1".to_owned(), true)]);
    drop(second);
    assert!(listed(&catalog).await.is_empty());
    drop(catalog.enter_replica(&two, None).await.expect("the name is free again"));
}

pub async fn dead_replica_is_listed_while_it_holds_something(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [one, two] = ["vault-0", "vault-1"].map(replica);
    let lease = catalog.enter_replica(&one, None).await.expect("nobody has the name");
    let new = recording(tenant, at(0));
    catalog.begin(new.clone()).await.expect("the row is new");

    drop(lease);
    let _other = catalog.enter_replica(&two, None).await.expect("nobody has the name");

    assert_eq!(listed(&catalog).await, [("vault-0".to_owned(), false), ("vault-1".to_owned(), true)]);
    catalog.abandon(new.id).await.expect("it is being received");
    assert_eq!(listed(&catalog).await, [("vault-1".to_owned(), true)]);
}

pub async fn holder_stays_until_a_recording_is_complete_and_stored(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [spooled, stored, partial, deleted] = [0, 1, 2, 3].map(|second| recording(tenant, at(second)));
    let us = Some(spooled.holder.clone());
    for new in [&spooled, &stored, &partial, &deleted] {
        catalog.begin(new.clone()).await.expect("the row is new");
        assert_eq!(holder(&catalog, new.id).await, us);
    }

    catalog.finish(finished(&spooled, State::Spooled, Completeness::Complete)).await.expect("it is being received");
    assert_eq!(holder(&catalog, spooled.id).await, us);
    catalog.stored(spooled.id, spooled.object, at(9)).await.expect("it is spooled");
    assert_eq!(holder(&catalog, spooled.id).await, None);
    catalog.finish(finished(&stored, State::Stored, Completeness::Complete)).await.expect("it is being received");
    assert_eq!(holder(&catalog, stored.id).await, None);
    catalog.finish(finished(&partial, State::Spooled, Completeness::Partial)).await.expect("it is being received");
    catalog.stored(partial.id, partial.object, at(9)).await.expect("it is spooled");
    assert_eq!(holder(&catalog, partial.id).await, us, "it may be about to grow in that spool");
    catalog.end(deleted.id, Ending::Delete, at(9)).await.expect("receiving counts as alive");
    assert_eq!(holder(&catalog, deleted.id).await, None);
}

pub async fn finish_by_another_than_the_holder_changes_nothing(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    catalog.begin(new.clone()).await.expect("the row is new");
    let before = found(&catalog, new.id).await;

    let mut by_another = finished(&new, State::Stored, Completeness::Complete);
    by_another.holder = replica("vault-1");
    assert_refused!(catalog.finish(by_another.clone()).await, WrongState);
    assert!(to_sweep(&catalog).await.is_empty(), "the row rests on this object");
    by_another.object = object();
    assert_refused!(catalog.finish(by_another.clone()).await, WrongState);

    assert_eq!(found(&catalog, new.id).await, before);
    assert_eq!(to_sweep(&catalog).await, [by_another.object]);
}

pub async fn partial_recording_that_nobody_holds_is_entrusted_to_one(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [one, two] = ["vault-0", "vault-1"].map(replica);
    let [partial, complete, receiving] = [0, 1, 2].map(|second| recording(tenant, at(second)));
    for new in [&partial, &receiving] {
        catalog.begin(new.clone()).await.expect("the row is new");
    }
    catalog.finish(finished(&partial, State::Stored, Completeness::Partial)).await.expect("it is being received");
    keep(&catalog, &complete).await;

    assert_eq!(catalog.entrust(partial.id, &two).await.expect("it is partial"), one, "it was held already");
    assert_eq!(catalog.release(&two).await.expect("it answers"), 0);
    assert_eq!(catalog.release(&one).await.expect("it answers"), 1, "the one that is received is not in the store");
    assert_eq!(holder(&catalog, receiving.id).await, Some(one.clone()));
    assert_refused!(catalog.finish(finished(&partial, State::Stored, Completeness::Partial)).await, WrongState);
    assert_eq!(catalog.entrust(partial.id, &two).await.expect("nobody holds it"), two);
    assert_eq!(backend.open().entrust(partial.id, &one).await.expect("it is partial"), two);

    assert_refused!(catalog.entrust(complete.id, &one).await, WrongState);
    assert_refused!(catalog.entrust(receiving.id, &one).await, WrongState);
    assert_refused!(catalog.entrust(recording(tenant, at(9)).id, &one).await, NotFound);
}

pub async fn states_are_walked_by_holder(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [one, two] = ["vault-0", "vault-1"].map(replica);
    let all: Vec<_> = (0..6).map(|second| recording(tenant, at(second))).collect();
    for (index, new) in all.iter().enumerate() {
        let holder = if index % 2 == 0 { one.clone() } else { two.clone() };
        catalog.begin(crate::catalog::NewRecording { holder, ..new.clone() }).await.expect("the row is new");
    }

    let walked = async |holder, after| {
        let rows = catalog.in_state(State::Receiving, Some(holder), after, 2).await.expect("it answers");
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(walked(&one, None).await, [all[0].id, all[2].id]);
    assert_eq!(walked(&one, Some(all[2].id)).await, [all[4].id]);
    assert_eq!(walked(&two, Some(all[1].id)).await, [all[3].id, all[5].id]);
    assert!(walked(&replica("vault-2"), None).await.is_empty());
    let held = HeldCount { recordings: 3, oldest: Some(at(1)) };
    assert_eq!(catalog.held(&two).await.expect("it answers"), held);
    assert_eq!(catalog.held(&replica("vault-2")).await.expect("it answers"), HeldCount::default());
    assert_eq!(catalog.adopt(&two).await.expect("it answers"), 0, "each has its holder");
}

pub async fn replica_is_forgotten_only_when_it_is_dead_and_holds_nothing_alone(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let one = replica("vault-0");
    let lease = catalog.enter_replica(&one, None).await.expect("nobody has the name");
    let [partial, receiving] = [0, 1].map(|second| recording(tenant, at(second)));
    for new in [&partial, &receiving] {
        catalog.begin(new.clone()).await.expect("the row is new");
    }
    catalog.finish(finished(&partial, State::Stored, Completeness::Partial)).await.expect("it is being received");

    assert_refused!(catalog.forget_replica(&one).await, WrongState);
    drop(lease);
    assert_refused!(catalog.forget_replica(&one).await, WrongState);
    catalog.end(receiving.id, Ending::Delete, at(9)).await.expect("receiving counts as alive");
    catalog.forget_replica(&one).await.expect("it is dead, and what it holds is in the store");

    assert!(listed(&catalog).await.is_empty());
    assert_eq!(holder(&catalog, partial.id).await, None);
    catalog.forget_replica(&one).await.expect("again changes nothing");
}

/// A clock that is this process's own would be counted as a second witness of the time.
pub async fn clock_of_the_backend_is_near_or_not_there(backend: &impl Backend) {
    let now = backend.open().now().await.expect("it answers");

    let own = SystemClock.now();
    assert!(now.is_none_or(|now| now.duration_since(own).abs() < jiff::SignedDuration::from_secs(60)));
}
