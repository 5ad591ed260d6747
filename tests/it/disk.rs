//! A disk that is full or broken: a clear refusal, nothing that was acknowledged harmed, and work goes on when there is room.

use std::fs;

use crate::support::slow::Dice;
use crate::support::{Client, Mount, Server, Vault, id_of, json, noise};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// A vault whose data lie on a disk of 24 MiB.
struct SmallVault {
    vault: Vault,
    _disk: Mount,
}

fn small() -> SmallVault {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = Mount::small_disk(&dir.path().join("data"), "24m");
    SmallVault { vault: Vault::in_dir(dir), _disk: disk }
}

#[tokio::test]
async fn an_upload_that_does_not_fit_is_refused_and_nothing_else_is_harmed() {
    let SmallVault { vault, _disk } = &small();
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    let early = id_of(&client.upload(&server, "early", noise(1, 3 * MIB)).await);

    let (status, retry_after, problem) = put(&client, &server, "too-long", noise(2, 30 * MIB)).await;

    assert_eq!((status, retry_after), (507, true), "{problem}");
    assert_eq!(problem["type"], "/problems/spool-full");
    // Without a length it is seen when the disk is full: what had arrived is kept.
    let pieces = (0..30).map(|number| Ok::<_, std::io::Error>(noise(number, MIB)));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
    let sent = client.request("PUT", &format!("{}/streamed", server.recordings())).body(body).send().await;
    let answer = sent.expect("an answer, not a broken connection");
    assert_eq!(answer.status(), 507);
    let kept = json(answer).await["offset"].as_u64().expect("how much is kept") as usize;
    let whole: Vec<u8> = (0..30).flat_map(|number| noise(number, MIB)).collect();
    let page = json(client.get(&server.recordings()).await).await;
    let partial = find(&page, "streamed");
    assert_eq!((&partial["complete"], &partial["bytes"]), (&Value::Bool(false), &Value::from(kept)));
    assert_eq!(client.fetch(&server.audio(&id_of(partial))).await, (200, whole[..kept].to_vec()));
    assert_eq!(client.fetch(&server.audio(&early)).await, (200, noise(1, 3 * MIB)));
    let (status, retry_after, _) = put(&client, &server, "now-nothing-fits", noise(3, 10 * MIB)).await;
    assert_eq!((status, retry_after), (507, true));
    // Room is made.
    client.request("DELETE", &format!("{}/{}", server.recordings(), id_of(partial))).send().await.expect("an answer");
    server.stop();
    vault.ok(&["expire"]);
    let server = vault.serve();
    client.upload(&server, "fits-again", noise(4, 10 * MIB)).await;
    assert_eq!(client.fetch(&server.audio(&early)).await, (200, noise(1, 3 * MIB)));
    assert_eq!(vault.ok(&["verify"])["faults"], serde_json::json!([]));
}

#[tokio::test]
async fn a_disk_that_fills_at_random_points_loses_nothing_that_was_acknowledged() {
    let SmallVault { vault, _disk } = &small();
    let mut dice = Dice::thrown();
    let client = Client::new(&vault.token);
    let mut server = vault.serve();
    let ballast = vault.path().join("ballast");
    let mut kept: Vec<(String, u64)> = Vec::new();
    for round in 0..24 {
        // Down to the last page, into the reserve, or just above it.
        let left = [0, 4_096, 100_000, 3 << 20, 4 << 20, (4 << 20) + 300_000][dice.below(6) as usize];
        fill(&ballast, left);
        for number in 0..3 {
            let seed = round * 10 + number;
            let bytes = noise(seed, 1 + dice.below(200_000) as usize);
            let (status, retry_after, answer) = put(&client, &server, &format!("r{seed}"), bytes).await;
            match status {
                201 => kept.push((id_of(&answer), seed)),
                503 | 507 => assert!(retry_after, "{answer}"),
                _ => panic!("{status} with {left} bytes left: {answer}"),
            }
        }
        if let Some((id, seed)) = kept.last() {
            // Without room for its entry in the audit trail nothing is revealed.
            let (status, played) = client.fetch(&server.audio(id)).await;
            assert!(status == 200 || (status == 503 && left < 3 << 20), "{status}: playback with {left} bytes left");
            assert!(status == 503 || played == noise(*seed, played.len()));
        }
        if dice.below(3) == 0 {
            server.kill();
            fs::remove_file(&ballast).ok();
            server = vault.serve();
        }
        fs::remove_file(&ballast).ok();
    }
    assert_eq!(client.get(&format!("{}/healthz", server.url)).await.status(), 200);
    client.upload(&server, "in-the-end", noise(999, 100_000)).await;
    for (id, seed) in &kept {
        let (status, played) = client.fetch(&server.audio(id)).await;
        assert_eq!((status, &played), (200, &noise(*seed, played.len())));
    }
    server.kill();
    let server = vault.serve();
    let receiving = json(client.get(&format!("{}?state=receiving", server.recordings())).await).await;
    assert_eq!(receiving["recordings"], serde_json::json!([]));
    assert_eq!(vault.ok(&["verify"])["faults"], serde_json::json!([]));
}

