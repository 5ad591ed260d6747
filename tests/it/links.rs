//! Playback links: they play one recording, as long, as often and where they were made for, and end with whatever made them good.

use serde_json::{Value, json};

use crate::support::wire::{Answer, Wire, audio};
use crate::support::{Server, Vault, noise};

const NOW: &str = "2026-11-26 12:00:00";

fn make(server: &Server, recording: &str, document: Value) -> Answer {
    let ask = server.ask("POST", &format!("/v1/recordings/{recording}/links"));
    ask.header("Content-Type", "application/json").body(document.to_string().as_bytes()).send()
}

fn url(made: &Answer) -> String {
    assert_eq!(made.status, 201, "{made}");
    made.json()["url"].as_str().expect("a link").to_owned()
}

fn edit_row(vault: &Vault, sql: &str) {
    let db = rusqlite::Connection::open(vault.path().join("catalog.db")).expect("the catalog");
    assert_eq!(db.execute(sql, []).expect("it is edited"), 1);
}

fn follow(server: &Server, url: &str) -> Answer {
    server.ask("GET", url).anonymous().send()
}

#[test]
fn a_link_plays_with_ranges_and_without_a_token() {
    let vault = Vault::new();
    let server = vault.serve();
    let bytes = noise(7, 100_000);
    let id = server.put("a", &bytes).send().id(201);
    let made = server.ask("POST", &format!("/v1/recordings/{id}/links")).send();
    let url = url(&made);

    let whole = follow(&server, &url);
    let part = server.ask("GET", &url).anonymous().header("Range", "bytes=50000-50999").send();
    let head = server.ask("HEAD", &url).anonymous().send();

    assert_eq!((whole.status, whole.body == bytes), (200, true));
    assert_eq!((part.status, part.body == bytes[50_000..51_000]), (206, true));
    assert_eq!((head.status, head.header("content-length")), (200, "100000"));
    assert_eq!(made.header("cache-control"), "no-store");
    let made = made.json();
    assert_eq!((&made["class"], &made["uses"], &made["address"]), (&json!("customer"), &Value::Null, &Value::Null));
}

#[test]
fn a_link_ends_at_its_second_and_never_outlives_the_recording() {
    let vault = Vault::new();
    let server = vault.serve_with(&[], Some(NOW));
    let id = server.put("a", b"audio").send().id(201);
    let short = url(&make(&server, &id, json!({"expires_at": "2026-11-26T12:30:00Z"})));
    let week = url(&make(&server, &id, json!({"lifetime_s": 7 * 86_400})));
    drop(server);

    let just_before = vault.serve_with(&[], Some("2026-11-26 12:29:50"));
    assert_eq!(follow(&just_before, &short).status, 200);
    drop(just_before);
    let at_the_end = vault.serve_with(&[], Some("2026-11-26 12:30:00"));
    follow(&at_the_end, &short).problem(410, "link-ended");
    assert_eq!(follow(&at_the_end, &week).status, 200);
    drop(at_the_end);

    let near_the_end = vault.serve_with(&["--expire-every", "never"], Some("2027-02-24 11:00:00"));
    let capped = make(&near_the_end, &id, json!({"lifetime_s": 7 * 86_400})).json();
    let shown = near_the_end.show(&id);
    assert_eq!(capped["expires_at"], shown["classes"][0]["expires_at"]);
}

#[test]
fn a_link_that_is_not_possible_is_refused_with_the_reason() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--link-lifetime-max", "24h"], Some(NOW));
    let id = server.put("a", b"audio").send().id(201);

    for document in [
        json!({"lifetime_s": 86_401}),
        json!({"lifetime_s": 0}),
        json!({"expires_at": "2026-11-26T11:59:59Z"}),
        json!({"lifetime_s": 60, "expires_at": "2026-11-26T12:30:00Z"}),
        json!({"uses": 0}),
        json!({"uses": -1}),
        json!({"address": "somewhere"}),
        json!({"class": "cdr"}),
        json!({"for": "ever"}),
    ] {
        make(&server, &id, document).problem(422, "unprocessable");
    }
    make(&server, &id, json!({"class": "training"})).problem(404, "not-found");
    make(&server, "01890000-0000-7000-8000-000000000000", json!({})).problem(404, "not-found");
}

