//! Several servers over one vault, each with a spool of its own: what one holds, any of them serves, and nothing of it is lost.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::resumable::{Dialect, id as upload_id};
use crate::support::wire::{Ask, Wire, as_chunk, audio};
use crate::support::{Client, Server, Vault, free_address, noise, wait_until};

const CHUNK_LEN: usize = 16_384;

/// One server of a vault; its name, its address and its spool stay when it is started again.
struct Replica {
    name: &'static str,
    address: String,
    spool: String,
}

impl Replica {
    fn new(vault: &Vault, name: &'static str) -> Replica {
        let spool = vault.beside(&format!("spool-{name}"));
        Replica { name, address: free_address(), spool: spool.to_string_lossy().into_owned() }
    }

    fn start(&self, vault: &Vault) -> Server {
        self.start_with(vault, &[])
    }

    fn start_with(&self, vault: &Vault, more: &[&str]) -> Server {
        vault.serve_with(&[&self.settings()[..], more].concat(), None)
    }

    /// What it receives stays in its spool: no object store answers.
    fn start_without_store(&self, vault: &Vault) -> Server {
        self.start_with(vault, &["--store", "s3://bucket", "--store-patience", "50ms"])
    }

    fn settings(&self) -> [&str; 8] {
        let Replica { name, address, spool } = self;
        ["--listen", address, "--spool-dir", spool, "--replica-name", name, "--replica-url", self.url()]
    }

    fn url(&self) -> &'static str {
        // The tests' processes end with the tests.
        Box::leak(format!("http://{}", self.address).into_boxed_str())
    }
}

