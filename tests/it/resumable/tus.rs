//! tus 1.0: its core, and each extension that is announced.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use md5::Digest;

use super::Dialect::Tus;
use super::{id, location, offset};
use crate::support::wire::{Answer, Ask};
use crate::support::{Server, Vault, noise};

const MEDIA_TYPE: &str = "application/offset+octet-stream";

#[test]
fn what_is_offered_is_told_without_a_token() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-bytes-max", "64MiB"], None);

    for target in ["/v1/uploads", "/v1/uploads/x"] {
        let offer = server.ask("OPTIONS", target).anonymous().send();
        assert_eq!((offer.status, offer.header("tus-version")), (204, "1.0.0"), "{offer}");
        assert_eq!(offer.header("tus-max-size"), "67108864");
        assert_eq!(offer.header("tus-checksum-algorithm"), "sha1,sha256,md5");
        let extensions: Vec<_> = offer.header("tus-extension").split(',').collect();
        for extension in ["creation", "creation-with-upload", "creation-defer-length", "expiration", "checksum"] {
            assert!(extensions.contains(&extension), "{offer}");
        }
        assert!(extensions.contains(&"termination") && !extensions.contains(&"concatenation"), "{offer}");
    }
}

#[test]
fn another_version_is_refused_with_the_one_that_is_spoken() {
    let vault = Vault::new();
    let server = vault.serve();
    let at = Tus.begin(&server, "a", Some(5));

    for version in ["0.2.2", "1.0.1", "2.0.0", ""] {
        for (method, target) in [("POST", "/v1/uploads"), ("HEAD", &*at), ("PATCH", &*at), ("DELETE", &*at)] {
            let refused = server.ask(method, target).header("Tus-Resumable", version).header("Upload-Length", "5");
            let refused = refused.body(b"").send();
            assert_eq!((refused.status, refused.header("tus-version")), (412, "1.0.0"), "{refused}");
        }
    }

    assert_eq!(Tus.offset(&server, &at), 0);
}

#[test]
fn every_answer_names_the_version() {
    let vault = Vault::new();
    let server = vault.serve();
    let at = Tus.begin(&server, "a", Some(5));

    let answers = [
        (Tus.create(&server, "b", Some(5)), 201),
        (Tus.create(&server, "b", Some(5)).anonymous(), 401),
        (Tus.ask(&server, "HEAD", &at), 200),
        (Tus.ask(&server, "HEAD", "/v1/uploads/x"), 404),
        (Tus.ask(&server, "PUT", &at), 405),
        (Tus.ask(&server, "PATCH", &at), 415),
        (Tus.ask(&server, "OPTIONS", &at), 204),
        (Tus.ask(&server, "DELETE", &at), 204),
    ];

    for (ask, status) in answers {
        let answer = ask.send();
        assert_eq!((answer.status, answer.header("tus-resumable")), (status, "1.0.0"), "{answer}");
    }
}

#[test]
fn a_new_upload_says_where_it_is_and_how_long_it_waits() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-resume-window", "1h"], None);

    let created = Tus.create(&server, "a", Some(5)).send();

    let at = location(&created);
    let told = Tus.head(&server, &at);
    for answer in [&created, &told] {
        let left = seconds_until(answer.header("upload-expires"));
        assert!((3_500..=3_600).contains(&left), "{answer}");
    }
    assert_eq!(
        (told.status, told.header("upload-offset"), told.header("upload-length"), told.header("upload-defer-length")),
        (200, "0", "5", "")
    );
    assert_eq!(Tus.ask(&server, "GET", &at).send().header("upload-offset"), "0");
    let first = Tus.piece(&server, &at, b"audio", 0..2).send();
    assert!(seconds_until(first.header("upload-expires")) > 3_500, "{first}");
    let last = Tus.piece(&server, &at, b"audio", 2..5).send();
    assert_eq!((last.status, last.header("upload-expires")), (204, ""), "{last}");
}

