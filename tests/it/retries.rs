//! A name that is known: the same bytes are acknowledged again, a partial recording may grow, nothing is ever replaced.

use crate::support::wire::{Answer, Ask, Wire};
use crate::support::{Server, Vault, noise, wait_until};

#[test]
fn the_same_bytes_again_are_acknowledged_with_the_same_id() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 300_000);
    let id = server.put("a", &bytes).send().id(201);

    let sized = server.put("a", &bytes).send();
    let chunked = server.ask("PUT", "/v1/recordings/a").chunked(&bytes, 50_000).send();
    let whole_range = server.put("a", &bytes).header("Content-Range", "bytes 0-299999/300000").send();

    for again in [sized, chunked, whole_range] {
        assert_eq!(again.id(200), id);
    }
    assert_eq!(server.list("").len(), 1);
}

#[test]
fn other_shorter_or_longer_bytes_are_refused_and_change_nothing() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 300_000);
    let id = server.put("a", &bytes).send().id(201);
    let longer = [bytes.as_slice(), b"x"].concat();
    let mut other = bytes.clone();
    other[299_999] ^= 1;

    for wrong in [&noise(2, 300_000)[..], &other, &bytes[..299_999], &bytes[..16_384], &longer] {
        server.put("a", wrong).send().problem(409, "conflict");
    }

    assert!(server.play(&id) == bytes);
    assert_eq!(server.show(&id)["complete"], true);
}

#[test]
fn the_same_name_of_another_tenant_is_another_recording() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other", "--recording", "on"]);
    let token = vault.make_token("other", "ingest");
    let server = vault.serve();
    let id = server.put("a", b"one").send().id(201);

    let other = server.put("a", b"two").token(&token).send();

    assert_ne!(other.id(201), id);
    assert_eq!(server.play(&id), b"one");
}

#[test]
fn a_second_upload_under_a_name_that_is_still_running_is_refused() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    let mut running = begin(&server, &server.put("a", &bytes), &bytes[..50_000]);

    server.put("a", &bytes).send().problem(409, "still-receiving");
    let ranged = server.put("a", &bytes[50_000..]).header("Content-Range", "bytes 50000-99999/100000");
    ranged.send().problem(409, "still-receiving");
    running.send(&bytes[50_000..]).expect("the first upload runs on");
    let answer = running.answer().expect("an answer");

    assert!(server.play(&answer.id(201)) == bytes);
}

#[test]
fn a_connection_that_is_cut_leaves_a_partial_recording_that_plays() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);

    drop(begin(&server, &server.put("a", &bytes), &bytes[..60_000]));
    wait_until("the recording is finished", || server.list("state=stored").len() == 1);

    let listed = &server.list("")[0];
    assert_eq!(listed["complete"], false);
    let kept = listed["bytes"].as_u64().expect("a length") as usize;
    assert!(kept > 0, "nothing was kept");
    assert!(server.play(listed["id"].as_str().expect("an id")) == bytes[..kept]);
}

#[test]
fn a_sender_that_ends_early_but_listens_is_told_where_to_continue() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);

    let cut = cut_off(&server, "a", &bytes, 60_000);

    assert_eq!(cut.problem(400, "bad-request")["offset"], 60_000);
    assert_eq!(server.list("")[0]["bytes"], 60_000);
    let mut chunked = server.connect();
    chunked.send(server.ask("PUT", "/v1/recordings/b").chunked(b"", 1).head()).expect("a head");
    chunked.send(b"3\r\nabc\r\n5\r\nde").expect("a chunk and a half");
    chunked.end();
    assert_eq!(chunked.answer().expect("an answer").problem(400, "bad-request")["offset"], 5);
}

#[test]
fn the_whole_file_again_completes_a_partial_recording() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 700_000);
    for (name, kept) in [("a", 1), ("b", 16_384), ("c", 300_001), ("d", 699_999)] {
        cut_off(&server, name, &bytes, kept);
        let id = only(&server, kept);

        server.put(name, &noise(2, 700_000)).send().problem(409, "conflict");
        assert_eq!(server.show(&id)["bytes"], kept);
        let again = server.put(name, &bytes).send();

        assert_eq!(again.id(200), id);
        assert_eq!(again.json()["complete"], true);
        assert!(server.play(&id) == bytes);
    }
}

#[test]
fn the_whole_file_again_is_held_to_its_digest() {
    use base64::Engine;
    use sha2::Digest;
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 500_000);
    let digest = |bytes: &[u8]| {
        let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(bytes));
        format!("sha-256=:{digest}:")
    };
    cut_off(&server, "a", &bytes, 200_000);
    let id = only(&server, 200_000);
    let again = |expected: &str| server.put("a", &bytes).header("Content-Digest", expected).send();

    again(&digest(b"other")).problem(400, "digest-mismatch");
    assert_eq!(only(&server, 200_000), id);
    assert!(server.play(&id) == bytes[..200_000]);

    assert_eq!(again(&digest(&bytes)).id(200), id);
    again(&digest(b"other")).problem(400, "digest-mismatch");
    assert!(server.play(&id) == bytes);
}

#[test]
fn a_partial_recording_that_was_all_there_is_becomes_complete() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    cut_off(&server, "a", &[&bytes[..], b"never sent"].concat(), 50_000);
    let id = only(&server, 50_000);

    let again = server.put("a", &bytes).send();

    assert_eq!((again.id(200), again.json()["complete"].clone()), (id, true.into()));
}

#[test]
fn a_retry_that_is_cut_keeps_what_it_added() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 400_000);
    cut_off(&server, "a", &bytes, 100_000);

    let again = cut_off(&server, "a", &bytes, 250_000).problem(400, "bad-request");
    assert_eq!(again["offset"], 250_000);
    let shorter = cut_off(&server, "a", &bytes, 30_000).problem(400, "bad-request");

    assert_eq!(shorter["offset"], 250_000);
    let id = only(&server, 250_000);
    assert!(server.play(&id) == bytes[..250_000]);
}

