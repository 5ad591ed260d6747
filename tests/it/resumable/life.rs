//! The life of an upload, which is the same in both dialects: pieces, cuts, deaths, ends.

use super::{Dialect, id, location, offset};
use crate::support::wire::{Answer, Ask};
use crate::support::{Server, Vault, noise, wait_until};

#[test]
fn an_upload_in_pieces_becomes_the_recording_that_was_sent() {
    let vault = Vault::new();
    let server = vault.serve();
    for dialect in Dialect::BOTH {
        for len in [1, 16_384, 300_000] {
            let (name, bytes) = (format!("{dialect:?}-{len}"), noise(len as u64, len));
            let at = dialect.begin(&server, &name, Some(len));
            let cuts = [0, 1, 2, 16_384, 16_385, 32_768, 150_000, 299_999, 300_000];
            let ends: Vec<_> = cuts.into_iter().filter(|end| *end < len).chain([len]).collect();

            for two in ends.windows(2) {
                let answer = dialect.append(&server, &at, &bytes, two[0]..two[1]);
                assert_eq!(answer.header("content-location").is_empty(), two[1] < len, "{dialect:?}: {answer}");
            }

            assert!(server.play(id(&at)) == bytes, "{dialect:?} {len}");
            let shown = server.show(id(&at));
            assert_eq!((&shown["complete"], &shown["name"]), (&true.into(), &name.into()));
        }
    }
}

#[test]
fn an_upload_begun_in_one_dialect_goes_on_in_the_other() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    for (first, second) in [(Dialect::Tus, Dialect::Ietf), (Dialect::Ietf, Dialect::Tus)] {
        let at = first.begin(&server, &format!("{first:?}"), None);
        first.append(&server, &at, &bytes, 0..40_000);

        assert_eq!(second.offset(&server, &at), 40_000);
        second.append(&server, &at, &bytes, 40_000..100_000);

        assert!(server.play(id(&at)) == bytes);
    }
}

#[test]
fn a_length_that_is_not_known_at_first_may_follow_with_the_last_piece_or_after_it() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 90_000);
    for dialect in Dialect::BOTH {
        for ends in [vec![0, 30_000, 90_000], vec![0, 30_000, 89_999, 90_000]] {
            let at = dialect.begin(&server, &format!("{dialect:?}-{}", ends.len()), None);
            for two in ends.windows(2) {
                assert_eq!(dialect.head(&server, &at).header("upload-length"), "");
                dialect.append(&server, &at, &bytes, two[0]..two[1]);
            }
            assert!(server.play(id(&at)) == bytes);
        }
        // All bytes first, and then that this was all.
        let at = dialect.begin(&server, &format!("{dialect:?}-after"), None);
        let more = [&bytes[..], b"never sent"].concat();
        dialect.append(&server, &at, &more, 0..90_000);
        dialect.append(&server, &at, &bytes, 90_000..90_000);
        assert!(server.play(id(&at)) == bytes);
    }
}

#[test]
fn an_offset_that_was_acknowledged_survives_the_death_of_the_server() {
    let vault = Vault::new();
    let mut server = vault.serve();
    let bytes = noise(1, 200_000);
    let uploads = Dialect::BOTH.map(|dialect| (dialect, dialect.begin(&server, &format!("{dialect:?}"), None)));
    for end in [1, 16_384, 100_000, 100_001] {
        for (dialect, at) in &uploads {
            let before = dialect.offset(&server, at);
            dialect.append(&server, at, &bytes, before..end);
        }

        server.kill();
        server = vault.serve();

        for (dialect, at) in &uploads {
            assert_eq!(dialect.offset(&server, at), end, "{dialect:?}");
        }
    }
    for (dialect, at) in &uploads {
        dialect.append(&server, at, &bytes, 100_001..200_000);

        server.kill();
        server = vault.serve();

        assert!(server.play(id(at)) == bytes);
        assert_eq!(dialect.offset(&server, at), 200_000);
    }
    server.stop();
    assert_eq!(vault.ok(&["verify"])["faults"].as_array().map(Vec::len), Some(0));
}

