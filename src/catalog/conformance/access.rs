//! Who may do what: tokens, people, links, and what waits for a second person.

use super::Backend;
use super::fixtures::*;
use crate::catalog::{Asked, Confirmation, LinkSession, Person, PersonChange, TokenKey};
use crate::crypto::token::TokenHash;
use crate::model::{LinkId, PersonId, PrincipalKind, TenantNumber, TokenId};

pub async fn token_is_found_by_hash_certificate_and_id_with_all_that_was_stored(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let person = person();
    catalog.create_person(person.clone()).await.expect("it is new");
    let mut stored = token(tenant);
    (stored.kind, stored.person) = (PrincipalKind::Person, Some(person.id));
    stored.certificate = Some([0xCE; 32]);
    catalog.create_token(stored.clone()).await.expect("the tenant lives");
    catalog.create_token(token(tenant)).await.expect("the tenant lives");

    for by in [TokenKey::Hash(stored.hash.clone()), TokenKey::Certificate([0xCE; 32]), TokenKey::Id(stored.id)] {
        let found = catalog.token(by).await.expect("it answers").expect("it was stored");

        assert_eq!(found.tenant.expect("it has one").number, tenant);
        assert_eq!(found.person.as_ref(), Some(&person));
        let found = found.token;
        assert_eq!((found.id, found.tenant), (stored.id, Some(tenant)));
        assert_eq!((found.kind, found.person), (stored.kind, stored.person));
        assert_eq!((found.name, found.scopes), (stored.name.clone(), stored.scopes));
        assert_eq!((found.networks, found.certificate), (stored.networks.clone(), stored.certificate));
        assert_eq!((found.created_at, found.expires_at), (stored.created_at, stored.expires_at));
        assert_eq!((found.revoked_at, found.last_used_at), (None, None));
        assert!(found.hash.matches(&stored.hash));
    }
}

pub async fn token_of_no_tenant_is_the_providers_own(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut own = token(tenant);
    own.tenant = None;

    catalog.create_token(own.clone()).await.expect("it needs no tenant");

    let found = catalog.token(TokenKey::Id(own.id)).await.expect("it answers").expect("it was stored");
    assert!(found.tenant.is_none() && found.token.tenant.is_none());
    assert!(catalog.tokens(Some(tenant)).await.expect("it answers").is_empty());
    assert_eq!(catalog.tokens(None).await.expect("it answers").len(), 1);
}

pub async fn token_of_nobody_or_with_what_is_anothers_is_refused(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let mut stored = token(tenant);
    stored.certificate = Some([0xCE; 32]);
    catalog.create_token(stored.clone()).await.expect("the tenant lives");
    let mut same_hash = token(tenant);
    same_hash.hash = stored.hash.clone();
    let mut same_certificate = token(tenant);
    same_certificate.certificate = stored.certificate;
    let mut of_nobody = token(tenant);
    (of_nobody.kind, of_nobody.person) = (PrincipalKind::Person, Some(PersonId::from_bytes([9; 16])));

    assert_refused!(catalog.create_token(same_hash).await, WrongState);
    assert_refused!(catalog.create_token(same_certificate).await, WrongState);
    assert_refused!(catalog.create_token(of_nobody).await, NotFound);
    assert_refused!(catalog.create_token(token(TenantNumber(7))).await, NotFound);

    assert_eq!(catalog.tokens(None).await.expect("it answers").len(), 1);
}

pub async fn token_revoked_twice_keeps_the_first_instant(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let stored = token(tenant);
    catalog.create_token(stored.clone()).await.expect("the tenant lives");

    catalog.revoke_token(stored.id, at(10)).await.expect("it is there");
    catalog.revoke_token(stored.id, at(20)).await.expect("revoked before changes nothing");

    let found = catalog.token(TokenKey::Hash(stored.hash)).await.expect("it answers").expect("revoked ones stay");
    assert_eq!(found.token.revoked_at, Some(at(10)));
    assert_refused!(catalog.revoke_token(TokenId::from_bytes([1; 16]), at(0)).await, NotFound);
    assert!(catalog.token(TokenKey::Hash(TokenHash([1; 32]))).await.expect("it answers").is_none());
}

