//! Promise 1 under `kill -9`: what was acknowledged is there, what was not is absent or as long as it came, and a retry
//! completes it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::slow::{Dice, Seen, SlowUpload};
use crate::support::{Client, Server, Vault, files, json, killed_at, noise, wait_until};

const LIVES: usize = 100;
const UPLOADS_PER_LIFE: usize = 5;
const CHUNK_LEN: usize = 16_384;
/// What was sent this long before the kill was there to be taken, even on a machine that is busy.
const TAKEN_AFTER: Duration = Duration::from_secs(2);

const SERVE: [&str; 7] =
    ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--expire-every", "never"];

struct Sent {
    name: String,
    bytes: Vec<u8>,
    seen: Seen,
}

/// A segment that a dead process left: its bytes by its recording.
type Dead = BTreeMap<String, Vec<Vec<u8>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_uploads_killed_at_random_moments_lose_nothing_that_was_acknowledged() {
    let mut dice = Dice::thrown();
    let vault = Vault::new();
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    let (mut acknowledged, mut partial, mut absent) = (0, 0, 0);
    for life in 0..LIVES {
        let uploads: Vec<_> = (0..UPLOADS_PER_LIFE).map(|number| draw(&mut dice, life, number)).collect();
        let lifetime = Duration::from_millis(dice.below(150));
        let (killed_at, sent) = upload_and_kill(&vault, &mut server, uploads, lifetime);
        let dead = segments(&vault);
        if dice.below(3) == 0 {
            die_while_starting(&vault, Duration::from_millis(dice.below(60)));
        }

        server = vault.serve();

        wait_until("the spool is empty", || files(&vault.path().join("spool")).is_empty());
        assert_eq!(listed(&client, &server, "state=receiving").await.len(), 0, "nothing stays receiving");
        let found = listed(&client, &server, "limit=50").await;
        for sent in &sent {
            let recording = found.get(&sent.name);
            match recording {
                Some(recording) => check_kept(&client, &server, sent, recording, killed_at).await,
                None => assert!(!sent.seen.is_acknowledged(), "{} was acknowledged and is lost", sent.name),
            }
            match recording {
                _ if sent.seen.is_acknowledged() => acknowledged += 1,
                Some(_) => partial += 1,
                None => absent += 1,
            }
        }
        check_salts(&vault, &dead);
        for sent in sent.iter().filter(|sent| !sent.seen.is_acknowledged()) {
            retry(&client, &server, sent).await;
        }
    }
    server.stop();

    println!("{acknowledged} acknowledged, {partial} kept without an answer, {absent} absent");
    let report = vault.ok(&["verify"]);
    assert_eq!(report["recordings"], (LIVES * UPLOADS_PER_LIFE) as u64);
    assert_eq!(report["faults"].as_array().map(Vec::len), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paced_upload_killed_after_some_chunks_keeps_all_but_the_one_being_filled() {
    let vault = Vault::new();
    let client = Client::new(&vault.token);
    for chunks in [1, 2, 7] {
        let mut server = vault.serve();
        let (name, bytes) = (format!("paced-{chunks}"), noise(chunks as u64, 20 * CHUNK_LEN));
        let len = chunks * CHUNK_LEN + 5_000;
        // It sends this much and then sleeps until it is killed.
        let head = bytes[..len].to_vec();
        let sending = std::thread::spawn({
            let (address, token, name) = (server.address().to_owned(), vault.token.clone(), name.clone());
            move || send_and_wait(&address, &token, &name, &head, 20 * CHUNK_LEN)
        });
        std::thread::sleep(TAKEN_AFTER);
        server.kill();
        sending.join().expect("the sender ends");

        server = vault.serve();

        let found = listed(&client, &server, "limit=50").await;
        let recording = found.get(&name).unwrap_or_else(|| panic!("{chunks} chunks are lost"));
        assert_eq!(recording["complete"], false);
        let kept = recording["bytes"].as_u64().expect("a length") as usize;
        assert!(kept >= chunks * CHUNK_LEN, "{kept} bytes of {chunks} chunks were kept");
        let (status, played) = client.fetch(&server.audio(recording["id"].as_str().expect("an id"))).await;
        assert_eq!((status, &played[..]), (200, &bytes[..kept]));
        server.stop();
    }
}

/// The start that salvages is itself killed, at each of its system calls that change a disk; the next one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recovery_killed_at_any_step_loses_no_byte_that_the_spool_held() {
    let origin = Vault::new();
    let client = Client::new(&origin.token);
    let (fresh, grown) = (noise(1, 14 * CHUNK_LEN), noise(2, 30 * CHUNK_LEN));
    let (fresh_len, grown_len) = (13 * CHUNK_LEN, 25 * CHUNK_LEN);
    {
        // One recording that is new, and one that continues a partial recording.
        let mut server = origin.serve();
        client.upload_part(&server, "grown", &grown, 0..4 * CHUNK_LEN).await;
        let senders = [
            part_sender(&origin, &server, "fresh", None, &fresh[..fresh_len], fresh.len()),
            part_sender(&origin, &server, "grown", Some(4 * CHUNK_LEN), &grown[4 * CHUNK_LEN..grown_len], grown.len()),
        ];
        let spooled = || files(&origin.path().join("spool")).iter().map(|path| size_of(path)).sum::<u64>();
        wait_until("both are in the spool", || spooled() >= ((fresh_len + grown_len) / CHUNK_LEN * 16_400) as u64);
        server.kill();
        senders.into_iter().for_each(|sender| sender.join().expect("the sender ends"));
    }
    for call in ["write", "fsync", "fdatasync", "unlink"] {
        for step in 1.. {
            let vault = origin.copied();
            let died = die_at(&vault, call, step);

            let mut server = vault.serve();

            let when = format!("after a death at {call} number {step}");
            let found = listed(&client, &server, "limit=50").await;
            for (name, bytes, len) in [("fresh", &fresh, fresh_len), ("grown", &grown, grown_len)] {
                let recording = found.get(name).unwrap_or_else(|| panic!("{name} is lost {when}"));
                let (status, played) = client.fetch(&server.audio(recording["id"].as_str().expect("an id"))).await;
                assert_eq!(status, 200, "{name} {when}");
                assert!(played.len() >= len, "{name} has {} of {len} bytes {when}", played.len());
                assert!(bytes.starts_with(&played), "{name} is another {when}");
            }
            wait_until("the spool is empty", || files(&vault.path().join("spool")).is_empty());
            server.stop();
            if !died {
                assert!(step > 1, "the start makes no {call}");
                break;
            }
        }
    }
}

fn draw(dice: &mut Dice, life: usize, number: usize) -> (String, Vec<u8>, usize, Duration) {
    let len = match dice.below(4) {
        0 => 1 + dice.below(100),
        1 => 1 + dice.below(4) * CHUNK_LEN as u64,
        _ => 1 + dice.below(300_000),
    } as usize;
    let (piece_len, pause) = match dice.below(3) {
        0 => (len, Duration::ZERO),
        1 => (8_000, Duration::from_millis(2)),
        _ => (1_600, Duration::from_millis(1)),
    };
    (format!("life-{life}/upload-{number}"), noise(dice.next(), len), piece_len, pause)
}

fn upload_and_kill(
    vault: &Vault,
    server: &mut Server,
    uploads: Vec<(String, Vec<u8>, usize, Duration)>,
    lifetime: Duration,
) -> (Instant, Vec<Sent>) {
    let address = server.address().to_owned();
    std::thread::scope(|scope| {
        let senders: Vec<_> = uploads
            .into_iter()
            .map(|(name, bytes, piece_len, pause)| {
                let (address, token) = (&address, &vault.token);
                scope.spawn(move || {
                    let seen = SlowUpload { address, token, name: &name, bytes: &bytes, piece_len, pause }.run();
                    Sent { name, bytes, seen }
                })
            })
            .collect();
        std::thread::sleep(lifetime);
        let killed_at = Instant::now();
        server.kill();
        (killed_at, senders.into_iter().map(|sender| sender.join().expect("a sender ends")).collect())
    })
}

async fn check_kept(client: &Client, server: &Server, sent: &Sent, recording: &Value, killed_at: Instant) {
    let (status, played) = client.fetch(&server.audio(recording["id"].as_str().expect("an id"))).await;
    assert_eq!(status, 200, "{}", sent.name);
    let is_complete = recording["complete"] == true;
    assert!(is_complete || !sent.seen.is_acknowledged(), "{} was acknowledged and is partial", sent.name);
    if is_complete {
        assert_eq!(played, sent.bytes, "{}", sent.name);
    }
    assert!(sent.bytes.starts_with(&played), "{} is no beginning of what was sent", sent.name);
    let taken = sent.seen.sent_before(killed_at - TAKEN_AFTER) / CHUNK_LEN * CHUNK_LEN;
    assert!(played.len() >= taken, "{} lost more than the chunk being filled", sent.name);
}

async fn retry(client: &Client, server: &Server, sent: &Sent) {
    let url = format!("{}/{}", server.recordings(), sent.name);
    let answer = client.request("PUT", &url).body(sent.bytes.clone()).send().await.expect("an answer");
    let status = answer.status().as_u16();
    let recording = json(answer).await;
    assert!(matches!(status, 200 | 201), "the retry of {} was answered {status}: {recording}", sent.name);
    assert_eq!(recording["complete"], true);
    let (status, played) = client.fetch(&server.audio(recording["id"].as_str().expect("an id"))).await;
    assert_eq!((status, played.len()), (200, sent.bytes.len()));
    assert_eq!(played, sent.bytes, "{} after its retry", sent.name);
}

/// An object is either the dead segment as it was, or sealed under another salt.
fn check_salts(vault: &Vault, dead: &Dead) {
    for object in files(&vault.path().join("objects")) {
        let bytes = fs::read(&object).expect("an object");
        for segment in dead.values().flatten().filter(|segment| segment.len() >= 40) {
            assert!(
                bytes == *segment || bytes[16..40] != segment[16..40],
                "a salt was used twice: {}",
                object.display()
            );
        }
    }
}

fn segments(vault: &Vault) -> Dead {
    let mut dead = Dead::new();
    for path in files(&vault.path().join("spool")) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let recording = name.split('.').next().expect("a recording").to_owned();
        dead.entry(recording).or_default().push(fs::read(&path).expect("a segment"));
    }
    dead
}

