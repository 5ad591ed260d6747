//! Promise 3, 4 and 6: refused from the second of `expires_at`, destroyed by the next run, final against backups, and a
//! wrong clock or a missing mirror destroys nothing.

use std::collections::BTreeMap;
use std::fs;

use callvault::catalog::{Ending, Recording};
use callvault::crypto::receipt::{DigestOfTags, MerkleTree};
use callvault::expire::{Expire, ExpireError, NamedClock};
use callvault::model::{CallData, Class, State, Timestamp};
use callvault::reading::ReadError;
use futures::StreamExt;
use jiff::SignedDuration;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::held::{Call, now};
use crate::support::{Client, Mount, Vault, files, json as json_of, noise};

const CUSTOMER: [Class; 1] = [Class::Customer];
const BOTH: [Class; 2] = [Class::Customer, Class::Training];

#[tokio::test]
async fn the_second_of_the_end_is_refused_and_the_second_before_plays() {
    let vault = Vault::new();
    let held = vault.held(now()).await;
    let (server, client) = (held.serve().await, Client::new(&vault.token));
    let row = held.upload(Call::named("call"), noise(1, 40_000)).await;
    let ends_at = row.wraps[0].expires_at;
    let show = format!("{}/v1/recordings/{}", server.url, row.id);

    held.clock.set(ends_at - SignedDuration::from_secs(1));
    assert_eq!(client.fetch(&server.audio(row.id)).await, (200, noise(1, 40_000)));
    assert_eq!(client.get(&show).await.status(), 200);
    for (at, state) in [(ends_at, "before a run"), (after(ends_at, 3_600 * 2), "hours later")] {
        held.clock.set(at);

        let answer = client.get(&server.audio(row.id)).await;

        assert_eq!(answer.status(), 410, "{state}");
        assert_eq!(json_of(answer).await["type"], "/problems/ended");
        assert_eq!(client.get(&show).await.status(), 410);
        let page = json_of(client.get(&format!("{}/v1/recordings", server.url)).await).await;
        assert_eq!(page["recordings"], json!([]));
    }
    vault.expire(after(ends_at, 3_600 * 2));
    assert_eq!(client.get(&server.audio(row.id)).await.status(), 410, "after the run");
    assert!(matches!(vault.held(now()).await.read(&row, Class::Customer).await, Err(ReadError::Gone)));
}

#[tokio::test]
async fn a_response_that_runs_across_the_end_is_cut_and_never_completes() {
    let vault = Vault::new();
    let held = vault.held(now()).await;
    let (server, client) = (held.serve().await, Client::new(&vault.token));
    // More than the sockets between hold.
    let bytes = noise(2, 40 << 20);
    let row = held.upload(Call::named("long"), bytes.clone()).await;
    held.clock.set(row.wraps[0].expires_at - SignedDuration::from_secs(1));
    let answer = client.get(&server.audio(row.id)).await;
    assert_eq!(answer.status(), 200);
    let mut body = answer.bytes_stream();
    let mut played = body.next().await.expect("a first piece").expect("it plays").to_vec();

    held.clock.set(row.wraps[0].expires_at);

    let mut broke = false;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => played.extend_from_slice(&piece),
            Err(_) => broke = true,
        }
    }
    assert!(broke && played.len() < bytes.len(), "{} of {} bytes came", played.len(), bytes.len());
    assert!(bytes.starts_with(&played));
}

#[tokio::test]
async fn the_terms_of_two_classes_end_independently() {
    let vault = Vault::new();
    vault.ok(&["tenant", "set", "acme", "--customer-term", "90d", "--training-term", "30d"]);
    let trainer = Client::new(&vault.make_token("acme", "play:training"));
    let listener = Client::new(&vault.token);
    let start = now();
    let held = vault.held(start).await;
    let row = held.upload(Call { classes: &BOTH, ..Call::named("both") }, noise(3, 50_000)).await;
    let at = after_days(start, 31);

    vault.expire(at);

    held.clock.set(at);
    held.app.keyring.follow(0, at).await.expect("it follows");
    let server = held.serve().await;
    let audio = server.audio(row.id);
    assert_eq!(listener.fetch(&format!("{audio}?class=customer")).await, (200, noise(3, 50_000)));
    assert_eq!(listener.get(&format!("{audio}?class=training")).await.status(), 410);
    assert_eq!(trainer.get(&audio).await.status(), 410);
    assert!(matches!(held.read(&row, Class::Training).await, Err(ReadError::Gone)), "the old wrap opens no more");
    assert_eq!(held.row(row.id).await.state, State::Stored);
    let at = after_days(start, 91);
    vault.expire(at);
    held.clock.set(at);
    held.app.keyring.follow(0, at).await.expect("it follows");
    assert_eq!(listener.get(&audio).await.status(), 410);
    assert!(matches!(held.read(&row, Class::Customer).await, Err(ReadError::Gone)));
    assert_eq!(held.row(row.id).await.state, State::Shredded);
    assert_eq!(files(&vault.path().join("objects")), Vec::<std::path::PathBuf>::new(), "the object is swept");
}

