//! Succession and mirrors: what survives, what dies, and what a half-done step leaves.

use std::path::Path;
use std::sync::Mutex;

use super::*;
use crate::crypto::keys::KEY_LEN;
use crate::model::{Class, Completeness, ObjectId, SubjectId};

const TENANT: TenantNumber = TenantNumber(7);

fn at(text: &str) -> Timestamp {
    text.parse().expect("a valid instant")
}

fn now() -> Timestamp {
    at("2026-06-01T12:00:00Z")
}

fn keyring(places: &[&Path], secrets: &[&Path]) -> Keyring {
    let stores = |dirs: &[&Path]| {
        let open = |dir: &&Path| Arc::new(FileKeyStore::create(dir).expect("a directory")) as Arc<dyn KeyStore>;
        dirs.iter().map(open).collect::<Vec<_>>()
    };
    let master = MasterKey::take(&mut [3; KEY_LEN]);
    Keyring::new(master, Mirrors::rings(stores(places)), Mirrors::generations(stores(secrets)))
}

fn binding(expires_at: Timestamp) -> Binding {
    Binding { expires_at, object: ObjectId([1; 16]), plain_len: Some(5), completeness: Completeness::Complete }
}

/// A wrapped key that ends with `expires_at`.
fn wrapped(keyring: &Keyring, expires_at: Timestamp) -> (KekScope, [u8; WRAP_LEN]) {
    let path = keyring.new_path(expires_at).expect("a ring");
    let scope = KekScope { class: Class::Customer, tenant: TENANT, subject: SubjectId([2; 16]), path };
    let sealed = keyring.wrap(&scope, &DataKey::random(), &binding(expires_at)).expect("a living path");
    (scope, sealed)
}

#[tokio::test]
async fn an_advance_kills_what_has_ended_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let keyring = keyring(&[&dir.path().join("k")], &[&dir.path().join("g")]);
    let present = keyring.create_first(now()).await.expect("an empty key store");
    let (ends, lives) = (at("2026-07-01T12:00:00Z"), at("2026-07-01T13:00:00Z"));
    let (dead, dead_wrap) = wrapped(&keyring, ends);
    let (live, live_wrap) = wrapped(&keyring, lives);
    let (punctured, punctured_wrap) = wrapped(&keyring, lives);

    let floor = Epoch::floor_at(at("2026-07-01T13:15:00Z"));
    let keys = [Destroyed::Path(punctured.path)];
    let successor = keyring.succeed(&present, floor, &keys, ends).await.expect("a successor");
    keyring.retire(successor.generation).await.expect("the old one goes");
    keyring.adopt(successor);

    let unwrap = |scope, sealed: &[u8], at| keyring.unwrap(scope, sealed, &binding(at)).map(|_| ());
    assert!(matches!(unwrap(&dead, &dead_wrap, ends), Err(KeyringError::Gone)));
    assert!(matches!(unwrap(&punctured, &punctured_wrap, lives), Err(KeyringError::Gone)));
    assert!(unwrap(&live, &live_wrap, lives).is_ok());
    assert!(keyring.is_first(2).await.expect("the store answers"));
}

#[tokio::test]
async fn a_generation_that_was_half_written_is_a_leftover_and_the_next_advance_takes_its_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let (k, g) = (dir.path().join("k"), dir.path().join("g"));
    let keyring = keyring(&[&k], &[&g]);
    keyring.create_first(now()).await.expect("an empty key store");
    std::fs::write(k.join("ring.2"), b"CVK1 torn").expect("written");
    std::fs::write(k.join("ring.3"), b"").expect("written");
    std::fs::write(g.join("generation.2"), b"").expect("written");

    let found = keyring.find(1).await.expect("generation 1 opens");
    keyring.replicate(&found).await.expect("the store answers");
    let leftovers = keyring.clear(&found).await.expect("the store answers");
    let successor = keyring.succeed(&found, Epoch::floor_at(now()), &[], now()).await.expect("a successor");

    assert_eq!((found.generation, leftovers, successor.generation), (1, 1, 2));
    assert_eq!(keyring.find(1).await.expect("the next one opens").generation, 2);
}

