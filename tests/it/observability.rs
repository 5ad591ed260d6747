//! What those who run it see: metrics that are true and well named, readiness by part, logs by their setting, and `status`.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::wire::{Wire, audio, metric};
use crate::support::{Server, Vault, binary, files, free_address, noise, wait_until};

/// The metrics page, in the format that is asked for.
pub fn page(address: &str, accept: Option<&str>) -> String {
    let mut wire = Wire::connect(address);
    let accept = accept.map_or(String::new(), |accept| format!("Accept: {accept}\r\n"));
    wire.send(format!("GET /metrics HTTP/1.1\r\n{accept}Connection: close\r\n\r\n")).expect("a head");
    String::from_utf8(wire.answer().expect("metrics").body).expect("text")
}

fn served(vault: &Vault, args: &[&str]) -> (Server, String) {
    let metrics = free_address();
    let server = vault.serve_with(&[&["--metrics-listen", &metrics][..], args].concat(), None);
    (server, metrics)
}

fn lint(page: &str) -> std::process::Output {
    let promtool = concat!(env!("CARGO_MANIFEST_DIR"), "/target/test-clients/promtool");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("page");
    fs::write(&file, page).expect("written");
    let input = fs::File::open(&file).expect("it is there");
    Command::new(promtool).args(["check", "metrics"]).stdin(input).output().expect("tests/run fetches promtool")
}

#[test]
fn every_metric_is_named_by_the_conventions_and_explained_to_whoever_is_on_call() {
    let vault = Vault::new();
    let (server, address) = served(&vault, &[]);
    let id = server.put("call", &noise(1, 40_000)).send().id(201);
    assert_eq!(server.play(&id).len(), 40_000);

    let (plain, open) = (page(&address, None), page(&address, Some("application/openmetrics-text; version=1.0.0")));

    let linted = lint(&plain);
    let told = [linted.stdout, linted.stderr].concat();
    assert!(linted.status.success() && told.is_empty(), "{}", String::from_utf8_lossy(&told));
    assert!(!lint(&plain.replace("_total", "")).status.success(), "the linter finds what is wrong");
    assert!(open.ends_with("# EOF\n") && open.contains("# UNIT callvault_spool_bytes bytes\n"), "{open}");
    let samples = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&plain), samples(&open));
    let operations = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/OPERATIONS.md")).expect("it is there");
    let families: Vec<_> = plain.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(families.len() > 35, "{families:?}");
    for family in families {
        assert!(family.starts_with("callvault_"), "{family}");
        assert!(operations.contains(&format!("`{family}`")), "OPERATIONS.md does not explain {family}");
    }
}