#[tokio::test]
async fn call_data_outlives_its_audio_and_not_its_own_terms() {
    let vault = Vault::new();
    vault.ok(&["tenant", "set", "acme", "--cdr-term", "3mo"]);
    let start = now();
    let row = {
        let held = vault.held(start).await;
        let data = CallData { a_number: Some("+31205550100".into()), ..CallData::default() };
        held.upload(Call { data, ..Call::named("call") }, noise(4, 1_000)).await
    };
    let opens = async |days: i64| {
        let at = after_days(start, days);
        vault.expire(at);
        let held = vault.held(at).await;
        let stored = held.row(row.id).await;
        let opened = [Class::Cdr, Class::Finance].map(|class| {
            let restored = held
                .app
                .reader
                .call_data(&row, class, &keys_alone(), jiff::Timestamp::MIN)
                .expect("it is looked at")
                .is_some();
            let present = held
                .app
                .reader
                .call_data(&stored, class, &keys_alone(), jiff::Timestamp::MIN)
                .expect("it is looked at")
                .is_some();
            assert!(!present || restored);
            present
        });
        (stored.state, opened)
    };

    assert_eq!(opens(31).await, (State::Shredded, [true, true]));
    assert_eq!(opens(100).await, (State::Shredded, [false, true]));
    assert_eq!(opens(190).await, (State::Shredded, [false, false]));
    let held = vault.held(now()).await;
    for class in [Class::Cdr, Class::Finance] {
        assert!(
            held.app
                .reader
                .call_data(&row, class, &keys_alone(), jiff::Timestamp::MIN)
                .expect("it is looked at")
                .is_none(),
            "its key is dead"
        );
    }
    assert_eq!(held.row(row.id).await.call.expect("the row").blob, None);
}

#[tokio::test]
async fn a_second_run_changes_nothing_and_a_run_with_nothing_due_moves_the_floor_alone() {
    let vault = Vault::new();
    let start = now();
    let row = vault.held(start).await.upload(Call::named("call"), noise(5, 1_000)).await;

    let early = vault.expire(after_days(start, 10));

    assert_eq!((&early["generation"], &early["keys_destroyed"], &early["receipts"]), (&json!(2), &json!(0), &json!(0)));
    assert_eq!(early["objects_swept"], 0);
    assert_ne!(early["floor"], early["floor_before"]);
    let at = after_days(start, 20);
    let held = vault.held(at).await;
    assert_eq!(held.read(&held.row(row.id).await, Class::Customer).await.expect("it plays"), noise(5, 1_000));
    held.close();
    let first = vault.expire(after_days(start, 31));
    assert_eq!((&first["generation"], &first["keys_destroyed"], &first["receipts"]), (&json!(3), &json!(1), &json!(1)));
    let (keys, receipts) = (key_bytes(&vault), receipts_of(&vault, "acme"));
    let second = vault.expire(after_days(start, 31));
    assert_eq!(
        (&second["generation"], &second["keys_destroyed"], &second["receipts"]),
        (&json!(3), &json!(0), &json!(0))
    );
    assert_eq!(second["floor"], second["floor_before"]);
    assert_eq!((key_bytes(&vault), receipts_of(&vault, "acme")), (keys, receipts));
}

