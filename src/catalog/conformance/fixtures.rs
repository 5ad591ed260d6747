//! Rows to begin with. Every id, tag and token is another one: they are counted, so that a failure repeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::SignedDuration;
pub use jiff::civil::date;

use super::Backend;
use crate::catalog::{
    Announcement, CallRow, CatalogError, CommittedGeneration, Finished, LinkRow, NewRecording, NewTenant, Person,
    Recording, Result, Run, SearchTokens, SharedCatalog, TokenRow, WrapRow,
};
use crate::crypto::token::TokenHash;
use crate::model::epoch::{Tag, TreeId};
use crate::model::ids::CallId;
use crate::model::{
    Class, Clearance, Completeness, Epoch, LinkId, ObjectId, PersonId, PrincipalKind, RecordingId, ReplicaName, Scope,
    State, TenantNumber, Term, TimePath, Timestamp, TokenId,
};

static COUNTED: AtomicU64 = AtomicU64::new(1);

pub fn count() -> u64 {
    COUNTED.fetch_add(1, Ordering::Relaxed)
}

/// Ascending.
pub fn bytes16() -> [u8; 16] {
    (u128::from(count()) << 32 | 0xC0).to_be_bytes()
}

pub fn object() -> ObjectId {
    ObjectId(bytes16())
}

/// Seconds after noon of 1 June 2025.
pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_748_779_200 + second).expect("it is in this century")
}

pub fn days(days: i64) -> Timestamp {
    at(days * 86_400)
}

pub fn wrap(class: Class, expires_at: Timestamp) -> WrapRow {
    let tag = Tag::new(count()).expect("tests count to far below 2^44");
    let path = TimePath { tree: TreeId(1), epoch: Epoch::of(expires_at), tag };
    WrapRow { class, path, expires_at, sealed: Some([0xA5; 72]) }
}

pub fn call(wraps: Vec<WrapRow>) -> CallRow {
    CallRow { id: CallId::from_bytes(bytes16()), blob: Some(vec![0xB1; 64]), text_len: 40, wraps }
}

/// A recording of class `customer` for 90 days, with a name, numbers and no call.
pub fn recording(tenant: TenantNumber, received_at: Timestamp) -> NewRecording {
    let ends_at = received_at + SignedDuration::from_hours(90 * 24);
    NewRecording {
        id: RecordingId::from_bytes(bytes16()),
        tenant,
        received_at,
        object: object(),
        name_token: Some(bytes16()),
        tokens: SearchTokens { a_number: Some(bytes16()), b_number: Some(bytes16()), call_id: Some(bytes16()) },
        label: vec![0x1A; 48],
        wraps: vec![wrap(Class::Customer, ends_at)],
        call: None,
        resume: None,
        holder: replica("vault-0"),
    }
}

pub fn replica(name: &str) -> ReplicaName {
    name.parse().expect("a replica's name")
}

pub fn finished(new: &NewRecording, state: State, completeness: Completeness) -> Finished {
    Finished {
        id: new.id,
        state,
        completeness,
        plain_len: 1_000,
        object: new.object,
        sealed_len: 1_088,
        digest: [0xD1; 32],
        label: None,
        wraps: new.wraps.iter().map(|wrap| (wrap.class, [0x5A; 72])).collect(),
        changed_at: new.received_at + SignedDuration::from_secs(60),
        holder: new.holder.clone(),
    }
}

/// Begins it and finishes it in the store.
pub async fn keep(catalog: &SharedCatalog, new: &NewRecording) {
    catalog.begin(new.clone()).await.expect("the row is new");
    let finished = finished(new, State::Stored, Completeness::Complete);
    catalog.finish(finished).await.expect("it is being received");
}

pub async fn found(catalog: &SharedCatalog, id: RecordingId) -> Recording {
    catalog.recording(None, id).await.expect("the catalog answers").expect("the recording is there")
}

pub fn new_tenant() -> NewTenant {
    NewTenant {
        slug: format!("tenant-{}", count()).parse().expect("a slug"),
        name: "Jansen & Zonen".into(),
        recording: true,
        customer_term: Term::Days(90),
        training_term: Term::Days(30),
        cdr_term: Term::Months(6),
        created_at: at(0),
    }
}

