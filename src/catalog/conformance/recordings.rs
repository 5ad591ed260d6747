//! A recording from its first byte to the object store.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{Ending, Finished, NewRecording, Resume, WrapRow};
use crate::model::{Class, Completeness, State};

/// More than a backend has connections.
const TASKS: usize = 64;

pub async fn begun_recording_reads_back_as_written(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut new = recording(tenant, at(0));
    new.wraps.push(wrap(Class::Training, days(30)));
    new.call = Some(call(vec![wrap(Class::Cdr, days(90)), wrap(Class::Finance, days(180))]));

    catalog.begin(new.clone()).await.expect("the row is new");

    let found = found(&backend.open(), new.id).await;
    assert_eq!((found.id, found.tenant, found.object), (new.id, tenant, new.object));
    assert_eq!((found.state, found.completeness), (State::Receiving, Completeness::Receiving));
    assert_eq!((found.received_at, found.changed_at), (at(0), at(0)));
    assert_eq!((found.plain_len, found.sealed_len, found.digest), (None, None, None));
    assert_eq!((found.label, found.wraps, found.call), (Some(new.label), new.wraps, new.call));
}

pub async fn taken_name_is_refused_and_leaves_nothing(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let first = recording(tenant, at(0));
    catalog.begin(first.clone()).await.expect("the row is new");
    let mut second = recording(tenant, at(1));
    second.name_token = first.name_token;
    second.call = Some(call(vec![wrap(Class::Cdr, days(90))]));

    assert_refused!(catalog.begin(second.clone()).await, NameTaken);

    assert!(catalog.recording(None, second.id).await.expect("it answers").is_none());
    // Had its call or a wrap stayed, the same rows could not be written now.
    second.name_token = Some(bytes16());
    catalog.begin(second.clone()).await.expect("the failed attempt left nothing");
    assert_eq!(found(&catalog, second.id).await.call, second.call);
}

pub async fn taken_path_is_refused_and_leaves_nothing(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let first = recording(tenant, at(0));
    catalog.begin(first.clone()).await.expect("the row is new");
    let mut second = recording(tenant, at(1));
    second.call = Some(call(vec![wrap(Class::Cdr, days(90))]));
    second.wraps.push(WrapRow { path: first.wraps[0].path, ..wrap(Class::Training, days(90)) });

    assert_refused!(catalog.begin(second.clone()).await, PathTaken);

    assert!(catalog.recording(None, second.id).await.expect("it answers").is_none());
    second.wraps[1] = wrap(Class::Training, days(90));
    catalog.begin(second.clone()).await.expect("the failed attempt left nothing");
    assert_eq!(found(&catalog, second.id).await.wraps, second.wraps);
}

pub async fn name_of_another_tenant_is_free(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let first = recording(tenant, at(0));
    let mut second = recording(other, at(0));
    second.name_token = first.name_token;
    let [mut nameless, mut as_well] = [recording(tenant, at(0)), recording(tenant, at(0))];
    (nameless.name_token, as_well.name_token) = (None, None);

    for new in [first, second, nameless, as_well] {
        catalog.begin(new).await.expect("nobody has this name here");
    }
}

pub async fn of_many_that_begin_under_one_name_one_wins(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let name = Some(bytes16());
    let all = (0..TASKS).map(|_| {
        let mut new = recording(tenant, at(0));
        new.name_token = name;
        new
    });
    let all: Vec<_> = all.collect();

    let handles = [catalog.clone(), backend.open()];
    let inputs = all.iter().cloned().enumerate().map(|(index, new)| (handles[index % 2].clone(), new)).collect();
    let results =
        at_once(inputs, |(catalog, new): (crate::catalog::SharedCatalog, _)| async move { catalog.begin(new).await })
            .await;

    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(results.iter().filter(|result| is_name_taken(result)).count(), TASKS - 1);
    let receiving = catalog.in_state(State::Receiving, None, None, 1_000).await.expect("it answers");
    assert_eq!(receiving.len(), 1);
}

pub async fn many_that_begin_and_finish_at_once_are_all_there(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let all: Vec<_> = (0..TASKS).map(|_| recording(tenant, at(0))).collect();

    let writing = catalog.clone();
    let results = at_once(all.clone(), move |new| {
        let catalog = writing.clone();
        async move {
            let finished = finished(&new, State::Spooled, Completeness::Complete);
            catalog.begin(new).await?;
            catalog.finish(finished).await
        }
    })
    .await;

    assert!(results.iter().all(Result::is_ok));
    let spooled = backend.open().in_state(State::Spooled, None, None, 1_000).await.expect("it answers");
    assert_eq!(sorted(spooled.iter().map(|r| r.id)), sorted(all.iter().map(|new| new.id)));
    assert!(spooled.iter().all(|r| r.wraps[0].sealed == Some([0x5A; 72])));
}