pub async fn last_use_of_a_token_never_moves_back(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let stored = token(tenant);
    catalog.create_token(stored.clone()).await.expect("the tenant lives");

    for second in [10, 30, 20] {
        catalog.touch_token(stored.id, at(second)).await.expect("it is there");
    }
    catalog.touch_token(TokenId::from_bytes([1; 16]), at(0)).await.expect("one that is not there is passed over");

    assert_eq!(catalog.tokens(Some(tenant)).await.expect("it answers")[0].last_used_at, Some(at(30)));
}

pub async fn tokens_are_listed_ascending_by_creation(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let other = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    let (mut late, mut early, foreign) = (token(tenant), token(tenant), token(other));
    late.created_at = at(30);
    early.created_at = at(-30);
    for token in [&late, &early, &foreign] {
        catalog.create_token(token.clone()).await.expect("the tenant lives");
    }

    let own: Vec<_> = catalog.tokens(Some(tenant)).await.expect("it answers").iter().map(|t| t.id).collect();
    let all: Vec<_> = catalog.tokens(None).await.expect("it answers").iter().map(|t| t.id).collect();

    assert_eq!(own, [early.id, late.id]);
    assert_eq!(all, [early.id, foreign.id, late.id]);
}

pub async fn person_is_found_by_id_and_subject_and_listed_by_creation(backend: &impl Backend) {
    let catalog = backend.open();
    let (first, mut second) = (person(), person());
    (second.created_at, second.subject) = (at(-10), None);
    for person in [&first, &second] {
        catalog.create_person(person.clone()).await.expect("it is new");
    }
    let subject = first.subject.clone().expect("it has one");

    assert_eq!(catalog.person(second.id).await.expect("it answers"), Some(second.clone()));
    assert_eq!(catalog.person_by_subject(&subject).await.expect("it answers"), Some(first.clone()));
    assert_eq!(catalog.people().await.expect("it answers"), [second, first]);
    assert_eq!(catalog.person(PersonId::from_bytes([1; 16])).await.expect("it answers"), None);
    assert_eq!(catalog.person_by_subject("nobody").await.expect("it answers"), None);
}

pub async fn change_of_a_person_leaves_unnamed_fields_alone(backend: &impl Backend) {
    let catalog = backend.open();
    let before = person();
    catalog.create_person(before.clone()).await.expect("it is new");

    let change = PersonChange { nda: Some(Some(date(2025, 6, 1))), subject: Some(None), ..PersonChange::default() };
    let after = catalog.set_person(before.id, change).await.expect("it is there");

    let mut expected = Person { subject: None, ..before };
    expected.clearance.nda = Some(date(2025, 6, 1));
    assert_eq!(after, expected);
    assert_eq!(catalog.person(expected.id).await.expect("it answers"), Some(expected));
    let nobody = PersonId::from_bytes([1; 16]);
    assert_refused!(catalog.set_person(nobody, PersonChange::default()).await, NotFound);
}

pub async fn subject_of_another_person_is_refused(backend: &impl Backend) {
    let catalog = backend.open();
    let (first, mut same, other) = (person(), person(), person());
    same.subject = first.subject.clone();
    catalog.create_person(first.clone()).await.expect("it is new");
    catalog.create_person(other.clone()).await.expect("it is new");

    assert_refused!(catalog.create_person(same).await, WrongState);
    let change = PersonChange { subject: Some(first.subject), ..PersonChange::default() };
    assert_refused!(catalog.set_person(other.id, change).await, WrongState);

    assert_eq!(catalog.person(other.id).await.expect("it answers"), Some(other));
}

pub async fn link_reads_back_as_written_and_stays_revoked(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let stored = link(tenant, Some(3));

    catalog.create_link(stored.clone()).await.expect("it is new");
    assert_eq!(catalog.link(stored.id).await.expect("it answers"), Some(stored.clone()));

    catalog.revoke_link(stored.id, at(10)).await.expect("it is there");
    catalog.revoke_link(stored.id, at(20)).await.expect("revoked before changes nothing");

    let found = catalog.link(stored.id).await.expect("it answers").expect("revoked ones stay");
    assert_eq!(found.revoked_at, Some(at(10)));
    assert_refused!(catalog.revoke_link(LinkId::from_bytes([1; 16]), at(0)).await, NotFound);
}

