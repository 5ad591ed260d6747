//! People: who is cleared reaches recordings and says why, two are needed where one is not enough, and administration over HTTP
//! reaches as far as its token.

use serde_json::{Value, json};

use crate::support::wire::{Answer, Ask, audio};
use crate::support::{Server, Vault};

const NOW: &str = "2026-11-26 12:00:00";

/// A person with a token for every tenant; the days are of the VOG and the NDA.
fn person(vault: &Vault, name: &str, vog: &str, nda: &str, scopes: &str) -> (String, String) {
    let mut add = vec!["person", "add", "--name", name];
    for (flag, day) in [("--vog", vog), ("--nda", nda)] {
        if !day.is_empty() {
            add.extend([flag, day]);
        }
    }
    let id = vault.ok_at(&add, Some(NOW))["id"].as_str().expect("an id").to_owned();
    let token = ["token", "create", "--name", name, "--person", &id, "--scope", scopes];
    let made = vault.ok_at(&token, Some(NOW));
    (id, made["token"].as_str().expect("a token").to_owned())
}

fn as_person(ask: Ask, token: &str) -> Ask {
    ask.token(token).header("Callvault-Tenant", "acme").header("Callvault-Reason", "complaint 2026-1187")
}

const ALL: &str = "read,play:customer,play:training,manage,rights,finance,audit";

#[test]
fn a_person_reaches_recordings_with_both_papers_and_with_neither_alone() {
    let vault = Vault::new();
    let cleared = person(&vault, "Jansen", "2026-06-01", "2020-01-01", ALL).1;
    let refused = [
        person(&vault, "no papers", "", "", ALL).1,
        person(&vault, "no nda", "2026-06-01", "", ALL).1,
        person(&vault, "no vog", "", "2020-01-01", ALL).1,
        person(&vault, "ran out", "2026-05-25", "2020-01-01", ALL).1,
    ];
    let server = vault.serve_with(&[], Some(NOW));
    let id = server.put("a", b"audio").send().id(201);
    let routes = [
        ("GET", "/v1/recordings".to_owned()),
        ("GET", format!("/v1/recordings/{id}")),
        ("GET", audio(&id)),
        ("HEAD", audio(&id)),
        ("POST", format!("/v1/recordings/{id}/links")),
        ("DELETE", "/v1/recordings/01890000-0000-7000-8000-000000000000".to_owned()),
    ];

    for (method, target) in &routes {
        for token in &refused {
            let answer = as_person(server.ask(method, target), token).send();
            assert_eq!(answer.status, 403, "{method} {target}: {answer}");
            if *method != "HEAD" {
                answer.problem(403, "not-cleared");
            }
        }
        let answer = as_person(server.ask(method, target), &cleared).send();
        assert!(matches!(answer.status, 200 | 201 | 404), "{method} {target}: {answer}");
    }
    assert_eq!(
        as_person(server.ask("GET", "/v1/receipts"), &refused[0]).send().status,
        200,
        "receipts show no recording"
    );
}

#[test]
fn a_clearance_that_runs_out_while_the_server_runs_ends_with_its_day() {
    let vault = Vault::new();
    let token = person(&vault, "Jansen", "2026-05-26", "2020-01-01", ALL).1;
    let server = vault.serve_with(&[], Some("@2026-11-26 23:59:45"));
    let listed = || as_person(server.ask("GET", "/v1/recordings"), &token).send().status;
    assert_eq!(listed(), 200);

    crate::support::wait_until("the day is over", || listed() == 403);
}

#[test]
fn a_person_without_a_reason_plays_nothing_and_a_program_needs_none() {
    let vault = Vault::new();
    let token = person(&vault, "Jansen", "2026-06-01", "2020-01-01", ALL).1;
    let server = vault.serve_with(&[], Some(NOW));
    let id = server.put("a", b"audio").send().id(201);
    let ask = |target: &str| server.ask("GET", target).token(&token).header("Callvault-Tenant", "acme");

    ask(&audio(&id)).send().problem(422, "reason-needed");
    ask(&audio(&id)).header("Callvault-Reason", "call +31 20 123 45 67").send().problem(422, "reason-needed");
    let links = format!("/v1/recordings/{id}/links");
    server.ask("POST", &links).token(&token).header("Callvault-Tenant", "acme").send().problem(422, "reason-needed");

    assert_eq!(ask(&audio(&id)).header("Callvault-Reason", "complaint 7").send().body, b"audio");
    assert_eq!(ask("/v1/recordings").send().status, 200, "a listing needs none");
    assert_eq!(server.play(&id), b"audio");
}

