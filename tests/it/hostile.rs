//! Hostile and broken peers: whatever one of them sends, or does not send, the others are served and memory stays bounded.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::support::wire::{Ask, Wire, as_chunk, audio};
use crate::support::{Server, Vault, id_of, noise, wait_until};

#[test]
fn garbage_for_a_request_is_refused_and_the_next_one_is_served() {
    let vault = Vault::new();
    let server = vault.serve();
    let long = |len: usize| "x".repeat(len);
    let garbage: Vec<Vec<u8>> = vec![
        b"\r\n\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello over TLS\r\n\r\n".to_vec(),
        noise(1, 100_000),
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n".to_vec(),
        b"GET /\x00 HTTP/1.1\r\n\r\n".to_vec(),
        format!("GET /{} HTTP/1.1\r\n\r\n", long(100_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", long(1_000_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(10_000)).into_bytes(),
        format!("PUT /v1/recordings/x HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Length: -1\r\n\r\n", vault.token)
            .into(),
        format!(
            "PUT /v1/recordings/x HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Length: 5, 6\r\n\r\naudio!",
            vault.token
        )
        .into(),
        format!(
            "PUT /v1/recordings/x HTTP/1.1\r\nAuthorization: Bearer {}\r\nTransfer-Encoding: gzip\r\n\r\naudio",
            vault.token
        )
        .into(),
    ];

    for bytes in garbage {
        let mut wire = server.connect();
        let _ = wire.send(&bytes);
        wire.end();
        let answer = wire.rest().unwrap_or_default();
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned();
        let status = String::from_utf8_lossy(&answer[..answer.len().min(12)]).into_owned();
        assert!(status.is_empty() || status.starts_with("HTTP/1.1 4"), "{start:?} was answered {status:?}");
        assert_eq!(server.see("/healthz").status, 200, "after {start:?}");
    }
    assert!(server.list("").is_empty());
}

#[test]
fn a_head_that_comes_a_byte_at_a_time_is_cut_off_in_time() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-header-timeout", "1s"], None);
    let mut wire = server.connect();
    wire.0.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
    let started = Instant::now();

    let head = format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(1_000));
    let mut trickle = head.bytes();
    let is_cut = loop {
        let sent = wire.send([trickle.next().expect("the server cuts it before its end")]);
        match wire.0.read(&mut [0; 64]) {
            Ok(_) => break true,
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) && sent.is_ok() => {}
            Err(_) => break true,
        }
        if started.elapsed() > Duration::from_secs(20) {
            break false;
        }
    };

    assert!(is_cut, "the head was waited for");
    assert!(started.elapsed() >= Duration::from_millis(900), "it was cut after {:?}", started.elapsed());
}

/// Heads that never end, each on a connection of its own.
const SLOW_HEADS: usize = 500;

#[test]
fn five_hundred_heads_that_come_a_byte_at_a_time_delay_nobody_and_take_no_memory() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-header-timeout", "3s"], None);
    let bytes = noise(1, 200_000);
    server.put("warm", &bytes).send().id(201);
    let before = resident_peak_kib(&server);
    let mut heads: Vec<Wire> = (0..SLOW_HEADS).map(|_| server.connect()).collect();
    for wire in &mut heads {
        wire.send(format!("PUT /v1/recordings/x HTTP/1.1\r\nX: {}", "x".repeat(4_000))).expect("a piece of a head");
    }

    let (mut turn, mut cut) = (0, 0);
    let began = Instant::now();
    while cut < SLOW_HEADS {
        cut =
            heads.iter_mut().map(|wire| wire.send("x").is_err() || wire.is_answered()).filter(|is_cut| *is_cut).count();
        let asked = Instant::now();
        let id = server.put(&format!("during-{turn}"), &bytes).send().id(201);
        assert!(server.play(&id) == bytes);
        assert!(asked.elapsed() < Duration::from_secs(2), "others were served after {:?}", asked.elapsed());
        assert!(began.elapsed() < Duration::from_secs(15), "{cut} heads were cut off");
        turn += 1;
    }

    assert!(began.elapsed() > Duration::from_secs(2), "they were cut off after {:?}", began.elapsed());
    let grown = resident_peak_kib(&server) - before;
    assert!(grown < 24 * 1_024, "{SLOW_HEADS} heads took {grown} KiB");
}

