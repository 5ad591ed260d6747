//! Refusals: each has its limit, says what to do, comes before work is wasted, and reaches whoever is still sending.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::support::wire::{Ask, as_chunk};
use crate::support::{Server, Vault, files, noise, wait_until};

#[test]
fn an_upload_above_the_limit_is_refused_in_every_framing_and_nothing_is_kept() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-bytes-max", "100000"], None);
    let bytes = noise(1, 100_001);

    server.put("a", &bytes).send().problem(413, "too-large");
    server.ask("PUT", "/v1/recordings/a").chunked(&bytes, 30_000).send().problem(413, "too-large");
    let ranged = server.put("a", &bytes[..10]).header("Content-Range", "bytes 0-9/100001");
    ranged.send().problem(413, "too-large");

    assert!(server.list("").is_empty());
    server.put("a", &bytes[..100_000]).send().id(201);
    assert_eq!(files(&vault.path().join("spool")), Vec::<std::path::PathBuf>::new());
}

#[test]
fn one_upload_more_than_the_limit_is_told_to_come_back() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-count-max", "1"], None);
    let mut running = server.connect();
    running.send(server.put("running", b"audio").head()).expect("a head");
    running.send(b"au").expect("bytes");
    wait_until("the upload is under way", || !server.list("state=receiving").is_empty());

    let refused = server.put("second", b"audio").send();

    refused.problem(503, "busy");
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{refused}");
    running.send(b"dio").expect("the first upload runs on");
    running.answer().expect("an answer").id(201);
    server.put("second", b"audio").send().id(201);
}

#[test]
fn one_open_upload_more_than_the_limit_is_told_to_come_back() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-open-max", "1"], None);
    let tus = |method: &str, target: &str| server.ask(method, target).header("Tus-Resumable", "1.0.0");
    let begin = || tus("POST", "/v1/uploads").header("Upload-Length", "5").body(b"").send();
    let first = begin();
    assert_eq!(first.status, 201, "{first}");

    let refused = begin();

    let problem = refused.problem(503, "busy");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("upload.open_max")), "{problem}");
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{refused}");
    server.put("plain", b"audio").send().id(201);
    assert_eq!(tus("DELETE", first.header("location")).send().status, 204);
    assert_eq!(begin().status, 201);
}

#[test]
fn a_spool_with_as_many_recordings_as_it_may_hold_takes_none_in_any_framing() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--spool-count-max", "2"], None);
    let mut running = [0, 1].map(|number| {
        let mut wire = server.connect();
        wire.send(server.put(&format!("call-{number}"), b"").chunked(b"", 1).head()).expect("a head");
        wire.send(as_chunk(b"audio")).expect("bytes");
        wire
    });
    wait_until("both are under way", || server.list("state=receiving").len() == 2);

    let tus = server.ask("POST", "/v1/uploads").header("Tus-Resumable", "1.0.0").header("Upload-Length", "5");
    for ask in [server.put("sized", b"audio"), server.put("chunked", b"").chunked(b"audio", 5), tus.body(b"")] {
        ask.send().problem(507, "spool-full");
    }
    assert_eq!(server.see("/readyz").status, 503);
    running.iter_mut().for_each(|wire| wire.send("0\r\n\r\n").expect("an end"));
    for wire in running {
        wire.answer().expect("an answer").id(201);
    }
    server.put("sized", b"audio").send().id(201);
    assert_eq!(server.see("/readyz").status, 200);
}

#[test]
fn a_spool_without_room_refuses_before_the_body_and_keeps_what_came_in_chunks() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--spool-bytes-max", "200000"], None);
    let bytes = noise(1, 900_000);

    let declared = server.put("declared", &bytes).send();
    let chunked = server.ask("PUT", "/v1/recordings/chunked").chunked(&bytes, 50_000).send();

    declared.problem(507, "spool-full");
    assert!(declared.header("retry-after").parse::<u32>().is_ok(), "{declared}");
    let kept = chunked.problem(507, "spool-full")["offset"].as_u64().expect("an offset") as usize;
    let listed = server.list("");
    assert_eq!((listed.len(), &listed[0]["complete"]), (1, &false.into()));
    assert!(server.play(listed[0]["id"].as_str().expect("an id")) == bytes[..kept]);
    server.put("small", &bytes[..100_000]).send().id(201);
}