#[test]
fn content_ranges_in_order_make_one_recording() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);

    let first = ranged(&server, "a", &bytes, 0, 40_000, "*");
    let second = ranged(&server, "a", &bytes, 40_000, 40_001, "100000");
    let third = ranged(&server, "a", &bytes, 40_001, 100_000, "100000");

    let id = first.id(201);
    assert_eq!((second.id(200), third.id(200)), (id.clone(), id.clone()));
    let completes = [first, second, third].map(|answer| answer.json()["complete"].as_bool().expect("a bool"));
    assert_eq!(completes, [false, false, true]);
    assert!(server.play(&id) == bytes);
}

#[test]
fn a_content_range_at_any_other_offset_is_refused_with_the_right_one() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);

    let unknown = ranged(&server, "a", &bytes, 40_000, 50_000, "100000").problem(409, "offset-mismatch");
    assert_eq!(unknown["offset"], 0);
    let id = ranged(&server, "a", &bytes, 0, 40_000, "100000").id(201);
    for (first, end) in [(0, 40_000), (39_999, 50_000), (40_001, 50_000), (60_000, 100_000)] {
        let refused = ranged(&server, "a", &bytes, first, end, "100000").problem(409, "offset-mismatch");
        assert_eq!(refused["offset"], 40_000);
    }
    assert!(server.play(&id) == bytes[..40_000]);

    assert_eq!(ranged(&server, "a", &bytes, 40_000, 100_000, "100000").id(200), id);
    for (first, end, total) in [(99_999, 100_000, "*"), (40_000, 100_000, "100000")] {
        let complete = ranged(&server, "a", &bytes, first, end, total).problem(409, "offset-mismatch");
        assert_eq!(complete["offset"], 100_000);
    }
    assert!(server.play(&id) == bytes);
}

#[test]
fn a_body_that_is_not_as_long_as_its_content_range_keeps_nothing_of_it() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);

    server.put("a", &bytes).header("Content-Range", "bytes 0-998/2000").send().problem(400, "length-mismatch");
    let chunked = |range: &str, sent: &[u8]| {
        server.ask("PUT", "/v1/recordings/a").chunked(sent, 300).header("Content-Range", range).send()
    };
    chunked("bytes 0-1000/2000", &bytes).problem(400, "length-mismatch");
    chunked("bytes 0-998/2000", &bytes).problem(400, "length-mismatch");
    assert!(server.list("").is_empty());

    let id = chunked("bytes 0-999/2000", &bytes).id(201);
    chunked("bytes 1000-1999/2000", &bytes[..999]).problem(400, "length-mismatch");
    assert_eq!(server.show(&id)["bytes"], 1_000);
    assert_eq!(server.play(&id), bytes);
}

#[test]
fn a_content_range_that_means_nothing_is_refused() {
    let vault = Vault::new();
    let server = vault.serve();

    for range in ["bytes 5-1/10", "bytes 0-4/4", "bytes */5", "items 0-4/5", "bytes 0-4", "bytes +0-4/5"] {
        server.put("a", b"audio").header("Content-Range", range).send().problem(400, "bad-request");
    }
    let unnamed = server.ask("POST", "/v1/recordings").body(b"audio").header("Content-Range", "bytes 0-4/10");
    unnamed.send().problem(400, "bad-request");

    assert!(server.list("").is_empty());
}

#[test]
fn a_name_is_free_again_once_its_recording_is_deleted() {
    let vault = Vault::new();
    let server = vault.serve();
    let first = server.put("a", b"one").send().id(201);
    assert_eq!(server.ask("DELETE", &format!("/v1/recordings/{first}")).send().status, 202);

    let second = server.put("a", b"two").send().id(201);

    assert_ne!(first, second);
    assert_eq!(server.play(&second), b"two");
}

/// An upload that is under way: its head and the first bytes are sent, and its row is there.
fn begin(server: &Server, ask: &Ask, sent: &[u8]) -> Wire {
    let mut wire = server.connect();
    wire.send(ask.head()).expect("a head");
    wire.send(sent).expect("bytes");
    wait_until("the upload is under way", || !server.list("state=receiving").is_empty());
    wire
}

/// Declares all of `bytes`, sends the first `sent` of them, and ends.
fn cut_off(server: &Server, name: &str, bytes: &[u8], sent: usize) -> Answer {
    let mut wire = server.connect();
    wire.send(server.put(name, bytes).head()).expect("a head");
    wire.send(&bytes[..sent]).expect("bytes");
    wire.end();
    wire.answer().expect("an answer")
}

fn ranged(server: &Server, name: &str, bytes: &[u8], first: usize, end: usize, total: &str) -> Answer {
    let range = format!("bytes {first}-{}/{total}", end - 1);
    server.put(name, &bytes[first..end]).header("Content-Range", &range).send()
}

/// The id of the one partial recording of this length.
fn only(server: &Server, len: usize) -> String {
    let all = server.list("");
    let found: Vec<_> = all.iter().filter(|row| row["bytes"] == len && row["complete"] == false).collect();
    assert_eq!(found.len(), 1, "{all:?}");
    crate::support::id_of(found[0])
}

#[test]
fn a_name_whose_recording_has_ended_is_not_continued_and_not_acknowledged_again() {
    let vault = Vault::new();
    let bytes = noise(77, 40_000);
    vault.serve().put("a", &bytes).send().id(201);

    let late = vault.serve_with(&[], Some("+31d"));

    late.put("a", &bytes).send().problem(410, "ended");
}