/// Recordings by name.
async fn listed(client: &Client, server: &Server, query: &str) -> BTreeMap<String, Value> {
    let page = json(client.get(&format!("{}?{query}", server.recordings())).await).await;
    let recordings = page["recordings"].as_array().unwrap_or_else(|| panic!("no listing: {page}")).clone();
    recordings.into_iter().map(|one| (one["name"].as_str().expect("a name").to_owned(), one)).collect()
}

fn die_while_starting(vault: &Vault, lifetime: Duration) {
    let mut command = vault.command(&SERVE, None);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("the binary runs");
    std::thread::sleep(lifetime);
    child.kill().ok();
    child.wait().ok();
}

/// Starts a server that dies when it makes `call` for the `step`-th time. `false`: it had started before.
fn die_at(vault: &Vault, call: &str, step: usize) -> bool {
    let mut command = killed_at(&vault.command(&SERVE, None), call, step);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("strace runs");
    let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
    let mut line = String::new();
    lines.read_line(&mut line).expect("it is read");
    let started = line.contains("http://");
    if started {
        // strace keeps signals to itself; the end of stdout is the end of what it runs. It may have died since it started.
        let pid = child.id();
        let traced = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        if let Some(traced) = traced.trim().parse().ok().and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(traced, rustix::process::Signal::TERM).ok();
        }
    }
    std::io::copy(&mut lines, &mut std::io::sink()).expect("it ends");
    child.wait().expect("it ends");
    !started
}