#[tokio::test]
async fn expire_on_a_full_disk_destroys_nothing_and_goes_through_when_there_is_room() {
    let SmallVault { vault, _disk } = &small();
    let client = Client::new(&vault.token);
    let id = {
        let mut server = vault.serve();
        let id = id_of(&client.upload(&server, "call", noise(1, 100_000)).await);
        server.stop();
        id
    };
    let floor = (crate::support::held::now() + jiff::SignedDuration::from_hours(31 * 24 + 2)).to_string();
    let ballast = vault.path().join("ballast");
    let keys: Vec<_> = vault.key_files().iter().map(|path| fs::read(path).expect("a key")).collect();
    for left in [0, 8_192, 32_768, 65_536, 131_072] {
        fill(&ballast, left);

        let (code, text) = vault.exit(&["expire", "--floor", &floor], Some("+32d"));

        fs::remove_file(&ballast).expect("room is made");
        if code == 3 {
            // Past the point of no return: the room sufficed for the keys, not for the rows.
            assert!(text.contains("destruction is pending"), "{text}");
        }
        if matches!(code, 0 | 3) {
            break;
        }
        assert_eq!(code, 1, "{left} bytes left: {text}");
        let still: Vec<_> = vault.key_files().iter().map(|path| fs::read(path).expect("a key")).collect();
        assert_eq!(still, keys, "{left} bytes left");
        let mut server = vault.serve();
        assert_eq!(client.fetch(&server.audio(&id)).await.0, 200, "the clock of this server says that it lives");
        server.stop();
    }
    vault.ok_at(&["expire", "--floor", &floor], Some("+32d"));
    let listed = vault.ok_at(&["recording", "list", "--state", "shredded"], Some("+32d"));
    assert_eq!(listed["recordings"][0]["id"], id.as_str());
}

#[tokio::test]
async fn a_store_that_is_no_directory_is_a_clear_error() {
    let vault = Vault::new();
    let objects = vault.path().join("objects");
    fs::remove_dir_all(&objects).expect("it is there");
    fs::write(&objects, b"not a directory").expect("it is written");

    let (code, text) = vault.exit(&["serve", "--listen", "127.0.0.1:0"], None);

    assert_eq!(code, 2, "{text}");
    assert!(text.contains("object store") && text.contains("objects"), "{text}");
}

async fn put(client: &Client, server: &Server, name: &str, bytes: Vec<u8>) -> (u16, bool, Value) {
    let request = client.request("PUT", &format!("{}/{name}", server.recordings())).body(bytes);
    let answer = request.send().await.expect("an answer, not a broken connection");
    let (status, retry_after) = (answer.status().as_u16(), answer.headers().contains_key("retry-after"));
    (status, retry_after, json(answer).await)
}

fn find<'a>(page: &'a Value, name: &str) -> &'a Value {
    let recordings = page["recordings"].as_array().expect("a list");
    recordings.iter().find(|recording| recording["name"] == name).unwrap_or_else(|| panic!("no {name}: {page}"))
}

/// Takes all room but this much.
fn fill(ballast: &std::path::Path, left: u64) {
    let disk = rustix::fs::statvfs(ballast.parent().expect("a directory")).expect("a file system");
    let len = (disk.f_bavail * disk.f_frsize).saturating_sub(left);
    let file = fs::File::create(ballast).expect("it is made");
    let mut file = std::io::BufWriter::with_capacity(4_096, file);
    // The last page may fail: then it is full.
    for _ in 0..len / 4_096 {
        if std::io::Write::write_all(&mut file, &[0xba; 4_096]).is_err() {
            break;
        }
    }
    let _ = file.into_inner();
}
