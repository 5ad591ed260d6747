//! Ingest: every framing, name, description and digest that is taken, what becomes of it, and what is said of a wrong one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest, Sha256, Sha512};

use crate::support::wire::Ask;
use crate::support::{Vault, files, noise, wait_until};

#[test]
fn every_framing_of_a_body_gives_the_same_recording() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(1, 300_001);

    let posted = server.ask("POST", "/v1/recordings").body(&bytes).send();
    let named = server.put("named.wav", &bytes).send();
    let lower = server.ask("put", "/v1/recordings/lower.wav").body(&bytes).send();
    let sent = [posted, named, lower].into_iter().chain([1_000, 16_384, 70_000, 300_001].map(|chunk_len| {
        server.ask("PUT", &format!("/v1/recordings/chunked-{chunk_len}")).chunked(&bytes, chunk_len).send()
    }));

    for answer in sent {
        let id = answer.id(201);
        assert_eq!(answer.header("location"), format!("/v1/recordings/{id}"));
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.json()["complete"], true);
        assert_eq!(answer.json()["state"], "stored");
        assert_eq!(answer.json()["bytes"], 300_001);
        assert!(server.play(&id) == bytes, "what plays is not what was sent");
    }
}

#[test]
fn with_both_framings_the_chunks_count() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(2, 5_000);

    let answer = server.ask("POST", "/v1/recordings").header("Content-Length", "5").chunked(&bytes, 999).send();

    assert_eq!(server.play(&answer.id(201)), bytes);
}

#[test]
fn a_request_without_framing_is_told_that_a_length_is_required() {
    let vault = Vault::new();
    let server = vault.serve();

    server.ask("POST", "/v1/recordings").send().problem(411, "length-required");
    server.ask("PUT", "/v1/recordings/x").send().problem(411, "length-required");
}

#[test]
fn an_empty_body_is_refused_and_leaves_its_name_free() {
    let vault = Vault::new();
    let server = vault.serve();

    server.put("empty", b"").send().problem(400, "empty-body");
    server.ask("PUT", "/v1/recordings/empty").chunked(b"", 1).send().problem(400, "empty-body");
    server.ask("POST", "/v1/recordings").chunked(b"", 1).send().problem(400, "empty-body");

    assert_nothing_is_kept(&vault, &server);
    server.put("empty", b"not empty").send().id(201);
}

#[test]
fn a_call_that_headers_describe_is_shown_with_the_recording() {
    let vault = Vault::new();
    let server = vault.serve();
    let described = DESCRIPTION.iter().fold(server.put("c", b"audio"), |ask, (field, sent, _)| {
        ask.header(&format!("Callvault-{}", field.replace('_', "-")), sent)
    });

    let answer =
        described.header("Callvault-Unknown", &"x".repeat(600)).header("Content-Type", "audio/wav; x=y").send();

    let id = answer.id(201);
    assert_is_described(&answer.json());
    assert_is_described(&server.show(&id));
    assert_eq!(server.show(&id)["name"], "c");
    assert_eq!(server.show(&id)["tenant"], "acme");
    assert_eq!(server.show(&id)["media_type"], "audio/wav");
}

#[test]
fn a_call_that_the_query_describes_is_shown_with_the_recording() {
    let vault = Vault::new();
    let server = vault.serve();
    let pairs =
        DESCRIPTION.iter().map(|(field, sent, _)| format!("{field}={}", sent.replace('+', "%2B").replace(' ', "+")));
    let target = format!("/v1/recordings?unknown={}&{}", "x".repeat(600), pairs.collect::<Vec<_>>().join("&"));

    let answer = server.ask("POST", &target).body(b"audio").send();

    answer.id(201);
    assert_is_described(&answer.json());
}

#[test]
fn a_header_wins_over_the_query() {
    let vault = Vault::new();
    let server = vault.serve();

    let ask = server.ask("POST", "/v1/recordings?call_id=query&class=customer").body(b"audio");
    let answer = ask.header("callvault-call-id", "header").header("callvault-class", "training").send();

    assert_eq!(answer.json()["call"]["call_id"], "header");
    assert_eq!(answer.json()["classes"][0]["class"], "training");
}