#[test]
fn a_person_names_one_tenant_with_each_request() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other", "--recording", "on"]);
    let (id, everywhere) = person(&vault, "Jansen", "2026-06-01", "2020-01-01", ALL);
    let bound = ["token", "create", "--tenant", "other", "--name", "t", "--person", &id, "--scope", "read"];
    let bound = vault.ok_at(&bound, Some(NOW))["token"].as_str().expect("a token").to_owned();
    let server = vault.serve_with(&[], Some(NOW));
    server.put("a", b"audio").send().id(201);
    let list = |token: &str, tenant: Option<&str>| {
        let ask = server.ask("GET", "/v1/recordings").token(token);
        tenant.map_or(ask.clone(), |tenant| ask.header("Callvault-Tenant", tenant)).send()
    };
    let count = |answer: Answer| answer.json()["recordings"].as_array().expect("a list").len();

    list(&everywhere, None).problem(422, "tenant-needed");
    list(&everywhere, Some("nobody")).problem(404, "not-found");
    assert_eq!(count(list(&everywhere, Some("acme"))), 1);
    assert_eq!(count(list(&everywhere, Some("other"))), 0);
    assert_eq!(count(list(&bound, None)), 0);
    assert_eq!(list(&bound, Some("acme")).status, 401);
    assert_eq!(list(&bound, Some("nobody")).status, 401, "whether there is one is not told");
}

#[test]
fn whoever_is_disabled_is_refused_at_once_and_his_links_with_him() {
    let vault = Vault::new();
    let (id, token) = person(&vault, "Jansen", "2026-06-01", "2020-01-01", ALL);
    let server = vault.serve_with(&[], Some(NOW));
    let recording = server.put("a", b"audio").send().id(201);
    let link = as_person(server.ask("POST", &format!("/v1/recordings/{recording}/links")), &token).send();
    let url = link.json()["url"].as_str().expect("a link").to_owned();
    assert_eq!(server.ask("GET", &url).anonymous().send().status, 200);

    vault.ok_at(&["person", "set", &id, "--vog", "none"], Some(NOW));
    server.ask("GET", &url).anonymous().send().problem(403, "not-cleared");
    vault.ok_at(&["person", "set", &id, "--disabled", "on"], Some(NOW));

    assert_eq!(as_person(server.ask("GET", "/v1/recordings"), &token).send().status, 401);
    server.ask("GET", &url).anonymous().send().problem(410, "link-ended");
}

