//! Uploads, playback and the end of a server, over TLS in both versions of HTTP; and what HTTP/2 allows one peer.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::secured::Secured;
use crate::support::wire::{as_chunk, text};
use crate::support::{id_of, noise, wait_until};

const VERSIONS: [(&str, &str); 2] = [("--http1.1", "1.1"), ("--http2", "2")];

// Frames of HTTP/2 (RFC 9113 section 6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[test]
fn what_goes_in_over_tls_plays_back_whole_and_in_parts_in_both_versions() {
    let secured = Secured::start(&[]);
    let bytes = noise(1, 300_000);

    for (flag, version) in VERSIONS {
        let id = secured.put(&format!("in-{version}"), &bytes, &[flag]);

        let whole = secured.play(&id, &[flag]);
        assert_eq!((&*whole.version, whole.status), (version, 200), "{whole:?}");
        assert!(whole.body == bytes);
        let part = secured.play(&id, &[flag, "-r", "70000-199999"]);
        assert_eq!((part.status, part.header("content-range")), (206, "bytes 70000-199999/300000"));
        assert!(part.body == bytes[70_000..200_000]);
        let head = secured.play(&id, &[flag, "-I"]);
        assert_eq!((head.status, head.header("content-length")), (200, "300000"), "{head:?}");
    }
}