#[test]
fn a_body_that_stalls_is_ended_and_kept_as_far_as_it_came() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-idle", "1s"], None);
    let bytes = noise(1, 90_000);
    let mut sized = server.connect();
    let mut chunked = server.connect();
    let mut silent = server.connect();

    sized.send(server.put("sized", &bytes).head()).expect("a head");
    sized.send(&bytes[..70_000]).expect("bytes");
    chunked.send(server.ask("PUT", "/v1/recordings/chunked").chunked(b"", 1).head()).expect("a head");
    chunked.send(as_chunk(&bytes[..70_000])).expect("a chunk");
    silent.send(server.put("silent", &bytes).head()).expect("a head");

    for wire in [sized, chunked] {
        assert_eq!(wire.answer().expect("an answer").problem(408, "too-slow")["offset"], 70_000);
    }
    silent.answer().expect("an answer").problem(408, "too-slow");
    let listed = server.list("");
    assert_eq!(listed.len(), 2, "of the body that never came nothing is kept: {listed:?}");
    for recording in listed {
        assert_eq!(recording["complete"], false);
        assert!(server.play(recording["id"].as_str().expect("an id")) == bytes[..70_000]);
    }
}

#[test]
fn a_file_that_trickles_in_is_ended_and_kept_and_a_call_may_be_as_slow_as_it_is() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-rate-min", "1KiB", "--upload-rate-window", "1s"], None);
    let bytes = noise(1, 60_000);
    let (mut slow, mut piece) = (server.connect(), server.connect());
    let (mut steady, mut live) = (server.connect(), server.connect());
    let begun = server.ask("POST", "/v1/uploads").header("Tus-Resumable", "1.0.0").header("Upload-Length", "60000");
    let at = begun.body(b"").send().header("location").to_owned();
    let patch = server.ask("PATCH", &at).header("Tus-Resumable", "1.0.0").header("Upload-Offset", "0");
    let patch = patch.header("Content-Type", "application/offset+octet-stream").body(&bytes);

    slow.send(server.put("slow", &bytes).head()).expect("a head");
    piece.send(patch.head()).expect("a head");
    steady.send(server.put("steady", &bytes).head()).expect("a head");
    live.send(server.ask("PUT", "/v1/recordings/live").chunked(b"", 1).head()).expect("a head");
    // 100 bytes a second, but for the one that brings 6,000.
    let mut sent = 0;
    while sent < 300 {
        for wire in [&mut slow, &mut piece] {
            if !wire.is_answered() {
                wire.send(&bytes[sent..sent + 10]).expect("bytes");
            }
        }
        steady.send(&bytes[60 * sent..60 * sent + 600]).expect("bytes");
        live.send(as_chunk(&bytes[sent..sent + 10])).expect("bytes");
        sent += 10;
        sleep(Duration::from_millis(100));
    }
    steady.send(&bytes[60 * sent..]).expect("the rest");
    live.send("0\r\n\r\n").expect("the end");

    // 409 is what makes tus clients ask for the offset and go on.
    let kept = [(slow, 408, "too-slow"), (piece, 409, "conflict")].map(|(wire, status, name)| {
        let problem = wire.answer().expect("an answer").problem(status, name);
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("upload.rate_min")), "{problem}");
        let kept = problem["offset"].as_u64().expect("an offset");
        assert!((50..=250).contains(&kept), "{problem}");
        kept
    });
    let partial = server.list("").into_iter().find(|one| one["name"] == "slow").expect("it is kept");
    assert_eq!((&partial["complete"], &partial["bytes"]), (&false.into(), &kept[0].into()));
    assert!(server.play(&crate::support::id_of(&partial)) == bytes[..kept[0] as usize]);
    let progress = server.ask("HEAD", &at).header("Tus-Resumable", "1.0.0").send();
    assert_eq!(progress.header("upload-offset"), kept[1].to_string());
    assert!(server.play(&steady.answer().expect("an answer").id(201)) == bytes);
    assert!(server.play(&live.answer().expect("an answer").id(201)) == bytes[..300]);
}

