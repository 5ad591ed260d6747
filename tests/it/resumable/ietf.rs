//! The resumable upload of the IETF, interop version 8.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::Digest;

use super::Dialect::Ietf;
use super::{id, location, offset, registered};
use crate::support::wire::{Answer, Ask};
use crate::support::{Server, Vault, noise};

const MEDIA_TYPE: &str = "application/partial-upload";

#[test]
fn what_is_offered_is_told_with_its_limits() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-bytes-max", "64MiB"], None);

    let offer = server.ask("OPTIONS", "/v1/uploads").anonymous().send();

    assert_eq!((offer.status, offer.header("upload-limit")), (204, "max-size=67108864"), "{offer}");
    assert!(offer.header("accept-patch").split(", ").any(|accepted| accepted == MEDIA_TYPE), "{offer}");
}

#[test]
fn a_new_upload_says_where_it_is_and_what_limits_it_has() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-bytes-max", "64MiB", "--upload-resume-window", "1h"], None);

    let created = Ietf.create(&server, "a", Some(5)).send();

    let at = location(&created);
    let told = Ietf.head(&server, &at);
    assert_eq!((told.status, told.header("upload-length")), (204, "5"), "{told}");
    let first = Ietf.piece(&server, &at, b"audio", 0..2).send();
    for (answer, offset) in [(&created, "0"), (&told, "0"), (&first, "2")] {
        assert_eq!((answer.header("upload-complete"), answer.header("upload-offset")), ("?0", offset), "{answer}");
        let age = answer.header("upload-limit").strip_prefix("max-size=67108864, max-age=");
        let age: u64 = age.and_then(|age| age.parse().ok()).unwrap_or_else(|| panic!("no max-age: {answer}"));
        assert!((3_500..=3_600).contains(&age), "{answer}");
        assert_eq!(answer.header("upload-draft-interop-version"), "8");
    }
}

#[test]
fn a_recording_that_comes_whole_is_answered_as_any_upload() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    let ask = || Ietf.ask(&server, "POST", "/v1/uploads").header("Upload-Complete", "?1");

    let sized = ask().header("Content-Type", "audio/wav").header("Upload-Length", "100000").body(&bytes).send();
    let chunked = ask().header("Content-Type", "audio/wav").chunked(&bytes, 9_000).send();

    for created in [sized, chunked] {
        let id = created.id(201);
        assert_eq!((created.header("upload-complete"), offset(&created)), ("?1", 100_000), "{created}");
        assert_eq!(created.header("location"), format!("/v1/recordings/{id}"));
        assert_eq!((&created.json()["complete"], &created.json()["media_type"]), (&true.into(), &"audio/wav".into()));
        assert!(server.play(&id) == bytes);
        assert_eq!(Ietf.head(&server, &format!("/v1/uploads/{id}")).header("upload-complete"), "?1");
    }
}

