//! People who come with an access token: who is on record and cleared gets in, for what and whom his token says, and no longer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::ToSpan;
use serde_json::{Value, json};

use super::{claims, with};
use crate::support::held::now;
use crate::support::provider::{Mood, Provider, SigningKey};
use crate::support::wire::{Answer, Ask, audio};
use crate::support::{Server, Vault, wait_until};

/// A vault, the provider that it believes, and the provider's key.
struct House {
    vault: Vault,
    provider: Provider,
    key: SigningKey,
}

impl House {
    fn new() -> House {
        let key = SigningKey::new("ES256", "one");
        let provider = Provider::start(&[&key]);
        House { vault: Vault::new(), provider, key }
    }

    fn serve(&self, more: &str) -> Server {
        let file = self.vault.beside("settings.toml");
        let issuer = &self.provider.issuer;
        let text = format!("[oidc]\nissuer = \"{issuer}\"\naudience = [\"callvault\"]\nclock_skew = \"1s\"\n{more}");
        std::fs::write(&file, text).expect("written");
        self.vault.serve_with(&["--config", &file.to_string_lossy()], None)
    }

    /// Somebody on record; cleared with both papers.
    fn person(&self, sub: &str, papers: &[&str]) -> String {
        let day = &(now() - 240.hours()).to_string()[..10];
        let subject = format!("{} {sub}", self.provider.issuer);
        let mut add = vec!["person", "add", "--name", sub, "--subject", &subject];
        for paper in papers {
            add.extend([*paper, day]);
        }
        self.vault.ok(&add)["id"].as_str().expect("an id").to_owned()
    }

    fn claims(&self, sub: &str, scope: &str) -> Value {
        with(with(claims(&self.provider), "sub", json!(sub)), "scope", json!(scope))
    }

    fn token(&self, sub: &str, scope: &str) -> String {
        self.key.token(&self.claims(sub, scope))
    }
}

const PAPERS: [&str; 2] = ["--vog", "--nda"];
const LISTENER: &str = "openid callvault:read callvault:play:customer";

fn named(ask: Ask) -> Ask {
    ask.header("Callvault-Tenant", "acme").header("Callvault-Reason", "complaint 2026-1187")
}

fn list(server: &Server, token: &str) -> Answer {
    named(server.ask("GET", "/v1/recordings").token(token)).send()
}

#[test]
fn a_person_on_record_who_is_cleared_plays_with_an_access_token_and_a_reason() {
    let house = House::new();
    house.person("anna", &PAPERS);
    let server = house.serve("");
    let id = server.put("a", b"audio").send().id(201);
    let token = house.token("anna", LISTENER);
    let ask = |target: &str| server.ask("GET", target).token(&token);

    let played = named(ask(&audio(&id))).send();
    assert_eq!((played.status, &*played.body), (200, &b"audio"[..]), "{played}");
    assert_eq!(named(ask("/v1/recordings")).send().json()["recordings"][0]["id"], *id);
    let basic = format!("Basic {}", STANDARD.encode(format!("acme:{token}")));
    let by_basic = server.ask("GET", &audio(&id)).anonymous().header("Authorization", &basic);
    assert_eq!(by_basic.header("Callvault-Reason", "complaint 7").send().status, 200);

    ask(&audio(&id)).header("Callvault-Tenant", "acme").send().problem(422, "reason-needed");
    ask("/v1/recordings").send().problem(422, "tenant-needed");
    ask("/v1/recordings").header("Callvault-Tenant", "nobody").send().problem(404, "not-found");
}

#[test]
fn who_is_not_on_record_or_not_cleared_is_told_what_to_do() {
    let house = House::new();
    house.person("no-papers", &[]);
    house.person("no-nda", &["--vog"]);
    house.person("no-vog", &["--nda"]);
    let server = house.serve("");
    let id = server.put("a", b"audio").send().id(201);

    for sub in ["stranger", "no-papers", "no-nda", "no-vog", "ANNA", "anna "] {
        let token = house.token(sub, LISTENER);
        for target in ["/v1/recordings".to_owned(), format!("/v1/recordings/{id}"), audio(&id)] {
            let problem = named(server.ask("GET", &target).token(&token)).send().problem(403, "not-cleared");
            assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 20), "{problem}");
        }
    }
    let unknown = list(&server, &house.token("stranger", LISTENER)).problem(403, "not-cleared");
    let detail = unknown["detail"].as_str().expect("a text");
    assert!(detail.contains("callvault person add") && !detail.contains("stranger"), "{detail}");
}

