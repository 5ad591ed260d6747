//! The restore drill of OPERATIONS.md, step by step: what lives plays again, what is dead stays dead, and no copy of the keys
//! brings it back.

use std::fs;

use callvault::model::Timestamp;
use jiff::SignedDuration;
use rusqlite::Connection;

use crate::support::held::now;
use crate::support::wire::audio;
use crate::support::{Server, Vault, copy_dir, noise};

/// In the order in which OPERATIONS.md says it: the catalog first, so that no row is without its object.
fn back_up(vault: &Vault) {
    let backup = vault.beside("backup");
    fs::create_dir(&backup).expect("it is new");
    let catalog = Connection::open(vault.path().join("catalog.db")).expect("it opens beside the server");
    catalog.execute("VACUUM INTO ?1", [backup.join("catalog.db").to_string_lossy()]).expect("a copy");
    copy_dir(&vault.path().join("objects"), &backup.join("objects"));
    fs::copy(vault.path().join("master.key"), backup.join("master.key")).expect("the key has its own copy");
}

/// Everything is gone but the key store and the generation store, which are mirrored and in no backup.
fn lose_everything_but_the_mirrors(vault: &Vault) {
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm", "catalog.db.serve-lock", "master.key"] {
        fs::remove_file(vault.path().join(name)).ok();
    }
    for name in ["objects", "spool"] {
        fs::remove_dir_all(vault.path().join(name)).expect("it was there");
    }
}

fn restore(vault: &Vault) {
    let backup = vault.beside("backup");
    for name in ["master.key", "catalog.db"] {
        fs::copy(backup.join(name), vault.path().join(name)).expect("it is put back");
    }
    copy_dir(&backup.join("objects"), &vault.path().join("objects"));
}

fn mirrored(dir: &std::path::Path) -> Vec<(String, String)> {
    let mirrors =
        |kind: &str| ["east", "west"].map(|place| format!("file://{}/{place}/{kind}", dir.display())).join(",");
    let variables = [("CALLVAULT_KEY_STORE", mirrors("keys")), ("CALLVAULT_GENERATION_STORE", mirrors("generations"))];
    variables.map(|(name, value)| (name.to_owned(), value)).into()
}

fn later(days: i64) -> Timestamp {
    now().checked_add(SignedDuration::from_hours(24 * days)).expect("an instant")
}

fn put(server: &Server, name: &str, class: &str, seed: u64) -> String {
    server.put(name, &noise(seed, 30_000)).header("Callvault-Class", class).send().id(201)
}

#[test]
fn a_restore_drill_brings_back_what_lives_and_nothing_that_is_dead() {
    let vault = Vault::with_env(|dir| {
        for place in ["east", "west"] {
            fs::create_dir(dir.join(place)).expect("it is new");
        }
        mirrored(dir)
    });
    vault.ok(&["tenant", "set", "acme", "--customer-term", "90d", "--training-term", "30d"]);
    let mut server = vault.serve();
    let (ended, lives) = (put(&server, "ended", "training", 1), put(&server, "lives", "customer", 2));
    let (erased, deleted) = (put(&server, "erased", "customer", 3), put(&server, "deleted", "customer", 4));
    let archived: Vec<_> =
        vault.key_files().into_iter().map(|path| (path.clone(), fs::read(path).expect("a key"))).collect();
    back_up(&vault);
    let late = put(&server, "late", "customer", 5);
    let end = |id: &str, how: &str| server.ask("DELETE", &format!("/v1/recordings/{id}{how}")).send().status;
    assert_eq!((end(&erased, "?erase=1"), end(&deleted, "")), (202, 202));
    server.stop();
    let at = later(31);
    let shift = Vault::shift(at);
    let destroyed = vault.expire(at);
    assert_eq!((&destroyed["keys_destroyed"], &destroyed["punctures"]), (&2.into(), &1.into()), "{destroyed}");

    lose_everything_but_the_mirrors(&vault);
    let (code, told) = vault.exit(&["init"], Some(&shift));
    assert_eq!(code, 2, "an empty catalog beside a ring that has advanced: {told}");
    lose_everything_but_the_mirrors(&vault);
    restore(&vault);
    // The catalog is older than the ring: the ring is right.
    vault.ok_at(&["expire"], Some(&shift));
    let status = vault.ok_at(&["status"], Some(&shift));
    assert!(
        status["shred_lag_s"].as_i64().is_some_and(|lag_s| lag_s < 8_100),
        "what is destroyed is no alarm: {status}"
    );
    let verified = vault.exit(&["verify"], Some(&shift));

    assert_eq!(verified.0, 0, "{}", verified.1);
    let mut server = vault.serve_with(&[], Some(&shift));
    assert!(server.play(&lives) == noise(2, 30_000), "what lives plays");
    for (what, id) in [("ended", &ended), ("erased", &erased)] {
        assert_eq!(server.see(&audio(id)).status, 410, "{what} stays dead");
    }
    assert!(
        server.play(&deleted) == noise(4, 30_000),
        "a plain deletion is undone by an older catalog, as it was announced"
    );
    assert_eq!(server.see(&audio(&late)).status, 404, "what came after the backup is lost");
    let again = put(&server, "afterwards", "customer", 6);
    assert!(server.play(&again) == noise(6, 30_000), "it goes on");
    server.stop();

    // Somebody did archive the ring, and puts it back: everywhere, and alone.
    for path in vault.key_files() {
        fs::remove_file(path).expect("it is removed");
    }
    for (path, bytes) in &archived {
        fs::write(path, bytes).expect("it is put back");
    }
    let (code, told) = vault.exit(&["serve", "--listen", "127.0.0.1:0"], Some(&shift));
    assert!(code == 1 && told.contains("at or above generation"), "a ring older than the watermark is refused: {told}");
}