#[test]
fn an_upload_needs_a_length_or_the_word_that_it_follows() {
    let vault = Vault::new();
    let server = vault.serve();
    let ask = || Tus.ask(&server, "POST", "/v1/uploads").body(b"");

    ask().send().problem(400, "bad-request");
    ask().header("Upload-Length", "5").header("Upload-Defer-Length", "1").send().problem(400, "bad-request");
    for wrong in ["-1", "+5", "5.0", "five", "", "99999999999999999999"] {
        ask().header("Upload-Length", wrong).send().problem(400, "bad-request");
    }
    for wrong in ["0", "2", "yes"] {
        ask().header("Upload-Defer-Length", wrong).send().problem(400, "bad-request");
    }
    assert!(server.list("").is_empty());

    // curl -X POST sends no framing at all.
    let unframed = Tus.ask(&server, "POST", "/v1/uploads").header("Upload-Defer-Length", "1").send();
    let told = Tus.head(&server, &location(&unframed));
    assert_eq!((told.header("upload-length"), told.header("upload-defer-length")), ("", "1"));
}

#[test]
fn a_length_that_followed_is_told_and_stays() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Tus.begin(&server, "a", None);
    let piece = |range: std::ops::Range<usize>, len: &str| {
        let ask = Tus.ask(&server, "PATCH", &at).header("Content-Type", MEDIA_TYPE);
        ask.header("Upload-Offset", &range.start.to_string()).header("Upload-Length", len).body(&bytes[range]).send()
    };

    assert_eq!(piece(0..400, "1000").status, 204);
    let told = Tus.head(&server, &at);
    assert_eq!((told.header("upload-length"), told.header("upload-defer-length")), ("1000", ""));

    for other in ["999", "1001", "400"] {
        assert_eq!(piece(400..600, other).status, 400);
    }
    assert_eq!(Tus.offset(&server, &at), 400);
    assert_eq!(piece(400..1_000, "1000").status, 204);
    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn a_new_upload_may_bring_its_first_bytes_or_all_of_them() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    for end in [1, 40_000, 100_000] {
        for chunked in [false, true] {
            let ask = create_with(&server, bytes.len());
            let ask = if chunked { ask.chunked(&bytes[..end], 7_000) } else { ask.body(&bytes[..end]) };

            let created = ask.send();

            let at = location(&created);
            assert_eq!(offset(&created), end, "{created}");
            assert_eq!(created.header("content-location").is_empty(), end < bytes.len(), "{created}");
            if end < bytes.len() {
                Tus.append(&server, &at, &bytes, end..bytes.len());
            }
            assert!(server.play(id(&at)) == bytes);
        }
    }
}

#[test]
fn first_bytes_of_another_media_type_are_refused_before_anything_begins() {
    let vault = Vault::new();
    let server = vault.serve();
    let ask = || Tus.ask(&server, "POST", "/v1/uploads").header("Upload-Length", "5").body(b"audio");

    ask().send().problem(415, "unsupported-media-type");
    ask().header("Content-Type", "audio/wav").send().problem(415, "unsupported-media-type");

    assert!(server.list("").is_empty());
}

#[test]
fn first_bytes_of_what_is_partly_there_are_passed_over_and_the_offset_says_so() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    let range = "bytes 0-29999/50000";
    server.put("a", &bytes[..30_000]).header("Content-Range", range).send().id(201);

    let created = create_with(&server, bytes.len()).header("Callvault-Name", "a").body(&bytes).send();

    assert_eq!(offset(&created), 30_000, "{created}");
    Tus.append(&server, &location(&created), &bytes, 30_000..50_000);
    assert!(server.play(id(&location(&created))) == bytes);
}