#[test]
fn a_file_may_trickle_in_where_the_rate_is_switched_off() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-rate-min", "0", "--upload-rate-window", "200ms"], None);
    let mut wire = server.connect();
    wire.send(server.put("slow", b"audio").head()).expect("a head");

    for byte in b"audio" {
        sleep(Duration::from_millis(250));
        wire.send([*byte]).expect("a byte");
    }

    wire.answer().expect("an answer").id(201);
}

#[test]
fn a_body_that_pauses_within_the_limit_is_taken_whole() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-idle", "2s"], None);
    let bytes = noise(1, 40_000);
    let mut wire = server.connect();
    wire.send(server.put("slow", &bytes).head()).expect("a head");

    for piece in bytes.chunks(10_000) {
        sleep(Duration::from_millis(700));
        wire.send(piece).expect("a piece");
    }

    let id = wire.answer().expect("an answer").id(201);
    assert_eq!(server.play(&id), bytes);
}

#[test]
fn every_problem_has_a_page_and_an_unknown_one_has_none() {
    let vault = Vault::new();
    let server = vault.serve();
    let list = String::from_utf8(server.see("/problems").body).expect("a page");
    let names: Vec<_> = list.split("href=\"/problems/").skip(1).filter_map(|rest| rest.split('"').next()).collect();

    assert!(names.len() >= 20, "{list}");
    for name in names {
        let page = server.ask("GET", &format!("/problems/{name}")).anonymous().send();
        assert_eq!(page.status, 200, "{name}");
        assert!(page.header("content-type").starts_with("text/html"), "{page}");
        assert!(String::from_utf8_lossy(&page.body).contains("<p>"), "{page}");
    }
    server.see("/problems/none").problem(404, "not-found");
}

#[test]
fn a_wrong_address_or_method_is_a_problem_too() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);

    for target in ["/nowhere", "/v1", "/v1/recordings/", "/v1/recording", "/v1/recordings/none"] {
        server.see(target).problem(404, "not-found");
    }
    for (method, target) in [
        ("PUT", "/v1/recordings"),
        ("POST", &crate::support::wire::audio(&id)),
        ("POST", "/healthz"),
        ("BREW", "/v1/recordings"),
    ] {
        let refused = server.ask(method, target).body(b"audio").send();
        refused.problem(405, "method-not-allowed");
        assert!(!refused.header("allow").is_empty(), "{refused}");
    }
}

#[test]
fn a_client_that_waits_for_leave_is_refused_without_a_byte_of_audio() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "silent", "--name", "Silent", "--recording", "off"]);
    let silent = vault.make_token("silent", "ingest");
    let reader = vault.make_token("acme", "read");
    let limits = ["--upload-bytes-max", "1GiB", "--spool-bytes-max", "100MiB"];
    let server = vault.serve_with(&limits, None);
    server.put("partial", b"audio").header("Content-Range", "bytes 0-4/*").send().id(201);
    let ask = |name: &str| server.ask("PUT", &format!("/v1/recordings/{name}")).header("Expect", "100-continue");
    let sized = |len: &str| ask("a").header("Content-Length", len);
    let refused: [(Ask, u16); 10] = [
        (sized("50000000").token("cv_wrong"), 401),
        (sized("50000000").anonymous(), 401),
        (sized("50000000").token(&reader), 403),
        (sized("50000000").token(&silent), 403),
        (sized("50000000").header("Callvault-Class", "none"), 422),
        (sized("2000000000"), 413),
        (sized("200000000"), 507),
        (sized("0"), 400),
        (ask("%00").header("Content-Length", "5"), 400),
        (ask("partial").header("Content-Length", "5").header("Content-Range", "bytes 9-13/14"), 409),
    ];

    for (ask, status) in refused {
        let mut wire = server.connect();
        wire.send(ask.head()).expect("a head");
        let answer = wire.answer().expect("an answer");
        assert_eq!(answer.status, status, "{answer}");
    }

    let mut allowed = server.connect();
    allowed.send(ask("allowed").header("Content-Length", "5").head()).expect("a head");
    assert_eq!(allowed.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n");
    allowed.send(b"audio").expect("bytes");
    allowed.answer().expect("an answer").id(201);
}