#[tokio::test]
async fn a_clock_behind_the_floor_is_refused_and_nothing_is_destroyed() {
    let vault = Vault::new();
    let start = now();
    let row = vault.held(start).await.upload(Call::named("call"), noise(6, 1_000)).await;
    vault.expire(after_days(start, 2));
    let keys = key_bytes(&vault);

    let (code, text) = vault.exit(&["expire"], None);

    assert_eq!(code, 4, "{text}");
    assert!(text.contains("the clock is behind"), "{text}");
    assert_eq!(key_bytes(&vault), keys);
    assert!(vault.held(start).await.read(&row, Class::Customer).await.is_ok());
}

#[tokio::test]
async fn one_clock_destroys_48_hours_at_most_unless_a_person_confirms_more() {
    let vault = Vault::new();
    let start = now();
    let held = vault.held(start).await;
    let row = held.upload(Call::named("call"), noise(7, 1_000)).await;
    let floor_before = held.app.catalog.ring_mark().await.expect("it answers").floor;
    let (at, shift) = (after_days(start, 40), Vault::shift(after_days(start, 40)));

    let (code, text) = vault.exit(&["expire"], Some(&shift));

    assert_eq!(code, 4, "{text}");
    assert!(text.contains("--floor"), "{text}");
    let floor = held.app.catalog.ring_mark().await.expect("it answers").floor;
    assert_eq!(floor.number(), floor_before.number() + 48);
    assert!(vault.held(start).await.read(&row, Class::Customer).await.is_ok(), "it lives beyond the 48 hours");
    assert_eq!(vault.expire(at)["keys_destroyed"], 1);
}

#[tokio::test]
async fn clocks_that_differ_by_more_than_five_minutes_stop_the_run() {
    let vault = Vault::new();
    let start = now();
    let held = vault.held(start).await;
    let row = held.upload(Call::named("call"), noise(8, 1_000)).await;
    let at = after_days(start, 31);
    let keys = key_bytes(&vault);
    let clock = |instant: Timestamp| std::sync::Arc::new(move || instant);
    let with = |other: Timestamp| Expire {
        clocks: vec![
            NamedClock { name: "system", clock: clock(at) },
            NamedClock { name: "store", clock: clock(other) },
        ],
        ..held.app.expire.clone()
    };
    for other in [after(at, 301), after(at, -301)] {
        let refused = with(other).run(None).await;

        assert!(matches!(refused, Err(ExpireError::Guarded(_))), "{refused:?}");
        assert_eq!(key_bytes(&vault), keys);
        assert!(held.read(&row, Class::Customer).await.is_ok());
    }
    assert_eq!(with(after(at, 299)).run(None).await.expect("they agree").keys_destroyed, 1);
}

#[tokio::test]
async fn a_row_younger_than_thirty_days_stops_the_run_before_anything_is_destroyed() {
    let vault = Vault::new();
    let start = now();
    let held = vault.held(start).await;
    let due = held.upload(Call::named("due"), noise(9, 1_000)).await;
    let young = held.upload(Call::named("young"), noise(10, 1_000)).await;
    held.close();
    let at = after_days(start, 31);
    edit(&vault, "UPDATE recording SET received_at = ?2 WHERE id = ?1", &young, after_days(start, 2).as_millisecond());
    let keys = key_bytes(&vault);

    let (code, text) = vault.exit(&["expire", "--floor", &at.to_string()], Some(&Vault::shift(at)));

    assert_eq!(code, 4, "{text}");
    assert!(text.contains("younger than 30 days"), "{text}");
    assert_eq!(key_bytes(&vault), keys);
    let held = vault.held(start).await;
    for row in [&due, &young] {
        assert!(held.read(row, Class::Customer).await.is_ok());
    }
    // Erased by a person: nothing to guard.
    held.app.catalog.end(young.id, Ending::Erase, at).await.expect("it is erased");
    assert_eq!(vault.expire(at)["keys_destroyed"], 2);
}