#[test]
fn an_upload_that_waits_survives_an_orderly_stop() {
    let vault = Vault::new();
    let mut server = vault.serve();
    let bytes = noise(1, 100_000);
    let at = Dialect::Tus.begin(&server, "a", Some(bytes.len()));
    Dialect::Tus.append(&server, &at, &bytes, 0..70_000);

    server.stop();
    server = vault.serve();

    assert_eq!(Dialect::Tus.offset(&server, &at), 70_000);
    Dialect::Tus.append(&server, &at, &bytes, 70_000..100_000);
    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn a_piece_that_was_cut_is_kept_as_far_as_it_came() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    for dialect in Dialect::BOTH {
        let at = dialect.begin(&server, &format!("{dialect:?}"), Some(bytes.len()));

        let cut = cut_off(&server, &dialect.piece(&server, &at, &bytes, 0..100_000), &bytes[..60_000]);

        assert_eq!((cut.status, offset(&cut)), (409, 60_000), "{dialect:?}: {cut}");
        assert_eq!(dialect.offset(&server, &at), 60_000);
        dialect.append(&server, &at, &bytes, 60_000..100_000);
        assert!(server.play(id(&at)) == bytes);
    }
}

#[test]
fn a_newer_piece_ends_an_older_one_that_hangs() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    for dialect in Dialect::BOTH {
        let at = dialect.begin(&server, &format!("{dialect:?}"), Some(bytes.len()));
        let mut hanging = server.connect();
        hanging.send(dialect.piece(&server, &at, &bytes, 0..100_000).head()).expect("a head");
        hanging.send(&bytes[..50_000]).expect("bytes");
        std::thread::sleep(std::time::Duration::from_millis(300));

        let mut newer = dialect.piece(&server, &at, &bytes, 50_000..100_000).send();
        if newer.status == 409 {
            // It had not taken in all that hung between; it says where it stands.
            newer = dialect.piece(&server, &at, &bytes, offset(&newer)..100_000).send();
        }

        assert_eq!((newer.status, offset(&newer)), (dialect.taken(true), 100_000), "{dialect:?}: {newer}");
        // Whoever hung finds nobody who listens, or is refused.
        let _ = hanging.send(noise(2, 50_000));
        let refused = hanging.answer();
        assert!(refused.as_ref().map_or(true, |answer| answer.status >= 400), "{refused:?}");
        assert!(server.play(id(&at)) == bytes, "{dialect:?}");
    }
}

#[test]
fn whoever_asks_for_the_offset_ends_a_piece_that_hangs_and_may_go_on_there() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    for dialect in Dialect::BOTH {
        let at = dialect.begin(&server, &format!("{dialect:?}"), Some(bytes.len()));
        let mut hanging = server.connect();
        hanging.send(dialect.piece(&server, &at, &bytes, 0..100_000).head()).expect("a head");
        hanging.send(&bytes[..50_000]).expect("bytes");
        std::thread::sleep(std::time::Duration::from_millis(300));

        let told = dialect.offset(&server, &at);

        assert!(told <= 50_000);
        // What the older request still sends moves nothing.
        let _ = hanging.send(&bytes[50_000..60_000]);
        dialect.append(&server, &at, &bytes, told..100_000);
        assert!(server.play(id(&at)) == bytes, "{dialect:?}");
    }
}

#[test]
fn an_upload_that_was_given_up_is_gone_and_its_name_is_free() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    for dialect in Dialect::BOTH {
        let name = format!("{dialect:?}");
        let at = dialect.begin(&server, &name, Some(bytes.len()));
        dialect.append(&server, &at, &bytes, 0..20_000);

        let given_up = dialect.ask(&server, "DELETE", &at).send();

        assert_eq!(given_up.status, 204, "{given_up}");
        let again = dialect.ask(&server, "DELETE", &at).send();
        for late in [dialect.head(&server, &at), dialect.piece(&server, &at, &bytes, 20_000..50_000).send(), again] {
            assert!(matches!(late.status, 404 | 410), "{dialect:?}: {late}");
            assert_eq!(late.header("upload-offset"), "");
        }
        let id = server.put(&name, b"something else").send().id(201);
        assert_eq!(server.play(&id), b"something else");
    }
    assert_eq!(server.list("").len(), 2);
}

#[test]
fn another_tenants_upload_is_answered_exactly_as_one_that_never_was() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other", "--recording", "on"]);
    let other = vault.make_token("other", crate::support::ALL_SCOPES);
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    for dialect in Dialect::BOTH {
        let at = dialect.begin(&server, &format!("{dialect:?}"), Some(bytes.len()));
        for never in ["/v1/uploads/01890000-0000-7000-8000-000000000000", "/v1/uploads/1", "/v1/uploads/%FF"] {
            let asks = |at: &str| {
                let piece = dialect.piece(&server, at, &bytes, 0..500);
                ["HEAD", "GET", "DELETE"].map(|method| dialect.ask(&server, method, at)).into_iter().chain([piece])
            };
            for (theirs, none) in asks(&at).zip(asks(never)) {
                let [theirs, none] = [theirs.token(&other).send(), none.token(&other).send()];
                assert_eq!((theirs.status, theirs.body), (404, none.body), "{dialect:?}");
            }
        }
        dialect.append(&server, &at, &bytes, 0..1_000);
        assert!(server.play(id(&at)) == bytes);
    }
}

