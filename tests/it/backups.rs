//! Promise 3 and 5 against copies and edits: what is put back opens nothing that ended, and what was edited is seen before a
//! byte of it is served.

use std::fs;
use std::path::{Path, PathBuf};

use callvault::app::AppError;
use callvault::catalog::Recording;
use callvault::model::{Class, Timestamp};
use callvault::reading::ReadError;
use jiff::SignedDuration;
use rusqlite::{Connection, params};
use serde_json::json;

use crate::support::held::{Call, now};
use crate::support::{Client, Vault, json as json_of, noise};

const BOTH: [Class; 2] = [Class::Customer, Class::Training];
const SEALED_CHUNK_LEN: u64 = 16_400;

#[tokio::test]
async fn a_restored_backup_opens_nothing_that_ended_and_everything_that_lives() {
    let vault = Vault::new();
    vault.ok(&["tenant", "set", "acme", "--customer-term", "90d", "--training-term", "30d"]);
    let start = now();
    let held = vault.held(start).await;
    let short = held.upload(Call { classes: &[Class::Training], ..Call::named("short") }, noise(1, 30_000)).await;
    let long = held.upload(Call::named("long"), noise(2, 30_000)).await;
    held.close();
    let master_key = fs::read(vault.path().join("master.key")).expect("a key");
    let backup = vault.back_up();
    let at = after_days(start, 31);
    assert_eq!(vault.expire(at)["keys_destroyed"], 1);

    vault.restore(&backup);

    assert_eq!(fs::read(vault.path().join("master.key")).expect("a key"), master_key);
    // The clock of the restored machine may well say that it lives.
    for clock in [start, at] {
        let held = vault.held(clock).await;
        let (server, client) = (held.serve().await, Client::new(&vault.token));
        assert_eq!(client.get(&server.audio(short.id)).await.status(), 410);
        assert!(matches!(held.read(&held.row(short.id).await, Class::Training).await, Err(ReadError::Gone)));
        assert_eq!(client.fetch(&server.audio(long.id)).await, (200, noise(2, 30_000)));
        server.stop().await;
    }
}

#[tokio::test]
async fn without_its_ring_nothing_opens_and_putting_it_back_heals() {
    let vault = Vault::new();
    let start = now();
    let row = vault.held(start).await.upload(Call::named("call"), noise(3, 30_000)).await;
    let (keys, away) = (vault.path().join("keys"), vault.beside("away"));
    for (gone, back) in [(keys.join("ring.1"), &away), (vault.path().join("generations/generation.1"), &away)] {
        fs::rename(&gone, back).expect("it is moved");
        for command in [&["status"][..], &["verify"], &["expire"], &["init"], &["serve", "--listen", "127.0.0.1:0"]] {
            let (code, text) = vault.exit(command, None);

            assert_eq!(code, 1, "{command:?}: {text}");
            assert!(text.contains("no ring opens"), "{command:?}: {text}");
        }
        assert!(matches!(vault.try_held(start).await, Err(AppError::Keyring(_))));
        fs::rename(back, &gone).expect("it is moved back");
        let held = vault.held(start).await;
        assert_eq!(held.read(&held.row(row.id).await, Class::Customer).await.expect("it plays"), noise(3, 30_000));
    }
    vault.assert_one_generation(1);
}

#[tokio::test]
async fn a_ring_older_than_the_catalogs_watermark_is_refused() {
    let vault = Vault::new();
    let start = now();
    let row = vault.held(start).await.upload(Call::named("call"), noise(4, 1_000)).await;
    let old: Vec<_> =
        vault.key_files().into_iter().map(|path| (path.clone(), fs::read(path).expect("a key"))).collect();
    let at = after_days(start, 31);
    vault.expire(at);
    for path in vault.key_files() {
        fs::remove_file(path).expect("it is removed");
    }
    for (path, bytes) in &old {
        fs::write(path, bytes).expect("it is written");
    }

    let (code, text) = vault.exit(&["serve", "--listen", "127.0.0.1:0"], None);

    assert_eq!(code, 1, "{text}");
    assert!(text.contains("at or above generation 2") && text.contains("generations 1 to 1"), "{text}");
    assert!(matches!(vault.try_held(start).await, Err(AppError::Keyring(_))));
    drop(row);
}

#[tokio::test]
async fn a_wrong_master_key_is_a_clear_error_and_destroys_nothing() {
    let vault = Vault::new();
    let start = now();
    let row = vault.held(start).await.upload(Call::named("call"), noise(5, 1_000)).await;
    let path = vault.path().join("master.key");
    let (right, wrong) = (fs::read(&path).expect("a key"), "ab".repeat(32));
    fs::write(&path, wrong).expect("it is written");
    let keys: Vec<_> = vault.key_files().iter().map(|path| fs::read(path).expect("a key")).collect();
    let floor = after_days(start, 31).to_string();
    for command in [&["status"][..], &["expire", "--floor", &floor], &["verify"], &["init"]] {
        let (code, text) = vault.exit(command, Some("+31d"));

        assert_eq!(code, 1, "{command:?}: {text}");
        assert!(text.contains("no ring opens with this master key"), "{command:?}: {text}");
    }
    assert_eq!(vault.key_files().iter().map(|path| fs::read(path).expect("a key")).collect::<Vec<_>>(), keys);
    fs::write(&path, right).expect("it is written");
    let held = vault.held(start).await;
    assert_eq!(held.read(&held.row(row.id).await, Class::Customer).await.expect("it plays"), noise(5, 1_000));
}

