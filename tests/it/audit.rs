//! The audit trail: whatever falsifies it is named with its place, in the database and in exported files; it is cut by its term
//! alone; and no server forks it.

mod requests;

use callvault::model::Clock;
use callvault::model::clock::SystemClock;
use serde_json::Value;

use crate::support::Vault;
use crate::support::postgres::{Cluster, run};

/// Where the tables are, for somebody who goes around the program.
enum Tables {
    Sqlite(std::path::PathBuf),
    Postgres(String),
}

impl Tables {
    fn run(&self, sql: &str) {
        match self {
            Tables::Sqlite(path) => {
                let db = rusqlite::Connection::open(path).expect("the catalog is there");
                db.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
            }
            Tables::Postgres(url) => run(url, sql),
        }
    }
}

fn on_sqlite() -> (Vault, Tables) {
    let vault = Vault::new();
    let path = vault.path().join("catalog.db");
    (vault, Tables::Sqlite(path))
}

fn on_postgres() -> (Vault, Tables) {
    let url = Cluster::shared().empty();
    let vault = Vault::with_env(|_| vec![("CALLVAULT_CATALOG".to_owned(), url.clone())]);
    (vault, Tables::Postgres(url))
}

/// Exit code and report of `audit verify`.
fn verify(vault: &Vault, args: &[&str]) -> (i32, Value) {
    let output = vault.run(&[&["audit", "verify"][..], args].concat());
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap_or(-1), report)
}

/// All that is wrong, as one text.
fn faults(report: &Value) -> String {
    let of_trails = report["trails"].as_array().into_iter().flatten().flat_map(|trail| trail["faults"].as_array());
    let texts = of_trails.chain(report["faults"].as_array()).flatten().filter_map(Value::as_str);
    texts.collect::<Vec<_>>().join("; ")
}

fn trail<'a>(report: &'a Value, name: &str) -> &'a Value {
    let trails = report["trails"].as_array().expect("a list");
    trails.iter().find(|trail| trail["trail"] == name).unwrap_or_else(|| panic!("no trail {name} in {report}"))
}

/// A trail as lines.
fn export(vault: &Vault, tenant: &str) -> String {
    let output = vault.run(&["audit", "export", "--tenant", tenant]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("lines of JSON")
}

fn last_number(lines: &str) -> u64 {
    let mut entries = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()?["seq"].as_u64());
    entries.next_back().expect("there is an entry")
}

/// A trail of `acme` that is signed up to the number that is returned, and has two entries behind it.
fn grown(vault: &Vault) -> u64 {
    (0..6).for_each(|_| drop(export(vault, "acme")));
    vault.ok(&["expire"]);
    let (code, report) = verify(vault, &[]);
    assert_eq!((code, faults(&report).as_str()), (0, ""), "{report}");
    let signed = trail(&report, "acme")["signed"].as_u64().expect("a number");
    assert!(signed >= 6 && trail(&report, "acme")["checkpoint"].is_string(), "{report}");
    (0..2).for_each(|_| drop(export(vault, "acme")));
    signed
}