#[tokio::test]
async fn a_key_store_that_cannot_be_written_destroys_nothing_and_recordings_play() {
    let vault = Vault::new();
    let start = now();
    let held = vault.held(start).await;
    let due = held.upload(Call::named("due"), noise(11, 1_000)).await;
    held.clock.set(after_days(start, 20));
    let live = held.upload(Call::named("live"), noise(12, 1_000)).await;
    let at = after_days(start, 31);
    for store in ["keys", "generations"] {
        let read_only = Mount::read_only(&vault.path().join(store));

        let (code, text) = vault.exit(&["expire", "--floor", &at.to_string()], Some(&Vault::shift(at)));

        assert_eq!(code, 1, "{store}: {text}");
        assert!(text.contains("nothing was destroyed"), "{text}");
        let held = vault.held(start).await;
        assert!(held.read(&due, Class::Customer).await.is_ok(), "{store}: its key is whole");
        held.clock.set(at);
        let (server, client) = (held.serve().await, Client::new(&vault.token));
        assert_eq!(client.fetch(&server.audio(live.id)).await, (200, noise(12, 1_000)));
        assert_eq!(client.get(&server.audio(due.id)).await.status(), 410);
        drop(read_only);
    }
    assert_eq!(vault.expire(at)["keys_destroyed"], 1);
    vault.assert_one_generation(2);
}

#[tokio::test]
async fn a_mirror_that_is_missing_stops_the_run_and_both_mirrors_are_destroyed_when_it_is_back() {
    let vault = Vault::with_env(|dir| {
        let list = |kind: &str| ["a", "b"].map(|n| format!("file://{}", dir.join(format!("{kind}-{n}")).display()));
        vec![
            ("CALLVAULT_KEY_STORE".into(), list("keys").join(",")),
            ("CALLVAULT_GENERATION_STORE".into(), list("generations").join(",")),
        ]
    });
    let start = now();
    let held = vault.held(start).await;
    let due = held.upload(Call::named("due"), noise(13, 1_000)).await;
    let at = after_days(start, 31);
    let whole = key_bytes(&vault);
    for missing in ["keys-a", "keys-b", "generations-a", "generations-b"] {
        let (there, away) = (vault.beside(missing), vault.beside("away"));
        fs::rename(&there, &away).expect("it is moved");

        let (code, text) = vault.exit(&["expire", "--floor", &at.to_string()], Some(&Vault::shift(at)));

        assert_eq!(code, 1, "{missing}: {text}");
        assert!(text.contains("nothing was destroyed") && text.contains(missing), "{text}");
        let held = vault.held(start).await;
        assert_eq!(held.read(&held.row(due.id).await, Class::Customer).await.expect("it plays"), noise(13, 1_000));
        fs::rename(&away, &there).expect("it is moved back");
        assert_eq!(key_bytes(&vault), whole, "{missing}");
    }
    assert_eq!(vault.expire(at)["keys_destroyed"], 1);
    vault.assert_one_generation(2);
    assert!(matches!(vault.held(start).await.read(&due, Class::Customer).await, Err(ReadError::Gone)));
}

#[tokio::test]
async fn receipts_count_and_name_by_digest_what_was_destroyed_and_are_verified_offline() {
    let vault = Vault::new();
    let start = now();
    let mut leaves: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for day in 0..3 {
        let held = vault.held(after_days(start, day as i64 * 2)).await;
        let mut rows = Vec::new();
        for number in 0..=day {
            rows.push(held.upload(Call::named(&format!("{day}-{number}")), noise(7, 20_000 * number + 1)).await);
        }
        rows.sort_by_key(|row| row.id);
        leaves.insert(day, rows.iter().map(|row| leaf(&vault, row)).collect());
    }
    for day in 0..3 {
        vault.expire(after_days(start, 31 + day * 2));
    }

    let receipts = receipts_of(&vault, "acme");

    assert_eq!(receipts.len(), 3);
    let mut previous: Option<String> = None;
    for (day, receipt) in receipts.iter().enumerate() {
        let body = &receipt["body"];
        let mut tree = MerkleTree::default();
        leaves[&day].iter().for_each(|leaf| tree.add(leaf));
        assert_eq!(body["number"], day + 1);
        assert_eq!(body["recordings"], day + 1);
        assert_eq!(body["merkle_root"], hex(&tree.root()));
        assert_eq!(body["classes"][0]["keys"], day + 1);
        assert_eq!(body["previous"].as_str(), previous.as_deref());
        let jws = receipt["jws"].as_str().expect("a text");
        previous = Some(hex(&callvault::crypto::receipt::chain_hash(jws.as_bytes())));
    }
    let public_key = vault.ok(&["receipts", "public-key"])["public_key"].as_str().expect("a key").to_owned();
    let lines: Vec<String> = receipts.iter().map(|r| r["jws"].as_str().expect("a text").to_owned()).collect();
    let mut edited = lines.clone();
    edited[1] = swap_a_letter(&edited[1]);
    let cases = [
        (lines.clone(), None),
        (edited, Some("receipt 2 of the list")),
        (vec![lines[0].clone(), lines[2].clone()], Some("receipt 2 of the list: number 3 stands where 2 is due")),
        (vec![lines[1].clone(), lines[0].clone(), lines[2].clone()], Some("receipt 1 of the list: number 2")),
        (lines[1..].to_vec(), Some("receipt 1 of the list")),
    ];
    // Nothing of the vault is there but the public key.
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let file = elsewhere.path().join("receipts");
    for (lines, fault) in cases {
        fs::write(&file, lines.join("\n")).expect("it is written");
        let mut command = std::process::Command::new(crate::support::binary());
        command.args(["receipts", "verify", "--json", "--public-key", &public_key, "--file"]).arg(&file);
        let output = command.current_dir(elsewhere.path()).output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), fault.is_none(), "{text}");
        assert!(text.contains(fault.unwrap_or("\"faults\":[]")), "{text}");
    }
    // In the vault itself.
    let db = Connection::open(vault.path().join("catalog.db")).expect("it opens");
    db.execute("UPDATE receipt SET jws = ?1 WHERE number = 2", [swap_a_letter(&lines[1])]).expect("it is edited");
    drop(db);
    let output = vault.run(&["receipts", "verify"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("acme: receipt 2 of the list"));
}

