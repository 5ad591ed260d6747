//! Key stores for many replicas: mirrors in buckets and on volumes, what is refused, what a lost mirror costs, and that a
//! server never writes there.

use std::path::Path;

use jiff::SignedDuration;

use crate::support::held::now;
use crate::support::s3::{Bucket, Fault, SECRET_KEY};
use crate::support::{Client, Vault, files, id_of, noise};

const BRISK: [(&str, &str); 2] = [("CALLVAULT_S3_REQUEST_TIMEOUT", "2s"), ("CALLVAULT_S3_RETRY_PAUSE", "20ms")];

/// A vault with local objects and these places for its keys; `{}` stands for its directory.
fn vault(store: &Bucket, key_store: &str, generation_store: &str) -> Vault {
    Vault::with_env(|dir| {
        let mut env = store.variables(SECRET_KEY);
        env.extend(BRISK.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for (name, places) in [("CALLVAULT_KEY_STORE", key_store), ("CALLVAULT_GENERATION_STORE", generation_store)] {
            env.push((name.to_owned(), places.replace("{}", &dir.to_string_lossy())));
        }
        env
    })
}

fn in_a_month() -> jiff::Timestamp {
    now().checked_add(SignedDuration::from_hours(31 * 24)).expect("an instant")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ring_in_a_bucket_and_on_a_volume_expires_on_both_and_leaves_one_generation() {
    for store in [Bucket::s3s().await, Bucket::moto().await] {
        let vault = vault(&store, "s3://bucket/keys,file://{}/volume", "s3://bucket/generations,file://{}/second");
        let client = Client::new(&vault.token);
        let mut server = vault.serve();
        let id = id_of(&client.upload(&server, "call", noise(1, 50_000)).await);
        assert_eq!(client.fetch(&server.audio(&id)).await.0, 200);
        server.stop();

        vault.expire(in_a_month());

        let mut keys = store.keys().await;
        keys.sort();
        assert_eq!(keys, ["generations/generation.2", "keys/ring.2"], "no canary and nothing older is left");
        assert_eq!(files(&vault.beside("volume")), [vault.beside("volume/ring.2")]);
        // Overwritten before it was deleted, at the same length.
        for name in ["keys/ring.1", "generations/generation.1"] {
            let told: Vec<_> = store.requests().into_iter().filter(|request| request.contains(name)).collect();
            let at = |verb: &str| told.iter().rposition(|request| request.starts_with(verb));
            assert!(told.iter().filter(|request| request.starts_with("PUT")).count() >= 2, "{told:?}");
            assert!(at("PUT") < at("GET"), "it was looked for afterwards: {told:?}");
        }
        let status = vault.ok(&["status"]);
        let mirrors = status["mirrors"].as_array().expect("mirrors");
        assert_eq!(mirrors.len(), 4);
        assert!(mirrors.iter().all(|mirror| mirror["reachable"] == true && mirror["lag"] == 0), "{status}");
        assert!(status["warnings"].to_string().contains("one place"), "both halves lie in one bucket: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_keeps_versions_is_refused_by_init_serve_and_expire() {
    let store = Bucket::moto().await;
    let vault = vault(&store, "s3://bucket/keys", "file://{}/second");
    let switch = |status: &str| format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    for status in ["Enabled", "Suspended"] {
        store.ask_with("PUT", "/bucket?versioning", &switch(status)).await.expect("it is switched");
        for command in ["init", "serve", "expire"] {
            assert_refused(&vault, command, "without versioning");
        }
    }
    // Whoever may not ask for the bucket's settings sees it by what the store says of each object.
    store.inject("versioning=", Fault::Answer(403, "AccessDenied"), usize::MAX);
    store.inject("versions=", Fault::Answer(403, "AccessDenied"), usize::MAX);
    store.ask_with("PUT", "/bucket?versioning", &switch("Enabled")).await.expect("it is switched");

    assert_refused(&vault, "init", "without versioning");
    assert_refused(&vault, "expire", "without versioning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_numbers_what_it_reads_is_refused_by_a_server_with_the_right_to_read_alone() {
    let store = Bucket::s3s().await;
    let vault = vault(&store, "s3://bucket/keys", "file://{}/second");

    store.inject("GET /bucket/keys/ring", Fault::Numbered, usize::MAX);

    assert_refused(&vault, "serve", "without versioning");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_creates_a_name_twice_is_refused_before_a_key_is_written() {
    let store = Bucket::moto().await;
    let vault = vault(&store, "s3://bucket/keys", "file://{}/second");
    let before = store.keys().await;
    store.inject("PUT /bucket/keys/canary", Fault::Unconditional, usize::MAX);

    for command in ["init", "expire"] {
        assert_refused(&vault, command, "If-None-Match");
    }

    assert_eq!(store.keys().await, before, "the canary is gone, the ring as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_creation_whose_answer_was_lost_is_found_to_be_its_own() {
    let store = Bucket::s3s().await;
    let vault = vault(&store, "s3://bucket/keys", "s3://bucket/generations");
    store.inject("PUT /bucket/keys/ring.2", Fault::Twice, 1);

    vault.ok(&["status"]);
    let report = vault.expire(in_a_month());

    assert_eq!(report["generation"], 2, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_never_writes_to_a_key_store_and_follows_what_expire_writes_there() {
    let store = Bucket::s3s().await;
    let vault = vault(&store, "s3://bucket/keys,file://{}/volume", "file://{}/second");
    let client = Client::new(&vault.token);
    // What a server's policy is: reading.
    for verb in ["PUT", "DELETE", "POST"] {
        store.inject(&format!("{verb} /bucket"), Fault::Answer(403, "AccessDenied"), usize::MAX);
    }
    let _mounts = ["volume", "second"].map(|name| crate::support::Mount::read_only(&vault.beside(name)));
    let before = store.requests().len();
    let server = vault.serve();

    let id = id_of(&client.upload(&server, "call", noise(1, 50_000)).await);

    assert_eq!(client.fetch(&server.audio(&id)).await, (200, noise(1, 50_000)));
    let asked = store.requests().split_off(before);
    assert!(!asked.is_empty() && asked.iter().all(|request| request.starts_with("GET ")), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_mirror_is_reported_and_survived_by_serving_and_stops_destruction() {
    let mut store = Bucket::s3s().await;
    let vault = vault(&store, "s3://bucket/keys,file://{}/volume", "file://{}/second");
    let client = Client::new(&vault.token);
    store.stop().await;

    let mut server = vault.serve();

    let id = id_of(&client.upload(&server, "call", noise(1, 50_000)).await);
    assert_eq!(client.fetch(&server.audio(&id)).await.0, 200);
    assert!(server.log_text().contains("does not answer"), "{}", server.log_text());
    let status = vault.ok(&["status"]);
    let lost = &status["mirrors"][0];
    assert_eq!((&lost["reachable"], &lost["place"]), (&false.into(), &"s3://bucket/keys".into()), "{status}");
    assert!(status["warnings"].to_string().contains("s3://bucket/keys"), "{status}");
    server.stop();
    let later = Vault::shift(in_a_month());
    let (code, text) = vault.exit(&["expire", "--floor", &in_a_month().to_string()], Some(&later));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("nothing was destroyed") && text.contains("s3://bucket/keys"), "{text}");
    assert_eq!(files(&vault.beside("volume")), [vault.beside("volume/ring.1")]);
    store.restart().await;
    assert_eq!(vault.expire(in_a_month())["generation"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_stops_half_way_through_destruction_is_pending_and_completed_by_the_next_run() {
    let store = Bucket::s3s().await;
    let vault = vault(&store, "s3://bucket/keys", "file://{}/second");
    store.inject("PUT /bucket/keys/ring.1", Fault::Answer(403, "AccessDenied"), usize::MAX);
    let (later, floor) = (Vault::shift(in_a_month()), in_a_month().to_string());

    let (code, text) = vault.exit(&["expire", "--floor", &floor], Some(&later));

    assert_eq!(code, 3, "{text}");
    assert!(text.contains("s3://bucket/keys") && text.contains("may not put"), "{text}");
    store.inject("PUT /bucket/keys/ring.1", Fault::Answer(403, "AccessDenied"), 0);
    vault.ok_at(&["expire", "--floor", &floor], Some(&later));
    assert_eq!(store.keys().await, ["keys/ring.2"]);
}

#[test]
fn key_store_and_generation_store_in_one_place_are_warned_of() {
    for (key_store, generation_store, is_one) in [
        ("file://{}/k", "file://{}/k", true),
        ("file://{}/k", "file://{}/k/generations", true),
        ("file://{}/k/rings", "file://{}/k", true),
        ("file://{}/k", "file://{}/kg", false),
        ("file://{}/k", "file://{}/g", false),
    ] {
        let vault = Vault::with_env(|dir| {
            let place = |place: &str| place.replace("{}", &dir.to_string_lossy());
            vec![
                ("CALLVAULT_KEY_STORE".to_owned(), place(key_store)),
                ("CALLVAULT_GENERATION_STORE".to_owned(), place(generation_store)),
            ]
        });

        let warnings = vault.ok(&["status"])["warnings"].to_string();

        assert_eq!(warnings.contains("in one place"), is_one, "{key_store} {generation_store}: {warnings}");
    }
}

/// Replicas on other nodes list and read a volume while `expire` writes there.
#[test]
fn a_generation_that_is_half_written_is_never_loaded_and_is_when_it_is_whole() {
    let vault =
        Vault::with_env(|dir| vec![("CALLVAULT_KEY_STORE".to_owned(), format!("file://{}/volume", dir.display()))]);
    let ring = vault.beside("volume/ring.1");
    let whole = std::fs::read(&ring).expect("a ring");
    for len in [0, 1, 47, 48, whole.len() / 2, whole.len() - 1] {
        std::fs::write(vault.beside("volume/ring.2"), &whole[..len]).expect("half of a file");

        let status = vault.ok(&["status"]);

        assert_eq!(status["ring"]["generation"], 1, "{len} bytes of a next generation are none");
    }
    std::fs::remove_file(vault.beside("volume/ring.2")).expect("removed");
    assert!(Path::new(&ring).exists());
}

fn assert_refused(vault: &Vault, command: &str, advice: &str) {
    let (code, text) = vault.exit(&[command, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"], None);
    assert_eq!(code, 2, "{command}: {text}");
    assert!(text.contains(advice) && text.contains("s3://bucket/keys"), "{command}: {text}");
}
