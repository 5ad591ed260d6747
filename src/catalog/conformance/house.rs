//! The sweep and the counts.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{Counts, Ending};
use crate::model::{Completeness, State};

pub async fn swept_objects_are_forgotten(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let all: Vec<_> = (0..5).map(|_| recording(tenant, at(0))).collect();
    for new in &all {
        catalog.begin(new.clone()).await.expect("the row is new");
        catalog.abandon(new.id).await.expect("it is being received");
    }

    assert_eq!(catalog.objects_to_sweep(2).await.expect("it answers").len(), 2);
    catalog.swept(&[all[0].object, all[3].object, object()]).await.expect("unknown ones do not matter");

    let rest = sorted([all[1].object, all[2].object, all[4].object]);
    assert_eq!(to_sweep(&backend.open()).await, rest);
    catalog.swept(&[]).await.expect("nothing is nothing");
}

pub async fn counts_follow_every_change(backend: &impl Backend) {
    let catalog = backend.open();
    assert_eq!(catalog.counts().await.expect("it answers"), Counts::default());
    let tenant = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let [receiving, spooled, stored, erased, abandoned] = [0, 1, 2, 3, 4].map(|second| recording(tenant, at(second)));
    for new in [&receiving, &spooled, &abandoned] {
        catalog.begin(new.clone()).await.expect("the row is new");
    }
    let in_spool = finished(&spooled, State::Spooled, Completeness::Complete);
    let waits_since = in_spool.changed_at;
    catalog.finish(in_spool).await.expect("it is being received");
    keep(&catalog, &stored).await;
    keep(&catalog, &erased).await;
    catalog.end(erased.id, Ending::Erase, at(9)).await.expect("it is alive");
    catalog.abandon(abandoned.id).await.expect("it is being received");

    let counts = catalog.counts().await.expect("it answers");

    let by_state = [State::Receiving, State::Spooled, State::Stored, State::Erased].map(|state| (state, 1));
    assert_eq!(counts.recordings, by_state);
    assert_eq!((counts.tenants, counts.live_bytes), (1, 2_000));
    assert_eq!((counts.objects_to_sweep, counts.punctures_queued), (2, 1));
    assert_eq!(counts.oldest_spooled, Some(waits_since));
    assert_eq!(counts.next_expiry, Some(receiving.wraps[0].expires_at));
}