#[tokio::test]
async fn of_runs_that_know_nothing_of_each_other_one_makes_the_generation_and_none_takes_it_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let (k1, k2, g) = (dir.path().join("k1"), dir.path().join("k2"), dir.path().join("g"));
    let first = keyring(&[&k1, &k2], &[&g]);
    first.create_first(now()).await.expect("empty key stores");
    first.load(1).await.expect("it was just made");
    let ends = at("2026-07-01T12:00:00Z");
    let (scope, sealed) = wrapped(&first, ends);

    for round in 1..=20 {
        let runs = (0..8).map(|_| {
            let keyring = keyring(&[&k1, &k2], &[&g]);
            tokio::spawn(async move {
                let present = keyring.find(round).await?;
                keyring.replicate(&present).await?;
                keyring.clear(&present).await?;
                let successor = keyring.succeed(&present, Epoch::floor_at(now()), &[], now()).await?;
                keyring.retire(successor.generation).await?;
                Ok::<_, KeyringError>(successor.generation)
            })
        });
        let mut made = Vec::new();
        for run in runs.collect::<Vec<_>>() {
            match run.await.expect("no run panics") {
                Ok(generation) => made.push(generation),
                Err(KeyringError::Overtaken(_) | KeyringError::NotReadBack { .. } | KeyringError::Store(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        made.sort();
        let (last, unique) = (made.last().copied(), made.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(unique && !made.is_empty(), "{made:?}");
        let keyring = keyring(&[&k1, &k2], &[&g]);
        let present = keyring.find(round).await.expect("a generation lives");
        assert!(Some(present.generation) >= last);
        keyring.load(round).await.expect("it opens");
        assert!(keyring.unwrap(&scope, &sealed, &binding(ends)).is_ok());
    }
}

#[tokio::test]
async fn a_ring_below_the_watermark_is_refused_and_nothing_is_destroyed() {
    let dir = tempfile::tempdir().expect("a directory");
    let keyring = keyring(&[&dir.path().join("k")], &[&dir.path().join("g")]);
    keyring.create_first(now()).await.expect("an empty key store");

    let refused = keyring.load(2).await;

    assert!(matches!(refused, Err(KeyringError::NoRing { watermark: 2, .. })));
    assert!(dir.path().join("k/ring.1").exists());
}

#[tokio::test]
async fn a_lost_mirror_is_survived_by_reading_and_refused_by_destroying() {
    let dir = tempfile::tempdir().expect("a directory");
    let (k1, k2, g) = (dir.path().join("k1"), dir.path().join("k2"), dir.path().join("g"));
    let keyring = keyring(&[&k1, &k2], &[&g]);
    keyring.create_first(now()).await.expect("empty key stores");
    std::fs::remove_dir_all(&k1).expect("a mirror is lost");

    keyring.load(1).await.expect("the other mirror opens");
    let present = keyring.find(1).await.expect("the other mirror opens");
    let refused = keyring.succeed(&present, Epoch::floor_at(now()), &[], now()).await;

    assert!(matches!(refused, Err(KeyringError::Store(_))));
    assert!(k2.join("ring.1").exists() && g.join("generation.1").exists());
}

#[tokio::test]
async fn a_mirror_that_is_empty_stops_destruction_until_a_person_fills_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (k1, k2, g) = (dir.path().join("k1"), dir.path().join("k2"), dir.path().join("g"));
    let keyring = keyring(&[&k1, &k2], &[&g]);
    let present = keyring.create_first(now()).await.expect("empty key stores");
    std::fs::remove_file(k1.join("ring.1")).expect("as if its disk were not mounted");

    assert!(matches!(keyring.replicate(&present).await, Err(KeyringError::EmptyMirror(_))));
    keyring.fill(&present).await.expect("both answer");
    keyring.replicate(&present).await.expect("both hold it");

    assert_eq!(std::fs::read(k1.join("ring.1")).ok(), std::fs::read(k2.join("ring.1")).ok());
}

#[tokio::test]
async fn the_ring_in_memory_ages_by_the_clock_and_heals_when_the_clock_comes_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let keyring = keyring(&[&dir.path().join("k")], &[&dir.path().join("g")]);
    let present = keyring.create_first(now()).await.expect("an empty key store");
    keyring.load(present.generation).await.expect("it was just made");
    let ends = at("2026-07-01T12:00:00Z");
    let (scope, sealed) = wrapped(&keyring, ends);

    keyring.follow(1, at("2026-08-01T00:00:00Z")).await.expect("the store answers");
    let aged = keyring.unwrap(&scope, &sealed, &binding(ends));
    keyring.follow(1, now()).await.expect("the store answers");
    let healed = keyring.unwrap(&scope, &sealed, &binding(ends));

    assert!(matches!(aged, Err(KeyringError::Gone)));
    assert!(healed.is_ok());
}

#[tokio::test]
async fn a_first_ring_is_not_made_where_any_ring_file_lies() {
    let dir = tempfile::tempdir().expect("a directory");
    let keyring = keyring(&[&dir.path().join("k")], &[&dir.path().join("g")]);
    std::fs::write(dir.path().join("k/ring.9"), b"another vault's").expect("written");

    assert!(matches!(keyring.create_first(now()).await, Err(KeyringError::RingExists(9))));
}

#[tokio::test]
async fn a_file_is_created_once_and_destroyed_without_a_trace_of_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = FileKeyStore::create(dir.path()).expect("a directory");
    store.create("ring.1", b"first").await.expect("a new name");

    assert!(store.create("ring.1", b"second").await.is_err());
    assert_eq!(store.read("ring.1").await.expect("it answers").as_deref().map(Vec::as_slice), Some(&b"first"[..]));
    store.destroy("ring.1").await.expect("it is there");
    store.destroy("ring.1").await.expect("being gone already is no error");
    assert_eq!(store.names().await.expect("it answers"), Vec::<String>::new());
}

#[tokio::test]
async fn a_first_ring_that_a_crash_left_half_written_is_written_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let keyring = keyring(&[&dir.path().join("k")], &[&dir.path().join("g")]);
    std::fs::write(dir.path().join("k/ring.1"), b"CVK1").expect("written");
    std::fs::write(dir.path().join("g/generation.1"), b"").expect("written");

    assert_eq!(keyring.create_first(now()).await.expect("it never held anything").generation, 1);
}