#[test]
fn a_description_is_taken_from_the_metadata_and_never_told_back() {
    let vault = Vault::new();
    let server = vault.serve();
    let pairs = [
        ("filename", "calls/één.wav"),
        ("filetype", "audio/wav; codec=pcm"),
        ("class", "customer,training"),
        ("call_id", "call-4711@pbx"),
        ("a-number", "+31 20 123-45.67"),
        ("Direction", "inbound"),
        ("started_at", "2026-01-31T12:00:00Z"),
        ("relativePath", "null"),
    ];
    let metadata: Vec<_> = pairs.iter().map(|(key, value)| format!("{key} {}", STANDARD.encode(value))).collect();
    let metadata = format!("{},is_confidential, x {}", metadata.join(","), STANDARD_NO_PAD.encode([0xff, 0]));
    let ask = Tus.ask(&server, "POST", "/v1/uploads").header("Upload-Length", "5").body(b"");

    let at = location(&ask.clone().header("Upload-Metadata", &metadata).send());

    let told = Tus.head(&server, &at);
    assert_eq!(told.header("upload-metadata"), "");
    assert!(!told.to_string().contains("4711"), "{told}");
    Tus.append(&server, &at, b"audio", 0..5);
    let shown = server.show(id(&at));
    assert_eq!((&shown["name"], &shown["media_type"]), (&"calls/één.wav".into(), &"audio/wav".into()));
    assert_eq!(shown["classes"].as_array().map(Vec::len), Some(2));
    for (field, value) in [
        ("call_id", "call-4711@pbx"),
        ("a_number", "+31201234567"),
        ("direction", "inbound"),
        ("started_at", "2026-01-31T12:00:00Z"),
    ] {
        assert_eq!(shown["call"][field], value);
    }
}

#[test]
fn metadata_that_is_malformed_or_means_nothing_is_refused() {
    let vault = Vault::new();
    let server = vault.serve();
    let ask = |metadata: &str| {
        let ask = Tus.ask(&server, "POST", "/v1/uploads").header("Upload-Length", "5").body(b"");
        ask.header("Upload-Metadata", metadata).send()
    };

    for malformed in ["filename ?", "filename YQ==,filename Yg==", "filename YQ== YQ==", "a b c"] {
        ask(malformed).problem(400, "bad-request");
    }
    ask(&format!("started_at {}", STANDARD.encode("+31201234567"))).problem(422, "unprocessable");
    ask(&format!("filetype {}", STANDARD.encode("multipart/form-data"))).problem(415, "unsupported-media-type");

    assert!(server.list("").is_empty());
}

#[test]
fn a_piece_that_matches_its_checksum_is_taken_and_another_is_not() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 90_000);
    let at = Tus.begin(&server, "a", Some(bytes.len()));
    let mut start = 0;
    for checksum in [sha1, sha256, md5] {
        let end = start + 30_000;
        let piece = Tus.piece(&server, &at, &bytes, start..end);

        let wrong = piece.clone().header("Upload-Checksum", &checksum(&bytes[..end - 1])).send();
        wrong.problem(460, "checksum-mismatch");
        assert_eq!(Tus.offset(&server, &at), start, "nothing of it was kept");
        for malformed in ["crc32 AAAA", "sha1", "sha1 AAAA", "md5 ?", "SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk="] {
            piece.clone().header("Upload-Checksum", malformed).send().problem(400, "bad-request");
        }
        assert_eq!(piece.header("Upload-Checksum", &checksum(&bytes[start..end])).send().status, 204);
        start = end;
    }
    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn first_bytes_that_do_not_match_their_checksum_begin_nothing() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    let ask = || create_with(&server, bytes.len()).header("Callvault-Name", "a").body(&bytes);

    ask().header("Upload-Checksum", &sha1(b"other")).send().problem(460, "checksum-mismatch");
    assert!(server.list("").is_empty());

    let created = ask().header("Upload-Checksum", &sha1(&bytes)).send();
    assert!(server.play(id(&location(&created))) == bytes);
}

#[test]
fn a_method_may_be_told_by_a_header() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Tus.begin(&server, "a", Some(bytes.len()));
    let post = |method: &str| Tus.ask(&server, "POST", &at).header("X-HTTP-Method-Override", method);

    let piece = post("PATCH").header("Content-Type", MEDIA_TYPE).header("Upload-Offset", "0").body(&bytes[..600]);
    assert_eq!(piece.send().status, 204);
    assert_eq!(offset(&post("head").body(b"").send()), 600);
    assert_eq!(post("DELETE").body(b"").send().status, 204);

    assert!(matches!(Tus.head(&server, &at).status, 404 | 410));
}