#[test]
fn what_happens_to_recordings_and_to_the_store_is_counted() {
    let vault = Vault::new();
    let (server, address) = served(&vault, &[]);
    let read = |name: &str| metric(&address, &format!("callvault_{name}"));
    let id = server.put("call", &noise(1, 40_000)).send().id(201);
    assert_eq!(server.play(&id).len(), 40_000);
    let missing = server.put("missing", b"audio").send().id(201);
    assert_eq!(read("objects_to_sweep"), 0.0);
    assert_eq!(server.ask("GET", "/v1/recordings").anonymous().send().status, 401);
    assert_eq!(server.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")).send().status, 202);
    for object in files(&vault.path().join("objects")) {
        fs::remove_file(object).expect("it is there");
    }
    assert_eq!(server.see(&audio(&missing)).status, 500);

    assert_eq!(read("uploads_complete_total"), 2.0);
    assert_eq!(read("ingest_bytes_total"), 40_005.0);
    assert_eq!(read("playback_bytes_total"), 40_000.0);
    assert_eq!(read("upload_acknowledgement_seconds_count"), 2.0);
    assert_eq!(read("upload_acknowledgement_seconds_bucket{le=\"+Inf\"}"), 2.0);
    assert_eq!(read("playback_first_byte_seconds_count"), 1.0);
    assert_eq!(read("store_request_duration_seconds_count{operation=\"put\"}"), 2.0);
    assert!(read("store_errors_total{operation=\"get\",kind=\"missing\"}") >= 1.0);
    assert_eq!(read("integrity_events_total"), 1.0);
    assert_eq!(read("problems_total{problem=\"unauthorized\"}"), 1.0);
    assert_eq!(read("problems_total{problem=\"integrity\"}"), 1.0);
    assert_eq!(read("recordings{state=\"erased\"}"), 1.0);
    assert_eq!(read("punctures_queued"), 1.0);
    assert_eq!((read("catalog_up"), read("draining"), read("uploads_limit")), (1.0, 0.0, 10_000.0));
    assert!(read("spool_free_bytes") > 0.0);
    assert_eq!(read("catalog_errors_total{kind=\"damaged\"}"), 0.0);
}

#[test]
fn expire_is_seen_by_the_ring_that_it_leaves_and_by_its_steps() {
    let vault = Vault::new();
    let (server, address) = served(&vault, &["--expire-every", "1s"]);
    let read = |name: &str| metric(&address, &format!("callvault_{name}"));
    let id = server.put("call", b"audio").send().id(201);
    let made = read("expire_last_advance_timestamp_seconds");
    assert_eq!(server.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")).send().status, 202);

    wait_until("expire has run", || {
        read("expire_runs_total{result=\"done\"}") >= 1.0 && read("punctures_queued") == 0.0
    });

    assert!(read("expire_step_duration_seconds_count{step=\"destruction\"}") >= 1.0);
    wait_until("the server follows", || read("ring_generation") > 1.0);
    assert!(read("expire_last_advance_timestamp_seconds") >= made);
    assert_eq!((read("expire_run_open_seconds"), read("shred_lag_seconds"), read("objects_to_sweep")), (0.0, 0.0, 0.0));
}

#[test]
fn a_key_that_outlives_its_term_is_seen_as_shred_lag() {
    let vault = Vault::new();
    vault.serve().put("call", b"audio").send().id(201);
    let metrics = free_address();
    // 30 days and 3.5 hours later, and nobody has run expire.
    let _server = vault.serve_with(&["--metrics-listen", &metrics], Some("+43410m"));

    let lag_s = metric(&metrics, "callvault_shred_lag_seconds");

    assert!((12_500.0..12_900.0).contains(&lag_s), "{lag_s}");
    let status = vault.ok_at(&["status"], Some("+43410m"));
    assert_eq!(status["problems"][0]["severity"], "critical", "{status}");
    assert!(status["problems"][0]["what"].as_str().is_some_and(|what| what.contains("outlived its term by 3 h")));
}

fn part<'a>(readiness: &'a Value, name: &str) -> (&'a str, bool) {
    let part = &readiness[name];
    (part["state"].as_str().expect("a state"), part["needed"].as_bool().expect("whether it is needed"))
}

#[test]
fn readiness_names_each_part_and_rests_on_those_that_uploads_need() {
    let vault = Vault::with_env(|dir| {
        let mirrors = [dir.join("a"), dir.join("b")].map(|dir| format!("file://{}", dir.display()));
        vec![("CALLVAULT_KEY_STORE".into(), mirrors.join(","))]
    });
    let (server, address) = served(&vault, &[]);
    let ask = |address: &str| {
        let mut wire = Wire::connect(address);
        wire.send("GET /readyz HTTP/1.1\r\nHost: v\r\nConnection: close\r\n\r\n").expect("a head");
        let answer = wire.answer().expect("an answer");
        (answer.status, answer.json())
    };
    let (status, readiness) = ask(server.address());
    assert_eq!((status, &readiness["ready"]), (200, &true.into()), "{readiness}");
    for (name, needed) in [("catalog", true), ("ring", true), ("spool", true), ("store", false), ("key_store", false)] {
        assert_eq!(part(&readiness, name), ("up", needed), "{name}");
    }
    let is = |name: &str, state: &str| {
        wait_until(&format!("{name} is {state}"), || part(&ask(&address).1, name).0 == state);
        ask(&address)
    };

    let ring = vault.beside("b").join("ring.1");
    fs::rename(&ring, vault.beside("away")).expect("it is moved");
    let (status, readiness) = is("key_store", "degraded");
    assert_eq!((status, &readiness["ready"]), (200, &true.into()), "the ring in memory goes on: {readiness}");
    fs::rename(vault.beside("away"), &ring).expect("it is moved back");
    is("key_store", "up");

    fs::rename(vault.path().join("objects"), vault.beside("objects")).expect("it is moved");
    let (status, readiness) = is("store", "down");
    assert_eq!((status, &readiness["ready"]), (200, &true.into()), "uploads wait in the spool: {readiness}");
    assert!(!readiness.to_string().contains(&*vault.path().to_string_lossy()), "no path is told: {readiness}");
    fs::rename(vault.beside("objects"), vault.path().join("objects")).expect("it is moved back");
    is("store", "up");

    let damage = vec![0xff; 1 << 20];
    for name in ["catalog.db-wal", "catalog.db"] {
        fs::write(vault.path().join(name), &damage).expect("it is overwritten");
    }
    let (status, readiness) = is("catalog", "down");
    assert_eq!((status, &readiness["ready"]), (503, &false.into()), "{readiness}");
    assert_eq!(metric(&address, "callvault_catalog_up"), 0.0);
    assert!(metric(&address, "callvault_catalog_errors_total{kind=\"damaged\"}") >= 1.0);
}

#[test]
fn the_logs_form_and_level_are_settings_and_a_wrong_one_is_refused() {
    let vault = Vault::new();
    let log = |format: &str, level: &str| {
        let mut command = vault.command(&["expire"], None);
        command.env("CALLVAULT_LOG_FORMAT", format).env("CALLVAULT_LOG", level);
        command.output().expect("the binary runs")
    };
    let stderr = |output: std::process::Output| String::from_utf8(output.stderr).expect("text");
    let mut shifted = vault.command(&["expire"], Some("+2h"));
    let json = stderr(shifted.env("CALLVAULT_LOG_FORMAT", "json").output().expect("it runs"));
    let line: Value =
        serde_json::from_str(json.lines().find(|line| line.contains("destroyed")).expect("a line")).expect("JSON");
    assert_eq!((&line["level"], &line["generation"]), (&"INFO".into(), &2.into()), "{json}");
    assert!(line["message"].as_str().is_some_and(|message| message.contains("destroyed")) && line["epoch"].is_u64());
    let mut shifted = vault.command(&["expire"], Some("+4h"));
    let text = stderr(shifted.env("CALLVAULT_LOG_FORMAT", "text").output().expect("it runs"));
    assert!(text.contains("INFO") && text.contains("generation=3") && !text.contains('\x1b'), "{text}");

    for (format, level) in [("xml", "info"), ("json", "loud")] {
        let refused = log(format, level);

        assert_eq!(refused.status.code(), Some(2));
        let told = stderr(refused);
        assert!(
            told.contains("CALLVAULT_LOG") && (told.contains("'text' or 'json'") || told.contains("warn")),
            "{told}"
        );
    }
}

/// `status` as a person sees it: on a terminal, or not.
fn status(vault: &Vault, on_terminal: bool, env: &[(&str, &str)]) -> String {
    let plain = format!("{} status --data-dir {}", binary(), vault.path().display());
    let mut command = match on_terminal {
        true => Command::new("script"),
        false => Command::new("sh"),
    };
    match on_terminal {
        true => command.args(["-qec", &plain, "/dev/null"]),
        false => command.args(["-c", &plain]),
    };
    command.env("TERM", "xterm").env_remove("NO_COLOR").envs(env.iter().copied()).stdin(Stdio::null());
    String::from_utf8(command.output().expect("script(1) is there").stdout).expect("text")
}

#[test]
fn status_says_first_what_is_wrong_on_one_screen_and_in_colour_only_on_a_terminal() {
    let vault = Vault::new();
    let server = vault.serve();
    server.put("call", b"audio").send().id(201);
    let well = status(&vault, false, &[]);
    assert!(well.lines().next().is_some_and(|line| line.contains("nothing needs attention")), "{well}");
    fs::write(vault.path().join("keys/ring.9"), b"a leftover").expect("written");

    let (plain, coloured) = (status(&vault, false, &[]), status(&vault, true, &[]));

    let lines: Vec<_> = plain.lines().collect();
    assert!(lines[0].contains("problem") && lines[1].contains("CRITICAL ring mirror"), "{plain}");
    assert!(lines.len() <= 24 && lines.iter().all(|line| line.chars().count() <= 160), "one screen: {plain}");
    let at =
        |word: &str| lines.iter().position(|line| line.starts_with(word)).unwrap_or_else(|| panic!("{word}: {plain}"));
    let order = ["replica", "spool", "expire", "ring", "store", "catalog", "recordings"].map(at);
    assert!(order.is_sorted(), "{plain}");
    assert!(!plain.contains('\x1b') && coloured.contains("\x1b[1;31mCRITICAL\x1b[0m"), "{coloured}");
    assert!(!status(&vault, true, &[("NO_COLOR", "1")]).contains('\x1b'));
    let json = vault.ok(&["status"]);
    for key in [
        "version",
        "at",
        "problems",
        "warnings",
        "ring",
        "catalog",
        "store",
        "store_up",
        "store_answer_ms",
        "tenants",
        "recordings",
        "live_bytes",
        "spool",
        "sweep_pending",
        "punctures_pending",
        "next_expiry",
        "shred_lag_s",
        "mirrors",
        "replicas",
    ] {
        assert!(json.get(key).is_some(), "{key} is missing: {json}");
    }
    assert!(json["problems"][0]["advice"].as_str().is_some_and(|advice| advice.contains("callvault expire")));
}