fn part_sender(
    vault: &Vault,
    server: &Server,
    name: &'static str,
    from: Option<usize>,
    bytes: &[u8],
    total: usize,
) -> std::thread::JoinHandle<()> {
    let (address, token, bytes) = (server.address().to_owned(), vault.token.clone(), bytes.to_vec());
    std::thread::spawn(move || {
        let range = from.map_or(String::new(), |from| format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1));
        send_head_and_wait(&address, &token, name, &range, &bytes, total - from.unwrap_or(0));
    })
}

fn send_and_wait(address: &str, token: &str, name: &str, bytes: &[u8], total: usize) {
    send_head_and_wait(address, token, name, "", bytes, total);
}

/// Sends less than it said, and holds the connection until the other side goes.
fn send_head_and_wait(address: &str, token: &str, name: &str, headers: &str, bytes: &[u8], total: usize) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("the server listens");
    let head = format!(
        "PUT /v1/recordings/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\
         Content-Length: {total}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the head is sent");
    for piece in bytes.chunks(8_000) {
        stream.write_all(piece).expect("a piece is sent");
    }
    let _ = stream.read(&mut [0; 1]);
}

fn size_of(path: &std::path::Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

impl Client {
    /// The beginning of a recording, as a sender sends it who says how long all of it is.
    async fn upload_part(&self, server: &Server, name: &str, bytes: &[u8], part: std::ops::Range<usize>) {
        let range = format!("bytes {}-{}/{}", part.start, part.end - 1, bytes.len());
        let request = self.request("PUT", &format!("{}/{name}", server.recordings())).header("content-range", range);
        let answer = request.body(bytes[part].to_vec()).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{:?}", json(answer).await);
    }
}