#[test]
fn whoever_is_disabled_or_loses_his_papers_is_refused_by_the_next_request_and_his_links_with_him() {
    let house = House::new();
    let person = house.person("anna", &PAPERS);
    let server = house.serve("");
    let id = server.put("a", b"audio").send().id(201);
    let token = house.token("anna", LISTENER);
    let link = named(server.ask("POST", &format!("/v1/recordings/{id}/links")).token(&token)).send();
    let link = link.json()["url"].as_str().expect("a link").to_owned();
    assert_eq!(server.ask("GET", &link).anonymous().send().body, b"audio");

    house.vault.ok(&["person", "set", &person, "--nda", "none"]);
    list(&server, &token).problem(403, "not-cleared");
    server.ask("GET", &link).anonymous().send().problem(403, "not-cleared");

    house.vault.ok(&["person", "set", &person, "--disabled", "on"]);
    list(&server, &token).problem(401, "unauthorized");
    server.ask("GET", &link).anonymous().send().problem(410, "link-ended");
}

#[test]
fn a_person_may_what_the_settings_make_of_his_roles_and_nothing_else() {
    let house = House::new();
    house.person("anna", &PAPERS);
    let server = house.serve(
        "scopes_claim = \"/realm_access/roles\"\n[oidc.scopes]\nlistener = [\"read\", \"play:customer\"]\nofficer = [\"audit\"]",
    );
    let customer = server.put("a", b"audio").send().id(201);
    let training = server.ask("POST", "/v1/recordings?class=training").body(b"audio").send().id(201);
    let status = |roles: Value, method: &str, target: &str| {
        let claims =
            with(house.claims("anna", "callvault:admin callvault:rights"), "realm_access", json!({ "roles": roles }));
        named(server.ask(method, target).token(&house.key.token(&claims))).send().status
    };
    let erase = format!("/v1/recordings/{customer}?erase=1");

    assert_eq!(status(json!(["listener", "offline_access"]), "GET", &audio(&customer)), 200);
    assert_eq!(status(json!(["listener"]), "GET", &audio(&training)), 403);
    assert_eq!(status(json!(["listener"]), "GET", "/v1/receipts"), 403);
    assert_eq!(status(json!(["officer"]), "GET", "/v1/receipts"), 200);
    assert_eq!(status(json!(["officer"]), "GET", &audio(&customer)), 403);
    for roles in
        [json!([]), json!("admin"), json!(["admin", "rights", "read", "play:customer"]), json!(null), json!({})]
    {
        for (method, target) in
            [("GET", "/v1/recordings"), ("DELETE", &*erase), ("GET", "/v1/people"), ("GET", "/v1/tokens")]
        {
            assert_eq!(status(roles.clone(), method, target), 403, "{roles} {method} {target}");
        }
    }
    assert_eq!(status(json!(["callvault:play:training"]), "GET", &audio(&training)), 200);
}

#[test]
fn a_person_names_the_tenants_that_his_token_gives_him_and_no_other() {
    let house = House::new();
    house.person("anna", &PAPERS);
    house.vault.ok(&["tenant", "create", "other", "--name", "Other", "--recording", "on"]);
    let server = house.serve("tenants_claim = \"groups\"\n[oidc.tenants]\nnorth = [\"acme\"]\nhead-office = [\"*\"]");
    server.put("a", b"audio").send().id(201);
    let ask = |groups: Value, tenant: Option<&str>, target: &str| {
        let claims = with(house.claims("anna", "callvault:read callvault:admin"), "groups", groups);
        let ask = server.ask("GET", target).token(&house.key.token(&claims));
        tenant.map_or(ask.clone(), |tenant| ask.header("Callvault-Tenant", tenant)).send()
    };
    let list = |groups: Value, tenant: &str| ask(groups, Some(tenant), "/v1/recordings");

    assert_eq!(list(json!(["north"]), "acme").status, 200);
    assert_eq!(list(json!("north south"), "acme").status, 200);
    assert_eq!(list(json!(["head-office"]), "other").status, 200);
    for groups in [json!(["north"]), json!(["other"]), json!(["*"]), json!([]), json!(null)] {
        let [other, never] = ["other", "nobody"].map(|tenant| list(groups.clone(), tenant));
        assert_eq!(other.problem(404, "not-found"), never.problem(404, "not-found"), "{groups}");
    }
    // Who administers some tenants does not administer the house.
    ask(json!(["north"]), None, "/v1/tokens").problem(422, "tenant-needed");
    assert_eq!(ask(json!(["north"]), Some("acme"), "/v1/tokens").status, 200);
    assert_eq!(ask(json!(["north"]), Some("acme"), "/v1/people").status, 403);
    assert_eq!(ask(json!(["head-office"]), None, "/v1/people").status, 200);
}

