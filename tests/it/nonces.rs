//! No key seals twice under one nonce, whatever happens to an upload: the check that every vault of these tests ends with,
//! and the ways of sealing again in one place.

use std::time::Duration;

use crate::support::journal::{self, RECORD_LEN};
use crate::support::slow::SlowUpload;
use crate::support::wire::Ask;
use crate::support::{Mount, Server, Vault, binary, noise};

const CHUNK_LEN: usize = 16_384;
const MIB: usize = 1 << 20;
/// SHA-1 of nothing: a checksum that is well formed, and wrong.
const WRONG: &str = "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=";

#[test]
fn a_pair_that_comes_twice_is_found_with_the_files_that_tell_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let write = |file: &str, records: &[(u8, u64)]| {
        let record = |(name, nonce): &(u8, u64)| [&[*name; 16][..], &nonce.to_be_bytes()].concat();
        let bytes: Vec<u8> = records.iter().flat_map(record).collect();
        std::fs::write(dir.path().join(file), bytes).expect("it is written");
    };
    write("first", &[(1, 0), (1, 1), (2, 0)]);
    write("second", &[(3, 0), (1, 2), (2, 1)]);
    assert_eq!(journal::check(dir.path()), Ok(6));

    write("third", &[(3, 1), (1, 1)]);
    let twice = journal::check(dir.path()).expect_err("a pair comes twice");
    assert!(twice.contains(&"01".repeat(16)) && twice.contains("nonce 1:"), "{twice}");
    assert!(twice.contains("first") && twice.contains("third") && !twice.contains("second"), "{twice}");

    write("third", &[(3, 1), (3, 1)]);
    assert!(journal::check(dir.path()).expect_err("within one file too").contains("third and "));

    let whole = [[7; RECORD_LEN].as_slice(), &[7; RECORD_LEN - 1]].concat();
    std::fs::write(dir.path().join("third"), whole).expect("it is written");
    assert_eq!(journal::check(dir.path()), Ok(7), "a record that was cut was followed by no sealing");
}

#[test]
fn a_debug_build_knows_the_journal_and_a_release_build_does_not() {
    let program = std::fs::read(binary()).expect("the program");

    let is_known = program.windows(journal::VARIABLE.len()).any(|window| window == journal::VARIABLE.as_bytes());

    assert_eq!(is_known, cfg!(debug_assertions));
}

#[test]
fn no_pair_comes_twice_over_kills_cuts_retries_and_a_full_disk() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let _disk = Mount::small_disk(&dir.path().join("data"), "24m");
    let vault = Vault::in_dir(dir);
    let mut chunks = 0;

    for way in [killed_midway_and_retried, resumed_after_cuts_and_kills, continued_by_range, sent_again, filled_up] {
        let len = way(&vault);
        chunks += len / CHUNK_LEN;
        let sealings = vault.sealings();
        assert!(sealings >= chunks || cfg!(not(debug_assertions)), "{sealings} sealings of {chunks} chunks");
    }

    assert_eq!(vault.ok(&["verify"])["faults"], serde_json::json!([]));
}

/// A slow upload whose server is killed three times; then its sender begins anew under the same name. Gives how many bytes
/// were sealed at least, as all of these do.
fn killed_midway_and_retried(vault: &Vault) -> usize {
    let bytes = noise(1, 20 * CHUNK_LEN);
    for life in 1..=3 {
        let mut server = vault.serve();
        let address = server.address().to_owned();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (piece_len, pause) = (1_600, Duration::from_millis(5));
                let slow =
                    SlowUpload { address: &address, token: &vault.token, name: "a", bytes: &bytes, piece_len, pause };
                assert!(slow.run().status.is_none(), "it was to be killed");
            });
            std::thread::sleep(Duration::from_millis(200 * life));
            server.kill();
        });
    }
    let server = vault.serve();

    let answer = server.put("a", &bytes).send();

    assert!(matches!(answer.status, 200 | 201), "{answer}");
    assert!(server.play(&answer.id(answer.status)) == bytes);
    bytes.len()
}