#[test]
fn the_last_piece_is_answered_with_the_recording() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    let created = Ietf.ask(&server, "POST", "/v1/uploads").header("Upload-Complete", "?0").body(&bytes[..30_000]);
    let created = created.header("Content-Type", "audio/wav").send();
    let at = location(&created);
    assert_eq!(offset(&created), 30_000);

    let middle = Ietf.append(&server, &at, &bytes, 30_000..60_000);
    let last = Ietf.append(&server, &at, &bytes, 60_000..100_000);

    assert_eq!((middle.header("upload-complete"), last.header("upload-complete")), ("?0", "?1"));
    assert_eq!(last.id(201), id(&at));
    assert_eq!(last.json()["media_type"], "audio/wav");
    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn an_upload_at_its_length_is_complete_only_once_that_is_said() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Ietf.begin(&server, "a", Some(bytes.len()));

    let all = piece(&server, &at, 0, "?0").body(&bytes).send();
    assert_eq!((all.status, all.header("upload-complete")), (204, "?0"), "{all}");
    assert_eq!(Ietf.head(&server, &at).header("upload-complete"), "?0");

    assert_eq!(piece(&server, &at, 1_000, "?1").body(b"").send().id(201), id(&at));
    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn a_live_call_comes_in_chunks_of_no_known_length() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    let at = Ietf.begin(&server, "a", None);

    assert_eq!(piece(&server, &at, 0, "?0").chunked(&bytes[..45_000], 160).send().status, 204);
    assert_eq!(piece(&server, &at, 45_000, "?1").chunked(&bytes[45_000..], 160).send().id(201), id(&at));

    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn a_piece_at_another_offset_is_told_both_offsets() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Ietf.begin(&server, "a", Some(bytes.len()));
    Ietf.append(&server, &at, &bytes, 0..400);

    for wrong in [0, 399, 401, 1_000] {
        let refused = piece(&server, &at, wrong, "?0").body(&bytes[..100]).send();
        let document = registered(&refused, 409, "mismatching-upload-offset");
        assert_eq!((&document["expected-offset"], &document["provided-offset"]), (&400.into(), &wrong.into()));
        assert_eq!(offset(&refused), 400);
    }

    assert_eq!(Ietf.offset(&server, &at), 400);
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let ask = |complete: &str, len: &str| {
        let ask = Ietf.ask(&server, "POST", "/v1/uploads").header("Upload-Complete", complete);
        ask.header("Upload-Length", len).body(&bytes).send()
    };

    for len in ["999", "1001"] {
        registered(&ask("?1", len), 400, "inconsistent-upload-length");
    }
    registered(&ask("?0", "999"), 400, "inconsistent-upload-length");
    assert!(server.list("").is_empty());

    let at = Ietf.begin(&server, "a", Some(bytes.len()));
    Ietf.append(&server, &at, &bytes, 0..400);
    let last = piece(&server, &at, 400, "?1").body(&bytes[400..900]).send();
    registered(&last, 400, "inconsistent-upload-length");
    let other = piece(&server, &at, 400, "?0").header("Upload-Length", "1001").body(&bytes[400..900]).send();
    registered(&other, 400, "inconsistent-upload-length");
    assert_eq!(Ietf.offset(&server, &at), 400);
}

#[test]
fn a_complete_upload_takes_no_piece() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Ietf.begin(&server, "a", Some(bytes.len()));
    Ietf.append(&server, &at, &bytes, 0..1_000);

    registered(&piece(&server, &at, 1_000, "?1").body(b"").send(), 400, "completed-upload");
    let more = piece(&server, &at, 1_000, "?0").body(b"more").send();
    assert_eq!(more.status, 400, "{more}");

    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn a_piece_without_its_fields_or_its_type_changes_nothing() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Ietf.begin(&server, "a", Some(bytes.len()));
    let ask = || Ietf.ask(&server, "PATCH", &at).body(&bytes);
    let typed = || ask().header("Content-Type", MEDIA_TYPE);

    typed().header("Upload-Complete", "?1").send().problem(400, "bad-request");
    typed().header("Upload-Offset", "0").send().problem(400, "bad-request");
    for wrong in ["1", "true", "?2", "?1, ?1"] {
        typed().header("Upload-Offset", "0").header("Upload-Complete", wrong).send().problem(400, "bad-request");
    }
    for wrong in ["-1", "+0", "0.0", "\"0\"", "x"] {
        typed().header("Upload-Offset", wrong).header("Upload-Complete", "?1").send().problem(400, "bad-request");
    }
    let untyped = ask().header("Upload-Offset", "0").header("Upload-Complete", "?1");
    untyped.clone().send().problem(415, "unsupported-media-type");
    untyped.header("Content-Type", "audio/wav").send().problem(415, "unsupported-media-type");

    assert_eq!(Ietf.offset(&server, &at), 0);
}

#[test]
fn another_version_of_the_draft_is_refused_with_the_one_that_is_spoken() {
    let vault = Vault::new();
    let server = vault.serve();
    let ask = || server.ask("POST", "/v1/uploads").header("Upload-Complete", "?0").body(b"");

    for version in ["6", "9", "x"] {
        let refused = ask().header("Upload-Draft-Interop-Version", version).send();
        refused.problem(400, "bad-request");
        assert_eq!(refused.header("upload-draft-interop-version"), "8");
    }
    assert!(server.list("").is_empty());

    let silent = ask().send();
    assert_eq!((silent.status, silent.header("upload-draft-interop-version")), (201, ""), "{silent}");
}