fn every_falsified_table_is_named(vault: &Vault, tables: &Tables) {
    let signed = grown(vault);
    let (beyond, last) = (signed + 1, signed + 2);
    let with_head = |seq: u64| {
        format!(
            "UPDATE trail_head SET seq = {seq}, hash = (SELECT hash FROM trail WHERE tenant = 1 AND seq = {seq})
             WHERE tenant = 1"
        )
    };
    let cases = [
        (
            "UPDATE trail SET text = replace(text, 'operator', 'person') WHERE tenant = 1 AND seq = 3".into(),
            "entry 3 is not what was chained behind entry 2".to_owned(),
        ),
        ("DELETE FROM trail WHERE tenant = 1 AND seq = 4".into(), "entry 4 is missing".into()),
        (
            "UPDATE trail SET seq = 1000 WHERE tenant = 1 AND seq = 5; UPDATE trail SET seq = 5 WHERE tenant = 1 AND seq = 6;
             UPDATE trail SET seq = 6 WHERE tenant = 1 AND seq = 1000"
                .into(),
            "entry 5 is not what was chained behind entry 4".into(),
        ),
        (
            format!("DELETE FROM trail WHERE tenant = 1 AND seq > 3; {}", with_head(3)),
            format!("the end is cut off: it ends with entry 3, and entry {signed} was signed"),
        ),
        ("DELETE FROM trail WHERE tenant = 1 AND seq < 3".into(), "entries 1 to 2 are missing".into()),
        (
            format!(
                "INSERT INTO trail SELECT tenant, {last} + 1, at, action, recording, hash, text FROM trail
                 WHERE tenant = 1 AND seq = 1"
            ),
            format!("entry {} stands behind the head, entry {last}", last + 1),
        ),
        (
            format!("DELETE FROM trail WHERE tenant = 1 AND seq = {last}"),
            format!("it ends with entry {beyond}, and its head is entry {last}"),
        ),
        ("UPDATE trail SET at = at + 1 WHERE tenant = 1 AND seq = 2".into(), "entry 2 is listed under another time".into()),
        (
            "UPDATE trail_checkpoint SET jws = replace(jws, '.', '.A') WHERE tenant = 1".into(),
            format!("checkpoint {signed}: "),
        ),
        ("UPDATE trail_checkpoint SET seq = 2 WHERE tenant = 1".into(), "checkpoint 2 is about something else".into()),
    ];
    let names = ["trail", "trail_head", "trail_checkpoint"];
    names.iter().for_each(|name| tables.run(&format!("CREATE TABLE kept_{name} AS SELECT * FROM {name}")));
    for (tampering, fault) in cases {
        tables.run(&tampering);

        let (code, report) = verify(vault, &[]);

        assert_eq!(code, 1, "{tampering}: {report}");
        assert!(trail(&report, "acme")["faults"].to_string().contains(&fault), "{tampering}: {report}");
        assert_eq!(trail(&report, "house")["faults"], serde_json::json!([]));
        for name in names {
            tables.run(&format!("DELETE FROM {name}; INSERT INTO {name} SELECT * FROM kept_{name}"));
        }
    }
    assert_eq!(verify(vault, &[]).0, 0);
    // What is not whole is not signed, however often somebody asks.
    tables.run(&format!("UPDATE trail SET text = replace(text, 'uid', 'UID') WHERE tenant = 1 AND seq = {last}"));
    let report = vault.ok(&["expire"]);
    assert!(report["trail_faults"].to_string().contains(&format!("entry {last} is not what")), "{report}");
    assert_eq!(trail(&verify(vault, &[]).1, "acme")["signed"], signed);
}

#[test]
fn every_falsified_table_in_sqlite_is_found_with_its_place() {
    let (vault, tables) = on_sqlite();
    every_falsified_table_is_named(&vault, &tables);
}

#[test]
fn every_falsified_table_in_postgresql_is_found_with_its_place() {
    let (vault, tables) = on_postgres();
    every_falsified_table_is_named(&vault, &tables);
}

#[test]
fn an_exported_file_is_verified_offline_and_every_edit_of_it_is_found() {
    let (vault, _) = on_sqlite();
    grown(&vault);
    let lines = export(&vault, "acme");
    let key = vault.ok(&["receipts", "public-key"])["public_key"].as_str().expect("a key").to_owned();
    let nowhere = tempfile::tempdir().expect("a temporary directory");
    let file = nowhere.path().join("acme.jsonl");
    // No vault is near.
    let verified = |text: &str| {
        std::fs::write(&file, text).expect("there is room");
        let mut command = std::process::Command::new(crate::support::binary());
        command.args(["audit", "verify", "--json", "--public-key", &key, "--file"]).arg(&file);
        let output = command.arg("--data-dir").arg(nowhere.path().join("none")).output().expect("the binary runs");
        let report = serde_json::from_slice::<Value>(&output.stdout).expect("a report");
        (output.status.code(), faults(&report))
    };
    let (last, all): (u64, Vec<&str>) = (last_number(&lines), lines.lines().collect());
    assert_eq!(all.len() as u64, last + 1, "every entry, and a checkpoint");
    assert_eq!(verified(&lines), (Some(0), String::new()));

    let joined = |parts: &[&[&str]]| parts.concat().join("\n");
    let cases = [
        (lines.replacen("operator", "person", 1), "entry 1 is not what"),
        (joined(&[&all[..3], &all[4..]]), "entry 4 is missing"),
        (joined(&[&all[..3], &all[4..5], &all[3..4], &all[5..]]), "entry 4 is missing"),
        (joined(&[&all[..3], &all[2..]]), "entry 3 stands where entry 4 is due"),
        (joined(&[&all[..all.len() - 1]]), "no checkpoint is signed for its last entry"),
        (joined(&[&all[..4], &all[all.len() - 1..]]), "the end is cut off: it ends with entry 4"),
        (joined(&[&all[2..]]), "entries 1 to 2 are missing"),
        (lines.replace("\"seq\":2,", "\"seq\": 2,").replacen("{\"tenant\"", "{\"Tenant\"", 1), "line 1: "),
    ];
    for (text, fault) in cases {
        let (code, found) = verified(&text);
        assert!(code == Some(1) && found.contains(fault), "{fault}: {code:?} {found}");
    }
}

