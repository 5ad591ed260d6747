//! S3 for real: two implementations, every fault of a network on the way, and starts that say what is wrong.

use std::time::{Duration, Instant};

use callvault::bucket::S3Settings;
use callvault::model::ObjectId;
use callvault::store::Store;
use serde_json::Value;

use crate::support::held::now;
use crate::support::s3::{Bucket, Date, Fault, SECRET_KEY};
use crate::support::{Client, Server, Vault, files, id_of, json, noise};

const MIB: usize = 1 << 20;
/// Faults are met quickly, so that tests are.
const BRISK: [(&str, &str); 3] =
    [("CALLVAULT_S3_REQUEST_TIMEOUT", "2s"), ("CALLVAULT_S3_RETRY_PAUSE", "20ms"), ("CALLVAULT_S3_PART_LEN", "5MiB")];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recordings_life_is_the_same_on_moto_as_on_s3s() {
    for store in [Bucket::s3s().await, Bucket::moto().await] {
        let vault = store.vault_with(&BRISK);
        let client = Client::new(&vault.token);
        let mut server = vault.serve();
        let (small, large) = (noise(1, 300_000), noise(2, 22 * MIB));

        let short = id_of(&client.upload(&server, "short", small.clone()).await);
        let long = id_of(&client.upload(&server, "long", large.clone()).await);

        assert_eq!(client.fetch(&server.audio(&short)).await, (200, small.clone()));
        assert!(client.fetch(&server.audio(&long)).await == (200, large.clone()), "it went in parts and came back");
        assert_eq!(store.count(&["PUT", "partNumber="]), 5, "22 MiB in parts of 5 MiB");
        assert_eq!(store.parts_at_once(), 1, "an upload has one part in memory");
        for (range, expected) in
            [("bytes=0-0", 0..1), ("bytes=-5", 299_995..300_000), ("bytes=16383-", 16_383..300_000)]
        {
            let answer =
                client.request("GET", &server.audio(&short)).header("range", range).send().await.expect("sent");
            assert_eq!(answer.status(), 206);
            assert_eq!(answer.bytes().await.expect("a body"), small[expected], "{range}");
        }
        assert_eq!(store.keys().await.len(), 2);
        server.stop();
        store.say(Some(Date::Ahead(31 * 86_400)));
        let report = vault.expire(now().checked_add(jiff::SignedDuration::from_hours(31 * 24)).expect("an instant"));
        assert_eq!(report["objects_swept"], 2, "{report}");
        assert_eq!(store.keys().await, Vec::<String>::new(), "expired objects are gone from the bucket");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unsigned_payload_with_a_checksum_is_taken_and_virtual_hosts_are_asked_for_by_name() {
    let store = Bucket::s3s().await;
    let vault = store.vault_with(&[
        ("AWS_UNSIGNED_PAYLOAD", "true"),
        ("AWS_CHECKSUM_ALGORITHM", "crc64nvme"),
        ("AWS_ENDPOINT_URL", "http://s3.test"),
        ("AWS_PROXY_URL", &store.endpoint()),
        ("CALLVAULT_S3_ALLOW_HTTP", "true"),
        ("CALLVAULT_S3_VIRTUAL_HOST", "true"),
        ("CALLVAULT_S3_MULTIPART_ABOVE", "1MiB"),
    ]);
    let client = Client::new(&vault.token);
    let server = vault.serve();
    let (small, large) = (noise(1, 30_000), noise(2, 2 * MIB));

    let ids = [client.upload(&server, "a", small.clone()).await, client.upload(&server, "b", large.clone()).await];

    assert_eq!(client.fetch(&server.audio(&id_of(&ids[0]))).await, (200, small));
    assert!(client.fetch(&server.audio(&id_of(&ids[1]))).await == (200, large));
    assert!(store.hosts().iter().all(|host| host == "bucket.s3.test"), "{:?}", store.hosts().first());
}

/// What an upload meets on its way, and whether a retry within the request rides it out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_on_the_way_to_the_store_is_ridden_out_or_spooled_and_loses_nothing() {
    for store in [Bucket::s3s().await, Bucket::moto().await] {
        let vault = store.vault_with(&BRISK);
        let client = Client::new(&vault.token);
        let server = vault.serve();
        let mut sent = Vec::new();
        for (number, (fault, expected)) in [
            (Fault::Answer(500, "InternalError"), 201),
            (Fault::Answer(503, "SlowDown"), 201),
            (Fault::ResetRequest, 201),
            (Fault::LoseAnswer, 201),
            (Fault::Twice, 201),
            (Fault::Stall, 201),
            (Fault::Delay(Duration::from_millis(300)), 201),
            // A store that does not write over what is there, asked again after its answer was lost.
            (Fault::Answer(409, "ConditionalRequestConflict"), 202),
        ]
        .into_iter()
        .enumerate()
        {
            let bytes = noise(number as u64, 200_000);
            store.inject("PUT /bucket", fault, 1);
            let (status, answer) = put(&client, &server, &format!("call-{number}"), bytes.clone()).await;
            assert_eq!(status, expected, "{fault:?}: {answer}");
            sent.push((id_of(&answer), bytes));
        }
        arrives(&vault).await;
        for (id, bytes) in &sent {
            assert!(client.fetch(&server.audio(id)).await == (200, bytes.clone()), "{id} came back changed");
        }
        assert_eq!(store.keys().await.len(), sent.len());
        assert!(!server.log_text().contains(SECRET_KEY));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_cut_off_is_asked_for_again_and_never_played_as_whole() {
    let store = Bucket::s3s().await;
    let vault = store.vault_with(&BRISK);
    let client = Client::new(&vault.token);
    let server = vault.serve();
    let bytes = noise(1, 300_000);
    let id = id_of(&client.upload(&server, "call", bytes.clone()).await);
    for fault in [Fault::Truncate, Fault::LoseAnswer, Fault::Answer(503, "SlowDown")] {
        store.inject("GET /bucket", fault, 1);

        assert_eq!(client.fetch(&server.audio(&id)).await, (200, bytes.clone()), "{fault:?}");
    }

    store.inject("GET /bucket", Fault::Truncate, usize::MAX);

    let answer = client.get(&server.audio(&id)).await;
    assert!(answer.status() == 503 || answer.bytes().await.is_err(), "half of it is not the whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_whose_first_delivery_succeeded_is_no_error_where_the_store_says_taken() {
    let store = Bucket::moto().await;
    let vault = store.vault_with(&BRISK);
    let client = Client::new(&vault.token);
    let server = vault.serve();
    let parts = noise(4, 17 * MIB);
    store.inject("uploadId=", Fault::Twice, usize::MAX);

    // Every part comes twice, and so does the request that completes them: its second finds no such upload.
    let (status, answer) = put(&client, &server, "parts", parts.clone()).await;

    assert_eq!(status, 201, "{answer}: {}", server.log_text());
    assert!(client.fetch(&server.audio(&id_of(&answer))).await == (200, parts));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_nobody_finishes_is_swept_after_a_day_and_not_before() {
    let store = Bucket::moto().await;
    let vault = store.vault_with(&BRISK);
    let (_, begun) = store.ask("POST", "/bucket/some/prefix/00/dead?uploads").await.expect("it is begun");
    store.ask("POST", "/bucket/elsewhere/dead?uploads").await.expect("it is begun");
    assert!(begun.contains("<UploadId>"), "{begun}");

    // What moto says of it is no time of today.
    store.inject("uploads=", Fault::Begun(23), usize::MAX);
    assert_eq!(vault.ok(&["expire"])["uploads_aborted"], 0, "it may be somebody's");
    store.inject("uploads=", Fault::Begun(25), usize::MAX);
    assert_eq!(vault.ok(&["expire"])["uploads_aborted"], 1);
    let (_, open) = store.ask("GET", "/bucket?uploads").await.expect("they are listed");
    assert!(open.matches("<UploadId>").count() == 1 && open.contains("elsewhere"), "another's is left alone: {open}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_the_store_does_not_delete_stay_queued_and_the_others_are_swept() {
    let store = Bucket::moto().await;
    let vault = store.vault_with(&BRISK);
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(id_of(&client.upload(&server, &format!("call-{number}"), noise(number, 20_000)).await));
    }
    server.stop();
    ids.iter().for_each(|id| _ = vault.ok(&["recording", "delete", id]));
    store.inject("POST /bucket?delete", Fault::KeepOne, 1);

    let report = vault.ok(&["expire"]);

    assert_eq!((&report["objects_swept"], &report["objects_left"]), (&2.into(), &1.into()), "{report}");
    assert_eq!(store.keys().await.len(), 1);
    assert_eq!(vault.ok(&["expire"])["objects_swept"], 1);
    assert_eq!(store.keys().await, Vec::<String>::new());
}

/// Printed: what a thousand take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_deleted_a_thousand_a_request() {
    let (store, dir) = (Bucket::s3s().await, tempfile::tempdir().expect("a directory"));
    let settings = S3Settings { credentials_file: Some(store.credentials(dir.path())), ..S3Settings::default() };
    let opened = Store::open("s3://here@bucket/p", &settings).expect("it is sound");
    let objects: Vec<_> =
        (0..2_500_u16).map(|number| ObjectId([number.to_be_bytes(); 8].concat().try_into().expect("16"))).collect();
    for object in &objects {
        let name = object.to_string();
        let folder = store.dir().join("p").join(&name[..2]);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(name), b"sealed").expect("written");
    }

    let began = Instant::now();
    let gone = opened.delete(&objects).await.expect("they are deleted");
    println!("{:?} for a thousand", began.elapsed().mul_f64(1_000.0 / 2_500.0));

    assert_eq!((gone.len(), store.objects().len(), store.count(&["POST", "delete"])), (2_500, 0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_gone_leaves_every_dead_object_queued() {
    let store = Bucket::s3s().await;
    let vault = store.vault_with(&BRISK);
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    let id = id_of(&client.upload(&server, "call", noise(1, 20_000)).await);
    server.stop();
    vault.ok(&["recording", "delete", &id]);
    store.inject("POST /bucket?delete", Fault::Answer(404, "NoSuchBucket"), 1);

    assert_eq!(vault.ok(&["expire"])["objects_left"], 1);
    assert_eq!(vault.ok(&["expire"])["objects_swept"], 1);
    assert_eq!(store.objects().len(), 0);
}

/// What is wrong is said by `init` and `serve`, which stop with exit 2; nothing of the secret is repeated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_says_what_is_wrong_with_the_bucket_or_its_credentials() {
    let store = Bucket::s3s().await;
    let vault = store.vault_with(&BRISK);
    for (request, fault, advice) in [
        ("PUT /bucket", Fault::Answer(404, "NoSuchBucket"), "no such bucket"),
        ("PUT /bucket", Fault::Answer(403, "InvalidAccessKeyId"), "AWS_ACCESS_KEY_ID"),
        ("PUT /bucket", Fault::Answer(400, "AuthorizationHeaderMalformed"), "AWS_REGION"),
        ("PUT /bucket", Fault::Answer(301, "PermanentRedirect"), "AWS_REGION"),
        ("PUT /bucket", Fault::Answer(403, "RequestTimeTooSkewed"), "clock"),
        ("PUT /bucket", Fault::Answer(403, "AccessDenied"), "may not put"),
        ("GET /bucket", Fault::Answer(403, "AccessDenied"), "may not get"),
        ("/bucket?delete", Fault::Answer(403, "AccessDenied"), "may not delete"),
    ] {
        store.inject(request, fault, usize::MAX);
        for command in ["init", "serve"] {
            let (code, text) = refused(&vault, command);
            assert_eq!(code, 2, "{command} {fault:?}: {text}");
            assert!(text.contains(advice) && text.contains("s3://bucket/some/prefix"), "{command} {fault:?}: {text}");
            assert!(!text.contains(SECRET_KEY), "{text}");
        }
        store.inject(request, fault, 0);
    }
    for (name, value, advice) in [
        ("AWS_SECRET_ACCESS_KEY", "another-secret", "AWS_SECRET_ACCESS_KEY"),
        ("AWS_ENDPOINT_URL", "http://s3.example.com", "s3.allow_http"),
    ] {
        let output = vault.command(&["init"], None).env(name, value).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains(advice) && !text.contains("another-secret"), "{name}: {text}");
    }
    let elsewhere = Bucket::moto().await;
    let mut command = vault.command(&["init"], None);
    command.env("CALLVAULT_STORE", "s3://nobodys/x").env("AWS_ENDPOINT_URL", elsewhere.endpoint());
    let text = String::from_utf8_lossy(&command.output().expect("it runs").stderr).into_owned();
    assert!(text.contains("NoSuchBucket") && text.contains("no such bucket"), "{text}");
    drop(vault.serve());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_down_at_the_start_is_said_and_does_not_keep_anybody_waiting() {
    let mut store = Bucket::s3s().await;
    let vault = store.vault_with(&BRISK);
    let client = Client::new(&vault.token);
    for how in ["refuses", "hangs"] {
        match how {
            "refuses" => store.stop().await,
            _ => {
                store.restart().await;
                store.inject("/bucket", Fault::Stall, usize::MAX);
            }
        }
        let began = Instant::now();
        let mut server = vault.serve();
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
        assert!(server.log_text().contains("takes no recordings"), "{}", server.log_text());
        let began = Instant::now();
        let (status, answer) = put(&client, &server, how, noise(1, 30_000)).await;
        assert_eq!((status, &answer["state"]), (202, &Value::from("spooled")));
        assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for a store that is known to be down");
        assert_eq!(refused(&vault, "init").0, 1, "init makes sure that it is there");
        server.kill();
    }
    store.inject("/bucket", Fault::Stall, 0);
    let _server = vault.serve();
    arrives(&vault).await;
    assert_eq!(store.objects().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_come_from_a_file_that_is_not_readable_by_others() {
    use std::os::unix::fs::PermissionsExt;
    let store = Bucket::s3s().await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("credentials");
    let lines = format!(
        "[callvault]\naws_access_key_id={}\naws_secret_access_key={SECRET_KEY}\n",
        crate::support::s3::ACCESS_KEY
    );
    std::fs::write(&path, lines + &format!("endpoint_url={}\n", store.endpoint())).expect("written");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("changed");
    mode(0o440);
    let variables = [
        ("CALLVAULT_STORE", "s3://callvault@bucket/some/prefix"),
        ("CALLVAULT_S3_CREDENTIALS_FILE", &*path.to_string_lossy()),
        ("NO_PROXY", "127.0.0.1"),
    ];
    let vault = Vault::with_env(|_| variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
    let client = Client::new(&vault.token);
    let server = vault.serve();

    client.upload(&server, "call", noise(1, 30_000)).await;

    assert_eq!(store.objects().len(), 1);
    mode(0o444);
    assert!(refused(&vault, "init").1.contains("chmod 600"));
    mode(0o440);
}

/// A command that must end by itself, with its exit code and what it said.
fn refused(vault: &Vault, command: &str) -> (i32, String) {
    vault.exit(&[command, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"], None)
}

/// The spool is empty.
async fn arrives(vault: &Vault) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !files(&vault.path().join("spool")).is_empty() {
        assert!(Instant::now() < deadline, "the spool was not forwarded");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn put(client: &Client, server: &Server, name: &str, bytes: Vec<u8>) -> (u16, Value) {
    let request = client.request("PUT", &format!("{}/{name}", server.recordings())).body(bytes);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), json(answer).await)
}