#[test]
fn a_body_whose_length_is_not_told_is_taken_in_both_versions_and_an_empty_one_in_neither() {
    let secured = Secured::start(&[]);
    let bytes = noise(2, 50_000);

    for (flag, version) in VERSIONS {
        let mut curl = secured.curl_from_pipe(&format!("/v1/recordings/pipe-{version}"), &[flag]);
        curl.stdin.take().expect("a pipe").write_all(&bytes).expect("curl takes it");
        let output = curl.wait_with_output().expect("curl ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "201");
        let empty = secured.curl("/v1/recordings/empty", &[flag, "-X", "PUT", "--data-binary", ""]);
        assert_eq!(empty.status, 400, "{empty:?}");
        assert_eq!(empty.json()["type"], "/problems/empty-body");
    }
    for recording in secured.list("") {
        assert!(secured.play(&id_of(&recording), &[]).body == bytes);
    }
}

#[test]
fn a_refusal_that_comes_before_the_body_is_read_in_both_versions() {
    let secured = Secured::start(&[]);
    let file = secured.vault.beside("long");
    std::fs::write(&file, noise(6, 3_000_000)).expect("written");
    let file = file.to_string_lossy();

    for round in 0..20 {
        for (flag, version) in VERSIONS {
            let body = if round % 2 == 0 { ["-T", &*file] } else { ["-d", "x"] };
            let args = [&[flag, "-X", "PUT", "-H", "Callvault-Class: none", "-H", "Expect:"][..], &body].concat();
            let refused = secured.curl("/v1/recordings/no", &args);
            assert_eq!((&*refused.version, refused.status), (version, 422), "round {round}: {refused:?}");
        }
    }
}

#[test]
fn a_tus_upload_goes_on_over_tls_where_it_was_left() {
    let secured = Secured::start(&[]);
    let bytes = noise(3, 120_000);
    let (first, second) = (secured.vault.beside("first"), secured.vault.beside("second"));
    std::fs::write(&first, &bytes[..70_000]).expect("written");
    std::fs::write(&second, &bytes[70_000..]).expect("written");
    let tus = ["-H", "Tus-Resumable: 1.0.0", "-H", "Content-Type: application/offset+octet-stream"];

    let begun = secured.curl("/v1/uploads", &[&["-X", "POST", "-H", "Upload-Length: 120000"][..], &tus].concat());
    assert_eq!((&*begun.version, begun.status), ("2", 201), "{begun:?}");
    let place = begun.header("location").to_owned();
    for (flag, offset, file) in [("--http2", "0", &first), ("--http1.1", "70000", &second)] {
        let (offset, file) = (format!("Upload-Offset: {offset}"), file.to_string_lossy());
        let args = [&[flag, "-X", "PATCH", "-H", &*offset, "-T", &*file][..], &tus].concat();
        assert_eq!(secured.curl(&place, &args).status, 204);
    }

    assert!(secured.play(place.rsplit('/').next().expect("an id"), &[]).body == bytes);
}

#[test]
fn a_call_over_tls_that_is_cut_is_kept_as_far_as_it_came() {
    let secured = Secured::start(&[]);
    let bytes = noise(4, 40_000);
    let mut call = secured.connect(&["http/1.1"]);
    call.write_all(secured.server.put("one", b"").chunked(b"", 1).head().as_bytes()).expect("a head");
    call.write_all(&as_chunk(&bytes)).expect("bytes");
    let mut curl = secured.curl_from_pipe("/v1/recordings/two", &["--http2"]);
    let mut pipe = curl.stdin.take().expect("a pipe");
    pipe.write_all(&bytes).expect("curl takes it");
    wait_until("both are under way", || secured.list("state=receiving").len() == 2);
    std::thread::sleep(Duration::from_millis(200));

    drop(call);
    curl.kill().expect("it runs");
    curl.wait().expect("it is dead");

    wait_until("both are kept", || secured.list("state=stored").len() == 2);
    for recording in secured.list("") {
        assert_eq!((&recording["complete"], &recording["bytes"]), (&false.into(), &40_000.into()), "{recording}");
        assert!(secured.play(&id_of(&recording), &[]).body == bytes);
    }
}

/// A call over HTTP/1.1 and one over HTTP/2, both on their way.
fn calls(secured: &Secured, bytes: &[u8]) -> (impl Read + Write + use<>, std::process::Child) {
    let mut first = secured.connect(&["http/1.1"]);
    first.write_all(secured.server.put("one", b"").chunked(b"", 1).head().as_bytes()).expect("a head");
    first.write_all(&as_chunk(bytes)).expect("bytes");
    let mut second = secured.curl_from_pipe("/v1/recordings/two", &["--http2"]);
    second.stdin.as_mut().expect("a pipe").write_all(bytes).expect("curl takes it");
    wait_until("both are under way", || secured.list("state=receiving").len() == 2);
    std::thread::sleep(Duration::from_millis(200));
    (first, second)
}

#[test]
fn a_drain_lets_calls_over_tls_end_and_refuses_new_ones_in_both_versions() {
    let mut secured = Secured::start(&["--drain-timeout", "60s"]);
    let (mut first, mut second) = calls(&secured, b"so far ");
    let idle = secured.connect(&["h2"]);

    secured.server.signal(Signal::TERM);

    wait_until("it drains", || secured.curl("/readyz", &[]).status == 503);
    for (flag, version) in VERSIONS {
        let late = secured.curl("/v1/recordings/late", &[flag, "-d", "x", "-X", "PUT"]);
        assert_eq!((&*late.version, late.status), (version, 503), "{late:?}");
        assert_eq!(late.json()["type"], "/problems/draining");
        assert_eq!(secured.curl("/healthz", &[flag]).status, 200);
    }
    first.write_all(&[as_chunk(b"and the rest"), as_chunk(b"")].concat()).expect("the call goes on");
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).expect("an answer, and a goodbye");
    assert!(text(&answer).starts_with("HTTP/1.1 201"), "{}", text(&answer));
    second.stdin.take().expect("a pipe").write_all(b"and the rest").expect("curl takes it");
    let output = second.wait_with_output().expect("curl ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "201");
    let ended = Instant::now();
    secured.server.wait();
    assert!(ended.elapsed() < Duration::from_secs(4), "it took {:?}", ended.elapsed());
    drop(idle);
}

#[test]
fn calls_over_tls_that_do_not_end_in_the_drain_are_kept_as_far_as_they_came() {
    let mut secured = Secured::start(&["--drain-timeout", "1s"]);
    let bytes = noise(5, 30_000);
    let (first, mut second) = calls(&secured, &bytes);
    let began = Instant::now();

    secured.server.stop();

    assert!(began.elapsed() < Duration::from_secs(8), "it took {:?}", began.elapsed());
    drop(first);
    second.kill().ok();
    second.wait().expect("it is dead");
    secured.server = secured.serve(&[]);
    let listed = secured.list("");
    assert_eq!(listed.len(), 2);
    for recording in listed {
        assert_eq!((&recording["complete"], &recording["bytes"]), (&false.into(), &30_000.into()), "{recording}");
        assert!(secured.play(&id_of(&recording), &[]).body == bytes);
    }
}

#[test]
fn a_head_that_is_too_large_is_refused_in_both_versions() {
    let secured = Secured::start(&[]);
    let (long, many) = (format!("X-Long: {}", "x".repeat(40_000)), secured.vault.beside("many"));
    let fields: String = (0..110).map(|n| format!("X-{n}: x\n")).collect();
    std::fs::write(&many, fields).expect("written");
    let many = format!("@{}", many.display());

    for (flag, _) in VERSIONS {
        for wrong in [&long, &many] {
            assert_eq!(secured.curl("/healthz", &[flag, "-H", wrong]).status, 431, "{flag}");
        }
        assert_eq!(secured.curl("/healthz", &[flag, "-H", &long[..20_000]]).status, 200, "{flag}");
    }
}

/// One frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() as u32).to_be_bytes();
    [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Reads frames up to one of this kind, and gives its payload; `None`: the connection ended before.
fn until(stream: &mut impl Read, kind: u8) -> Option<Vec<u8>> {
    either(stream, [kind, kind]).map(|(_, payload)| payload)
}

/// The same for two kinds: which came first, and its payload.
fn either(stream: &mut impl Read, kinds: [u8; 2]) -> Option<(u8, Vec<u8>)> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        stream.read_exact(&mut payload).ok()?;
        if kinds.contains(&head[3]) {
            return Some((head[3], payload));
        }
    }
}