#[test]
fn a_head_above_the_limits_is_refused_and_one_below_is_served() {
    let vault = Vault::new();
    let server = vault.serve();
    let status = |head: String| {
        let mut wire = server.connect();
        // It may be refused before its end.
        let _ = wire.send(head);
        wire.answer().expect("an answer").status
    };
    let with = |fields: &str| format!("GET /healthz HTTP/1.1\r\nConnection: close\r\n{fields}\r\n");
    let of_len = |len: usize| with(&format!("X: {}\r\n", "x".repeat(len)));

    assert_eq!(status(with(&"X: y\r\n".repeat(99))), 200);
    assert_eq!(status(with(&"X: y\r\n".repeat(100))), 431);
    assert_eq!(status(of_len(31 << 10)), 200);
    assert_eq!(status(of_len(33 << 10)), 431);
    assert_eq!(status(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(33 << 10))), 431);
}

#[test]
fn a_body_in_chunks_of_one_byte_is_taken_whole_within_bounded_memory() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 300_000);
    server.put("warm", &bytes).send().id(201);
    let before = resident_peak_kib(&server);

    let id = server.ask("PUT", "/v1/recordings/a").chunked(&bytes, 1).send().id(201);

    assert!(server.play(&id) == bytes);
    let grown = resident_peak_kib(&server) - before;
    assert!(grown < 8 * 1_024, "memory grew by {grown} KiB");
}

/// Every request that brings audio, for a body of five bytes; where it is found afterwards is none of its concern.
fn uploads(server: &Server, turn: &str) -> Vec<(&'static str, Ask)> {
    let tus = |method: &str, target: &str| {
        let ask = server.ask(method, target).header("Tus-Resumable", "1.0.0");
        ask.header("Content-Type", "application/offset+octet-stream")
    };
    let ietf = |method: &str, target: &str| {
        let ask = server.ask(method, target).header("Upload-Complete", "?1");
        ask.header("Content-Type", "application/partial-upload")
    };
    let begin = || {
        let begun = tus("POST", "/v1/uploads").header("Upload-Defer-Length", "1").body(b"").send();
        begun.header("location").to_owned()
    };
    vec![
        ("PUT", server.ask("PUT", &format!("/v1/recordings/{turn}"))),
        ("POST", server.ask("POST", "/v1/recordings")),
        ("tus POST", tus("POST", "/v1/uploads").header("Upload-Length", "5")),
        ("tus PATCH", tus("PATCH", &begin()).header("Upload-Offset", "0").header("Upload-Length", "5")),
        ("IETF POST", ietf("POST", "/v1/uploads")),
        ("IETF PATCH", ietf("PATCH", &begin()).header("Upload-Offset", "0")),
    ]
}

#[test]
fn more_bytes_than_a_length_tells_are_no_part_of_the_recording_in_any_method() {
    let vault = Vault::new();
    let server = vault.serve();

    for (name, ask) in uploads(&server, "a") {
        let head = ask.body(b"audio").head().replace("Connection: close\r\n", "");
        let mut wire = server.connect();
        wire.send([head.as_bytes(), b"audio", b" and more\r\n\r\n", &noise(1, 50_000)].concat()).expect("all of it");
        let answers = String::from_utf8_lossy(&wire.rest().expect("answers")).into_owned();
        assert!(answers.starts_with("HTTP/1.1 20"), "{name}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 400").count(), 1, "{name}, what follows is no request: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{name}: {answers}");
    }
    let listed = server.list("");
    assert_eq!(listed.len(), 6, "{listed:?}");
    for recording in listed {
        assert_eq!(recording["complete"], true);
        assert_eq!(server.play(&id_of(&recording)), b"audio");
    }
}