pub async fn link_is_forgotten_a_month_after_its_end(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let (old, mut next, mut last) = (link(tenant, Some(1)), link(tenant, None), link(tenant, None));
    catalog.create_link(old.clone()).await.expect("it is new");
    assert!(catalog.use_link(session(&old.id, 1, 0)).await.expect("it answers"));

    next.created_at = days(31);
    catalog.create_link(next).await.expect("it is new");
    assert!(catalog.link(old.id).await.expect("it answers").is_some());
    last.created_at = days(31) + jiff::SignedDuration::from_secs(1);
    catalog.create_link(last).await.expect("it is new");

    assert!(catalog.link(old.id).await.expect("it answers").is_none());
}

pub async fn link_is_used_by_as_many_players_as_it_has_uses(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let stored = link(tenant, Some(2));
    catalog.create_link(stored.clone()).await.expect("it is new");
    let play = async |player, second| catalog.use_link(session(&stored.id, player, second)).await.expect("it answers");

    assert!(play(1, 0).await);
    assert!(play(1, 59).await, "a session goes on");
    assert!(play(2, 0).await);
    assert!(!play(3, 1).await);
    assert!(!play(1, 60).await, "its session is over, and no use is left");
    assert!(play(2, 59).await);
    assert!(!catalog.use_link(session(&LinkId::from_bytes([1; 16]), 1, 0)).await.expect("it answers"));
}

pub async fn of_many_players_at_once_as_many_begin_as_there_are_uses(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let stored = link(tenant, Some(3));
    catalog.create_link(stored.clone()).await.expect("it is new");

    let players = (0..12).map(|player| {
        let (catalog, id) = (backend.open(), stored.id);
        tokio::spawn(async move { catalog.use_link(session(&id, player, 0)).await.expect("it answers") })
    });
    let mut begun = 0;
    for player in players.collect::<Vec<_>>() {
        begun += u32::from(player.await.expect("it does not panic"));
    }

    assert_eq!(begun, 3);
}

pub async fn what_one_asks_for_another_confirms_once_and_in_time(backend: &impl Backend) {
    let (catalog, tenant) = inhabited(backend).await;
    let (first, second) = (person(), person());
    for person in [&first, &second] {
        catalog.create_person(person.clone()).await.expect("it is new");
    }
    let ask = async |person: &Person, what: &str, second: i64| {
        let (what, at, until) = (what.to_owned(), at(second), at(second + 60));
        catalog.ask(Asked { tenant, what, person: person.id, at, until }).await.expect("it answers")
    };

    assert_eq!(ask(&first, "erase x", 0).await, Confirmation::Waits { until: at(60) });
    assert_eq!(ask(&first, "erase x", 30).await, Confirmation::Waits { until: at(60) }, "asking again moves nothing");
    assert_eq!(ask(&second, "erase y", 30).await, Confirmation::Waits { until: at(90) }, "it is something else");
    assert_eq!(ask(&second, "erase x", 59).await, Confirmation::Confirmed { by: first.id });
    assert_eq!(ask(&second, "erase x", 59).await, Confirmation::Waits { until: at(119) }, "once");
    assert_eq!(ask(&first, "erase y", 90).await, Confirmation::Waits { until: at(150) }, "too late");
    let nobody = Person { id: PersonId::from_bytes([1; 16]), ..first };
    let asked = Asked { tenant, what: "erase z".into(), person: nobody.id, at: at(0), until: at(60) };
    assert_refused!(catalog.ask(asked).await, NotFound);
}

/// A minute from `second` on.
fn session(link: &LinkId, player: u8, second: i64) -> LinkSession {
    LinkSession { link: *link, player: [player; 16], now: at(second), until: at(second + 60) }
}