#[test]
fn one_peer_may_ask_for_a_hundred_things_at_once_over_http2_with_heads_of_32_kib() {
    let secured = Secured::start(&[]);
    let mut stream = secured.connect(&["h2"]);
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).expect("a preface");

    let settings = until(&mut stream, SETTINGS).expect("the server's settings");

    let told = |id: u16| {
        let mut found = settings.chunks(6).filter(|entry| entry[..2] == id.to_be_bytes());
        found.next().map(|entry| u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]))
    };
    let (streams_max, window, head_len_max) = (told(3), told(4), told(6));
    assert_eq!((streams_max, window, head_len_max), (Some(100), Some(256 << 10), Some(32 << 10)));
}

#[test]
fn a_flood_of_resets_ends_its_connection_and_nobody_elses() {
    let secured = Secured::start(&[]);
    let mut hostile = secured.connect(&["h2"]);
    let mut quiet = secured.connect(&["h2"]);
    for stream in [&mut hostile, &mut quiet] {
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).expect("a preface");
    }

    // GET https://x/readyz with fields of the static table, reset at once.
    let head = [&[0x82, 0x87, 0x41, 1, b'x', 0x44, 7][..], b"/readyz"].concat();
    for request in 0..20_000_u32 {
        let stream = 2 * request + 1;
        let both = [frame(HEADERS, 5, stream, &head), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat();
        if hostile.write_all(&both).is_err() {
            break;
        }
    }

    // Told, or cut off in the middle of being told.
    if let Some(goodbye) = until(&mut hostile, GOAWAY) {
        assert_eq!(goodbye[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    }
    quiet.write_all(&frame(HEADERS, 5, 1, &head)).expect("a request");
    assert!(until(&mut quiet, HEADERS).is_some(), "others are answered");
}

#[test]
fn a_peer_that_gives_up_a_thousand_requests_is_asked_to_connect_anew() {
    let secured = Secured::start(&[]);
    let mut stream = secured.connect(&["h2"]);
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).expect("a preface");
    let token = format!("Bearer {}", secured.vault.token);
    // POST https://x/v1/recordings, and no body: it waits for one.
    let mut head = [&[0x83, 0x87, 0x41, 1, b'x', 0x44, 14][..], b"/v1/recordings"].concat();
    head.extend([&[0x0f, 8, token.len() as u8][..], token.as_bytes()].concat());

    let mut given_up = 0;
    let goodbye = loop {
        let streams = (given_up..given_up + 20).map(|request: u32| 2 * request + 1);
        let heads: Vec<u8> = streams.clone().flat_map(|stream| frame(HEADERS, 4, stream, &head)).collect();
        let resets: Vec<u8> = streams.flat_map(|stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).collect();
        // Resets of what a slow server has not begun count as a flood; so it is given the time to begin.
        stream.write_all(&[heads, frame(PING, 0, 0, &[0; 8])].concat()).expect("nothing is cut off before it is told");
        if let Some((GOAWAY, goodbye)) = either(&mut stream, [PING, GOAWAY]) {
            break goodbye;
        }
        let sent = stream.write_all(&[resets, frame(PING, 0, 0, &[0; 8])].concat());
        sent.expect("nothing is cut off before it is told");
        given_up += 20;
        match either(&mut stream, [PING, GOAWAY]) {
            Some((GOAWAY, goodbye)) => break goodbye,
            heard => assert!(heard.is_some() && given_up < 2_000, "{given_up} were given up"),
        }
    };

    // NO_ERROR; or ENHANCE_YOUR_CALM, where the server was so slow that the resets came before it had begun.
    let is_slow = goodbye[4..8] == 11_u32.to_be_bytes();
    assert!(is_slow || goodbye[4..8] == 0_u32.to_be_bytes(), "{goodbye:?}");
    assert!(is_slow || (1_000..1_500).contains(&given_up), "{given_up} were given up");
}

#[test]
fn an_http2_connection_without_requests_is_closed_in_time() {
    let secured = Secured::start(&["--upload-header-timeout", "1s"]);
    let mut stream = secured.connect(&["h2"]);
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).expect("a preface");
    let began = Instant::now();

    let goodbye = until(&mut stream, GOAWAY).expect("it is told");

    assert_eq!(goodbye[4..8], 0_u32.to_be_bytes(), "NO_ERROR");
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
}