const TRIES: usize = 30;

#[test]
fn every_refusal_reaches_curl_while_it_is_still_sending() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-bytes-max", "4MiB"], None);

    for (case, (ask, status)) in early_refusals(&vault, &server).into_iter().enumerate() {
        for turn in 0..TRIES {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Expect:"]);
            curl.arg("-T").arg(body_file(&vault, turn)).args(ask.for_curl());
            if turn % 2 == 1 {
                curl.args(["-H", "Transfer-Encoding: chunked"]);
            }
            let output = curl.output().expect("curl, see README.md");
            let (code, trouble) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!(code, status.to_string(), "case {case}, turn {turn}: {trouble}");
        }
    }
}

#[test]
fn every_refusal_reaches_a_client_that_sends_all_before_it_listens() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-bytes-max", "4MiB"], None);

    for (case, (ask, status)) in early_refusals(&vault, &server).into_iter().enumerate() {
        for turn in 0..TRIES {
            let bytes = vec![0; body_len(turn)];
            let ask = if turn % 2 == 0 { ask.clone().body(&bytes) } else { ask.clone().chunked(&bytes, 1 << 20) };
            let answer = ask.try_send().unwrap_or_else(|error| panic!("case {case}, turn {turn}: {error}"));
            assert_eq!(answer.status, status, "case {case}, turn {turn}: {answer}");
        }
    }
}

/// A wrong token, a wrong tenant, an upload that is too large, an address behind which nothing stands, one that takes no
/// body.
fn early_refusals(vault: &Vault, server: &Server) -> [(Ask, u16); 5] {
    use base64::Engine;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("other:{}", vault.token));
    let ask = server.ask("PUT", "/v1/recordings/early");
    [
        (ask.clone().token("cv_wrong"), 401),
        (ask.clone().anonymous().header("Authorization", &format!("Basic {basic}")), 401),
        (ask, 413),
        (server.ask("POST", "/v1/calls"), 501),
        (server.ask("POST", "/healthz"), 405),
    ]
}

#[test]
fn a_refusal_reaches_a_client_that_did_not_wait_for_leave() {
    let vault = Vault::new();
    let server = vault.serve();
    let ask = server.put("a", &vec![0; 5_000_000]).token("cv_wrong").header("Expect", "100-continue");

    for turn in 0..TRIES {
        let answer = ask.try_send().unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        assert_eq!(answer.status, 401, "turn {turn}: {answer}");
    }
}

/// 5, 20 or 50 MB, most of them the smaller ones.
fn body_len(turn: usize) -> usize {
    [5_000_000, 20_000_000, 5_000_000, 5_000_000, 50_000_000][turn % 5]
}

fn body_file(vault: &Vault, turn: usize) -> std::path::PathBuf {
    let path = vault.dir.path().join(format!("body-{}", body_len(turn)));
    let file = std::fs::File::options().create(true).truncate(false).write(true).open(&path).expect("a file");
    file.set_len(body_len(turn) as u64).expect("its length");
    path
}