pub async fn begin_whose_caller_leaves_is_whole_or_absent(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let all: Vec<_> = (0..TASKS).map(|_| recording(tenant, at(0))).collect();

    for (index, new) in all.iter().enumerate() {
        let (catalog, new) = (catalog.clone(), new.clone());
        let task = tokio::spawn(async move { catalog.begin(new).await });
        for _ in 0..index % 4 {
            tokio::task::yield_now().await;
        }
        task.abort();
        let _ = task.await;
    }

    // One more verb: what was queued before it has been carried out when it answers.
    keep(&catalog, &recording(tenant, at(0))).await;
    for new in &all {
        if let Some(found) = catalog.recording(None, new.id).await.expect("it answers") {
            assert_eq!(found.wraps, new.wraps);
        }
    }
}

pub async fn second_recording_joins_a_call_as_it_is(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let [mut first, mut second] = [recording(tenant, at(0)), recording(tenant, at(1))];
    let mut foreign = recording(other, at(2));
    first.call = Some(call(vec![wrap(Class::Cdr, days(90))]));
    second.call = first.call.clone().map(|call| crate::catalog::CallRow { blob: Some(vec![9; 64]), ..call });
    foreign.call = first.call.clone();

    catalog.begin(first.clone()).await.expect("the row is new");
    catalog.begin(second.clone()).await.expect("the call is the tenant's");
    assert_refused!(catalog.begin(foreign).await, WrongState);

    assert_eq!(found(&catalog, second.id).await.call, first.call);
}

pub async fn finished_recording_reads_back_as_written(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    catalog.begin(new.clone()).await.expect("the row is new");

    catalog.finish(finished(&new, State::Spooled, Completeness::Complete)).await.expect("it is being received");

    let found = found(&backend.open(), new.id).await;
    assert_eq!((found.state, found.completeness), (State::Spooled, Completeness::Complete));
    assert_eq!((found.plain_len, found.sealed_len, found.digest), (Some(1_000), Some(1_088), Some([0xD1; 32])));
    assert_eq!((found.received_at, found.changed_at), (at(0), at(60)));
    assert_eq!(found.wraps, [WrapRow { sealed: Some([0x5A; 72]), ..new.wraps[0].clone() }]);
    assert!(to_sweep(&catalog).await.is_empty());
}

pub async fn finish_of_a_complete_recording_changes_nothing(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    keep(&catalog, &new).await;
    let before = found(&catalog, new.id).await;

    let mut again = finished(&new, State::Spooled, Completeness::Partial);
    again.plain_len = 5;
    assert_refused!(catalog.finish(again).await, WrongState);
    assert_refused!(
        catalog.finish(finished(&recording(tenant, at(0)), State::Stored, Completeness::Complete)).await,
        NotFound
    );

    assert_eq!(found(&catalog, new.id).await, before);
    assert!(to_sweep(&catalog).await.is_empty());
}

pub async fn finish_that_leaves_out_a_wrap_changes_nothing(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut new = recording(tenant, at(0));
    new.wraps.push(wrap(Class::Training, days(30)));
    catalog.begin(new.clone()).await.expect("the row is new");
    let before = found(&catalog, new.id).await;

    let mut without = finished(&new, State::Stored, Completeness::Complete);
    without.wraps.pop();
    assert_refused!(catalog.finish(without).await, WrongState);
    let mut with_more = finished(&new, State::Stored, Completeness::Complete);
    with_more.wraps.push((Class::Finance, [1; 72]));
    assert_refused!(catalog.finish(with_more).await, WrongState);

    assert_eq!(found(&catalog, new.id).await, before);
}

pub async fn continued_upload_queues_the_shorter_object(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    catalog.begin(new.clone()).await.expect("the row is new");
    catalog.finish(finished(&new, State::Stored, Completeness::Partial)).await.expect("it is being received");
    let longer = object();

    let mut continued = finished(&new, State::Spooled, Completeness::Complete);
    continued.object = longer;
    continued.plain_len = 2_000;
    catalog.finish(continued).await.expect("a partial recording may be continued");

    let found = found(&catalog, new.id).await;
    assert_eq!((found.object, found.plain_len), (longer, Some(2_000)));
    assert_eq!((found.state, found.completeness), (State::Spooled, Completeness::Complete));
    assert_eq!(to_sweep(&catalog).await, [new.object]);
}

pub async fn finish_after_the_end_queues_the_new_object(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    catalog.begin(new.clone()).await.expect("the row is new");
    catalog.end(new.id, Ending::Delete, at(5)).await.expect("receiving counts as alive");
    let before = found(&catalog, new.id).await;

    let mut late = finished(&new, State::Stored, Completeness::Complete);
    late.object = object();
    let made = late.object;
    assert_refused!(catalog.finish(late).await, WrongState);

    assert_eq!(found(&catalog, new.id).await, before);
    assert_eq!(to_sweep(&catalog).await, sorted([new.object, made]));
}

