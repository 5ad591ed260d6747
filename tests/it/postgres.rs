//! The vault on PostgreSQL: a recording goes in and plays, ends, survives a crash of the database under load; what is said when
//! the database cannot be reached; and that many runs at once are one.

use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::postgres::{Cluster, column, run};
use crate::support::{Vault, noise};

fn on(url: &str) -> Vault {
    Vault::with_env(|_| vec![("CALLVAULT_CATALOG".to_owned(), url.to_owned())])
}

/// The database's clock is another witness of the time: where a command's is moved, this is moved too.
pub fn move_clock(url: &str, seconds: u32) {
    let database = url.rsplit('/').next().expect("a database");
    run(
        url,
        &format!(
            "CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql
                 AS $$SELECT pg_catalog.clock_timestamp() + interval '{seconds} s'$$;
             ALTER ROLE CURRENT_USER IN DATABASE {database} SET search_path = public, pg_catalog"
        ),
    );
}

#[test]
fn a_recording_goes_in_and_plays_and_ends_on_postgresql() {
    let url = Cluster::shared().empty();
    let vault = on(&url);
    let server = vault.serve();
    let bytes = noise(1, 300_000);

    let id = server.put("calls/one.wav", &bytes).send().id(201);
    assert_eq!(server.put("calls/one.wav", &bytes).send().id(200), id);
    server.put("calls/one.wav", &noise(2, 300_000)).send().problem(409, "conflict");
    assert!(server.play(&id) == bytes);
    assert!(!vault.path().join("catalog.db").exists());
    let status = vault.ok(&["status"]);
    assert!(status["catalog"].as_str().expect("a text").starts_with("PostgreSQL"), "{status}");
    assert_eq!((&status["recordings"]["stored"], status["replicas"].as_array().map(Vec::len)), (&1.into(), Some(1)));
    drop(server);

    move_clock(&url, 31 * 86_400);
    let report = vault.ok_at(&["expire"], Some("+31d"));
    assert_eq!((&report["keys_destroyed"], &report["objects_swept"]), (&1.into(), &1.into()), "{report}");

    assert_eq!(vault.ok(&["status"])["recordings"]["shredded"], 1);
    let verified = vault.ok(&["receipts", "verify"]);
    assert_eq!(verified["faults"], serde_json::json!([]), "{verified}");
    let server = vault.serve_with(&[], Some("+31d"));
    let gone = server.ask("GET", &format!("/v1/recordings/{id}/audio")).send();
    gone.problem(410, "ended");
}

#[test]
fn a_database_that_crashes_amid_uploads_loses_nothing_that_was_acknowledged() {
    let cluster = Cluster::durable();
    let vault = on(&cluster.empty());
    let server = vault.serve();
    let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));

    let acknowledged = std::thread::scope(|scope| {
        let uploads: Vec<_> = (0..4_u64)
            .map(|sender| {
                let (server, is_over, count) = (&server, &is_over, &count);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for call in 0.. {
                        if is_over.load(Ordering::Relaxed) {
                            break;
                        }
                        let bytes = noise(sender << 32 | call, 30_000);
                        let answer = server.put(&format!("{sender}/{call}"), &bytes).send();
                        count.fetch_add(1, Ordering::Relaxed);
                        if matches!(answer.status, 201 | 202) {
                            acknowledged.push((answer.id(answer.status), bytes));
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        for round in 1..=2 {
            while count.load(Ordering::Relaxed) < round * 40 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            cluster.order("restart");
        }
        is_over.store(true, Ordering::Relaxed);
        uploads.into_iter().flat_map(|upload| upload.join().expect("a sender")).collect::<Vec<_>>()
    });

    assert!(acknowledged.len() > 60, "{} were acknowledged", acknowledged.len());
    for (id, bytes) in &acknowledged {
        assert!(server.play(id) == *bytes, "{id} is not what was sent");
    }
    let log = server.log_text();
    assert!(!log.contains("secret@") && !log.contains(":secret"), "the password is in the log");
}

fn says(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_database_that_cannot_be_used_is_told_with_what_to_do_and_without_the_password() {
    let cluster = Cluster::shared();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let init = |url: &str| {
        let mut command = std::process::Command::new(crate::support::binary());
        command.arg("init").arg("--data-dir").arg(dir.path().join("data")).env("CALLVAULT_CATALOG", url);
        let output = command.stdin(Stdio::null()).output().expect("the binary runs");
        assert!(!output.status.success());
        let said = says(&output);
        assert!(!said.contains("pa55word") && !said.contains(":secret"), "{said}");
        said
    };
    let host = cluster.server.rsplit('@').next().expect("an address");

    let wrong = init(&format!("postgres://vault:pa55word@{host}/postgres"));
    assert!(wrong.contains("refuses the login") && wrong.contains("postgres.password_file"), "{wrong}");
    let missing = init(&format!("{}/nowhere", cluster.server));
    assert!(missing.contains("createdb"), "{missing}");
    let silent = init("postgres://vault:pa55word@127.0.0.1:1/vault");
    assert!(silent.contains("does not answer") && silent.contains("host and port"), "{silent}");
    let plain = init(&format!("postgres://vault:pa55word@{host}/postgres?sslmode=verify-full"));
    assert!(plain.contains("TLS"), "{plain}");
    let nonsense = init("postgres://vault:pa55word@/");
    assert!(nonsense.contains("postgres://<user>"), "{nonsense}");
}

#[test]
fn serve_on_an_empty_database_says_to_initialise_it() {
    let url = Cluster::shared().empty();
    let dir = tempfile::tempdir().expect("a temporary directory");

    let mut command = std::process::Command::new(crate::support::binary());
    command.arg("serve").arg("--data-dir").arg(dir.path()).env("CALLVAULT_CATALOG", &url);
    let output = command.output().expect("the binary runs");

    assert_eq!(output.status.code(), Some(2));
    assert!(says(&output).contains("callvault init"), "{}", says(&output));
    assert!(column(&url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").is_empty());
}

#[test]
fn eight_runs_at_once_advance_exactly_one_generation() {
    let url = Cluster::shared().empty();
    let vault = on(&url);
    let server = vault.serve();
    server.put("call", &noise(1, 20_000)).send().id(201);
    drop(server);
    let before = vault.ok(&["status"])["ring"]["generation"].as_u64().expect("a number");

    move_clock(&url, 3 * 3_600);

    let runs: Vec<_> = (0..8)
        .map(|_| {
            let mut command = vault.command(&["expire"], Some("+10800"));
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs")
        })
        .collect();
    for run in runs {
        let output = run.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", says(&output));
    }

    let status = vault.ok(&["status"]);
    assert_eq!(status["ring"]["generation"].as_u64(), Some(before + 1));
    assert_eq!(status["recordings"]["stored"], 1);
}