pub fn token(tenant: TenantNumber) -> TokenRow {
    let [low, high] = [bytes16(), bytes16()];
    let hash: Vec<u8> = [low, high].concat();
    TokenRow {
        id: TokenId::from_bytes(bytes16()),
        tenant: Some(tenant),
        kind: PrincipalKind::App,
        person: None,
        name: "the portal".into(),
        scopes: [Scope::Ingest, Scope::Read].into_iter().collect(),
        hash: TokenHash(hash.try_into().expect("two halves of 16 bytes")),
        created_at: at(0),
        expires_at: Some(days(365)),
        revoked_at: None,
        last_used_at: None,
        networks: vec!["10.0.0.0/8".into(), "192.0.2.1/32".into()],
        certificate: None,
    }
}

pub fn person() -> Person {
    Person {
        id: PersonId::from_bytes(bytes16()),
        name: "Jansen".into(),
        subject: Some(format!("https://sso.example.com {}", count())),
        clearance: Clearance { vog: Some(date(2025, 5, 1)), nda: None },
        created_at: at(0),
        disabled_at: None,
    }
}

pub fn link(tenant: TenantNumber, uses_max: Option<u32>) -> LinkRow {
    LinkRow {
        id: LinkId::from_bytes(bytes16()),
        tenant,
        recording: RecordingId::from_bytes(bytes16()),
        class: Class::Training,
        expires_at: days(1),
        address: Some([192, 0, 2, 7].into()),
        uses_max,
        token: Some(TokenId::from_bytes(bytes16())),
        person: None,
        created_at: at(0),
        revoked_at: None,
    }
}

/// A catalog with one tenant.
pub async fn inhabited(backend: &impl Backend) -> (SharedCatalog, TenantNumber) {
    let catalog = backend.open();
    let tenant = catalog.create_tenant(new_tenant()).await.expect("the slug is free").number;
    (catalog, tenant)
}

pub fn announcement(floor: Epoch, last_puncture: u64) -> Announcement {
    Announcement {
        started_at: days(100),
        from_generation: 1,
        floor_before: Epoch::FIRST,
        floor,
        last_puncture,
        ring_before: [1; 32],
    }
}

/// Announces a run with all punctures that are queued, and commits it.
pub async fn committed_run(catalog: &SharedCatalog, floor: Epoch) -> Run {
    let punctures = catalog.punctures().await.expect("the catalog answers");
    let last = punctures.last().map_or(0, |puncture| puncture.id);
    let run = catalog.announce(announcement(floor, last)).await.expect("no run is open");
    let generation = catalog.ring_mark().await.expect("the catalog answers").generation + 1;
    let committed = CommittedGeneration { generation, ring_after: [2; 32] };
    catalog.commit_generation(run.id, committed).await.expect("it is announced");
    Run { committed: Some(committed), ..run }
}

/// Shreds until nothing is left; returns how many wraps it were.
pub async fn shredded(catalog: &SharedCatalog, run: &Run, limit: u32) -> u64 {
    let mut total = 0;
    loop {
        let count = catalog.shred(run.id, limit, days(100)).await.expect("it is committed");
        assert!(count <= u64::from(limit));
        if count == 0 {
            return total;
        }
        total += count;
    }
}

pub async fn to_sweep(catalog: &SharedCatalog) -> Vec<ObjectId> {
    let mut objects = catalog.objects_to_sweep(1_000).await.expect("the catalog answers");
    objects.sort();
    objects
}

pub fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

/// That a verb refused with this error.
macro_rules! assert_refused {
    ($result:expr, $error:ident) => {{
        let result = $result;
        assert!(matches!(result, Err(crate::catalog::CatalogError::$error)), "{:?}", result.err());
    }};
}
pub(super) use assert_refused;

/// Runs the verb in many tasks at once, each with its own input.
pub async fn at_once<I, F, Fut>(inputs: Vec<I>, verb: F) -> Vec<Result<()>>
where
    I: Send + 'static,
    F: Fn(I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    let verb = Arc::new(verb);
    let mut tasks = tokio::task::JoinSet::new();
    for input in inputs {
        let verb = Arc::clone(&verb);
        tasks.spawn(async move { verb(input).await });
    }
    tasks.join_all().await
}

pub fn is_name_taken(result: &Result<()>) -> bool {
    matches!(result, Err(CatalogError::NameTaken))
}