#[tokio::test]
async fn an_offboarded_tenant_is_dead_after_the_next_run_and_others_are_untouched() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--recording", "on"]);
    let (gone, stays) = (Client::new(&vault.token), Client::new(&vault.make_token("other", "read,play:customer")));
    let start = now();
    let held = vault.held(start).await;
    let data = CallData { b_number: Some("+31205550101".into()), ..CallData::default() };
    let theirs = held.upload(Call { data, ..Call::named("a") }, noise(14, 30_000)).await;
    let others = held.upload(Call { tenant: "other", ..Call::named("a") }, noise(15, 30_000)).await;
    let server = held.serve().await;
    assert_eq!(gone.get(&server.audio(theirs.id)).await.status(), 200);
    vault.ok(&["tenant", "offboard", "acme"]);
    assert_eq!(gone.get(&server.audio(theirs.id)).await.status(), 401);
    let backup = vault.back_up();

    let report = vault.expire(after(start, 60));

    assert_eq!((&report["punctures"], &report["keys_destroyed"]), (&json!(1), &json!(3)));
    held.app.keyring.follow(0, start).await.expect("it follows");
    assert_eq!(stays.fetch(&server.audio(others.id)).await, (200, noise(15, 30_000)));
    assert_eq!(held.row(theirs.id).await.state, State::Shredded);
    server.stop().await;
    held.close();
    vault.restore(&backup);
    let held = vault.held(start).await;
    let row = held.row(theirs.id).await;
    assert!(matches!(held.read(&row, Class::Customer).await, Err(ReadError::Gone)));
    assert!(
        held.app
            .reader
            .call_data(&row, Class::Cdr, &keys_alone(), jiff::Timestamp::MIN)
            .map_or(true, |text| text.is_none()),
        "its call data too"
    );
    assert!(held.read(&held.row(others.id).await, Class::Customer).await.is_ok());
}