#[test]
fn fewer_bytes_than_a_length_tells_are_kept_as_what_they_are_in_every_method() {
    let vault = Vault::new();
    let server = vault.serve();

    for (name, ask) in uploads(&server, "a") {
        let mut wire = server.connect();
        wire.send(ask.body(b"audio").head() + "aud").expect("all that comes");
        wire.end();
        let answer = wire.answer().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(matches!(answer.status, 400 | 409), "{name}: {answer}");
        assert_eq!(answer.json()["offset"], 3, "{name}: {answer}");
    }
    let states: Vec<_> = server.list("").iter().map(|one| (one["complete"].clone(), one["bytes"].clone())).collect();
    let kept = states.iter().filter(|state| **state == (false.into(), 3.into())).count();
    assert_eq!((states.len(), kept), (6, 2), "two are partial, four wait for their rest: {states:?}");
}

#[test]
fn a_body_with_a_length_and_chunks_is_read_as_chunks_and_nothing_is_read_behind_it() {
    let vault = Vault::new();
    let server = vault.serve();
    let smuggled = server.put("smuggled", b"audio").head() + "audio";

    for (index, len) in [0, 3, 5, 1_000].iter().enumerate() {
        let mut wire = server.connect();
        let head = server.ask("PUT", &format!("/v1/recordings/{index}")).header("Content-Length", &len.to_string());
        let head = head.chunked(b"", 1).head().replace("Connection: close\r\n", "");
        wire.send(head + "5\r\naudio\r\n0\r\n\r\n" + &smuggled).expect("all of it");
        let answers = String::from_utf8_lossy(&wire.rest().expect("an answer")).into_owned();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{len}: {answers}");
    }
    for recording in server.list("") {
        assert_eq!(server.play(&id_of(&recording)), b"audio");
        assert_ne!(recording["name"], "smuggled");
    }
}

#[test]
fn trailers_are_passed_over_and_those_without_end_are_cut_off() {
    let vault = Vault::new();
    let server = vault.serve();
    let begin = |name: &str| {
        let mut wire = server.connect();
        wire.send(server.put(name, b"").chunked(b"", 1).head() + "5\r\naudio\r\n0\r\n").expect("a body");
        wire
    };

    let mut few = begin("few");
    few.send("X-Hash: 1\r\nX-Sum: 2\r\n\r\n").expect("trailers");
    let id = few.answer().expect("an answer").id(201);
    assert_eq!(server.play(&id), b"audio");
    for (name, trailer) in [("many", "X: y\r\n".to_owned()), ("long", "x".repeat(4_096))] {
        let mut wire = begin(name);
        let mut sent = 0;
        while sent < 64 << 20 && !wire.is_answered() && wire.send(&trailer).is_ok() {
            sent += trailer.len();
        }
        assert!(sent < 8 << 20, "{sent} bytes of trailers were taken");
        assert_eq!(wire.answer().expect("an answer").problem(400, "bad-request")["offset"], 5);
    }
    assert_eq!(server.list("").iter().filter(|one| one["complete"] == false).count(), 2);
}