#[test]
fn a_link_plays_at_its_address_alone() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--trusted-proxies", "127.0.0.1"], None);
    let id = server.put("a", b"audio").send().id(201);
    let url = url(&make(&server, &id, json!({"address": "192.0.2.7"})));
    let from = |address: &str| server.ask("GET", &url).anonymous().header("X-Forwarded-For", address).send();

    assert_eq!(from("192.0.2.7").body, b"audio");
    from("192.0.2.8").problem(403, "address-not-allowed");
    follow(&server, &url).problem(403, "address-not-allowed");
}

#[test]
fn a_link_with_two_uses_plays_for_two_players_as_often_as_they_seek() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);
    let url = url(&make(&server, &id, json!({"uses": 2})));
    let player =
        |agent: &str| server.ask("GET", &url).anonymous().header("User-Agent", agent).header("Range", "bytes=1-2");

    for _ in 0..3 {
        let look = server.ask("HEAD", &url).anonymous().header("User-Agent", "one").send();
        assert_eq!(look.status, 200, "looking is part of the use");
        assert_eq!(player("one").send().body, b"ud");
        assert_eq!(player("two").send().body, b"ud");
    }
    player("three").send().problem(410, "link-ended");
    assert_eq!(server.ask("HEAD", &url).anonymous().header("User-Agent", "three").send().status, 410);
    assert_eq!(player("one").send().body, b"ud");
}

#[test]
fn a_revoked_link_and_one_whose_maker_was_revoked_end_at_once() {
    let vault = Vault::new();
    let portal = vault.ok(&["token", "create", "--tenant", "acme", "--name", "p", "--scope", "play:customer"]);
    let (portal_id, portal) = (portal["id"].as_str().expect("an id"), portal["token"].as_str().expect("a token"));
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);
    let own = make(&server, &id, json!({}));
    let theirs = server.ask("POST", &format!("/v1/recordings/{id}/links")).token(portal).send();
    let (own_url, theirs_url) = (url(&own), url(&theirs));
    assert_eq!((follow(&server, &own_url).status, follow(&server, &theirs_url).status), (200, 200));

    let target = format!("/v1/links/{}", own.json()["id"].as_str().expect("an id"));
    assert_eq!(server.ask("DELETE", &target).send().status, 204);
    assert_eq!(server.ask("DELETE", &target).send().status, 204, "once more changes nothing");
    vault.ok(&["token", "revoke", portal_id]);

    follow(&server, &own_url).problem(410, "link-ended");
    follow(&server, &theirs_url).problem(410, "link-ended");
}

#[test]
fn a_link_of_another_class_or_tenant_is_not_made_and_not_revoked() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other"]);
    let (trainer, other) = (vault.make_token("acme", "play:training"), vault.make_token("other", "play:customer"));
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);
    let made = make(&server, &id, json!({})).json();
    let links = format!("/v1/recordings/{id}/links");
    let target = format!("/v1/links/{}", made["id"].as_str().expect("an id"));

    server.ask("POST", &links).token(&trainer).send().problem(403, "forbidden");
    server.ask("POST", &links).token(&other).send().problem(404, "not-found");
    server.ask("DELETE", &target).token(&trainer).send().problem(403, "forbidden");
    server.ask("DELETE", &target).token(&other).send().problem(404, "not-found");

    assert_eq!(follow(&server, made["url"].as_str().expect("a link")).body, b"audio");
}

