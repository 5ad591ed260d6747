//! Listings.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{Ending, Listing, NewRecording, SharedCatalog};
use crate::model::{Class, RecordingId, State, TenantNumber};

/// As many as a number search asks for: one a day for a year and a month.
const TOKENS: usize = 397;

async fn ids(catalog: &SharedCatalog, listing: Listing) -> Vec<RecordingId> {
    catalog.list(listing).await.expect("it answers").iter().map(|found| found.id).collect()
}

fn all_of(tenant: TenantNumber) -> Listing {
    Listing { tenant: Some(tenant), limit: 1_000, ..Listing::default() }
}

fn newest_first(recordings: &[NewRecording]) -> Vec<RecordingId> {
    let mut keys: Vec<_> = recordings.iter().map(|new| (new.received_at, new.id)).collect();
    keys.sort();
    keys.into_iter().rev().map(|(_, id)| id).collect()
}

pub async fn pages_are_complete_and_without_duplicates(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    // Several share an instant, so that pages end between them.
    let own: Vec<_> = (0..23).map(|index| recording(tenant, at(index / 4))).collect();
    let foreign = recording(other, at(2));
    for new in own.iter().rev().chain([&foreign]) {
        keep(&catalog, new).await;
    }

    for limit in [1, 3, 7, 1_000] {
        let mut listing = Listing { limit, ..all_of(tenant) };
        let mut seen = Vec::new();
        loop {
            let page = catalog.list(listing.clone()).await.expect("it answers");
            let Some(last) = page.last() else { break };
            assert!(page.len() <= limit as usize);
            listing.after = Some((last.received_at, last.id));
            seen.extend(page.iter().map(|found| found.id));
        }
        assert_eq!(seen, newest_first(&own));
    }
    let of_all = ids(&catalog, Listing { limit: 1_000, ..Listing::default() }).await;
    assert_eq!(of_all, newest_first(&[own.as_slice(), &[foreign]].concat()));
    assert!(ids(&catalog, Listing { limit: 0, ..all_of(tenant) }).await.is_empty());
}

pub async fn span_includes_its_start_and_not_its_end(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let all: Vec<_> = (0..5).map(|second| recording(tenant, at(second))).collect();
    for new in &all {
        keep(&catalog, new).await;
    }

    let within = Listing { from: Some(at(1)), to: Some(at(3)), ..all_of(tenant) };
    assert_eq!(ids(&catalog, within).await, newest_first(&all[1..3]));
    let shortly_after = at(1) + jiff::SignedDuration::from_nanos(1);
    let within = Listing { from: Some(shortly_after), to: Some(at(3)), ..all_of(tenant) };
    assert_eq!(ids(&catalog, within).await, newest_first(&all[2..3]));
    let before = Listing { to: Some(shortly_after), ..all_of(tenant) };
    assert_eq!(ids(&catalog, before).await, newest_first(&all[..2]));
}

pub async fn gone_recordings_are_listed_only_when_asked_for(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [receiving, stored, deleted, erased] = [0, 1, 2, 3].map(|second| recording(tenant, at(second)));
    catalog.begin(receiving.clone()).await.expect("the row is new");
    for new in [&stored, &deleted, &erased] {
        keep(&catalog, new).await;
    }
    catalog.end(deleted.id, Ending::Delete, at(9)).await.expect("it is alive");
    catalog.end(erased.id, Ending::Erase, at(9)).await.expect("it is alive");

    assert_eq!(ids(&catalog, all_of(tenant)).await, [stored.id, receiving.id]);
    let in_state = |state| Listing { state: Some(state), ..all_of(tenant) };
    assert_eq!(ids(&catalog, in_state(State::Receiving)).await, [receiving.id]);
    assert_eq!(ids(&catalog, in_state(State::Stored)).await, [stored.id]);
    assert_eq!(ids(&catalog, in_state(State::Deleted)).await, [deleted.id]);
    assert_eq!(ids(&catalog, in_state(State::Erased)).await, [erased.id]);
    assert!(ids(&catalog, in_state(State::Shredded)).await.is_empty());
}

