//! The object store as S3, and what happens while it is down, wrong or slow: `202` is durable, plays, and arrives later.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::s3::{Bucket, Fault};
use crate::support::wire::metric;
use crate::support::{Client, Server, Vault, files, free_address, id_of, json, noise, wait_until};

const MIB: usize = 1 << 20;
/// An upload is answered within this even when the store is down: senders give up after 30 s.
const ANSWER_MAX: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recordings_go_to_s3_play_in_ranges_and_are_deleted_in_bulk() {
    let store = Bucket::s3s().await;
    let vault = store.vault();
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    let bytes = noise(1, 300_000);
    let ids: Vec<_> = {
        let mut ids = Vec::new();
        for number in 0..3 {
            ids.push(id_of(&client.upload(&server, &format!("call-{number}"), bytes.clone()).await));
        }
        ids
    };

    assert_eq!(store.objects().len(), 3);
    assert_eq!(files(&vault.path().join("spool")), Vec::<PathBuf>::new());
    assert_eq!(client.fetch(&server.audio(&ids[0])).await, (200, bytes.clone()));
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=16383-16384", 16_383..16_385),
        ("bytes=-5", 299_995..300_000),
        ("bytes=250000-", 250_000..300_000),
    ] {
        let answer = client.request("GET", &server.audio(&ids[1])).header("range", range).send().await.expect("sent");
        assert_eq!(answer.status(), 206);
        assert_eq!(answer.bytes().await.expect("a body"), bytes[expected], "{range}");
    }
    assert_eq!(vault.ok(&["verify"])["recordings"], 3);
    for id in &ids[..2] {
        vault.ok(&["recording", "delete", id]);
    }
    server.stop();
    let deletions = store.count(&["POST /bucket?delete"]);
    assert_eq!(vault.ok(&["expire"])["objects_swept"], 2);
    assert_eq!(store.objects().len(), 1);
    assert_eq!(store.count(&["POST /bucket?delete"]), deletions + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_stops_being_good_is_a_clear_error_and_loses_nothing() {
    let store = Bucket::s3s().await;
    let vault = store.vault();
    let client = Client::new(&vault.token);
    let server = vault.serve();
    store.inject("/bucket", Fault::Answer(403, "SignatureDoesNotMatch"), usize::MAX);

    let (status, answer) = put(&client, &server, "call", noise(2, 30_000)).await;

    assert_eq!((status, &answer["state"]), (202, &Value::from("spooled")), "{answer}");
    let log = server.log_text();
    assert!(log.contains("SignatureDoesNotMatch") && log.contains("AWS_SECRET_ACCESS_KEY"), "{log}");
    // What a store says besides its code may repeat what it was sent.
    assert!(!log.contains(crate::support::s3::SECRET_KEY), "{log}");
    let (code, text) = vault.exit(&["verify"], None);
    assert_eq!(code, 1);
    assert!(text.contains("SignatureDoesNotMatch"), "{text}");
    assert_eq!(client.fetch(&server.audio(&id_of(&answer))).await, (200, noise(2, 30_000)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_leaves_uploads_durable_in_the_spool_until_the_store_is_back() {
    let mut store = Bucket::s3s().await;
    let vault = store.vault();
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    let stored = id_of(&client.upload(&server, "before", noise(3, 30_000)).await);
    store.stop().await;
    let mut ids = Vec::new();
    for number in 0..3 {
        let began = Instant::now();
        let (status, answer) = put(&client, &server, &format!("call-{number}"), noise(number, 300_000)).await;
        assert_eq!((status, &answer["state"]), (202, &Value::from("spooled")), "{answer}");
        assert!(began.elapsed() < ANSWER_MAX, "it took {:?}", began.elapsed());
        ids.push(id_of(&answer));
    }

    assert_eq!(client.fetch(&server.audio(&ids[1])).await, (200, noise(1, 300_000)), "it plays from the spool");
    assert_eq!(client.get(&server.audio(&stored)).await.status(), 503);
    // Durable: the process dies, and the next one starts while the store is still down.
    server.kill();
    let began = Instant::now();
    let mut server = vault.serve();
    assert!(began.elapsed() < ANSWER_MAX, "the start took {:?}", began.elapsed());
    assert_eq!(client.fetch(&server.audio(&ids[2])).await, (200, noise(2, 300_000)));
    // A retry of what was acknowledged.
    let (status, answer) = put(&client, &server, "call-0", noise(0, 300_000)).await;
    assert_eq!((status, id_of(&answer)), (202, ids[0].clone()));
    store.restart().await;
    arrives(&vault, &store, 4).await;
    for (number, id) in ids.iter().enumerate() {
        let shown = json(client.get(&format!("{}/{id}", server.recordings())).await).await;
        assert_eq!(shown["state"], "stored");
        assert_eq!(client.fetch(&server.audio(id)).await, (200, noise(number as u64, 300_000)));
    }
    server.stop();
    assert_eq!(vault.ok(&["verify"])["recordings"], 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_answers_500_for_a_while_is_tried_again() {
    let store = Bucket::s3s().await;
    let vault = store.vault();
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    store.fail("PUT", 1);
    assert_eq!(put(&client, &server, "once", noise(4, 30_000)).await.0, 201, "one failure is ridden out");
    store.fail("PUT", usize::MAX);

    let (status, answer) = put(&client, &server, "long", noise(5, 30_000)).await;

    assert_eq!((status, &answer["state"]), (202, &Value::from("spooled")));
    assert_eq!(client.fetch(&server.audio(&id_of(&answer))).await, (200, noise(5, 30_000)));
    store.fail("PUT", 0);
    arrives(&vault, &store, 2).await;
    store.fail("GET", usize::MAX);
    assert_eq!(client.get(&server.audio(&id_of(&answer))).await.status(), 503);
    store.fail("GET", 0);
    assert_eq!(client.fetch(&server.audio(&id_of(&answer))).await, (200, noise(5, 30_000)));
    // The sweep is tried again by the next run.
    vault.ok(&["recording", "delete", &id_of(&answer)]);
    server.stop();
    store.fail("POST", usize::MAX);
    assert_eq!(vault.ok(&["expire"])["objects_left"], 1);
    store.fail("POST", 0);
    assert_eq!(vault.ok(&["expire"])["objects_swept"], 1);
    assert_eq!(store.objects().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_goes_in_parts_and_one_that_fails_is_aborted() {
    let store = Bucket::s3s().await;
    let vault = store.vault();
    let client = Client::new(&vault.token);
    let server = vault.serve();
    let bytes = noise(6, 20 * MIB);
    // The second part fails.
    store.fail("partNumber=2", usize::MAX);

    let (status, answer) = put(&client, &server, "large", bytes.clone()).await;

    assert_eq!((status, &answer["state"]), (202, &Value::from("spooled")), "{answer}");
    let requests = store.requests();
    assert!(requests.iter().any(|request| request.contains("POST") && request.contains("?uploads")), "{requests:?}");
    assert!(requests.iter().any(|request| request.contains("DELETE") && request.contains("uploadId=")), "{requests:?}");
    assert_eq!(store.objects().len(), 0);
    store.fail("partNumber=2", 0);
    arrives(&vault, &store, 1).await;
    assert_eq!(client.fetch(&server.audio(&id_of(&answer))).await, (200, bytes));
}

/// Refusing, failing, hanging and slow, one after the other, while calls end all the time and the server is killed once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_in_every_way_under_load_loses_nothing_and_delays_nobody() {
    let mut store = Bucket::s3s().await;
    let vault = store.vault();
    let client = Arc::new(Client::new(&vault.token));
    let patience = ["--store-patience", "1s"];
    let mut server = vault.serve_with(&patience, None);
    let mut sent = Vec::new();
    for (turn, outage) in ["none", "refuses", "fails", "hangs", "killed", "slow", "none"].into_iter().enumerate() {
        match outage {
            "refuses" => store.stop().await,
            "fails" => {
                store.restart().await;
                store.fail("PUT ", usize::MAX);
            }
            "hangs" => {
                store.fail("PUT ", 0);
                store.delay(Duration::from_secs(3_600));
            }
            "killed" => {
                server.kill();
                server = vault.serve_with(&patience, None);
            }
            "slow" => store.delay(Duration::from_millis(1_500)),
            _ => store.delay(Duration::ZERO),
        }
        let uploads = (0..8).map(|number| {
            let (client, name) = (client.clone(), format!("{outage}-{turn}-{number}"));
            let (url, bytes) = (format!("{}/{name}", server.recordings()), noise((turn * 100 + number) as u64, 40_000));
            async move {
                let started = Instant::now();
                let answer = client.request("PUT", &url).body(bytes.clone()).send().await.expect("an answer");
                assert!(started.elapsed() < ANSWER_MAX, "{name} was answered after {:?}", started.elapsed());
                assert!(matches!(answer.status().as_u16(), 201 | 202), "{name}: {}", answer.status());
                (id_of(&json(answer).await), bytes)
            }
        });
        sent.extend(futures::future::join_all(uploads).await);
        // What was acknowledged plays, wherever it is.
        let (id, bytes) = &sent[sent.len() - 1];
        assert_eq!(client.fetch(&server.audio(id)).await, (200, bytes.clone()), "during {outage}");
    }

    arrives(&vault, &store, sent.len()).await;

    assert_eq!(server.list("state=spooled&limit=1000").len(), 0);
    for (id, bytes) in &sent {
        assert!(client.fetch(&server.audio(id)).await == (200, bytes.clone()), "{id} came back changed");
    }
    assert_eq!(vault.ok(&["verify"])["faults"].as_array().map(Vec::len), Some(0));
}

#[test]
fn metrics_and_status_tell_of_an_outage_and_of_its_end() {
    let vault = Vault::new();
    let address = free_address();
    let server = vault.serve_with(&["--metrics-listen", &address], None);
    let read = |name: &str| metric(&address, &format!("callvault_{name}"));
    let waiting =
        || [read("store_up"), read("recordings_spooled"), read("spool_segments"), read("spool_oldest_seconds")];
    let objects = vault.path().join("objects");
    let bytes = noise(8, 50_000);
    assert_eq!(waiting(), [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(read("spool_limit_bytes"), (64_u64 << 30) as f64);
    block(&objects, true);

    for name in ["first", "second"] {
        let answer = server.put(name, &bytes).send();
        assert_eq!((answer.status, &answer.json()["state"]), (202, &Value::from("spooled")), "{answer}");
    }

    assert_eq!(waiting()[..3], [0.0, 2.0, 2.0]);
    assert!(read("spool_bytes") > 100_000.0);
    wait_until("they have waited for two seconds", || read("spool_oldest_seconds") >= 2.0);
    let status = vault.ok(&["status"]);
    let spool = &status["spool"];
    assert_eq!((&spool["spooled"], &spool["segments"]), (&2.into(), &2.into()), "{status}");
    assert!(spool["oldest_age_s"].as_i64().is_some_and(|age_s| (2..60).contains(&age_s)), "{status}");
    let tells_of_spool = |status: &Value| status["warnings"].to_string().contains("wait in the spool");
    assert!(!tells_of_spool(&status), "{status}");
    let later = vault.ok_at(&["status"], Some("+20m"));
    assert!(tells_of_spool(&later) && later["warnings"].to_string().contains("20 min"), "{later}");
    block(&objects, false);
    wait_until("it is over", || waiting() == [1.0, 0.0, 0.0, 0.0]);
    let status = vault.ok_at(&["status"], Some("+20m"));
    assert_eq!((&status["spool"]["spooled"], &status["spool"]["oldest_age_s"]), (&0.into(), &0.into()), "{status}");
    assert!(!tells_of_spool(&status), "{status}");
}

#[test]
fn the_age_of_a_long_call_in_the_spool_counts_from_its_end() {
    let vault = Vault::new();
    let address = free_address();
    let server = vault.serve_with(&["--metrics-listen", &address], None);
    block(&vault.path().join("objects"), true);
    let mut wire = server.connect();
    wire.send(server.put("call", b"").chunked(b"", 1).head() + "5\r\naudio\r\n").expect("a call begins");
    std::thread::sleep(Duration::from_secs(5));

    wire.send("0\r\n\r\n").expect("it ends");

    assert_eq!(wire.answer().expect("an answer").status, 202);
    let age_s = metric(&address, "callvault_spool_oldest_seconds");
    assert!(age_s < 4.0, "it is told to be {age_s} s");
}

/// The forwarding of the spool while somebody listens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_hears_all_of_a_recording_that_moves_from_the_spool_to_the_store() {
    use callvault::model::range::ByteRange;
    use futures::StreamExt;

    let vault = Vault::new();
    let held = vault.held(crate::support::held::now()).await;
    let objects = vault.path().join("objects");
    // A store that takes nothing: its folders are files.
    block(&objects, true);
    let bytes = noise(7, MIB);
    let row = held.upload(crate::support::held::Call::named("moving"), bytes.clone()).await;
    assert_eq!(row.state, callvault::model::State::Spooled);
    let playback = &held.app.playback;
    let located = playback.locate(row.tenant, row.id).await.expect("it is there");
    let session = playback.open(&located, callvault::model::Class::Customer).await.expect("it opens");
    let whole = ByteRange::whole(bytes.len() as u64).expect("it has bytes");
    let mut stream =
        std::pin::pin!(playback.stream(&session, whole, callvault::playback::Form::Playable).await.expect("it plays"));
    let mut played = stream.next().await.expect("a piece").expect("it plays").to_vec();
    block(&objects, false);

    assert_eq!(held.app.ingest.forward().await.expect("it goes through").sent, 1);

    while let Some(piece) = stream.next().await {
        played.extend_from_slice(&piece.expect("it plays on"));
    }
    assert_eq!(played, bytes);
    let session = playback.open(&located, callvault::model::Class::Customer).await.expect("it opens by the old row");
    assert_eq!(session.plain_len(), bytes.len() as u64);
}

/// All 256 folders of a store on disk as files, or nothing.
fn block(objects: &Path, is_blocked: bool) {
    for byte in 0..=255 {
        let folder = objects.join(format!("{byte:02x}"));
        match is_blocked {
            true => std::fs::write(folder, b"").expect("it is made"),
            false => std::fs::remove_file(folder).expect("it is removed"),
        }
    }
}

/// The store has this many objects, and the spool none.
async fn arrives(vault: &Vault, store: &Bucket, count: usize) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while store.objects().len() < count || !files(&vault.path().join("spool")).is_empty() {
        assert!(Instant::now() < deadline, "the spool was not forwarded");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn put(client: &Client, server: &Server, name: &str, bytes: Vec<u8>) -> (u16, Value) {
    let request = client.request("PUT", &format!("{}/{name}", server.recordings())).body(bytes);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), json(answer).await)
}