/// A mirror that gives back what was not written.
struct Liar {
    written: Mutex<HashMap<String, Vec<u8>>>,
}

#[async_trait]
impl KeyStore for Liar {
    async fn names(&self) -> Result<Vec<String>, KeyStoreError> {
        Ok(self.written.lock().expect("unpoisoned").keys().cloned().collect())
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<(), KeyStoreError> {
        let mut kept = bytes.to_vec();
        kept[20] ^= 1;
        self.written.lock().expect("unpoisoned").insert(name.to_owned(), kept);
        Ok(())
    }

    async fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        Ok(self.written.lock().expect("unpoisoned").get(name).cloned().map(Zeroizing::new))
    }

    async fn destroy(&self, name: &str) -> Result<(), KeyStoreError> {
        self.written.lock().expect("unpoisoned").remove(name);
        Ok(())
    }

    fn describe(&self) -> String {
        "a liar".into()
    }

    fn warning(&self) -> Option<String> {
        None
    }
}

#[tokio::test]
async fn a_generation_that_is_not_read_back_as_written_does_not_become_the_next() {
    let liar: Arc<dyn KeyStore> = Arc::new(Liar { written: Mutex::default() });
    let keyring =
        Keyring::new(MasterKey::take(&mut [3; KEY_LEN]), Mirrors::rings(vec![liar]), Mirrors::generations(vec![]));

    assert!(matches!(keyring.create_first(now()).await, Err(KeyringError::NotReadBack { generation: 1, .. })));
}

#[tokio::test]
async fn tokens_of_numbers_and_names_die_with_their_day_and_are_found_until_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let keyring = keyring(&[&dir.path().join("k")], &[&dir.path().join("g")]);
    keyring.create_first(now()).await.expect("an empty key store");
    keyring.load(1).await.expect("it was just made");
    let ends = at("2027-06-01T12:00:00Z");

    let token = keyring.search_token(TENANT, Day::of(ends), IndexField::ANumber, "+31201234567").expect("a living day");
    let name = keyring.name_token(TENANT, Day::of(ends), "call.wav").expect("a living window");

    let searched = |at| keyring.search_tokens(TENANT, at, &[IndexField::ANumber], "+31201234567").expect("a ring");
    assert!(searched(now()).contains(&token));
    assert!(searched(now()).len() <= 397);
    assert!(keyring.name_tokens(TENANT, now(), "call.wav").expect("a ring").contains(&name));
    assert!(keyring.name_tokens(TENANT, now(), "call.wav").expect("a ring").len() <= 13);
    keyring.follow(1, at("2027-06-02T00:15:00Z")).await.expect("the store answers");
    assert!(keyring.search_token(TENANT, Day::of(ends), IndexField::ANumber, "+31201234567").is_err());
    assert!(!searched(ends).contains(&token));
}