#[tokio::test]
async fn an_edited_row_is_detected_before_a_byte_is_served() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--recording", "on"]);
    let (client, other) = (Client::new(&vault.token), Client::new(&vault.make_token("other", "read,play:customer")));
    let start = now();
    let held = vault.held(start).await;
    let a = held.upload(Call { classes: &BOTH, ..Call::named("a") }, noise(6, 40_000)).await;
    let b = held.upload(Call { classes: &BOTH, ..Call::named("b") }, noise(7, 40_000)).await;
    held.close();
    let origin = vault.back_up();
    let (wrap, of_a, later) =
        ("UPDATE wrap SET", "WHERE subject = ?1 AND class = 1", after_days(start, 300).as_second());
    let edits = [
        ("the end moved later", format!("{wrap} expires_at = {later} {of_a}")),
        ("the end and its path moved later", format!("{wrap} expires_at = {later}, epoch = epoch + 6000 {of_a}")),
        ("another tag", format!("{wrap} tag = tag + 1 {of_a}")),
        (
            "another's wrap",
            format!("{wrap} sealed = (SELECT sealed FROM wrap WHERE subject = ?2 AND class = 1) {of_a}"),
        ),
        (
            "the other class's wrap",
            format!("{wrap} sealed = (SELECT sealed FROM wrap WHERE subject = ?1 AND class = 2) {of_a}"),
        ),
        ("an edited wrap", format!("{wrap} sealed = zeroblob(72) {of_a}")),
        ("a shorter length", "UPDATE recording SET plain_len = plain_len - 1 WHERE id = ?1".into()),
        (
            "both lengths shorter",
            "UPDATE recording SET plain_len = plain_len - 1, sealed_len = sealed_len - 1 WHERE id = ?1".into(),
        ),
        ("a shorter object", "UPDATE recording SET sealed_len = sealed_len - 16400 WHERE id = ?1".into()),
        ("partial", "UPDATE recording SET completeness = 2 WHERE id = ?1".into()),
        (
            "another's object",
            "UPDATE recording SET object = (SELECT object FROM recording WHERE id = ?2) WHERE id = ?1".into(),
        ),
        (
            "another's label",
            "UPDATE recording SET label = (SELECT label FROM recording WHERE id = ?2) WHERE id = ?1".into(),
        ),
    ];
    for (what, sql) in edits {
        vault.restore(&origin);
        edit(&vault, &sql, &a, &b);
        let held = vault.held(start).await;
        let server = held.serve().await;

        let answer = client.get(&format!("{}?class=customer", server.audio(a.id))).await;

        assert_eq!(answer.status(), 500, "{what}");
        assert_eq!(json_of(answer).await["type"], "/problems/integrity", "{what}");
        server.stop().await;
    }
    // The classes exchanged: each opens under its own name only.
    vault.restore(&origin);
    for sql in [
        "class = 9 WHERE subject = ?1 AND class = 1",
        "class = 1 WHERE subject = ?1 AND class = 2",
        "class = 2 WHERE subject = ?1 AND class = 9",
    ] {
        edit(&vault, &format!("UPDATE wrap SET {sql}"), &a, &b);
    }
    let held = vault.held(start).await;
    let server = held.serve().await;
    assert_eq!(client.get(&format!("{}?class=customer", server.audio(a.id))).await.status(), 500);
    server.stop().await;
    held.close();
    // Moved to another tenant: whose token finds it, and opens nothing.
    vault.restore(&origin);
    edit(&vault, "UPDATE recording SET tenant = 2 WHERE id = ?1", &a, &b);
    edit(&vault, "UPDATE wrap SET tenant = 2 WHERE subject = ?1", &a, &b);
    let held = vault.held(start).await;
    let server = held.serve().await;
    assert_eq!(other.get(&server.audio(a.id)).await.status(), 500);
    server.stop().await;
    held.close();
    // An end that was moved earlier is believed: it only takes away.
    vault.restore(&origin);
    edit(&vault, &format!("UPDATE wrap SET expires_at = {} WHERE subject = ?1", start.as_second() - 1), &a, &b);
    let held = vault.held(start).await;
    let server = held.serve().await;
    assert_eq!(client.get(&server.audio(a.id)).await.status(), 410);
    assert_eq!(client.fetch(&server.audio(b.id)).await, (200, noise(7, 40_000)), "the other is as it was");
}