pub async fn recordings_are_found_by_either_number(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let all: Vec<_> = (0..6).map(|second| recording(tenant, at(second))).collect();
    let foreign = recording(other, at(0));
    for new in all.iter().chain([&foreign]) {
        keep(&catalog, new).await;
    }

    let mut numbers: Vec<_> = (0..TOKENS - 4).map(|_| bytes16()).collect();
    numbers.extend([all[1].tokens.a_number, all[4].tokens.b_number].into_iter().flatten());
    // Both numbers of one recording: listed once.
    numbers.extend([all[3].tokens.a_number, all[3].tokens.b_number].into_iter().flatten());
    let mut listing = Listing { numbers: Some(numbers), ..all_of(tenant) };

    assert_eq!(ids(&catalog, listing.clone()).await, [all[4].id, all[3].id, all[1].id]);
    listing.limit = 2;
    assert_eq!(ids(&catalog, listing.clone()).await, [all[4].id, all[3].id]);
    listing.after = Some((all[3].received_at, all[3].id));
    assert_eq!(ids(&catalog, listing).await, [all[1].id]);
    let of_foreign = Listing { numbers: Some(foreign.tokens.a_number.into_iter().collect()), ..all_of(tenant) };
    assert!(ids(&catalog, of_foreign).await.is_empty());
    assert!(ids(&catalog, Listing { numbers: Some(Vec::new()), ..all_of(tenant) }).await.is_empty());
}

pub async fn recordings_are_found_by_call_id_and_number(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut all: Vec<_> = (0..3).map(|second| recording(tenant, at(second))).collect();
    all[1].tokens.call_id = all[0].tokens.call_id;
    for new in &all {
        keep(&catalog, new).await;
    }
    let call_ids = Some(vec![bytes16(), all[0].tokens.call_id.expect("it has one")]);
    let numbers = Some(vec![all[1].tokens.a_number.expect("it has one"), all[2].tokens.a_number.expect("it has one")]);

    let by_call = Listing { call_ids: call_ids.clone(), ..all_of(tenant) };
    assert_eq!(ids(&catalog, by_call).await, [all[1].id, all[0].id]);
    let by_both = Listing { call_ids, numbers, ..all_of(tenant) };
    assert_eq!(ids(&catalog, by_both).await, [all[1].id]);
}

pub async fn class_and_life_are_of_the_same_wrap(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let [mut customer, mut both, mut of_call] = [0, 1, 2].map(|second| recording(tenant, at(second)));
    customer.wraps = vec![wrap(Class::Customer, days(90))];
    both.wraps = vec![wrap(Class::Customer, days(90)), wrap(Class::Training, days(30))];
    of_call.wraps = vec![wrap(Class::Customer, days(40))];
    of_call.call = Some(call(vec![wrap(Class::Finance, days(180))]));
    for new in [&customer, &both, &of_call] {
        keep(&catalog, new).await;
    }
    let of_class = |class, alive_at| Listing { class, alive_at, ..all_of(tenant) };

    assert_eq!(ids(&catalog, of_class(Some(Class::Training), None)).await, [both.id]);
    assert_eq!(ids(&catalog, of_class(Some(Class::Finance), None)).await, [of_call.id]);
    assert_eq!(ids(&catalog, of_class(None, Some(days(50)))).await, [both.id, customer.id]);
    assert_eq!(ids(&catalog, of_class(Some(Class::Training), Some(days(29)))).await, [both.id]);
    assert!(ids(&catalog, of_class(Some(Class::Training), Some(days(30)))).await.is_empty());
    let last_moment = days(90) - jiff::SignedDuration::from_millis(1);
    assert_eq!(ids(&catalog, of_class(None, Some(last_moment))).await, [both.id, customer.id]);
    assert!(ids(&catalog, of_class(None, Some(days(90)))).await.is_empty());
}

pub async fn states_are_walked_ascending_by_id(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let all: Vec<_> = (0..5).map(|second| recording(tenant, at(-second))).collect();
    for new in all.iter().rev() {
        catalog.begin(new.clone()).await.expect("the row is new");
    }
    keep(&catalog, &recording(tenant, at(0))).await;

    let mut seen = Vec::new();
    loop {
        let page = catalog.in_state(State::Receiving, None, seen.last().copied(), 2).await.expect("it answers");
        if page.is_empty() {
            break;
        }
        seen.extend(page.iter().map(|found| found.id));
    }

    assert_eq!(seen, sorted(all.iter().map(|new| new.id)));
    assert_eq!(catalog.in_state(State::Stored, None, None, 9).await.expect("it answers").len(), 1);
}