#[test]
fn every_method_asks_for_the_scope_of_uploads() {
    let vault = Vault::new();
    let (pbx, reader) = (vault.make_token("acme", "ingest"), vault.make_token("acme", "read,manage,rights,admin"));
    let server = vault.serve();
    let bytes = noise(1, 1_000);
    for dialect in Dialect::BOTH {
        let at = dialect.begin(&server, &format!("{dialect:?}"), Some(bytes.len()));
        let create = dialect.create(&server, &format!("{dialect:?}-2"), Some(5));
        let asks = [create, dialect.piece(&server, &at, &bytes, 0..500)].into_iter();
        for ask in asks.chain(["HEAD", "GET", "DELETE"].map(|method| dialect.ask(&server, method, &at))) {
            assert_eq!(ask.clone().anonymous().send().status, 401);
            assert_eq!(ask.clone().token(&reader).send().status, 403);
            let answer = ask.token(&pbx).send();
            assert_eq!(answer.status / 100, 2, "{answer}");
        }
    }
}

#[test]
fn a_completed_upload_tells_its_length_and_neither_grows_nor_goes() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    let longer = [&bytes[..], b"more"].concat();
    for dialect in Dialect::BOTH {
        let at = dialect.begin(&server, &format!("{dialect:?}"), Some(bytes.len()));
        dialect.append(&server, &at, &bytes, 0..50_000);

        let told = dialect.head(&server, &at);
        assert_eq!((told.header("upload-offset"), told.header("upload-length")), ("50000", "50000"), "{told}");
        assert_eq!(told.header("content-location"), format!("/v1/recordings/{}", id(&at)));
        for range in [50_000..50_004, 0..50_000] {
            let more = dialect.piece(&server, &at, &longer, range).send();
            assert_eq!(more.status / 100, 4, "{dialect:?}: {more}");
        }
        // A recorder may send, and not take away what it sent.
        let given_up = dialect.ask(&server, "DELETE", &at).send();
        assert_eq!(given_up.status / 100, 4, "{dialect:?}: {given_up}");

        assert!(server.play(id(&at)) == bytes);
    }
}

#[test]
fn an_upload_under_the_name_of_a_partial_recording_goes_on_at_its_end() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    for dialect in Dialect::BOTH {
        let name = format!("{dialect:?}");
        cut_off(&server, &server.put(&name, &bytes), &bytes[..60_000]);

        let created = dialect.create(&server, &name, Some(bytes.len())).send();

        let at = location(&created);
        assert_eq!((offset(&created), dialect.offset(&server, &at)), (60_000, 60_000));
        dialect.append(&server, &at, &bytes, 60_000..100_000);
        assert!(server.play(id(&at)) == bytes);
        let named: Vec<_> = server.list("").into_iter().filter(|row| row["name"] == name.as_str()).collect();
        assert_eq!((named.len(), &named[0]["complete"]), (1, &true.into()), "{named:?}");
    }
}

#[test]
fn an_upload_that_nobody_goes_on_with_becomes_a_partial_recording() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-resume-window", "2s"], None);
    let bytes = noise(1, 100_000);
    let uploads = Dialect::BOTH.map(|dialect| {
        let at = dialect.begin(&server, &format!("{dialect:?}"), Some(bytes.len()));
        dialect.append(&server, &at, &bytes, 0..60_000);
        // One that never had a byte leaves nothing.
        dialect.begin(&server, &format!("{dialect:?}-empty"), Some(5));
        (dialect, at)
    });

    wait_until("both are closed", || server.list("state=stored").len() == 2);
    wait_until("nothing else is left", || server.list("").len() == 2);

    for (dialect, at) in uploads {
        let shown = server.show(id(&at));
        assert_eq!((&shown["complete"], &shown["bytes"]), (&false.into(), &60_000.into()));
        assert!(server.play(id(&at)) == bytes[..60_000]);
        let again = location(&dialect.create(&server, &format!("{dialect:?}"), Some(bytes.len())).send());
        dialect.append(&server, &again, &bytes, 60_000..100_000);
        assert!(server.play(id(&again)) == bytes);
    }
}