#[test]
fn a_wrong_description_is_refused_by_its_field_and_without_its_value() {
    let vault = Vault::new();
    let server = vault.serve();
    let long = "7".repeat(513);
    let wrong = [
        ("class", "secret-class"),
        ("class", "cdr"),
        ("class", "customer,secret-class"),
        ("class", ""),
        ("call_id", long.as_str()),
        ("started_at", "secret-time"),
        ("ended_at", "+31201234567"),
        ("duration_ms", "-31201234567"),
        ("direction", "secret-way"),
        ("cost_amount", "12,secret"),
        ("cost_currency", "secret"),
    ];

    for (field, value) in wrong {
        let by_header = server.put("w", b"audio").header(&format!("Callvault-{}", field.replace('_', "-")), value);
        let by_query = server.ask("POST", &format!("/v1/recordings?{field}={}", value.replace('+', "%2B"))).body(b"a");
        for ask in [by_header, by_query] {
            let document = ask.send().problem(422, "unprocessable");
            let detail = document["detail"].as_str().expect("a detail");
            assert!(detail.contains(&format!("'{field}'")), "{field}: {detail}");
            assert!(
                !detail.contains("secret") && !detail.contains("31201234567") && !detail.contains(&long),
                "{detail}"
            );
        }
    }
    assert_nothing_is_kept(&vault, &server);
}

#[test]
fn each_class_gives_the_recording_its_own_term() {
    let vault = Vault::new();
    vault.ok(&["tenant", "set", "acme", "--customer-term", "2mo"]);
    let server = vault.serve();
    let classes = |class: &str| {
        let answer = server.ask("POST", &format!("/v1/recordings?class={class}")).body(b"audio").send();
        answer.id(201);
        let classes = answer.json()["classes"].as_array().expect("classes").clone();
        let pair = |class: &serde_json::Value| format!("{} {}", class["class"], class["term"]).replace('"', "");
        classes.iter().map(pair).collect::<Vec<_>>()
    };

    assert_eq!(classes("customer"), ["customer 2mo"]);
    assert_eq!(classes("training"), ["training 30d"]);
    assert_eq!(classes("customer,%20training,customer"), ["customer 2mo", "training 30d"]);
}

#[test]
fn a_tenant_that_did_not_enable_recording_is_refused_for_all_but_training() {
    let vault = Vault::new();
    let server = vault.serve();
    vault.ok(&["tenant", "set", "acme", "--recording", "off"]);

    server.put("a", b"audio").send().problem(403, "recording-not-enabled");
    let both = server.put("a", b"audio").header("Callvault-Class", "customer,training");
    both.send().problem(403, "recording-not-enabled");
    assert_nothing_is_kept(&vault, &server);

    server.put("a", b"audio").header("Callvault-Class", "training").send().id(201);
    vault.ok(&["tenant", "set", "acme", "--recording", "on"]);
    server.put("b", b"audio").send().id(201);
}

#[test]
fn a_right_digest_of_any_kind_lets_the_recording_in() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(3, 40_000);

    for (index, (name, value)) in digests(&bytes).into_iter().enumerate() {
        server.put(&format!("sized-{index}"), &bytes).header(name, &value).send().id(201);
        let chunked = server.ask("PUT", &format!("/v1/recordings/chunked-{index}")).chunked(&bytes, 7_000);
        chunked.header(name, &value).send().id(201);
    }
    let unknown = "sha-999=:AAAA:, unixsum=:BBBB:";
    server.put("unknown", &bytes).header("Repr-Digest", unknown).send().id(201);
}

#[test]
fn a_wrong_digest_of_any_kind_keeps_nothing_and_leaves_the_name_free() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(4, 40_000);

    for (name, value) in digests(&noise(5, 40_000)) {
        let asks: [Ask; 2] = [server.put("d", &bytes), server.ask("PUT", "/v1/recordings/d").chunked(&bytes, 7_000)];
        for ask in asks {
            ask.header(name, &value).send().problem(400, "digest-mismatch");
        }
    }
    for (name, value) in [("Repr-Digest", "sha-256=AAAA"), ("Content-Digest", "sha-512=:AA:"), ("Content-MD5", "zz")] {
        server.put("d", &bytes).header(name, value).send().problem(400, "bad-request");
    }

    assert_nothing_is_kept(&vault, &server);
    server.put("d", &noise(6, 10)).send().id(201);
}