#[tokio::test]
async fn an_erasure_is_final_against_a_catalog_restored_from_before_it() {
    let vault = Vault::new();
    let start = now();
    let held = vault.held(start).await;
    let data = CallData { a_number: Some("+31205550102".into()), ..CallData::default() };
    let erased = held.upload(Call { data, ..Call::named("erased") }, noise(16, 30_000)).await;
    let other = held.upload(Call::named("other"), noise(17, 30_000)).await;
    held.close();
    let backup = vault.back_up();
    vault.ok(&["recording", "erase", &erased.id.to_string()]);
    let report = vault.expire(after(start, 60));
    assert_eq!(report["keys_destroyed"], 3, "audio, call data, and call data for invoices");

    vault.restore(&backup);

    let held = vault.held(start).await;
    let (server, client) = (held.serve().await, Client::new(&vault.token));
    assert_eq!(client.get(&server.audio(erased.id)).await.status(), 410);
    assert_eq!(client.get(&format!("{}/v1/recordings/{}", server.url, erased.id)).await.status(), 410);
    let row = held.row(erased.id).await;
    assert!(matches!(held.read(&row, Class::Customer).await, Err(ReadError::Gone)));
    assert!(
        held.app
            .reader
            .call_data(&row, Class::Cdr, &keys_alone(), jiff::Timestamp::MIN)
            .expect("it is looked at")
            .is_none()
    );
    assert_eq!(client.fetch(&server.audio(other.id)).await, (200, noise(17, 30_000)));
    // One dead row does not hide the others.
    let answer = client.get(&format!("{}/v1/recordings", server.url)).await;
    assert_eq!(answer.status(), 200);
    let page = json_of(answer).await;
    let names: Vec<_> = page["recordings"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert!(names.contains(&&json!("other")), "{page}");
    server.stop().await;
    held.close();
    vault.ok(&["recording", "list"]);
    // And the next run goes on from the restored catalog.
    vault.expire(after(start, 7_200));
    assert!(matches!(vault.held(start).await.read(&row, Class::Customer).await, Err(ReadError::Gone)));
}

#[tokio::test]
async fn a_deletion_is_undone_by_a_restored_catalog_until_the_term_ends() {
    let vault = Vault::new();
    let start = now();
    let held = vault.held(start).await;
    let row = held.upload(Call::named("deleted"), noise(18, 30_000)).await;
    held.close();
    let backup = vault.back_up();
    vault.ok(&["recording", "delete", &row.id.to_string()]);
    vault.expire(after(start, 7_200));

    vault.restore(&backup);

    let held = vault.held(after(start, 7_200)).await;
    assert_eq!(held.read(&held.row(row.id).await, Class::Customer).await.expect("it is back"), noise(18, 30_000));
    held.close();
    vault.expire(after_days(start, 31));
    vault.restore(&backup);
    let held = vault.held(start).await;
    assert!(matches!(held.read(&held.row(row.id).await, Class::Customer).await, Err(ReadError::Gone)));
    assert_eq!(CUSTOMER, [row.wraps[0].class]);
}

fn after(instant: Timestamp, seconds: i64) -> Timestamp {
    instant.checked_add(SignedDuration::from_secs(seconds)).expect("it is an instant")
}

/// Two hours into the day, so that the epochs that ended before it are past their grace.
fn after_days(instant: Timestamp, days: i64) -> Timestamp {
    after(instant, days * 86_400 + 7_200)
}

fn key_bytes(vault: &Vault) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files: Vec<_> =
        vault.key_files().into_iter().map(|path| (path.clone(), fs::read(path).expect("a key"))).collect();
    files.sort();
    files
}

fn receipts_of(vault: &Vault, tenant: &str) -> Vec<Value> {
    vault.ok(&["receipts", "list", "--tenant", tenant])["receipts"].as_array().expect("a list").clone()
}

fn edit(vault: &Vault, sql: &str, row: &Recording, value: i64) {
    let db = Connection::open(vault.path().join("catalog.db")).expect("it opens");
    assert_eq!(db.execute(sql, rusqlite::params![row.id.as_bytes(), value]).expect("it is edited"), 1);
}

/// RFC 9162's leaf of a recording, from its object file.
fn leaf(vault: &Vault, row: &Recording) -> Vec<u8> {
    let name = row.object.to_string();
    let object = fs::read(vault.path().join("objects").join(&name[..2]).join(&name)).expect("the object");
    let mut leaf = row.id.as_bytes().to_vec();
    leaf.extend_from_slice(&DigestOfTags::of_object(&object).expect("it is an object"));
    leaf
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Another text with the same shape: a letter of the receipt's body is exchanged.
fn swap_a_letter(jws: &str) -> String {
    let at = jws.find('.').expect("a head") + 20;
    let letter = if &jws[at..=at] == "A" { "B" } else { "A" };
    format!("{}{letter}{}", &jws[..at], &jws[at + 1..])
}

/// As if neither the clock nor the catalog said that anything has ended: what does not open then has no key.
fn keys_alone() -> callvault::catalog::RingMark {
    callvault::catalog::RingMark { generation: 0, floor: callvault::model::Epoch::FIRST, run: None }
}