#[test]
fn a_piece_without_its_offset_its_type_or_the_right_place_changes_nothing() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Tus.begin(&server, "a", Some(bytes.len()));
    Tus.append(&server, &at, &bytes, 0..400);
    let ask = || Tus.ask(&server, "PATCH", &at).body(&bytes[400..]);

    ask().header("Content-Type", MEDIA_TYPE).send().problem(400, "bad-request");
    for wrong in ["", "-1", "+400", "x"] {
        let wrong = ask().header("Content-Type", MEDIA_TYPE).header("Upload-Offset", wrong);
        wrong.send().problem(400, "bad-request");
    }
    ask().header("Upload-Offset", "400").send().problem(415, "unsupported-media-type");
    let octets = ask().header("Upload-Offset", "400").header("Content-Type", "application/octet-stream");
    octets.send().problem(415, "unsupported-media-type");
    for wrong in ["0", "399", "401", "1000"] {
        let wrong = ask().header("Content-Type", MEDIA_TYPE).header("Upload-Offset", wrong).send();
        assert_eq!(wrong.problem(409, "offset-mismatch")["offset"], 400);
        assert_eq!(offset(&wrong), 400);
    }

    assert_eq!(Tus.offset(&server, &at), 400);
    Tus.append(&server, &at, &bytes, 400..1_000);
    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn a_piece_that_goes_beyond_the_length_is_refused() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Tus.begin(&server, "a", Some(900));
    let ask = || Tus.ask(&server, "PATCH", &at).header("Content-Type", MEDIA_TYPE).header("Upload-Offset", "0");

    for beyond in [ask().body(&bytes), ask().chunked(&bytes, 300)] {
        let refused = beyond.send();
        assert_eq!(refused.status / 100, 4, "{refused}");
        assert!(server.list("").iter().all(|row| row["complete"] != true));
    }
}

#[test]
fn whoever_lost_the_last_answer_may_send_nothing_once_more() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    let at = Tus.begin(&server, "a", Some(bytes.len()));
    Tus.append(&server, &at, &bytes, 0..1_000);

    let again = Tus.piece(&server, &at, &bytes, 1_000..1_000).send();

    assert_eq!((again.status, offset(&again)), (204, 1_000), "{again}");
    assert_eq!(again.header("content-location"), format!("/v1/recordings/{}", id(&at)));
}

fn create_with(server: &Server, len: usize) -> Ask {
    let ask = Tus.ask(server, "POST", "/v1/uploads").header("Upload-Length", &len.to_string());
    ask.header("Content-Type", MEDIA_TYPE)
}

fn sha1(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
    format!("sha1 {}", STANDARD.encode(digest))
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256 {}", STANDARD.encode(sha2::Sha256::digest(bytes)))
}

fn md5(bytes: &[u8]) -> String {
    format!("md5 {}", STANDARD.encode(md5::Md5::digest(bytes)))
}

fn seconds_until(date: &str) -> u64 {
    let at = httpdate::parse_http_date(date).unwrap_or_else(|_| panic!("no date: {date:?}"));
    let now = crate::support::held::now().as_second();
    at.duration_since(std::time::UNIX_EPOCH).expect("a date after 1970").as_secs().saturating_sub(now as u64)
}

#[test]
fn a_request_of_neither_dialect_is_told_what_to_send() {
    let vault = Vault::new();
    let server = vault.serve();

    let refused: Answer = server.ask("POST", "/v1/uploads").body(b"audio").send();

    let detail = refused.problem(400, "bad-request")["detail"].to_string();
    assert!(detail.contains("Upload-Complete") && detail.contains("Tus-Resumable"), "{detail}");
    assert!(server.list("").is_empty());
}
