//! Tenants.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{Puncture, TenantChange};
use crate::model::{TenantNumber, Term};

pub async fn numbers_start_at_one_and_are_not_given_twice(backend: &impl Backend) {
    let catalog = backend.open();

    let first = catalog.create_tenant(new_tenant()).await.expect("the slug is free");
    let second = catalog.create_tenant(new_tenant()).await.expect("the slug is free");

    assert_eq!((first.number, second.number), (TenantNumber(1), TenantNumber(2)));
    assert_eq!(catalog.tenant(&first.slug).await.expect("it answers"), Some(first.clone()));
    assert_eq!(catalog.tenant_by_number(second.number).await.expect("it answers"), Some(second.clone()));
    assert_eq!(catalog.tenants().await.expect("it answers"), {
        let mut both = vec![first, second];
        both.sort_by(|one, other| one.slug.cmp(&other.slug));
        both
    });
}

pub async fn taken_slug_is_refused_and_leaves_no_tenant(backend: &impl Backend) {
    let catalog = backend.open();
    let new = new_tenant();
    catalog.create_tenant(new.clone()).await.expect("the slug is free");

    assert_refused!(catalog.create_tenant(new).await, SlugTaken);

    assert_eq!(catalog.tenants().await.expect("it answers").len(), 1);
}

pub async fn change_leaves_unnamed_settings_alone(backend: &impl Backend) {
    let catalog = backend.open();
    let before = catalog.create_tenant(new_tenant()).await.expect("the slug is free");

    let change = TenantChange { recording: Some(false), cdr_term: Some(Term::Days(40)), ..TenantChange::default() };
    let after = catalog.set_tenant(before.number, change).await.expect("it is there");

    let mut expected = before;
    expected.recording = false;
    expected.cdr_term = Term::Days(40);
    assert_eq!(after, expected);
    assert_eq!(catalog.tenant(&expected.slug).await.expect("it answers"), Some(expected));
}

pub async fn what_is_not_there_is_not_found(backend: &impl Backend) {
    let catalog = backend.open();
    let nobody = TenantNumber(7);

    assert!(catalog.tenant_by_number(nobody).await.expect("it answers").is_none());
    assert_refused!(catalog.set_tenant(nobody, TenantChange::default()).await, NotFound);
    assert_refused!(catalog.offboard_tenant(nobody, at(0)).await, NotFound);
    assert_refused!(catalog.create_token(token(nobody)).await, NotFound);
    assert_refused!(catalog.begin(recording(nobody, at(0))).await, NotFound);
}

pub async fn offboarding_revokes_the_tokens_and_queues_one_puncture(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    catalog.create_token(token(tenant)).await.expect("the tenant lives");

    catalog.offboard_tenant(tenant, at(10)).await.expect("it is there");
    catalog.offboard_tenant(tenant, at(20)).await.expect("done before changes nothing");

    let found = catalog.tenant_by_number(tenant).await.expect("it answers").expect("it stays");
    assert_eq!(found.offboarded_at, Some(at(10)));
    assert_eq!(catalog.tokens(Some(tenant)).await.expect("it answers")[0].revoked_at, Some(at(10)));
    let targets: Vec<_> = catalog.punctures().await.expect("it answers").into_iter().map(|p| p.target).collect();
    assert_eq!(targets, [Puncture::Tenant(tenant)]);
}

pub async fn offboarded_tenant_gets_no_token_and_no_recording(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    catalog.offboard_tenant(tenant, at(10)).await.expect("it is there");

    assert_refused!(catalog.create_token(token(tenant)).await, WrongState);
    assert_refused!(catalog.begin(recording(tenant, at(20))).await, WrongState);
}