#[test]
fn a_piece_that_does_not_match_its_digest_is_not_kept() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    let at = Ietf.begin(&server, "a", Some(bytes.len()));
    Ietf.append(&server, &at, &bytes, 0..40_000);
    let ask = |digest: &str| piece(&server, &at, 40_000, "?1").header("Content-Digest", digest).body(&bytes[40_000..]);

    ask(&sha256(b"other")).send().problem(400, "digest-mismatch");
    assert_eq!(Ietf.offset(&server, &at), 40_000);

    assert_eq!(ask(&sha256(&bytes[40_000..])).send().id(201), id(&at));
    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn a_whole_that_does_not_match_its_digest_begins_nothing() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    for field in ["Repr-Digest", "Content-Digest"] {
        let ask = || Ietf.ask(&server, "POST", "/v1/uploads").header("Upload-Complete", "?1").body(&bytes);

        ask().header(field, &sha256(b"other")).send().problem(400, "digest-mismatch");
        assert!(server.list(&format!("call_id={field}")).is_empty());

        let whole = ask().header(field, &sha256(&bytes)).header("Callvault-Call-Id", field).send();
        assert!(server.play(&whole.id(201)) == bytes);
    }
    assert_eq!(server.list("").len(), 2);
}

#[test]
fn a_new_upload_takes_the_description_of_any_upload_and_a_file_name() {
    let vault = Vault::new();
    let server = vault.serve();
    let ask = |target: &str| {
        let ask = Ietf.ask(&server, "POST", target).header("Upload-Complete", "?1").body(b"audio");
        ask.header("Content-Disposition", "inline; filename=\"e.wav\"; filename*=UTF-8''calls%2F%C3%A9.wav")
    };

    let described = ask("/v1/uploads?call_id=4711&a_number=0031201234567").header("Callvault-Call-Id", "4712").send();
    let named = ask("/v1/uploads?name=by-query").send();
    let headed = ask("/v1/uploads?name=no").header("Callvault-Name", "by-header").send();

    let shown = server.show(&described.id(201));
    assert_eq!(shown["name"], "calls/é.wav");
    assert_eq!((&shown["call"]["call_id"], &shown["call"]["a_number"]), (&"4712".into(), &"+31201234567".into()));
    assert_eq!(server.show(&named.id(201))["name"], "by-query");
    assert_eq!(server.show(&headed.id(201))["name"], "by-header");
}

#[test]
fn bytes_from_the_beginning_of_what_is_partly_there_are_refused_with_the_place_to_go_on() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    let range = "bytes 0-29999/50000";
    server.put("a", &bytes[..30_000]).header("Content-Range", range).send().id(201);

    let ask = Ietf.ask(&server, "POST", "/v1/uploads?name=a").header("Upload-Complete", "?1").body(&bytes);
    let refused = ask.send();

    let document = registered(&refused, 409, "mismatching-upload-offset");
    assert_eq!((&document["expected-offset"], &document["provided-offset"]), (&30_000.into(), &0.into()));
    let at = refused.header("location");
    Ietf.append(&server, at, &bytes, 30_000..50_000);
    assert!(server.play(id(at)) == bytes);
}

#[test]
fn a_first_piece_that_was_cut_is_told_where_it_goes_on() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    let ask = Ietf.ask(&server, "POST", "/v1/uploads").header("Upload-Complete", "?1").body(&bytes);
    let mut wire = server.connect();
    wire.send(ask.head()).expect("a head");
    wire.send(&bytes[..20_000]).expect("bytes");
    wire.end();

    let cut: Answer = wire.answer().expect("an answer");

    assert_eq!((cut.status, offset(&cut)), (409, 20_000), "{cut}");
    let at = cut.header("location");
    Ietf.append(&server, at, &bytes, 20_000..50_000);
    assert!(server.play(id(at)) == bytes);
}

#[test]
fn an_upload_that_outgrows_the_limit_is_told_the_limit() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-bytes-max", "100KiB"], None);
    let bytes = noise(1, 200_000);

    let whole = Ietf.ask(&server, "POST", "/v1/uploads").header("Upload-Complete", "?1").body(&bytes).send();
    let at = Ietf.begin(&server, "a", None);
    let chunked = piece(&server, &at, 0, "?0").chunked(&bytes, 50_000).send();

    for refused in [whole, chunked] {
        refused.problem(413, "too-large");
        assert_eq!(refused.header("upload-limit"), "max-size=102400", "{refused}");
    }
}

fn piece(server: &Server, at: &str, offset: usize, complete: &str) -> Ask {
    let ask = Ietf.ask(server, "PATCH", at).header("Content-Type", MEDIA_TYPE);
    ask.header("Upload-Offset", &offset.to_string()).header("Upload-Complete", complete)
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", STANDARD.encode(sha2::Sha256::digest(bytes)))
}
