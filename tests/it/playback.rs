//! Playback over the wire: the right bytes for every range, the right headers for every condition, and nothing once it is gone.

use serde_json::Value;

use crate::support::wire::{Answer, audio};
use crate::support::{Server, Vault, noise};

const CHUNK: u64 = 16_384;
const WINDOW: u64 = 262_144;

#[test]
fn every_range_gives_exactly_its_bytes() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 1_000_003);
    let id = server.put("a", &bytes).send().id(201);
    let len = bytes.len() as u64;
    let mut edges: Vec<u64> = [CHUNK, 2 * CHUNK, WINDOW, 2 * WINDOW, 3 * WINDOW, len]
        .into_iter()
        .flat_map(|edge| [edge - 2, edge - 1, edge, edge + 1])
        .chain([0, 1, 500_000])
        .filter(|edge| *edge < len)
        .collect();
    edges.sort_unstable();

    for (index, first) in edges.iter().enumerate() {
        let lasts = [*first, first + 1, first + CHUNK - 1, first + WINDOW, edges[edges.len() - 1 - index], len + 5];
        for last in lasts.into_iter().filter(|last| last >= first) {
            assert_part(&server, &id, &bytes, &format!("bytes={first}-{last}"), *first, last.min(len - 1));
        }
        assert_part(&server, &id, &bytes, &format!("bytes={first}-"), *first, len - 1);
        if *first > 0 {
            assert_part(&server, &id, &bytes, &format!("bytes=-{first}"), len - first, len - 1);
        }
    }
    assert_part(&server, &id, &bytes, "bytes=-99999999", 0, len - 1);
    assert!(server.play(&id) == bytes);
}

#[test]
fn a_recording_of_whole_chunks_plays_to_its_last_byte() {
    let vault = Vault::new();
    let server = vault.serve();

    for len in [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW] {
        let bytes = noise(len, len as usize);
        let id = server.put(&format!("len-{len}"), &bytes).send().id(201);

        assert!(server.play(&id) == bytes, "{len}");
        assert_part(&server, &id, &bytes, "bytes=0-", 0, len - 1);
        assert_part(&server, &id, &bytes, "bytes=-1", len - 1, len - 1);
        assert_part(&server, &id, &bytes, &format!("bytes={}-{}", len / 2, len + 9), len / 2, len - 1);
        let outside = server.ask("GET", &audio(&id)).header("Range", &format!("bytes={len}-")).send();
        outside.problem(416, "range-not-satisfiable");
    }
}

#[test]
fn an_answer_says_what_the_recording_is_and_how_long_it_lives() {
    let vault = Vault::new();
    let server = vault.serve();
    let ask = server.put("calls/2026/a%22b.wav", b"audio").header("Content-Type", "Audio/WAV; rate=8000");
    let recording = ask.send().json();
    let id = crate::support::id_of(&recording);

    let whole = server.see(&audio(&id));
    let head = server.ask("HEAD", &audio(&id)).send();
    let part = server.ask("GET", &audio(&id)).header("Range", "bytes=1-3").send();

    for answer in [&whole, &head, &part] {
        assert_eq!(answer.header("content-type"), "audio/wav");
        assert_eq!(answer.header("accept-ranges"), "bytes");
        assert_eq!(answer.header("cache-control"), "private, no-store");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("sunset"), http_date(&recording["classes"][0]["expires_at"]));
        assert_eq!(answer.header("etag"), whole.header("etag"));
        let disposition = answer.header("content-disposition");
        assert_eq!(disposition, "inline; filename=\"a_b.wav\"; filename*=UTF-8''a%22b.wav");
    }
    assert!(whole.header("etag").starts_with('"') && whole.header("etag").len() > 10, "{whole}");
    assert_eq!((whole.status, whole.header("content-length"), &whole.body[..]), (200, "5", &b"audio"[..]));
    assert_eq!((head.status, head.header("content-length"), &head.body[..]), (200, "5", &b""[..]));
    assert_eq!((part.status, part.header("content-length"), &part.body[..]), (206, "3", &b"udi"[..]));
    assert_eq!(part.header("content-range"), "bytes 1-3/5");
}