#[tokio::test]
async fn every_kind_of_damage_to_an_object_is_found_before_one_wrong_byte_is_served() {
    let vault = Vault::new();
    let client = Client::new(&vault.token);
    let held = vault.held(now()).await;
    // 40 chunks: three windows.
    let bytes = noise(8, 40 * 16_384 - 100);
    let row = held.upload(Call::named("damaged"), bytes.clone()).await;
    let twin = held.upload(Call::named("twin"), noise(9, 40 * 16_384 - 100)).await;
    let older = held.upload(Call::named("older"), bytes.clone()).await;
    let server = held.serve().await;
    let path = object_path(&vault, &row);
    let sound = fs::read(&path).expect("an object");
    let (chunk, len) = (|index: u64| (72 + index * SEALED_CHUNK_LEN + 7) as usize, sound.len());
    let flipped = |at: usize| {
        let mut bytes = sound.clone();
        bytes[at] ^= 1;
        bytes
    };
    let exchanged = |first: u64, second: u64| {
        let mut bytes = sound.clone();
        let span =
            |index: u64| (72 + index * SEALED_CHUNK_LEN) as usize..(72 + (index + 1) * SEALED_CHUNK_LEN) as usize;
        bytes[span(first)].copy_from_slice(&sound[span(second)]);
        bytes[span(second)].copy_from_slice(&sound[span(first)]);
        bytes
    };
    let damages: [(&str, Option<Vec<u8>>, u16); 17] = [
        ("removed", None, 500),
        ("emptied", Some(Vec::new()), 500),
        ("cut by one byte", Some(sound[..len - 1].to_vec()), 500),
        ("cut at a chunk", Some(sound[..72 + 20 * 16_400].to_vec()), 500),
        ("cut in the header", Some(sound[..50].to_vec()), 500),
        ("extended", Some([&sound[..], b"x"].concat()), 500),
        ("extended by a chunk", Some([&sound[..], &sound[72..72 + 16_400]].concat()), 500),
        ("flipped in the magic", Some(flipped(0)), 500),
        ("flipped in the salt", Some(flipped(20)), 500),
        ("flipped in the commitment", Some(flipped(50)), 500),
        ("flipped in the first chunk", Some(flipped(chunk(0))), 500),
        ("exchanged in the first window", Some(exchanged(1, 2)), 500),
        ("the twin's", Some(fs::read(object_path(&vault, &twin)).expect("an object")), 500),
        ("an older one of the same bytes", Some(fs::read(object_path(&vault, &older)).expect("an object")), 500),
        ("flipped in the middle", Some(flipped(chunk(20))), 200),
        ("exchanged later", Some(exchanged(20, 33)), 200),
        ("flipped in the last chunk", Some(flipped(len - 1)), 200),
    ];
    for (what, damaged, status) in damages {
        fs::remove_file(&path).expect("it is there");
        if let Some(damaged) = &damaged {
            fs::write(&path, damaged).expect("it is written");
        }

        let mut answer = client.get(&server.audio(row.id)).await;

        assert_eq!(answer.status(), status, "{what}");
        if status == 500 {
            assert_eq!(json_of(answer).await["type"], "/problems/integrity", "{what}");
        } else {
            let mut played = Vec::new();
            let cut = loop {
                match answer.chunk().await {
                    Ok(Some(piece)) => played.extend_from_slice(&piece),
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            assert!(cut && played.len() < bytes.len() && bytes.starts_with(&played), "{what}: {} bytes", played.len());
        }
        let output = vault.run(&["verify"]);
        assert_eq!(output.status.code(), Some(1), "{what}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!(report["faults"].as_array().map(Vec::len), Some(1), "{what}: {report}");
        assert_eq!(report["faults"][0]["recording"], row.id.to_string(), "{what}");
        if damaged.is_none() {
            fs::write(&path, b"").expect("it is written");
        }
    }
    fs::write(&path, &sound).expect("it is written");
    assert_eq!(client.fetch(&server.audio(row.id)).await, (200, bytes));
    assert_eq!(vault.ok(&["verify"])["faults"], json!([]));
}

fn edit(vault: &Vault, sql: &str, a: &Recording, b: &Recording) {
    let db = Connection::open(vault.path().join("catalog.db")).expect("it opens");
    let edited = match sql.contains("?2") {
        true => db.execute(sql, params![a.id.as_bytes(), b.id.as_bytes()]),
        false => db.execute(sql, params![a.id.as_bytes()]),
    };
    assert!(edited.unwrap_or_else(|error| panic!("{sql}: {error}")) > 0, "{sql}");
}

fn object_path(vault: &Vault, row: &Recording) -> PathBuf {
    let name = row.object.to_string();
    Path::new(&vault.path()).join("objects").join(&name[..2]).join(&name)
}

fn after_days(instant: Timestamp, days: i64) -> Timestamp {
    instant.checked_add(SignedDuration::from_secs(days * 86_400 + 7_200)).expect("it is an instant")
}