#[test]
fn an_erasure_under_four_eyes_happens_when_another_person_confirms_it() {
    let vault = Vault::new();
    let [first, second] = ["first", "second"].map(|name| person(&vault, name, "2026-06-01", "2020-01-01", ALL).1);
    let server = vault.serve_with(&["--four-eyes", "true"], Some(NOW));
    let id = server.put("a", b"audio").send().id(201);
    let erase = |token: &str| as_person(server.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")), token).send();

    server.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")).send().problem(403, "second-person-needed");
    for _ in 0..2 {
        let waits = erase(&first);
        assert_eq!(waits.status, 202, "{waits}");
        let waits = waits.json();
        assert_eq!(waits["state"], "stored");
        assert!(waits["confirm_by"].as_str().is_some_and(|until| until.starts_with("2026-11-27T12:")), "{waits}");
    }
    assert_eq!(server.play(&id), b"audio");
    let (code, text) = vault.exit(&["recording", "erase", &id, "--four-eyes", "true"], Some(NOW));
    assert_eq!(code, 1, "{text}");

    let erased = erase(&second);

    assert_eq!((erased.status, erased.json()["state"].as_str()), (202, Some("erased")));
    server.see(&audio(&id)).problem(410, "erased");
}

#[test]
fn an_erasure_is_not_confirmed_for_one_who_counts_no_more() {
    let vault = Vault::new();
    let (first_id, first) = person(&vault, "first", "2026-06-01", "2020-01-01", ALL);
    let [second, third] = ["second", "third"].map(|name| person(&vault, name, "2026-06-01", "2020-01-01", ALL).1);
    let server = vault.serve_with(&["--four-eyes", "true"], Some(NOW));
    let id = server.put("a", b"audio").send().id(201);
    let erase = |token: &str| {
        as_person(server.ask("DELETE", &format!("/v1/recordings/{id}?erase=1")), token).send().json()["state"].clone()
    };
    assert_eq!(erase(&first), "stored");
    vault.ok_at(&["person", "set", &first_id, "--disabled", "on"], Some(NOW));

    assert_eq!(erase(&second), "stored", "he is the first now");
    assert_eq!(erase(&third), "erased");
}

#[test]
fn a_person_who_administers_gives_nobody_rights_and_clears_nobody() {
    let vault = Vault::new();
    let (own, admin) = person(&vault, "admin", "", "", "admin,rights");
    let (other, _) = person(&vault, "other", "", "", "read");
    let server = vault.serve_with(&[], Some(NOW));
    let papers = json!({"vog": "2026-11-20", "nda": "2026-11-20"});

    for (method, target, document) in [
        ("POST", "/v1/tokens".to_owned(), json!({"name": "x", "tenant": "acme", "scopes": ["play:customer"]})),
        ("POST", "/v1/tokens".to_owned(), json!({"name": "x", "person": other, "scopes": ["rights"]})),
        ("POST", "/v1/people".to_owned(), json!({"name": "ghost"})),
        ("PATCH", format!("/v1/people/{own}"), papers.clone()),
        ("PATCH", format!("/v1/people/{other}"), papers),
        ("PATCH", format!("/v1/people/{other}"), json!({"disabled": false})),
    ] {
        ask_json(&server, method, &target, &admin, &document).problem(403, "forbidden");
    }
    let taken = ask_json(&server, "PATCH", &format!("/v1/people/{other}"), &admin, &json!({"disabled": true}));
    assert_eq!(taken.status, 200, "{taken}");
}

#[test]
fn the_first_administrator_comes_with_the_vault_and_with_no_second_init() {
    let dir = tempfile::tempdir().expect("a directory");
    let init = |args: &[&str]| -> Value {
        let mut command = std::process::Command::new(crate::support::binary());
        command.args(["init", "--json", "--data-dir"]).arg(dir.path().join("vault")).args(args);
        let output = command.env_clear().output().expect("the binary runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    };

    assert!(init(&["--no-admin-token"])["admin_token"].is_null());
    let made = init(&[]);
    assert!(made["admin_token"]["token"].as_str().is_some_and(|token| token.starts_with("cv_")), "{made}");
    assert!(init(&[])["admin_token"].is_null(), "somebody can administer already");
}

/// The provider's own administrator, and one of the tenant's.
fn administrators(vault: &Vault) -> (String, String) {
    let house = vault.ok(&["token", "create", "--name", "house", "--scope", "admin"]);
    (house["token"].as_str().expect("a token").to_owned(), vault.make_token("acme", "admin"))
}

fn ask_json(server: &Server, method: &str, target: &str, token: &str, document: &Value) -> Answer {
    let ask = server.ask(method, target).token(token).header("Content-Type", "application/json");
    ask.body(document.to_string().as_bytes()).send()
}

#[test]
fn tokens_are_made_listed_and_revoked_over_http() {
    let vault = Vault::new();
    let (house, _) = administrators(&vault);
    let server = vault.serve();
    let new = json!({"name": "portal", "tenant": "acme", "scopes": ["read"], "cidrs": ["127.0.0.1"]});

    let made = ask_json(&server, "POST", "/v1/tokens", &house, &new);

    assert_eq!(made.status, 201, "{made}");
    let made = made.json();
    let (id, token) = (made["id"].as_str().expect("an id"), made["token"].as_str().expect("a token"));
    assert_eq!(server.ask("GET", "/v1/recordings").token(token).send().status, 200);
    let list = server.ask("GET", "/v1/tokens").token(&house).send();
    assert!(!String::from_utf8_lossy(&list.body).contains(&token[3..]));
    let list = list.json();
    let listed = list["tokens"].as_array().expect("tokens").iter().find(|token| token["id"] == id).expect("it");
    assert_eq!(
        (&listed["kind"], &listed["tenant"], &listed["cidrs"]),
        (&json!("app"), &json!("acme"), &json!(["127.0.0.1/32"]))
    );
    assert_eq!(server.ask("DELETE", &format!("/v1/tokens/{id}")).token(&house).send().status, 204);
    assert_eq!(server.ask("GET", "/v1/recordings").token(token).send().status, 401);
}

#[test]
fn a_tenants_administrator_reaches_his_own_tenant_and_no_person() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other"]);
    let (house, own) = administrators(&vault);
    let server = vault.serve();
    let theirs = json!({"name": "t", "tenant": "other", "scopes": ["read"]});
    let foreign = ask_json(&server, "POST", "/v1/tokens", &house, &theirs).json();

    ask_json(&server, "POST", "/v1/tokens", &own, &theirs).problem(403, "forbidden");
    let unnamed = ask_json(&server, "POST", "/v1/tokens", &own, &json!({"name": "t", "scopes": ["read"]}));
    assert_eq!(unnamed.status, 201, "{unnamed}");
    let target = format!("/v1/tokens/{}", foreign["id"].as_str().expect("an id"));
    server.ask("DELETE", &target).token(&own).send().problem(404, "not-found");
    let list = server.ask("GET", "/v1/tokens").token(&own).send().json();
    assert!(list["tokens"].as_array().expect("tokens").iter().all(|token| token["tenant"] == "acme"), "{list}");
    let training = json!({"name": "t", "scopes": ["play:training"]});
    ask_json(&server, "POST", "/v1/tokens", &own, &training).problem(403, "forbidden");
    let theirs = person(&vault, "Jansen", "", "", "read").0;
    let bound = ["token", "create", "--tenant", "acme", "--name", "t", "--person", &theirs, "--scope", "read"];
    let bound = format!("/v1/tokens/{}", vault.ok(&bound)["id"].as_str().expect("an id"));
    server.ask("DELETE", &bound).token(&own).send().problem(404, "not-found");
    let list = server.ask("GET", "/v1/tokens").token(&own).send().json();
    assert!(list["tokens"].as_array().expect("tokens").iter().all(|token| token["kind"] != "person"), "{list}");
    server.ask("GET", "/v1/people").token(&own).send().problem(403, "forbidden");
    ask_json(&server, "POST", "/v1/people", &own, &json!({"name": "x"})).problem(403, "forbidden");
}

#[test]
fn people_are_put_on_record_changed_and_listed_over_http() {
    let vault = Vault::new();
    let (house, _) = administrators(&vault);
    let server = vault.serve_with(&[], Some(NOW));
    let new = json!({"name": "Jansen", "vog": "2026-06-01", "subject": "https://sso.example.com 7"});

    let made = ask_json(&server, "POST", "/v1/people", &house, &new);

    assert_eq!(made.status, 201, "{made}");
    let made = made.json();
    assert_eq!((&made["cleared"], &made["standing"]), (&json!(false), &json!("no-nda")));
    let target = format!("/v1/people/{}", made["id"].as_str().expect("an id"));
    let set = ask_json(&server, "PATCH", &target, &house, &json!({"nda": "2026-11-26", "subject": null})).json();
    assert_eq!((&set["cleared"], &set["subject"], &set["vog"]), (&json!(true), &Value::Null, &json!("2026-06-01")));
    assert_eq!(set["cleared_until"], "2026-12-02T00:00:00Z");
    assert_eq!(server.ask("GET", &target).token(&house).send().json(), set);
    assert_eq!(server.ask("GET", "/v1/people").token(&house).send().json()["people"], json!([set]));
    for (document, status) in [
        (json!({"vog": "2026-12-01"}), 422),
        (json!({"vog": "soon"}), 422),
        (json!({"subject": "no issuer"}), 422),
        (json!({"shoe_size": 44}), 422),
        (json!([]), 422),
    ] {
        assert_eq!(ask_json(&server, "PATCH", &target, &house, &document).status, status, "{document}");
    }
    let status = vault.ok_at(&["status"], Some(NOW));
    assert_eq!(status["people"]["ending"][0]["name"], "Jansen", "{status}");
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("the clearance of Jansen runs out on 2026-12-02"), "{warnings}");
}

#[test]
fn a_document_that_is_too_long_or_no_json_is_refused() {
    let vault = Vault::new();
    let (house, _) = administrators(&vault);
    let server = vault.serve();
    let post = |media_type: &str, body: &[u8]| {
        server.ask("POST", "/v1/people").token(&house).header("Content-Type", media_type).body(body).send()
    };

    post("text/plain", b"{}").problem(415, "unsupported-media-type");
    post("application/json", b"{\"name\":").problem(400, "bad-request");
    post("application/json", &vec![b' '; 65 << 10]).problem(413, "too-large");
}