#[test]
fn garbage_behind_a_piece_does_not_harm_the_upload() {
    let vault = Vault::new();
    let server = vault.serve();
    let tus = |method: &str, target: &str| server.ask(method, target).header("Tus-Resumable", "1.0.0");

    for garbage in [noise(1, 100_000), as_chunk(b"audio"), vec![b'\n'; 100_000], b"PATCH ".repeat(10_000)] {
        let begun = tus("POST", "/v1/uploads").header("Upload-Length", "10").body(b"").send();
        let at = begun.header("location");
        let piece = |offset: &str| {
            let ask = tus("PATCH", at).header("Content-Type", "application/offset+octet-stream");
            ask.header("Upload-Offset", offset).body(b"audio")
        };
        let mut wire = server.connect();
        let head = piece("0").head().replace("Connection: close\r\n", "");
        wire.send([head.as_bytes(), b"audio", &garbage].concat()).expect("all of it");
        assert!(wire.until(b"\r\n\r\n").starts_with(b"HTTP/1.1 204"), "the piece is taken");

        assert_eq!(tus("HEAD", at).send().header("upload-offset"), "5");
        assert_eq!(piece("5").send().status, 204);
    }
    let listed = server.list("");
    assert_eq!(listed.len(), 4);
    for recording in listed {
        assert_eq!(recording["complete"], true);
        assert_eq!(server.play(&id_of(&recording)), b"audioaudio");
    }
}

#[test]
fn garbage_behind_an_upload_does_not_harm_it() {
    let vault = Vault::new();
    let server = vault.serve();
    let mut wire = server.connect();
    let head = server.put("a", b"audio").head().replace("Connection: close\r\n", "");

    wire.send([head.as_bytes(), b"audio", &noise(1, 50_000)].concat()).expect("all of it");

    let id = id_in(&wire.until(b"\r\n\r\n"), &server);
    assert_eq!(server.play(&id), b"audio");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let vault = Vault::new();
    let server = vault.serve();
    let keep = |head: String| head.replace("Connection: close\r\n", "");
    let first = keep(server.put("a", b"first").head()) + "first";
    let second = keep(server.put("b", b"second").head()) + "second";
    let last = server.ask("GET", "/healthz").head();
    let mut wire = server.connect();

    wire.send(first + &second + &last).expect("all of it");

    let all = String::from_utf8(wire.rest().expect("three answers")).expect("text");
    assert_eq!(all.matches("HTTP/1.1 201 Created").count(), 2, "{all}");
    assert!(all.ends_with("ok\n"), "{all}");
    assert_eq!(server.list("").len(), 2);
}

#[test]
fn chunk_extensions_without_end_are_cut_off() {
    let vault = Vault::new();
    let server = vault.serve();
    let mut wire = server.connect();
    wire.send(server.ask("PUT", "/v1/recordings/a").chunked(b"", 1).head()).expect("a head");

    let extension = format!("5;{}", "x".repeat(4_096));
    let mut sent = 0;
    while sent < 64 << 20 && wire.send(&extension).is_ok() {
        sent += extension.len();
        if wire.is_answered() {
            break;
        }
    }

    assert!(sent < 32 << 20, "{sent} bytes of extensions were taken");
    wire.answer().expect("an answer").problem(400, "empty-body");
    assert!(server.list("").is_empty());
}

#[test]
fn a_chunk_that_is_none_ends_the_upload_and_what_came_before_is_kept() {
    let vault = Vault::new();
    let server = vault.serve();

    for (index, wrong) in ["xyz\r\n", "ffffffffffffffffff\r\n", "5\r\naudioX", "-5\r\naudio\r\n"].iter().enumerate() {
        let mut wire = server.connect();
        let head = server.ask("PUT", &format!("/v1/recordings/{index}")).chunked(b"", 1).head();
        wire.send([head.as_bytes(), b"6\r\nbefore\r\n", wrong.as_bytes()].concat()).expect("all of it");
        let answer = wire.answer().expect("an answer");
        let kept = answer.problem(400, "bad-request")["offset"].as_u64().expect("an offset");
        assert!(kept == 6 || kept == 11, "{answer}");
    }
    assert!(server.list("").iter().all(|recording| recording["complete"] == false));
}