#[test]
fn a_hostile_name_or_media_type_does_not_reach_a_header() {
    let vault = Vault::new();
    let server = vault.serve();
    let names = ["x/..%5C..%5Cevil.exe", "%E2%80%AEgpj.exe", "a;b=c,d", "%22%3B%20filename%3Dx", "..", "x/%20"];

    for name in names {
        let id = server.put(name, b"audio").header("Content-Type", "text/html\"<script>").send().id(201);
        let answer = server.see(&audio(&id));

        assert_eq!(answer.header("content-type"), "application/octet-stream");
        let disposition = answer.header("content-disposition");
        let plain = disposition.split('"').nth(1).expect("a file name");
        assert_eq!(disposition.matches('"').count(), 2, "{disposition}");
        assert!(disposition.is_ascii() && !plain.contains(['/', '\\', ';', '%']), "{disposition}");
        assert!(answer.header("content-security-policy").contains("sandbox"), "{answer}");
    }
}

#[test]
fn a_condition_decides_what_is_sent() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"0123456789").send().id(201);
    let etag = server.see(&audio(&id)).header("etag").to_owned();
    let weak = format!("W/{etag}");
    let list = format!("\"x\", {etag}");
    let ask = |headers: &[(&str, &str)]| {
        let ask = headers.iter().fold(server.ask("GET", &audio(&id)), |ask, (name, value)| ask.header(name, value));
        ask.send()
    };
    let range = ("Range", "bytes=2-4");

    for (headers, body) in [
        (&[("If-Match", etag.as_str())][..], "0123456789"),
        (&[("If-Match", "*"), range], "234"),
        (&[("If-Match", list.as_str()), range], "234"),
        (&[("If-Range", etag.as_str()), range], "234"),
        (&[("If-Range", "\"other\""), range], "0123456789"),
        (&[("If-Range", weak.as_str()), range], "0123456789"),
        (&[("If-None-Match", "\"other\""), range], "234"),
        (&[("Range", "bytes=0-1,4-5")], "0123456789"),
        (&[("Range", "bytes=0-1, -1")], "0123456789"),
        (&[("Range", "seconds=0-1")], "0123456789"),
        (&[("Range", "bytes=4-2")], "0123456789"),
        (&[("Range", "bytes=two-4")], "0123456789"),
    ] {
        let answer = ask(headers);
        assert_eq!(String::from_utf8_lossy(&answer.body), body, "{headers:?}: {answer}");
        assert_eq!(answer.status, if body.len() == 3 { 206 } else { 200 }, "{headers:?}");
    }
    for tags in [etag.as_str(), weak.as_str(), list.as_str(), "*"] {
        let answer = ask(&[("If-None-Match", tags), range]);
        assert_eq!((answer.status, answer.body.len()), (304, 0), "{answer}");
        assert_eq!((answer.header("etag"), answer.header("cache-control")), (etag.as_str(), "private, no-store"));
        assert!(!answer.header("sunset").is_empty());
    }
    for tags in ["\"other\"", weak.as_str()] {
        ask(&[("If-Match", tags), range]).problem(412, "precondition-failed");
    }
    for outside in ["bytes=10-", "bytes=10-12", "bytes=-0"] {
        let answer = ask(&[("Range", outside)]);
        answer.problem(416, "range-not-satisfiable");
        assert_eq!(answer.header("content-range"), "bytes */10");
    }
}

#[test]
fn a_partial_recording_that_grew_has_another_etag() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"01234").header("Content-Range", "bytes 0-4/*").send().id(201);
    let etag = server.see(&audio(&id)).header("etag").to_owned();

    server.put("a", b"56789").header("Content-Range", "bytes 5-9/10").send().id(200);

    let grown = server.ask("GET", &audio(&id)).header("If-Range", &etag).header("Range", "bytes=5-").send();
    assert_eq!((grown.status, &grown.body[..]), (200, &b"0123456789"[..]));
}