/// A resumable upload that is cut, that ends early, whose server dies within a piece, and between two.
fn resumed_after_cuts_and_kills(vault: &Vault) -> usize {
    let bytes = noise(2, 20 * CHUNK_LEN);
    let mut server = vault.serve();
    let at = begun(&server, bytes.len());
    let offset = |server: &Server| -> usize {
        tus(server, "HEAD", &at).send().header("upload-offset").parse().expect("an offset")
    };
    let mut told = 0;
    for round in 0..12 {
        let sent = &bytes[told..told + CHUNK_LEN + 5_000];
        let declared = if round % 4 == 3 { sent } else { &bytes[told..] };
        let mut wire = server.connect();
        wire.send(piece(&server, &at, told, declared).head()).expect("a head");
        wire.send(sent).expect("bytes");
        match round % 4 {
            0 => drop(wire),
            1 => {
                wire.end();
                wire.answer().expect("whoever listens is answered");
            }
            2 => {
                std::thread::sleep(Duration::from_millis(200));
                server.kill();
                server = vault.serve();
            }
            _ => {
                assert_eq!(wire.answer().expect("an answer").status, 204);
                server.kill();
                server = vault.serve();
            }
        }
        told = offset(&server);
    }

    assert_eq!(piece(&server, &at, told, &bytes[told..]).send().status, 204);
    assert!(server.play(id(&at)) == bytes);
    bytes.len()
}

/// An upload that is cut and continued by `Content-Range`, over a restart.
fn continued_by_range(vault: &Vault) -> usize {
    let bytes = noise(3, 10 * CHUNK_LEN);
    let server = vault.serve();
    let mut wire = server.connect();
    wire.send(server.put("c", &bytes).head()).expect("a head");
    wire.send(&bytes[..60_000]).expect("bytes");
    wire.end();
    assert_eq!(wire.answer().expect("an answer").problem(400, "bad-request")["offset"], 60_000);
    drop(server);
    let server = vault.serve();

    for (first, end) in [(60_000, 60_001), (60_001, 100_000), (100_000, bytes.len())] {
        let range = format!("bytes {first}-{}/{}", end - 1, bytes.len());
        let answer = server.put("c", &bytes[first..end]).header("Content-Range", &range).send();
        assert_eq!(answer.json()["complete"], end == bytes.len());
        if end == bytes.len() {
            assert!(server.play(&answer.id(200)) == bytes);
        }
    }
    bytes.len()
}

/// Pieces whose checksum is wrong, and the same pieces once more.
fn sent_again(vault: &Vault) -> usize {
    let bytes = noise(4, 6 * CHUNK_LEN + 500);
    let server = vault.serve();
    let at = begun(&server, bytes.len());
    for start in (0..bytes.len()).step_by(30_000) {
        let piece = piece(&server, &at, start, &bytes[start..bytes.len().min(start + 30_000)]);
        for _ in 0..2 {
            piece.clone().header("Upload-Checksum", WRONG).send().problem(460, "checksum-mismatch");
        }
        assert_eq!(piece.send().status, 204);
    }

    assert!(server.play(id(&at)) == bytes);
    bytes.len()
}

/// A body that the disk has no room for, and its sender's second attempt.
fn filled_up(vault: &Vault) -> usize {
    let bytes = noise(5, 30 * MIB);
    let server = vault.serve();
    let ask = server.ask("PUT", "/v1/recordings/e").chunked(&bytes, MIB);

    let kept = ask.send().problem(507, "spool-full")["offset"].as_u64().expect("how much is kept") as usize;
    ask.send().problem(507, "spool-full");

    let listed = server.list("state=stored");
    let partial = listed.iter().find(|one| one["name"] == "e").expect("what came is there");
    assert!(server.play(&crate::support::id_of(partial)) == bytes[..kept]);
    kept
}

fn tus(server: &Server, method: &str, target: &str) -> Ask {
    server.ask(method, target).header("Tus-Resumable", "1.0.0")
}

/// The address of a new resumable upload.
fn begun(server: &Server, len: usize) -> String {
    let begun = tus(server, "POST", "/v1/uploads").header("Upload-Length", &len.to_string()).body(b"").send();
    assert_eq!(begun.status, 201, "{begun}");
    begun.header("location").to_owned()
}

fn piece(server: &Server, at: &str, offset: usize, bytes: &[u8]) -> Ask {
    let ask = tus(server, "PATCH", at).header("Content-Type", "application/offset+octet-stream");
    ask.header("Upload-Offset", &offset.to_string()).body(bytes)
}

fn id(at: &str) -> &str {
    at.strip_prefix("/v1/uploads/").expect("an upload's address")
}