#[test]
fn a_catalog_that_was_restored_from_a_backup_is_told_and_its_loss_shown_by_a_kept_checkpoint() {
    let (vault, _) = on_sqlite();
    let catalog = vault.path().join("catalog.db");
    let backup = vault.beside("backup.db");
    grown(&vault);
    std::fs::copy(&catalog, &backup).expect("there is room");
    (0..3).for_each(|_| drop(export(&vault, "acme")));
    vault.ok_at(&["expire"], Some("+3h"));
    let kept = trail(&verify(&vault, &[]).1, "acme")["checkpoint"].as_str().expect("a checkpoint").to_owned();
    let kept_file = vault.beside("kept.txt");
    std::fs::write(&kept_file, kept).expect("there is room");
    let kept_file = kept_file.to_str().expect("a path").to_owned();
    assert_eq!(verify(&vault, &["--checkpoints", &kept_file]).0, 0);

    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        std::fs::remove_file(vault.path().join(name)).ok();
    }
    std::fs::copy(&backup, &catalog).expect("there is room");

    let (code, report) = verify(&vault, &[]);
    assert!(code == 1 && faults(&report).contains("it was restored from a backup"), "{report}");
    let (code, report) = verify(&vault, &["--checkpoints", &kept_file]);
    assert!(code == 1 && faults(&report).contains("the end is cut off"), "{report}");
    // The trails say so themselves from the next run on.
    vault.ok_at(&["expire"], Some("+3h"));
    assert_eq!(verify(&vault, &[]).0, 0);
    assert!(export(&vault, "acme").contains("\"action\":\"restored\""));
}

fn old_entries_go_with_a_checkpoint(vault: &Vault, tables: &Tables) {
    let signed = grown(vault);
    let later = Some("+760d");
    let floor = SystemClock.now() + jiff::SignedDuration::from_hours(760 * 24);

    let report = vault.ok_at(&["expire", "--floor", &floor.to_string()], later);

    assert_eq!(report["trail_faults"], serde_json::json!([]), "{report}");
    assert!(report["entries_cut"].as_u64().expect("a number") >= signed + 2, "{report}");
    let output = vault.command(&["audit", "verify"], later).output().expect("the binary runs");
    let verified: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((faults(&verified), trail(&verified, "acme")["entries"].as_u64()), (String::new(), Some(1)));
    let output = vault.command(&["audit", "export", "--tenant", "acme"], later).output().expect("the binary runs");
    let lines = String::from_utf8(output.stdout).expect("lines of JSON");
    let first: Value = serde_json::from_str(lines.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["seq"], &first["entry"]["action"]), (&(signed + 3).into(), &"audit-cut".into()), "{lines}");
    // Whoever cuts more than the checkpoint says is found.
    tables.run(&format!("DELETE FROM trail WHERE tenant = 1 AND seq = {}", signed + 3));
    let (code, report) = verify(vault, &[]);
    assert!(code == 1 && faults(&report).contains(&format!("entry {} is missing", signed + 3)), "{report}");
}

#[test]
fn entries_past_their_term_go_and_the_trail_is_verified_from_there_on_sqlite() {
    let (vault, tables) = on_sqlite();
    old_entries_go_with_a_checkpoint(&vault, &tables);
}