#[test]
fn the_class_chooses_the_key_and_must_be_one_that_the_recording_has() {
    let vault = Vault::new();
    vault.ok(&["tenant", "set", "acme", "--customer-term", "90d"]);
    let trainer = vault.make_token("acme", "play:training");
    let server = vault.serve();
    let both = server.put("both", b"audio").header("Callvault-Class", "customer,training").send().json();
    let customer = server.put("customer", b"audio").send().id(201);
    let id = crate::support::id_of(&both);
    let asked = |id: &str, class: &str| server.ask("GET", &format!("{}?class={class}", audio(id)));

    assert_eq!(asked(&id, "customer").send().header("sunset"), http_date(&both["classes"][0]["expires_at"]));
    assert_eq!(asked(&id, "training").send().header("sunset"), http_date(&both["classes"][1]["expires_at"]));
    assert_eq!(asked(&id, "training").token(&trainer).send().body, b"audio");
    assert_eq!(server.ask("GET", &audio(&id)).token(&trainer).send().body, b"audio");
    asked(&id, "customer").token(&trainer).send().problem(403, "forbidden");
    asked(&customer, "training").send().problem(404, "not-found");
    server.ask("GET", &audio(&customer)).token(&trainer).send().problem(403, "forbidden");
    asked(&id, "cdr").send().problem(422, "unprocessable");
}

#[test]
fn a_call_that_is_still_recorded_cannot_be_played_yet() {
    let vault = Vault::new();
    let server = vault.serve();
    let mut running = server.connect();
    running.send(server.put("a", b"audio").head()).expect("a head");
    running.send(b"au").expect("bytes");
    crate::support::wait_until("the upload is under way", || !server.list("state=receiving").is_empty());
    let id = crate::support::id_of(&server.list("state=receiving")[0]);

    server.see(&audio(&id)).problem(409, "still-receiving");

    running.send(b"dio").expect("bytes");
    running.answer().expect("an answer").id(201);
    assert_eq!(server.play(&id), b"audio");
}

#[test]
fn a_deleted_recording_is_gone_on_every_route() {
    let vault = Vault::new();
    let server = vault.serve();

    for (query, state, problem) in [("", "deleted", "deleted"), ("?erase=1", "erased", "erased")] {
        let id = server.put("a", b"audio").header("Callvault-A-Number", "+31201234567").send().id(201);
        let ended = server.ask("DELETE", &format!("/v1/recordings/{id}{query}")).send();

        assert_eq!((ended.status, &ended.json()["state"]), (202, &Value::from(state)), "{ended}");
        assert!(ended.json()["final_when"].as_str().is_some_and(|text| !text.is_empty()), "{ended}");
        server.see(&audio(&id)).problem(410, problem);
        assert_eq!(server.ask("HEAD", &audio(&id)).send().status, 410);
        server.see(&format!("/v1/recordings/{id}")).problem(410, problem);
        server.ask("DELETE", &format!("/v1/recordings/{id}")).send().problem(410, problem);
        assert!(server.list("").is_empty() && server.list("number=%2B31201234567").is_empty());
        let listed = server.list(&format!("state={state}"));
        assert_eq!((listed.len(), &listed[0]["name"], &listed[0]["call"]), (1, &Value::Null, &Value::Null));
    }
    let unclear = server.put("b", b"audio").send().id(201);
    let ended = server.ask("DELETE", &format!("/v1/recordings/{unclear}?erase=yes")).send();
    ended.problem(422, "unprocessable");
    assert_eq!(server.play(&unclear), b"audio");
}

#[test]
fn a_deleted_recording_can_still_be_erased() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);
    assert_eq!(server.ask("DELETE", &format!("/v1/recordings/{id}")).send().status, 202);

    let erased = server.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")).send();

    assert_eq!((erased.status, &erased.json()["state"]), (202, &Value::from("erased")));
    server.see(&audio(&id)).problem(410, "erased");
}

fn assert_part(server: &Server, id: &str, bytes: &[u8], range: &str, first: u64, last: u64) {
    let answer: Answer = server.ask("GET", &audio(id)).header("Range", range).send();
    assert_eq!(answer.status, 206, "{range}: {answer}");
    assert_eq!(answer.header("content-range"), format!("bytes {first}-{last}/{}", bytes.len()), "{range}");
    assert_eq!(answer.header("content-length"), (last - first + 1).to_string(), "{range}");
    assert!(answer.body == bytes[first as usize..=last as usize], "{range} gives other bytes");
}

fn http_date(instant: &Value) -> String {
    let instant: jiff::Timestamp = instant.as_str().expect("an instant").parse().expect("RFC 3339");
    let seconds = u64::try_from(instant.as_second()).expect("after 1970");
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds))
}