#[test]
fn two_hundred_silent_connections_keep_nobody_out() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--upload-header-timeout", "2s"], None);
    let silent: Vec<Wire> = (0..200).map(|_| server.connect()).collect();

    let bytes = noise(1, 200_000);
    let id = server.put("a", &bytes).send().id(201);

    assert!(server.play(&id) == bytes);
    for mut wire in silent {
        assert!(wire.rest().unwrap_or_default().len() < 1_000, "the connection is closed");
    }
    assert_eq!(server.see("/healthz").status, 200);
}

#[test]
fn listeners_that_do_not_read_or_run_away_keep_nobody_out() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 8 << 20);
    let id = server.put("a", &bytes).send().id(201);
    let before = resident_peak_kib(&server);

    let asleep: Vec<Wire> = (0..20)
        .map(|_| {
            let mut wire = server.connect();
            wire.send(server.ask("GET", &audio(&id)).head()).expect("a head");
            wire
        })
        .collect();
    for _ in 0..100 {
        let mut wire = server.connect();
        wire.send(server.ask("GET", &audio(&id)).header("Range", "bytes=100000-").head()).expect("a head");
        wire.0.read_exact(&mut [0; 100]).expect("some bytes");
    }

    assert!(server.play(&id) == bytes);
    let grown = resident_peak_kib(&server) - before;
    assert!(grown < 20 * 1_024 + 16 * 1_024, "twenty sleepers took {grown} KiB");
    drop(asleep);
}

/// As much as a day of stereo PCM, and far more than the memory that may be used.
const HUGE_LEN: u64 = 2 << 30;
const PIECE_LEN: usize = 1 << 20;

#[test]
fn a_huge_upload_plays_back_and_leaves_memory_bounded() {
    let vault = Vault::new();
    let server = vault.serve();
    let warm = noise(2, 4 << 20);
    let id = server.put("warm", &warm).send().id(201);
    assert!(server.play(&id) == warm);
    let before = resident_peak_kib(&server);

    let mut wire = server.connect();
    wire.send(server.ask("PUT", "/v1/recordings/huge").chunked(b"", 1).head()).expect("a head");
    let mut piece = noise(3, PIECE_LEN);
    for index in 0..HUGE_LEN / PIECE_LEN as u64 {
        stamp(&mut piece, index);
        write!(wire.0, "{PIECE_LEN:x}\r\n").expect("a chunk's head");
        wire.send(&piece).expect("a chunk");
        wire.send(b"\r\n").expect("a chunk's end");
    }
    wire.send(b"0\r\n\r\n").expect("the end");
    let answer = wire.answer().expect("an answer");
    assert_eq!(answer.json()["bytes"], HUGE_LEN);

    let mut listener = server.connect();
    listener.send(server.ask("GET", &audio(&answer.id(201))).head()).expect("a head");
    listener.until(b"\r\n\r\n");
    let mut played = vec![0; PIECE_LEN];
    for index in 0..HUGE_LEN / PIECE_LEN as u64 {
        stamp(&mut piece, index);
        listener.0.read_exact(&mut played).expect("the next piece");
        assert!(played == piece, "piece {index} came back changed");
    }
    assert_eq!(listener.rest().expect("an end"), b"");

    let grown = resident_peak_kib(&server) - before;
    assert!(grown < 16 * 1_024, "memory grew by {grown} KiB");
}

/// Makes every piece another one.
fn stamp(piece: &mut [u8], index: u64) {
    for place in piece.chunks_exact_mut(4_096) {
        place[..8].copy_from_slice(&index.to_be_bytes());
    }
}

/// The most memory that the server ever had (VmHWM).
fn resident_peak_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).expect("the server runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

fn id_in(head: &[u8], server: &Server) -> String {
    let head = String::from_utf8_lossy(head).to_lowercase();
    assert!(head.starts_with("http/1.1 201"), "{head}");
    wait_until("the upload is listed", || server.list("").len() == 1);
    let location = head.split("location: /v1/recordings/").nth(1).and_then(|rest| rest.split("\r\n").next());
    location.expect("a location").to_owned()
}