#[test]
fn every_token_that_is_wrong_has_one_answer_and_none_of_it_is_logged() {
    let mut house = House::new();
    house.vault.env.push(("CALLVAULT_LOG".into(), "debug".into()));
    house.person("anna", &PAPERS);
    let server = house.serve("");
    let (sound, key) = (house.claims("anna", LISTENER), &house.key);
    let attacker = SigningKey::new("ES256", "one");
    let header = |name: &str, value: Value| key.token_with(&with(key.header(), name, value), &sound);
    let hostile = [
        attacker.token(&sound),
        header("kid", json!("two")),
        header("alg", json!("none")),
        header("alg", json!("HS256")),
        header("jku", json!(house.provider.keys_url())),
        header("crit", json!(["exp"])),
        key.token(&with(sound.clone(), "aud", json!("account"))),
        key.token(&with(sound.clone(), "iss", json!("https://id.example.com"))),
        key.token(&with(sound.clone(), "exp", json!(now().as_second() - 2))),
        key.token(&with(sound.clone(), "sub", json!(["anna"]))),
        "e30.e30.".to_owned(),
        "e30.e30.e30".to_owned(),
    ];
    let good = key.token(&sound);
    assert_eq!(list(&server, &good).status, 200);

    let mut answers: Vec<Value> =
        hostile.iter().map(|token| list(&server, token).problem(401, "unauthorized")).collect();
    answers.push(list(&server, "cv_x").problem(401, "unauthorized"));
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    for method in ["PUT", "POST"] {
        let target = format!("/v1/recordings{}?token={good}", if method == "PUT" { "/b" } else { "" });
        assert_eq!(server.ask(method, &target).anonymous().body(b"audio").send().status, 401, "{method}");
    }

    let log = server.log_text();
    assert!(log.contains("it has expired (exp)") && log.contains("its signature is not its key's"), "{log}");
    for token in hostile[..10].iter().chain([&good]) {
        for part in token.split('.').filter(|part| part.len() > 8) {
            assert!(!log.contains(part), "a part of a token is in the log");
        }
    }
    for secret in ["anna", "f:1c", "account", "id.example.com"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn an_access_token_is_refused_from_the_second_after_its_end() {
    let house = House::new();
    house.person("anna", &PAPERS);
    let server = house.serve("");
    let ends_s = now().as_second() + 3;
    let token = house.key.token(&with(house.claims("anna", LISTENER), "exp", json!(ends_s)));
    let before = list(&server, &token).status;
    assert!(before == 200 || now().as_second() > ends_s, "{before}");

    // The skew that is allowed is a second.
    wait_until("it has ended", || now().as_second() > ends_s);

    list(&server, &token).problem(401, "unauthorized");
}

#[test]
fn a_provider_that_is_down_keeps_its_people_waiting_and_nobody_else() {
    let house = House::new();
    house.person("anna", &PAPERS);
    house.provider.be(Mood::Down);
    let server = house.serve("keys_pause = \"200ms\"\ntimeout = \"1s\"");
    let token = house.token("anna", LISTENER);

    let answer = list(&server, &token);
    answer.problem(503, "unavailable");
    assert_eq!(answer.headers_named("retry-after").len(), 1, "{answer}");
    let id = server.put("a", b"audio").send().id(201);
    assert_eq!(server.play(&id), b"audio");
    list(&server, "e30.e30.e30").problem(401, "unauthorized");

    house.provider.be(Mood::Serving);
    wait_until("the provider is back", || list(&server, &token).status == 200);
}

#[test]
fn without_a_provider_in_the_settings_no_access_token_opens_anything() {
    let house = House::new();
    house.person("anna", &PAPERS);
    let server = house.vault.serve();

    list(&server, &house.token("anna", LISTENER)).problem(401, "unauthorized");

    assert_eq!(house.provider.asked_for_keys(), 0);
    for flags in [&["--oidc-issuer", "https://id.example.com"][..], &["--oidc-audience", "callvault"]] {
        let (code, text) = house.vault.exit(&[&["serve"][..], flags].concat(), None);
        assert_eq!(code, 2, "{text}");
    }
    let missing =
        ["serve", "--oidc-issuer", "https://id.example.com", "--oidc-audience", "x", "--oidc-ca", "missing.pem"];
    let (code, text) = house.vault.exit(&missing, None);
    assert!(code == 2 && text.contains("oidc.ca missing.pem"), "{code} {text}");
}