#[test]
fn a_name_may_hold_whatever_is_text() {
    let vault = Vault::new();
    let server = vault.serve();
    let long = "n".repeat(512);
    let names = [
        ("a/b/c.wav", "a/b/c.wav"),
        ("../../etc/passwd", "../../etc/passwd"),
        ("a/../b", "a/../b"),
        ("./x", "./x"),
        ("a%2Fd%20e%3F.wav", "a/d e?.wav"),
        ("caf%C3%A9/%F0%9F%93%9E", "café/📞"),
        ("x/audio", "x/audio"),
        ("%252e", "%2e"),
        (long.as_str(), long.as_str()),
    ];

    for (target, name) in names {
        let answer = server.put(target, target.as_bytes()).send();
        assert_eq!(answer.json()["name"], name);
        assert_eq!(server.put(target, target.as_bytes()).send().id(200), answer.id(201));
        assert_eq!(server.play(&answer.id(201)), target.as_bytes());
    }
    let same = server.put("a/b%2Fc.wav", b"a/b/c.wav").send();
    assert_eq!(same.status, 200, "a slash is a slash, however it is written: {same}");
}

#[test]
fn a_name_that_is_too_long_or_no_text_is_refused() {
    let vault = Vault::new();
    let server = vault.serve();
    let long = "n".repeat(513);

    for name in [long.as_str(), "a%00b", "a%0Ab", "a%7Fb", "%C2%85", "%FF%FE"] {
        server.put(name, b"audio").send().problem(400, "bad-request");
    }

    assert_nothing_is_kept(&vault, &server);
}

#[test]
fn what_is_not_built_says_so_and_takes_nothing() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("x", b"audio").send().id(201);
    let reserved = [
        ("PUT", format!("/in/{}/call.wav", vault.token)),
        ("GET", "/v1/calls".into()),
        ("POST", "/v1/calls".into()),
        ("POST", "/v1/requests".into()),
        ("PUT", format!("/v1/recordings/{id}/hold")),
        ("DELETE", format!("/v1/recordings/{id}/hold")),
        ("PATCH", format!("/v1/recordings/{id}")),
    ];

    for (method, target) in reserved {
        server.ask(method, &target).body(b"audio").send().problem(501, "not-built");
    }
    let form = server.ask("POST", "/v1/recordings").header("Content-Type", "multipart/form-data; boundary=x");
    form.body(b"--x--").send().problem(415, "unsupported-media-type");

    assert_eq!(server.list("").len(), 1);
}

/// Field, as it is sent, as it is shown.
const DESCRIPTION: [(&str, &str, &str); 15] = [
    ("call_id", "call-4711@pbx", "call-4711@pbx"),
    ("a_number", "+31 20 123-45.67", "+31201234567"),
    ("b_number", "0032 2 765 43 21", "+3227654321"),
    ("direction", "inbound", "inbound"),
    ("started_at", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
    ("answered_at", "2026-01-31T13:00:05+01:00", "2026-01-31T12:00:05Z"),
    ("ended_at", "1769860865.5", "2026-01-31T12:01:05.5Z"),
    ("duration_ms", "60500", "60500"),
    ("setup_ms", "5000", "5000"),
    ("release_ms", "12", "12"),
    ("termination_reason", "normal clearing", "normal clearing"),
    ("network_status", "16", "16"),
    ("cost_amount", "0.25", "0.25"),
    ("cost_currency", "EUR", "EUR"),
    ("extension", "101", "101"),
];

fn assert_is_described(recording: &serde_json::Value) {
    for (field, _, shown) in DESCRIPTION {
        let value = match field.strip_prefix("cost_") {
            Some(part) => &recording["call"]["cost"][part],
            None => &recording["call"][field],
        };
        assert_eq!(value.to_string().trim_matches('"'), shown, "{field} in {recording}");
    }
}

fn digests(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let sha256 = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)));
    let sha512 = format!("sha-512=:{}:", STANDARD.encode(Sha512::digest(bytes)));
    vec![
        ("Repr-Digest", sha256.clone()),
        ("Repr-Digest", sha512.clone()),
        ("Content-Digest", format!("{sha256}, unixsum=:AAAA:")),
        ("Content-Digest", sha512),
        ("Content-MD5", STANDARD.encode(Md5::digest(bytes))),
    ]
}

/// No row, no object, no segment.
fn assert_nothing_is_kept(vault: &Vault, server: &crate::support::Server) {
    let kept = server.list("");
    assert!(kept.is_empty(), "{kept:?}");
    assert_eq!(files(&vault.path().join("objects")), Vec::<std::path::PathBuf>::new());
    // A log goes when nothing has come for a moment.
    wait_until("the spool is empty", || files(&vault.path().join("spool")).is_empty());
}
