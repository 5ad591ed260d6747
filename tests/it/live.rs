//! A call that goes on: what may be heard of it already, what a crash takes of it, and what its sender leaves behind.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::slow::SlowUpload;
use crate::support::wire::{Answer, Wire, as_chunk, audio};
use crate::support::{Server, Vault, files, id_of, noise, wait_until};

const CHUNK_LEN: usize = 16_384;
/// G.711: a second of audio.
const SECOND: usize = 8_000;

/// An upload in chunks that has begun; the recording's id.
fn begin(server: &Server, name: &str) -> (Wire, String) {
    let mut wire = server.connect();
    wire.send(server.put(name, b"").chunked(b"", 1).head()).expect("a head");
    let named = |one: &serde_json::Value| one["name"] == name;
    wait_until("the upload is under way", || server.list("state=receiving").iter().any(named));
    let id = server.list("state=receiving").iter().find(|one| named(one)).map(id_of);
    (wire, id.expect("it was there"))
}

fn say(wire: &mut Wire, bytes: &[u8]) {
    bytes.chunks(1_600).for_each(|piece| wire.send(as_chunk(piece)).expect("a piece"));
}

fn so_far(server: &Server, id: &str) -> Answer {
    server.see(&audio(id))
}

fn wait_for_len(server: &Server, id: &str, len: usize) {
    wait_until("whole chunks can be heard", || {
        let answer = so_far(server, id);
        answer.status == 200 && answer.body.len() >= len
    });
}

#[test]
fn a_call_that_goes_on_plays_by_its_whole_chunks_and_never_further() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 5 * CHUNK_LEN);
    let (mut wire, id) = begin(&server, "call");

    so_far(&server, &id).problem(409, "still-receiving");
    say(&mut wire, &bytes[..2 * CHUNK_LEN + 9_000]);
    wait_for_len(&server, &id, 2 * CHUNK_LEN);

    let heard = so_far(&server, &id);
    assert!(heard.body == bytes[..2 * CHUNK_LEN], "{} bytes", heard.body.len());
    let part = server.ask("GET", &audio(&id)).header("Range", "bytes=16000-17000").send();
    assert_eq!((part.status, part.header("content-range")), (206, "bytes 16000-17000/32768"));
    assert!(part.body == bytes[16_000..=17_000]);
    say(&mut wire, &bytes[2 * CHUNK_LEN + 9_000..]);
    wait_for_len(&server, &id, 5 * CHUNK_LEN);
    assert_ne!(so_far(&server, &id).header("etag"), heard.header("etag"), "there is more of it");
    wire.send("0\r\n\r\n").expect("an end");
    wire.answer().expect("an answer").id(201);
    assert!(server.play(&id) == bytes);
}

#[test]
fn a_listener_who_follows_hears_all_of_a_call_and_each_chunk_soon() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(2, 4 * CHUNK_LEN + 5_000);
    let (mut wire, id) = begin(&server, "call");
    let mut listener = server.connect();
    listener.send(server.ask("GET", &format!("{}?follow=1", audio(&id))).head()).expect("a head");
    let head = String::from_utf8(listener.until(b"\r\n\r\n")).expect("a head is text").to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked"), "{head}");
    assert!(!head.contains("etag"), "a call that goes on has no version: {head}");

    let mut heard = Vec::new();
    for chunk in bytes.chunks(CHUNK_LEN) {
        say(&mut wire, chunk);
        if chunk.len() == CHUNK_LEN {
            let started = Instant::now();
            let until = bytes.len().min(heard.len() + CHUNK_LEN);
            hear(&mut listener, &mut heard, until);
            assert!(started.elapsed() < Duration::from_secs(10), "the chunk came late");
            assert!(bytes.starts_with(&heard));
        }
    }
    wire.send("0\r\n\r\n").expect("an end");
    wire.answer().expect("an answer").id(201);

    hear(&mut listener, &mut heard, bytes.len());
    assert!(heard == bytes);
    assert_eq!(listener.until(b"\r\n"), b"0\r\n", "the stream ends as one that is whole");
}

