//! Section 6 under `kill -9`: an expire run that died at any moment is completed by the next one; what lives plays, what is
//! dead stays dead, and every key is counted once.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use callvault::catalog::{Ending, Recording};
use callvault::config::KeyPlace;
use callvault::expire::{Expire, ExpireError, NamedClock};
use callvault::keyring::{FileKeyStore, KeyStore, KeyStoreError, Keyring, Mirrors};
use callvault::model::{CallData, Class, State, Timestamp};
use callvault::reading::ReadError;
use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::support::held::{Call, HeldVault, dir_of, now};
use crate::support::slow::Dice;
use crate::support::{DISK_CALLS, Vault, killed_at, noise};

const KILLS: usize = 200;
const KILLS_BEFORE_A_CHECK: usize = 8;
const DAY_H: i64 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_runs_killed_at_random_moments_destroy_each_key_once_and_no_other() {
    let mut dice = Dice::thrown();
    let vault = two_mirrors();
    let start = now();
    let rows = one_an_hour(&vault, start, KILLS + 20).await;
    // A run with nothing to kill tells how long a run takes here.
    let began = Instant::now();
    vault.expire(hours_after(start, 20 * DAY_H));
    let run_ms = began.elapsed().as_millis() as u64;
    let mut killed = 0;
    for round in 0..KILLS {
        let at = hours_after(start, 30 * DAY_H + round as i64 + 2);
        let mut command = vault.command(&["expire", "--floor", &at.to_string()], Some(&Vault::shift(at)));
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary runs");
        std::thread::sleep(Duration::from_millis(dice.below(run_ms + run_ms / 10)));
        child.kill().ok();
        killed += usize::from(child.wait().expect("it ends").signal() == Some(9));
        if round % KILLS_BEFORE_A_CHECK == KILLS_BEFORE_A_CHECK - 1 {
            vault.expire(at);
            check(&vault, at, &rows).await;
        }
    }
    assert!(killed > KILLS / 2, "only {killed} of {KILLS} runs were killed in time ({run_ms} ms)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_killed_at_any_step_is_completed_by_the_next() {
    let origin = two_mirrors();
    let start = now();
    let mut rows = one_an_hour(&origin, start, 6).await;
    {
        // One that is erased, whose term would end later.
        let held = origin.held(start).await;
        held.app.catalog.end(rows[5].id, Ending::Erase, start).await.expect("it is erased");
    }
    let erased = rows.remove(5);
    let at = hours_after(start, 30 * DAY_H + 4);
    for call in DISK_CALLS {
        // The first calls of openat belong to the loader.
        for step in (if call == "openat" { 15 } else { 1 }).. {
            let vault = origin.copied();
            let command = vault.command(&["expire", "--floor", &at.to_string()], Some(&Vault::shift(at)));
            let ended = killed_at(&command, call, step).output().expect("strace runs").status;
            let died = ended.signal() == Some(9);
            assert!(died || ended.success(), "{call} number {step}: {ended}");

            vault.expire(at);

            println!("completed after a death at {call} number {step}");
            let held = check(&vault, at, &rows).await;
            assert!(matches!(held.read(&erased, Class::Customer).await, Err(ReadError::Gone)), "{call} number {step}");
            if !died {
                assert!(step > 1, "expire makes no {call}");
                break;
            }
        }
    }
}

/// Every call of the key stores fails from the n-th on: an error that says that nothing was destroyed must be true, and the
/// next run completes what was begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_store_that_fails_at_any_call_destroys_nothing_or_says_so() {
    let origin = two_mirrors();
    let start = now();
    let rows = one_an_hour(&origin, start, 4).await;
    let at = hours_after(start, 30 * DAY_H + 3);
    let (mut failed, mut pending) = (0, 0);
    for calls in 0.. {
        let vault = origin.copied();
        let held = vault.held(at).await;
        let run = faulty(&vault, &held, calls).run(Some(at)).await;
        match &run {
            Ok(_) => {}
            Err(ExpireError::Failed(_)) => {
                failed += 1;
                // Loaded anew, since a server that starts now must still open it all.
                let held = vault.held(at).await;
                for row in &rows {
                    held.app.reader.data_key(row, Class::Customer).unwrap_or_else(|error| {
                        panic!("call {calls} failed with nothing destroyed, but {error}");
                    });
                }
            }
            Err(ExpireError::Pending(_)) => pending += 1,
            Err(error) => panic!("call {calls}: {error}"),
        }
        drop(held);

        vault.expire(at);

        check(&vault, at, &rows).await;
        if run.is_ok() {
            break;
        }
    }
    assert!(failed > 5 && pending > 3, "{failed} failed, {pending} pending");
}