pub async fn object_is_stored_only_from_the_spool(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    catalog.begin(new.clone()).await.expect("the row is new");

    assert_refused!(catalog.stored(new.id, new.object, at(9)).await, WrongState);
    catalog.finish(finished(&new, State::Spooled, Completeness::Complete)).await.expect("it is being received");
    assert_refused!(catalog.stored(new.id, object(), at(9)).await, WrongState);
    catalog.stored(new.id, new.object, at(99)).await.expect("it is spooled");
    assert_refused!(catalog.stored(new.id, new.object, at(100)).await, WrongState);
    assert_refused!(catalog.stored(recording(tenant, at(0)).id, new.object, at(9)).await, NotFound);

    let found = found(&catalog, new.id).await;
    assert_eq!((found.state, found.changed_at), (State::Stored, at(99)));
}

pub async fn abandoned_recording_leaves_only_its_object(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut new = recording(tenant, at(0));
    new.call = Some(call(vec![wrap(Class::Cdr, days(90))]));
    catalog.begin(new.clone()).await.expect("the row is new");

    catalog.abandon(new.id).await.expect("it is being received");

    assert!(catalog.recording(None, new.id).await.expect("it answers").is_none());
    assert_eq!(to_sweep(&catalog).await, [new.object]);
    // Name, paths and call are free again.
    catalog.begin(new.clone()).await.expect("nothing of it is left");
    assert_eq!(found(&catalog, new.id).await.call, new.call);
}

pub async fn only_receiving_recordings_are_abandoned(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    keep(&catalog, &new).await;

    assert_refused!(catalog.abandon(new.id).await, WrongState);
    assert_refused!(catalog.abandon(recording(tenant, at(0)).id).await, NotFound);

    assert_eq!(found(&catalog, new.id).await.state, State::Stored);
    assert!(to_sweep(&catalog).await.is_empty());
}

pub async fn recording_of_another_tenant_is_none(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let new = recording(tenant, at(0));
    keep(&catalog, &new).await;
    let name = [new.name_token.expect("it has a name")];

    assert!(catalog.recording(Some(tenant), new.id).await.expect("it answers").is_some());
    assert!(catalog.recording(Some(other), new.id).await.expect("it answers").is_none());
    assert!(catalog.recording_by_name(other, &name).await.expect("it answers").is_none());
}

pub async fn recording_is_found_by_any_of_its_name_tokens(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let new = recording(tenant, at(0));
    keep(&catalog, &new).await;
    keep(&catalog, &recording(tenant, at(1))).await;
    let mut tokens: Vec<_> = (0..12).map(|_| bytes16()).collect();
    assert!(catalog.recording_by_name(tenant, &tokens).await.expect("it answers").is_none());

    tokens.push(new.name_token.expect("it has a name"));
    let by_name = catalog.recording_by_name(tenant, &tokens).await.expect("it answers");

    assert_eq!(by_name.map(|r| r.id), Some(new.id));
    assert!(catalog.recording_by_name(tenant, &[]).await.expect("it answers").is_none());
}

pub async fn resume_is_set_moved_and_ended_and_outlives_the_finish(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let begun = Resume { until: at(60), declared_len: None };
    let new = NewRecording { resume: Some(begun), ..recording(tenant, at(0)) };
    catalog.begin(new.clone()).await.expect("the row is new");
    assert_eq!(found(&backend.open(), new.id).await.resume, Some(begun));

    let moved = Resume { until: at(120), declared_len: Some(1_000) };
    catalog.set_resume(new.id, Some(moved)).await.expect("it is being received");
    catalog.finish(finished(&new, State::Stored, Completeness::Complete)).await.expect("it is being received");
    assert_eq!(found(&catalog, new.id).await.resume, Some(moved));

    catalog.set_resume(new.id, None).await.expect("it is alive");
    assert_eq!(found(&catalog, new.id).await.resume, None);
    catalog.end(new.id, Ending::Delete, at(200)).await.expect("it is alive");
    assert_refused!(catalog.set_resume(new.id, Some(moved)).await, WrongState);
    assert_refused!(catalog.set_resume(recording(tenant, at(1)).id, None).await, NotFound);
}

pub async fn finish_with_a_label_replaces_the_one_before(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    for label in [None, Some(vec![0x2B; 64])] {
        let new = recording(tenant, at(0));
        catalog.begin(new.clone()).await.expect("the row is new");

        let last = Finished { label: label.clone(), ..finished(&new, State::Stored, Completeness::Complete) };
        catalog.finish(last).await.expect("it is being received");

        assert_eq!(found(&catalog, new.id).await.label, Some(label.unwrap_or(new.label)));
    }
}