#[test]
fn an_upload_whose_time_ran_out_while_the_server_was_down_becomes_a_partial_recording() {
    let vault = Vault::new();
    let args = ["--upload-resume-window", "1s"];
    let mut server = vault.serve_with(&args, None);
    let bytes = noise(1, 100_000);
    let at = Dialect::Tus.begin(&server, "a", None);
    Dialect::Tus.append(&server, &at, &[&bytes[..], b"x"].concat(), 0..100_000);
    server.kill();
    std::thread::sleep(std::time::Duration::from_millis(1_200));

    server = vault.serve_with(&args, None);

    wait_until("it is closed", || server.list("state=stored").len() == 1);
    assert_eq!(server.show(id(&at))["complete"], false);
    assert!(server.play(id(&at)) == bytes);
}

#[test]
fn whoever_waits_for_leave_is_refused_before_he_sends() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "silent", "--name", "Silent", "--recording", "off"]);
    let silent = vault.make_token("silent", "ingest");
    let server = vault.serve_with(&["--upload-bytes-max", "1MiB"], None);
    let (bytes, large) = (noise(1, 100_000), vec![0; 2_000_000]);
    for dialect in Dialect::BOTH {
        let at = dialect.begin(&server, &format!("{dialect:?}"), Some(bytes.len()));
        dialect.append(&server, &at, &bytes, 0..10_000);
        let piece = |range| dialect.piece(&server, &at, &bytes, range);
        let refused = [
            (piece(10_000..100_000).token("cv_wrong"), 401),
            (piece(20_000..100_000), 409),
            (dialect.piece(&server, "/v1/uploads/01890000-0000-7000-8000-000000000000", &bytes, 0..100_000), 404),
            (dialect.ask(&server, "PATCH", &at).header("Upload-Offset", "10000").body(&bytes), 415),
            (whole(dialect, &server, &large), 413),
            (whole(dialect, &server, &bytes).token(&silent), 403),
            (whole(dialect, &server, &bytes).token("cv_wrong"), 401),
        ];

        for (ask, status) in refused {
            let mut wire = server.connect();
            wire.send(ask.header("Expect", "100-continue").head()).expect("a head");
            let answer = wire.answer().expect("an answer");
            assert_eq!(answer.status, status, "{dialect:?}: {answer}");
        }
        for ask in [piece(10_000..100_000), whole(dialect, &server, &bytes)] {
            let mut wire = server.connect();
            wire.send(ask.header("Expect", "100-continue").head()).expect("a head");
            assert_eq!(wire.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }
}

#[test]
fn a_wrong_description_begins_nothing() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-bytes-max", "1MiB"], None);
    for dialect in Dialect::BOTH {
        let ask = |target: &str| dialect.create(&server, target, Some(5));

        ask("a&started_at=yesterday").send().problem(422, "unprocessable");
        ask("a&class=other").send().problem(422, "unprocessable");
        ask("a%00").send().problem(400, "bad-request");
        ask(&"n".repeat(513)).send().problem(400, "bad-request");
        dialect.create(&server, "a", Some(0)).send().problem(400, "empty-body");
        dialect.create(&server, "a", Some((1 << 20) + 1)).send().problem(413, "too-large");
        dialect.ask(&server, "PUT", "/v1/uploads").body(b"x").send().problem(405, "method-not-allowed");
        dialect.ask(&server, "POST", "/v1/uploads/x").body(b"x").send().problem(405, "method-not-allowed");
    }
    assert!(server.list("").is_empty());
}

/// A whole recording in the request that begins it.
fn whole(dialect: Dialect, server: &Server, bytes: &[u8]) -> Ask {
    let ask = dialect.ask(server, "POST", "/v1/uploads").body(bytes);
    match dialect {
        Dialect::Tus => ask
            .header("Upload-Length", &bytes.len().to_string())
            .header("Content-Type", "application/offset+octet-stream"),
        Dialect::Ietf => ask.header("Upload-Complete", "?1"),
    }
}

/// Declares what `ask` declares, sends `sent`, and ends.
fn cut_off(server: &Server, ask: &Ask, sent: &[u8]) -> Answer {
    let mut wire = server.connect();
    wire.send(ask.head()).expect("a head");
    wire.send(sent).expect("bytes");
    wire.end();
    wire.answer().expect("an answer")
}