#[test]
fn an_edited_link_and_a_link_to_an_edited_row_are_nothing() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);
    let made = make(&server, &id, json!({"uses": 1, "lifetime_s": 60})).json();
    let url = made["url"].as_str().expect("a link");
    let unknown = follow(&server, &format!("/v1/play/{}", "A".repeat(43)));
    unknown.problem(404, "not-found");

    let last = if url.ends_with('A') { "E" } else { "A" };
    for edited in [format!("{}{last}", &url[..url.len() - 1]), format!("{url}x"), url[..url.len() - 1].to_owned()] {
        assert_eq!(follow(&server, &edited).body, unknown.body, "{edited}");
    }
    edit_row(&vault, "UPDATE link SET expires_at = expires_at + 3600");
    assert_eq!(follow(&server, url).body, unknown.body);
    edit_row(&vault, "UPDATE link SET expires_at = expires_at - 3600, uses_max = NULL");
    assert_eq!(follow(&server, url).body, unknown.body);
    edit_row(&vault, "UPDATE link SET uses_max = 1");
    assert_eq!(follow(&server, url).body, b"audio");
}

/// More than the buffers between two sockets take.
const LONG: usize = 64 << 20;

/// The connection ends before the audio does.
fn assert_cut(wire: Wire) {
    let heard = wire.answer().map_or(0, |answer| answer.body.len());
    assert!(heard < LONG, "all of it was heard");
}

#[test]
fn an_answer_that_goes_on_ends_with_the_link_that_it_came_by() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", &noise(3, LONG)).send().id(201);
    let url = url(&make(&server, &id, json!({"lifetime_s": 2})));
    let mut wire = server.connect();
    wire.send(server.ask("GET", &url).anonymous().head()).expect("a head");

    std::thread::sleep(std::time::Duration::from_secs(3));

    assert_cut(wire);
}

#[test]
fn an_answer_that_goes_on_ends_soon_after_its_token_was_revoked() {
    let vault = Vault::new();
    let made = vault.ok(&["token", "create", "--tenant", "acme", "--name", "t", "--scope", "play:customer"]);
    let server = vault.serve();
    let id = server.put("a", &noise(3, LONG)).send().id(201);
    let mut wire = server.connect();
    let ask = server.ask("GET", &audio(&id)).token(made["token"].as_str().expect("a token"));
    wire.send(ask.head()).expect("a head");

    vault.ok(&["token", "revoke", made["id"].as_str().expect("an id")]);
    std::thread::sleep(callvault::http::auth::LOOKED_AT_EVERY + std::time::Duration::from_secs(1));

    assert_cut(wire);
}

#[test]
fn a_link_that_cannot_be_shown_tells_nothing_of_what_became_of_its_recording() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);
    let url = url(&make(&server, &id, json!({})));
    let forged = format!("{}{}", &url[..url.len() - 20], "A".repeat(20));
    follow(&server, &forged).problem(404, "not-found");

    assert_eq!(server.ask("DELETE", &format!("/v1/recordings/{id}")).send().status, 202);

    let (own, other) = (follow(&server, &url), follow(&server, &forged));
    own.problem(410, "link-ended");
    assert_eq!(own.body, other.body);
}

#[test]
fn a_link_to_a_deleted_recording_is_gone_with_it() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);
    let url = url(&make(&server, &id, json!({})));

    assert_eq!(server.ask("DELETE", &format!("/v1/recordings/{id}")).send().status, 202);

    follow(&server, &url).problem(410, "link-ended");
    server.see(&audio(&id)).problem(410, "deleted");
}

#[test]
fn a_link_is_written_nowhere() {
    let vault = Vault::new();
    let server = vault.serve_with(&[], None);
    let id = server.put("a", b"audio").send().id(201);
    let url = url(&make(&server, &id, json!({})));
    follow(&server, &url);
    follow(&server, &format!("{url}x"));
    let secret = &url["/v1/play/".len() + 22..];
    assert!(!server.log_text().contains(secret));
    drop(server);

    for path in crate::support::files(vault.dir.path()) {
        let bytes = std::fs::read(&path).expect("a file");
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{}", path.display());
    }
}