#[test]
fn a_listener_who_follows_a_call_that_is_cut_hears_what_was_kept() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(3, CHUNK_LEN + 3_000);
    let (mut wire, id) = begin(&server, "call");
    let mut listener = server.connect();
    listener.send(server.ask("GET", &format!("{}?follow=1", audio(&id))).head()).expect("a head");
    listener.until(b"\r\n\r\n");

    say(&mut wire, &bytes);
    drop(wire);

    let mut heard = Vec::new();
    hear(&mut listener, &mut heard, bytes.len());
    assert!(heard == bytes);
    wait_until("it is partial", || server.show(&id)["complete"] == false && server.show(&id)["state"] == "stored");
}

#[test]
fn following_a_finished_recording_plays_it_and_a_wrong_value_is_refused() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);

    assert_eq!(server.see(&format!("{}?follow=1", audio(&id))).body, b"audio");
    server.see(&format!("{}?follow=yes", audio(&id))).problem(422, "unprocessable");
}

#[test]
fn a_call_whose_server_is_killed_loses_at_most_a_second() {
    let vault = Vault::new();
    let mut server = vault.serve();
    let bytes = noise(4, 30 * SECOND);
    let (address, token) = (server.address().to_owned(), vault.token.clone());
    let (names, sent, killed_at) = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..8)
            .map(|number| {
                let (name, address, token, bytes) = (format!("call-{number}"), &address, &token, &bytes);
                scope.spawn(move || {
                    let (piece_len, pause) = (1_600, Duration::from_millis(200));
                    let seen = SlowUpload { address, token, name: &name, bytes, piece_len, pause }.run();
                    (name, seen)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(5_300));
        let killed_at = Instant::now();
        server.kill();
        let ended: Vec<_> = senders.into_iter().map(|sender| sender.join().expect("a sender ends")).collect();
        let (names, seen): (Vec<_>, Vec<_>) = ended.into_iter().unzip();
        (names, seen, killed_at)
    });

    server = vault.serve();

    let listed = server.list("limit=50");
    for (name, seen) in names.iter().zip(&sent) {
        let kept = listed.iter().find(|one| one["name"] == **name).unwrap_or_else(|| panic!("{name} is lost"));
        let len = kept["bytes"].as_u64().expect("a length") as usize;
        let sent = seen.sent_before(killed_at);
        assert!(len + SECOND >= sent, "{name}: {len} of {sent} bytes were kept");
        assert_eq!(kept["complete"], false);
        assert!(server.play(&id_of(kept)) == bytes[..len], "{name} came back changed");
    }
    wait_until("the spool is empty", || files(&vault.path().join("spool")).is_empty());
}

#[test]
fn thousands_of_pieces_that_trickle_in_make_the_recording_that_was_sent() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(5, 40 * CHUNK_LEN + 77);
    let (mut wire, id) = begin(&server, "trickle");
    let mut rest = &bytes[..];
    let mut turn = 0;
    while !rest.is_empty() {
        let len = [1, 160, 7, 1_600, 320, 16_384, 8_191, 3][turn % 8].min(rest.len());
        wire.send(as_chunk(&rest[..len])).expect("a piece");
        rest = &rest[len..];
        turn += 1;
        if turn % 40 == 0 {
            std::thread::sleep(Duration::from_millis(120));
        }
    }
    wire.send("0\r\n\r\n").expect("an end");

    wire.answer().expect("an answer").id(201);
    assert!(server.play(&id) == bytes);
    assert_eq!(vault.ok(&["verify"])["faults"].as_array().map(Vec::len), Some(0));
}

/// Reads a chunked body until so many of its bytes were heard.
fn hear(listener: &mut Wire, heard: &mut Vec<u8>, until: usize) {
    while heard.len() < until {
        let size = String::from_utf8(listener.until(b"\r\n")).expect("a size");
        let size = usize::from_str_radix(size.trim(), 16).expect("a hexadecimal size");
        assert!(size > 0, "the stream ended after {} bytes", heard.len());
        let mut chunk = vec![0; size + 2];
        listener.0.read_exact(&mut chunk).expect("a chunk");
        heard.extend_from_slice(&chunk[..size]);
    }
}