/// A vault that any number of servers may share, and two of them.
fn two() -> (Vault, [Replica; 2]) {
    let nowhere = [
        ("AWS_ENDPOINT", "http://127.0.0.1:9"),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    let vault = Vault::with_env(|_| nowhere.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
    let replicas = ["vault-0", "vault-1"].map(|name| Replica::new(&vault, name));
    (vault, replicas)
}

/// A call that goes on, of which these bytes have come; the recording's id.
fn call(server: &Server, name: &str, bytes: &[u8]) -> (Wire, String) {
    let mut wire = server.connect();
    wire.send(server.put(name, b"").chunked(b"", 1).head()).expect("a head");
    bytes.chunks(4_096).for_each(|piece| wire.send(as_chunk(piece)).expect("a piece"));
    let of_name = |row: &Value| row["name"] == name && row["state"] == "receiving";
    wait_until("the call is under way", || server.list("").iter().any(of_name));
    let row = server.list("").into_iter().find(of_name).expect("it is under way");
    (wire, row["id"].as_str().expect("an id").to_owned())
}

fn state(server: &Server, id: &str) -> String {
    server.show(id)["state"].as_str().expect("a state").to_owned()
}

fn assert_elsewhere(ask: &Ask, holder: &str) {
    let answer = ask.send();
    let problem = answer.problem(503, "elsewhere");
    assert!(problem["detail"].as_str().expect("a text").contains(&format!("'{holder}'")), "{problem}");
    assert!(!answer.header("retry-after").is_empty(), "{answer}");
}

#[test]
fn what_one_server_receives_spools_and_stores_plays_at_any_other() {
    let (vault, [first, second]) = two();
    let bytes = noise(1, 3 * CHUNK_LEN + 100);
    let (holder, other) = (first.start_without_store(&vault), second.start(&vault));

    let (mut wire, id) = call(&holder, "a/call", &bytes);
    wait_until("whole chunks are heard", || other.see(&audio(&id)).body.len() == 3 * CHUNK_LEN);
    assert!(bytes.starts_with(&other.see(&audio(&id)).body));
    let shown = other.show(&id);
    assert_eq!((&shown["state"], &shown["replica"]), (&json!("receiving"), &json!("vault-0")));
    let mut listener = other.connect();
    listener.send(other.ask("GET", &format!("{}?follow=1", audio(&id))).head()).expect("a head");
    wire.send(b"0\r\n\r\n").expect("the end");
    assert_eq!(wire.answer().expect("an answer").id(202), id);
    assert!(listener.answer().expect("all of it").status == 200);

    assert!(other.play(&id) == bytes);
    let part = other.ask("GET", &audio(&id)).header("Range", "bytes=100-199").send();
    assert_eq!((part.status, part.body == bytes[100..200]), (206, true));
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{}", bytes.len()));
    let head = other.ask("HEAD", &audio(&id)).send();
    assert_eq!((head.status, head.header("content-length")), (200, &*bytes.len().to_string()));
    let known = other.ask("GET", &audio(&id)).header("If-None-Match", head.header("etag")).send();
    assert_eq!(known.status, 304);

    drop(holder);
    let holder = first.start(&vault);
    wait_until("it is forwarded", || state(&other, &id) == "stored");
    assert_eq!(other.show(&id)["replica"], Value::Null);
    drop(holder);
    assert!(other.play(&id) == bytes, "nobody else is needed for what is stored");
}

#[test]
fn pieces_of_one_upload_are_taken_by_whichever_server_they_reach() {
    let (vault, replicas) = two();
    let servers = [replicas[0].start(&vault), replicas[1].start(&vault)];
    for dialect in Dialect::BOTH {
        let bytes = noise(2, 100_000);
        let at = dialect.begin(&servers[0], &format!("{dialect:?}"), Some(bytes.len()));
        for (turn, end) in [1, 16_384, 40_000, 99_999, 100_000].windows(2).enumerate() {
            let server = &servers[(turn + 1) % 2];
            if turn == 0 {
                dialect.append(server, &at, &bytes, 0..end[0]);
            }
            dialect.append(server, &at, &bytes, end[0]..end[1]);
            assert_eq!(dialect.offset(&servers[turn % 2], &at), end[1]);
        }

        for server in &servers {
            assert!(server.play(upload_id(&at)) == bytes, "{dialect:?}");
        }
        let given_up = dialect.begin(&servers[0], &format!("{dialect:?}-none"), None);
        dialect.append(&servers[1], &given_up, &[&bytes[..], b"more"].concat(), 0..5_000);
        let ended = dialect.ask(&servers[1], "DELETE", &given_up).send();
        assert_eq!(ended.status, 204, "{ended}");
        assert_eq!(dialect.head(&servers[0], &given_up).status, 404);
    }
}

#[test]
fn a_killed_server_loses_nothing_and_the_others_name_it_until_it_is_back() {
    let (vault, [first, second]) = two();
    let bytes = noise(3, 2 * CHUNK_LEN + 50);
    let (mut holder, other) = (first.start_without_store(&vault), second.start(&vault));
    let spooled = holder.put("spooled", &bytes).send().id(202);
    let (wire, running) = call(&holder, "running", &bytes);
    let upload = Dialect::Tus.begin(&holder, "upload", Some(bytes.len()));
    Dialect::Tus.append(&other, &upload, &bytes, 0..20_000);
    wait_until("the call's chunks are there", || other.see(&audio(&running)).body.len() == 2 * CHUNK_LEN);

    holder.kill();
    drop(wire);

    for ask in [
        other.ask("GET", &audio(&spooled)),
        other.ask("HEAD", &upload).header("Tus-Resumable", "1.0.0"),
        other.put("spooled", &bytes),
        other.put("running", &bytes),
        Dialect::Tus.piece(&other, &upload, &bytes, 20_000..bytes.len()),
    ] {
        if ask.head().starts_with("HEAD") {
            assert_eq!(ask.send().status, 503);
        } else {
            assert_elsewhere(&ask, "vault-0");
        }
    }
    let listed = vault.ok(&["replica", "list"]);
    let dead = listed["replicas"].as_array().expect("a list").iter().find(|one| one["name"] == "vault-0");
    assert_eq!(dead.map(|one| (&one["alive"], &one["held"])), Some((&json!(false), &json!(3))), "{listed}");
    assert_eq!(state(&other, &running), "receiving", "nobody else's to finish");

    let holder = first.start(&vault);
    wait_until("all is stored", || [&spooled, &running].iter().all(|id| state(&other, id) == "stored"));
    assert!(other.play(&spooled) == bytes);
    let kept = other.play(&running);
    assert!(kept.len() >= 2 * CHUNK_LEN && bytes.starts_with(&kept), "{} bytes", kept.len());
    let again = other.put("running", &bytes).send();
    assert_eq!(again.id(200), running, "a retry completes it, through whichever server");
    assert_eq!(Dialect::Tus.offset(&other, &upload), 20_000);
    Dialect::Tus.append(&other, &upload, &bytes, 20_000..bytes.len());
    for id in [&*running, upload_id(&upload)] {
        assert!(holder.play(id) == bytes);
    }
}

#[test]
fn a_recording_that_is_ended_at_one_server_while_another_receives_it_stays_ended() {
    let (vault, replicas) = two();
    let [holder, other] = [replicas[0].start(&vault), replicas[1].start(&vault)];
    let (mut wire, id) = call(&holder, "call", &noise(4, 40_000));

    let ended = other.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")).send();
    assert_eq!(ended.status, 202, "{ended}");

    other.ask("GET", &audio(&id)).send().problem(410, "erased");
    wire.send(b"0\r\n\r\n").expect("the end");
    wire.answer().expect("an answer").problem(410, "deleted");
    for server in [&holder, &other] {
        server.see(&format!("/v1/recordings/{id}")).problem(410, "erased");
        server.ask("GET", &audio(&id)).send().problem(410, "erased");
    }
    let spooled = crate::support::files(replicas[0].spool.as_ref());
    let is_segment = |path: &&std::path::PathBuf| path.to_string_lossy().contains(&id);
    assert_eq!(spooled.iter().filter(is_segment).count(), 0, "{spooled:?}");
}

#[test]
fn a_name_that_another_server_knows_is_compared_and_continued_there() {
    let (vault, [first, second]) = two();
    let bytes = noise(5, 60_000);
    let (holder, other) = (first.start_without_store(&vault), second.start(&vault));
    let (wire, running) = call(&holder, "running", &bytes[..20_000]);
    let spooled = holder.put("spooled", &bytes).send().id(202);

    other.put("running", &bytes).send().problem(409, "still-receiving");
    assert_eq!(other.put("spooled", &bytes).send().id(202), spooled, "the same bytes are known");
    other.put("spooled", &noise(6, 60_000)).send().problem(409, "conflict");

    drop(wire);
    wait_until("what came is a recording", || state(&other, &running) == "spooled");
    let gap = other.put("running", &bytes[30_000..]).header("Content-Range", "bytes 30000-59999/60000").send();
    assert_eq!(gap.problem(409, "offset-mismatch")["offset"], 20_000);
    let rest = other.put("running", &bytes[20_000..]).header("Content-Range", "bytes 20000-59999/60000").send();
    assert_eq!(rest.id(202), running);
    assert!(other.play(&running) == bytes);
    let files = crate::support::files(first.spool.as_ref());
    let of_running = |path: &&std::path::PathBuf| path.to_string_lossy().contains(&running);
    assert_eq!(files.iter().filter(of_running).count(), 1, "what it grew out of takes no more room: {files:?}");
}

#[test]
fn a_sender_hears_continue_through_another_server_only_where_the_holder_wants_his_bytes() {
    let (vault, replicas) = two();
    let servers = [replicas[0].start(&vault), replicas[1].start(&vault)];
    let bytes = noise(7, 50_000);
    let at = Dialect::Tus.begin(&servers[0], "upload", Some(bytes.len()));
    let piece = |from: usize| {
        let ask = Dialect::Tus.piece(&servers[1], &at, &bytes, from..bytes.len());
        ask.header("Expect", "100-continue")
    };

    let mut refused = servers[1].connect();
    refused.send(piece(10).head()).expect("a head");
    assert_eq!(refused.answer().expect("no interim answer comes first").status, 409);

    let mut taken = servers[1].connect();
    taken.send(piece(0).head()).expect("a head");
    assert_eq!(taken.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n");
    taken.send(&bytes).expect("the bytes");
    assert_eq!(taken.answer().expect("an answer").status, 204);
    assert!(servers[0].play(upload_id(&at)) == bytes);
}

#[tokio::test]
async fn a_token_of_one_network_is_held_to_the_listeners_own_address_through_another_server() {
    let (vault, [first, second]) = two();
    let (holder, other) = (first.start_without_store(&vault), second.start(&vault));
    let id = holder.put("spooled", &noise(8, 1_000)).send().id(202);
    let made = vault.ok(&[
        &["token", "create", "--tenant", "acme", "--name", "near", "--scope", "play:customer"][..],
        &["--cidr", "127.0.0.2/32"],
    ]
    .concat());
    let token = made["token"].as_str().expect("a token");
    let near = reqwest::Client::builder().no_proxy().local_address("127.0.0.2".parse().ok()).build().expect("a client");
    let near = Client { http: near, token: token.to_owned() };

    assert_eq!(near.get(&other.audio(&id)).await.status(), 200);
    assert_eq!(Client::new(token).get(&other.audio(&id)).await.status(), 403);
    let forged = format!("vault-1 {} 127.0.0.2 {}", crate::support::held::now().as_second(), "00".repeat(32));
    let forging = Client::new(token).request("GET", &holder.audio(&id)).header("Callvault-Peer", forged);
    assert_eq!(forging.send().await.expect("an answer").status(), 400);
}

#[test]
fn playback_of_what_another_server_spools_can_be_refused_instead() {
    let (vault, [first, second]) = two();
    let (holder, other) =
        (first.start_without_store(&vault), second.start_with(&vault, &["--replica-playback", "refuse"]));
    let id = holder.put("spooled", b"audio").send().id(202);

    assert_elsewhere(&other.ask("GET", &audio(&id)), "vault-0");
    assert_eq!(holder.play(&id), b"audio");
}

#[test]
fn a_server_waits_for_another_of_its_name_even_with_another_spool() {
    let (vault, [first, second]) = two();
    let mut holder = first.start_without_store(&vault);
    let spooled = holder.put("spooled", b"audio").send().id(202);
    let namesake = Replica { name: "vault-0", ..second };
    let arguments =
        [&["serve", "--metrics-listen", "127.0.0.1:0", "--expire-every", "never"], &namesake.settings()[..]];
    let mut waiting =
        Waiting(vault.command(&arguments.concat(), None).stdout(Stdio::piped()).spawn().expect("it runs"));

    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(std::net::TcpStream::connect(&namesake.address).is_err(), "two servers have one name");
    assert_eq!(state(&holder, &spooled), "spooled");
    holder.stop();

    let mut line = String::new();
    BufReader::new(waiting.0.stdout.take().expect("it is piped")).read_line(&mut line).expect("a line");
    assert!(line.contains(&namesake.address), "{line}");
}

/// Killed when it is dropped.
struct Waiting(Child);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn what_a_server_held_that_never_comes_back_is_given_up_only_with_its_name_typed() {
    let (vault, [first, second]) = two();
    let (mut holder, other) = (first.start_without_store(&vault), second.start(&vault));
    let lost = holder.put("lost", b"audio").send().id(202);
    let forget = ["replica", "forget", "vault-0"];

    let (code, text) = vault.exit(&forget, None);
    assert!(code == 1 && text.contains("lives"), "{text}");
    holder.kill();
    let (code, text) = vault.exit(&forget, None);
    assert!(code == 1 && text.contains("--confirm vault-0"), "{text}");
    let warnings = vault.ok(&["status"])["warnings"].to_string();
    assert!(warnings.contains("vault-0"), "{warnings}");

    let forgotten = vault.ok(&[&forget[..], &["--confirm", "vault-0"]].concat());
    assert_eq!(forgotten["lost"], json!([lost]));
    other.ask("GET", &audio(&lost)).send().problem(410, "deleted");
    other.put("lost", b"other audio").send().id(201);
    let back = first.start(&vault);
    wait_until("what it had is removed", || {
        crate::support::files(first.spool.as_ref()).iter().all(|path| !path.to_string_lossy().contains(&lost))
    });
    back.see(&format!("/v1/recordings/{lost}")).problem(410, "deleted");
}

#[test]
fn eight_runs_at_once_advance_one_generation_and_wait_for_every_server() {
    let (vault, replicas) = two();
    let servers = [replicas[0].start(&vault), replicas[1].start(&vault)];
    let erased = servers[0].put("erased", b"audio").send().id(201);
    let lives = servers[0].put("lives", b"audio").send().id(201);
    servers[1].ask("DELETE", &format!("/v1/recordings/{erased}?erase=1")).send();
    let before = vault.ok(&["status"])["ring"]["generation"].as_u64().expect("a number");

    let runs: Vec<Child> = (0..8)
        .map(|_| {
            let mut run: Command = vault.command(&["expire"], None);
            run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
        })
        .collect();
    for run in runs {
        let output = run.wait_with_output().expect("it ends");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!((&report["generation"], &report["replicas_behind"]), (&json!(before + 1), &json!([])), "{report}");
    }

    vault.assert_one_generation(before + 1);
    for replica in vault.ok(&["replica", "list"])["replicas"].as_array().expect("a list") {
        assert_eq!(replica["generation"], before + 1, "{replica}");
    }
    for server in &servers {
        assert_eq!(server.play(&lives), b"audio");
    }
}