/// Everything that must hold after a run that completed at `at`.
async fn check(vault: &Vault, at: Timestamp, rows: &[Recording]) -> HeldVault {
    let held = vault.held(at).await;
    let floor = callvault::model::Epoch::floor_at(at);
    let (mut due, mut keys) = (0, 0);
    for row in rows {
        let stored = held.row(row.id).await;
        let wrap = &row.wraps[0];
        if wrap.path.epoch < floor {
            due += 1;
            assert_eq!(stored.state, State::Shredded);
            assert!(matches!(held.read(row, Class::Customer).await, Err(ReadError::Gone)), "it is dead");
        } else {
            let bytes = held.read(&stored, Class::Customer).await.expect("it lives");
            assert_eq!(bytes.len() as u64, row.plain_len.expect("a length"));
        }
    }
    let shift = Vault::shift(at);
    let status = vault.ok_at(&["status"], Some(&shift));
    assert_eq!(status["ring"]["run_open"], false);
    assert_eq!(status["warnings"], serde_json::json!([]));
    vault.assert_one_generation(status["ring"]["generation"].as_u64().expect("a generation"));
    assert_eq!(vault.ok_at(&["receipts", "verify"], Some(&shift))["faults"], serde_json::json!([]));
    let listed = vault.ok_at(&["receipts", "list", "--tenant", "acme"], Some(&shift));
    let mut recordings = 0;
    for receipt in listed["receipts"].as_array().expect("receipts") {
        recordings += receipt["body"]["recordings"].as_u64().expect("a count");
        let classes = receipt["body"]["classes"].as_array().expect("classes");
        let counted: BTreeMap<_, _> = classes.iter().map(|class| (class["class"].as_str(), &class["keys"])).collect();
        keys += counted.get(&Some("customer")).and_then(|count| count.as_u64()).unwrap_or(0);
    }
    let erased = held.app.catalog.in_state(State::Erased, None, None, 10).await.expect("it answers").len() as u64;
    assert_eq!((recordings, keys), (due + erased, due + erased), "each key is counted once");
    held
}

/// Recordings of one tenant, received an hour apart; every third with call data.
async fn one_an_hour(vault: &Vault, start: Timestamp, count: usize) -> Vec<Recording> {
    let held = vault.held(start).await;
    let mut rows = Vec::new();
    for number in 0..count {
        held.clock.set(hours_after(start, number as i64));
        let a_number = (number % 3 == 0).then(|| format!("+3120555{number:04}"));
        let data = CallData { a_number, ..CallData::default() };
        let name = format!("call-{number}");
        rows.push(held.upload(Call { data, ..Call::named(&name) }, noise(number as u64, 1 + number * 300)).await);
    }
    rows
}

fn two_mirrors() -> Vault {
    Vault::with_env(|dir| {
        let mirrors = ["keys-a", "keys-b"].map(|name| format!("file://{}", dir.join(name).display()));
        vec![("CALLVAULT_KEY_STORE".into(), mirrors.join(","))]
    })
}

fn hours_after(start: Timestamp, hours: i64) -> Timestamp {
    start.checked_add(SignedDuration::from_hours(hours)).expect("it is an instant")
}

/// The verb over key stores that take this many calls.
fn faulty(vault: &Vault, held: &HeldVault, calls: usize) -> Expire {
    let config = vault.config();
    let left = Arc::new(AtomicUsize::new(calls));
    let stores = |places: &[KeyPlace]| {
        let faulty = |place: &KeyPlace| {
            Arc::new(Faulty { inner: FileKeyStore::open(dir_of(place)), left: left.clone() }) as Arc<dyn KeyStore>
        };
        places.iter().map(faulty).collect::<Vec<_>>()
    };
    let (rings, generations) =
        (Mirrors::rings(stores(&config.key_store)), Mirrors::generations(stores(&config.generation_store)));
    Expire {
        audit_term: held.app.expire.audit_term,
        catalog: held.app.catalog.clone(),
        keyring: Arc::new(Keyring::new(config.read_master_key().expect("a key"), rings, generations)),
        store: held.app.reader.store.clone(),
        clocks: vec![NamedClock { name: "held", clock: held.clock.as_clock() }],
    }
}

/// A key store that freezes.
struct Faulty {
    inner: FileKeyStore,
    left: Arc<AtomicUsize>,
}

impl Faulty {
    fn call(&self, verb: &'static str, name: &str) -> Result<(), KeyStoreError> {
        let taken = self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        taken.map(drop).map_err(|_| KeyStoreError {
            place: self.inner.describe(),
            verb,
            name: name.to_owned(),
            source: std::io::Error::other("frozen by the test"),
        })
    }
}

#[async_trait]
impl KeyStore for Faulty {
    async fn names(&self) -> Result<Vec<String>, KeyStoreError> {
        self.call("list", "")?;
        self.inner.names().await
    }

    async fn create(&self, name: &str, bytes: &[u8]) -> Result<(), KeyStoreError> {
        self.call("create", name)?;
        self.inner.create(name, bytes).await
    }

    async fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyStoreError> {
        self.call("read", name)?;
        self.inner.read(name).await
    }

    async fn destroy(&self, name: &str) -> Result<(), KeyStoreError> {
        self.call("destroy", name)?;
        self.inner.destroy(name).await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn warning(&self) -> Option<String> {
        None
    }
}
