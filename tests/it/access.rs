//! Access: every route asks for its scope, every token for its tenant, network and time, and nothing tells strangers apart.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use callvault::model::Clock;
use callvault::model::clock::SystemClock;

use crate::support::wire::{Ask, audio};
use crate::support::{Vault, files, wait_until};

const SCOPES: [&str; 9] =
    ["ingest", "read", "play:customer", "play:training", "manage", "rights", "finance", "audit", "admin"];

#[test]
fn every_route_opens_to_its_scope_and_to_no_other() {
    let vault = Vault::new();
    let tokens = SCOPES.map(|scope| (scope, vault.make_token("acme", scope)));
    let server = vault.serve();
    let [customer, training, deleted, erased] = ["customer", "training", "customer", "customer"]
        .map(|class| server.ask("POST", &format!("/v1/recordings?class={class}")).body(b"audio").send().id(201));
    // What ends a recording stands last.
    let routes: [(Ask, &str, u16); 11] = [
        (server.ask("POST", "/v1/recordings").body(b"audio"), "ingest", 201),
        (server.put("name", b"audio"), "ingest", 201),
        (server.ask("GET", "/v1/recordings"), "read", 200),
        (server.ask("GET", &format!("/v1/recordings/{customer}")), "read", 200),
        (server.ask("GET", &audio(&customer)), "play:customer", 200),
        (server.ask("HEAD", &audio(&customer)), "play:customer", 200),
        (server.ask("GET", &format!("{}?class=training", audio(&training))), "play:training", 200),
        (server.ask("GET", &audio(&training)), "play:training", 200),
        (server.ask("GET", "/v1/receipts"), "audit", 200),
        (server.ask("DELETE", &format!("/v1/recordings/{deleted}")), "manage", 202),
        (server.ask("DELETE", &format!("/v1/recordings/{erased}?erase=1")), "rights", 202),
    ];

    for (ask, needed, status) in routes {
        for refused in [ask.clone().anonymous(), ask.clone().token(&unknown_token(&vault)), ask.clone().token("cv_x")] {
            assert_challenged(&refused);
        }
        for (scope, token) in tokens.iter().filter(|(scope, _)| *scope != needed) {
            let answer = ask.clone().token(token).send();
            assert_eq!(answer.status, 403, "{needed} opened to {scope}: {answer}");
        }
        let (_, token) = tokens.iter().find(|(scope, _)| *scope == needed).expect("a scope");
        let answer = ask.token(token).send();
        assert_eq!(answer.status, status, "{needed}: {answer}");
    }
}

#[test]
fn health_and_explanations_need_no_token() {
    let vault = Vault::new();
    let server = vault.serve();

    for target in ["/healthz", "/readyz", "/problems", "/problems/unauthorized"] {
        assert_eq!(server.ask("GET", target).anonymous().send().status, 200, "{target}");
    }
}

#[test]
fn another_tenants_recording_is_answered_exactly_as_one_that_never_was() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other", "--recording", "on"]);
    let other = vault.make_token("other", crate::support::ALL_SCOPES);
    let server = vault.serve();
    let theirs = server.put("a", b"audio").send().id(201);
    let never = "01890000-0000-7000-8000-000000000000";
    let routes = [
        ("GET", ""),
        ("GET", "/audio"),
        ("GET", "/audio?class=training"),
        ("HEAD", "/audio"),
        ("DELETE", ""),
        ("DELETE", "?erase=1"),
    ];

    for (method, rest) in routes {
        let [one, none] = [theirs.as_str(), never]
            .map(|id| server.ask(method, &format!("/v1/recordings/{id}{rest}")).token(&other).send());
        assert_eq!(one.status, 404, "{method} {rest}: {one}");
        let plain = |answer: &crate::support::wire::Answer| {
            let headers = answer.headers.iter().filter(|(name, _)| name != "date");
            (answer.status, headers.cloned().collect::<Vec<_>>(), answer.body.clone())
        };
        assert_eq!(plain(&one), plain(&none), "{method} {rest}");
    }
    assert_eq!(server.play(&theirs), b"audio");
}

#[test]
fn a_revoked_token_is_refused_at_once() {
    let vault = Vault::new();
    let made = vault.ok(&["token", "create", "--tenant", "acme", "--name", "t", "--scope", "read"]);
    let (id, token) = (made["id"].as_str().expect("an id"), made["token"].as_str().expect("a token"));
    let server = vault.serve();
    let ask = server.ask("GET", "/v1/recordings").token(token);
    assert_eq!(ask.send().status, 200);

    vault.ok(&["token", "revoke", id]);

    assert_challenged(&ask);
}

#[test]
fn a_token_is_refused_from_the_second_it_expires() {
    let vault = Vault::new();
    let server = vault.serve();
    let expires_at = jiff::Timestamp::from_second(SystemClock.now().as_second() + 4).expect("a time");
    let made = vault.ok(&[
        "token",
        "create",
        "--tenant",
        "acme",
        "--name",
        "t",
        "--scope",
        "read",
        "--expires",
        &expires_at.to_string(),
    ]);
    let ask = server.ask("GET", "/v1/recordings").token(made["token"].as_str().expect("a token"));
    let before = ask.send().status;
    assert!(before == 200 || SystemClock.now() >= expires_at, "{before}");

    wait_until("the token has expired", || SystemClock.now() >= expires_at);

    assert_challenged(&ask);
}

#[test]
fn an_offboarded_tenants_tokens_are_refused_at_once() {
    let vault = Vault::new();
    let server = vault.serve();
    assert_eq!(server.see("/v1/recordings").status, 200);

    vault.ok(&["tenant", "offboard", "acme"]);

    assert_challenged(&server.ask("GET", "/v1/recordings"));
}

#[test]
fn a_token_of_another_network_is_refused() {
    let vault = Vault::new();
    let from = |cidr: &str| make_token_from(&vault, cidr);
    let (inside, outside, both) = (from("127.0.0.0/8"), from("10.0.0.0/8"), from("10.0.0.0/8,127.0.0.1"));
    let server = vault.serve();
    let ask = |token: &str| server.ask("GET", "/v1/recordings").token(token);

    assert_eq!(ask(&inside).send().status, 200);
    assert_eq!(ask(&both).send().status, 200);
    ask(&outside).send().problem(403, "address-not-allowed");
    ask(&outside).header("X-Forwarded-For", "10.1.2.3").send().problem(403, "address-not-allowed");
}

#[test]
fn behind_a_named_proxy_the_network_is_that_of_the_client() {
    let vault = Vault::new();
    let token = make_token_from(&vault, "10.0.0.0/8");
    let server = vault.serve_with(&["--trusted-proxies", "127.0.0.1,192.0.2.0/24"], None);
    let from = |addresses: &str| server.ask("GET", "/v1/recordings").token(&token).header("X-Forwarded-For", addresses);

    assert_eq!(from("10.1.2.3").send().status, 200);
    assert_eq!(from("203.0.113.5, 10.1.2.3, 192.0.2.7").send().status, 200);
    assert_eq!(from("::ffff:10.1.2.3").send().status, 200);
    assert_eq!(from("10.1.2.3:49152").send().status, 200, "some gateways write the port");
    for elsewhere in ["203.0.113.5", "10.1.2.3, 203.0.113.5", "10.1.2.3, nonsense", "192.0.2.7", ""] {
        from(elsewhere).send().problem(403, "address-not-allowed");
    }
}

#[test]
fn a_socket_for_both_protocols_knows_an_ipv4_client_as_what_he_is() {
    let vault = Vault::new();
    let token = make_token_from(&vault, "127.0.0.0/8");
    let server = vault.serve_with(&["--listen", "[::]:0", "--trusted-proxies", "192.0.2.1"], None);
    let port = server.url.rsplit(':').next().expect("a port");
    let mut wire = crate::support::wire::Wire::connect(&format!("127.0.0.1:{port}"));

    wire.send(server.ask("GET", "/v1/recordings").token(&token).head()).expect("a head");

    assert_eq!(wire.answer().expect("an answer").status, 200);
}

#[test]
fn basic_credentials_count_for_their_own_tenant_only() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other"]);
    let server = vault.serve();
    let basic = |text: String| {
        let value = format!("Basic {}", STANDARD.encode(text));
        server.ask("GET", "/v1/recordings").anonymous().header("Authorization", &value)
    };

    assert_eq!(basic(format!("acme:{}", vault.token)).send().status, 200);
    for wrong in
        [format!("other:{}", vault.token), format!("ACME:{}", vault.token), "acme:".into(), vault.token.clone()]
    {
        assert_challenged(&basic(wrong));
    }
    for value in ["Basic !!!", "Basic", "Bearer", "Bearer ", "Digest x", "cv_x"] {
        assert_challenged(&server.ask("GET", "/v1/recordings").anonymous().header("Authorization", value));
    }
}

#[test]
fn a_token_in_the_address_lets_audio_in_and_nothing_out() {
    let vault = Vault::new();
    let server = vault.serve();
    let with = |method: &str, target: String| server.ask(method, &target).anonymous();
    let token = &vault.token;

    let id = with("PUT", format!("/v1/recordings/a?token={token}")).body(b"audio").send().id(201);
    with("POST", format!("/v1/recordings?key={token}")).body(b"audio").send().id(201);

    assert_challenged(&with("PUT", "/v1/recordings/a?token=cv_x".into()).body(b"audio"));
    for target in ["/v1/recordings".to_owned(), format!("/v1/recordings/{id}"), audio(&id)] {
        assert_challenged(&with("GET", format!("{target}?token={token}")));
    }
    assert!(!server.log_text().contains(token.as_str()));
}

#[test]
fn a_token_is_written_nowhere() {
    let vault = Vault::new();
    let server = vault.serve();
    server.put("a", b"audio").send().id(201);
    server.put("a", b"audio").token(&format!("{}x", vault.token)).send();
    drop(server);
    let written = files(vault.dir.path());
    assert!(written.len() > 3, "{written:?}");

    for path in written {
        let bytes = std::fs::read(&path).expect("a file");
        for secret in [vault.token.as_bytes(), &vault.token.as_bytes()[3..]] {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "the token stands in {}", path.display());
        }
    }
    let listed = vault.ok(&["token", "list"]).to_string();
    assert!(!listed.contains(&vault.token[3..]));
}

#[test]
fn a_command_that_is_not_built_or_not_possible_ends_with_a_clear_error() {
    let vault = Vault::new();
    for args in [&["rekey"][..], &["recording", "hold", "x"]] {
        let (code, text) = vault.exit(args, None);
        assert_eq!(code, 2, "{args:?}: {text}");
    }
    for args in [
        &["serve", "--listen", "0.0.0.0:0"][..],
        &["serve", "--tls-cert", "x", "--tls-key", "y"],
        &["serve", "--catalog", "postgres://x"],
        &["serve", "--key-store", "s3://"],
        &["serve", "--s3-part-len", "1MiB"],
        &["serve", "--upload-bytes-max", "lots"],
    ] {
        let (code, text) = vault.exit(args, None);
        assert_eq!(code, 2, "{args:?}: {text}");
        let error: serde_json::Value = serde_json::from_str(text.trim()).unwrap_or_else(|_| panic!("{text}"));
        assert!(error["error"].as_str().is_some_and(|error| error.len() > 20), "{text}");
    }
    assert_eq!(vault.exit(&["token", "create", "--tenant", "none", "--name", "x", "--scope", "read"], None).0, 1);
    assert_eq!(vault.exit(&["token", "create", "--tenant", "acme", "--name", "x", "--scope", "all"], None).0, 2);
    for args in [
        &["serve", "--watch-denied-max", "0"][..],
        &["serve", "--watch-window", "0s"],
        &["serve", "--rate-burst", "0"],
        &["serve", "--link-lifetime-max", "169h"],
        &["serve", "--link-lifetime", "2h", "--link-lifetime-max", "1h"],
        &["serve", "--four-eyes-window", "0s"],
        &["serve", "--four-eyes-window", "99999999h"],
        &["serve", "--watch-window", "9999999h"],
        &["token", "create", "--tenant", "acme", "--name", "x", "--scope", "read", "--cidr", "::ffff:10.0.0.0/104"],
        &["token", "create", "--name", "x", "--scope", "read"],
        &["token", "create", "--tenant", "acme", "--name", "x", "--kind", "pbx", "--scope", "read"],
    ] {
        let (code, text) = vault.exit(args, None);
        assert_eq!(code, 2, "{args:?}: {text}");
    }
}

#[test]
fn whoever_guesses_is_turned_away_and_valid_tokens_from_his_address_are_not() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--watch-denied-max", "5", "--watch-window", "1h"], None);
    let guess = server.ask("GET", "/v1/recordings").token(&unknown_token(&vault));
    for _ in 0..5 {
        assert_eq!(guess.send().status, 401);
    }

    let away = guess.send();

    away.problem(429, "too-many-denials");
    let seconds: u64 = away.header("retry-after").parse().expect("seconds");
    assert!((1..=720).contains(&seconds), "{seconds}");
    assert!(server.log_text().contains("address-watch"), "{}", server.log_text());
    assert_eq!(server.see("/v1/recordings").status, 200);
    server.put("a", b"audio").send().id(201);
    assert_eq!(server.ask("GET", "/v1/recordings").anonymous().send().status, 401, "who shows nothing guesses nothing");
}

#[test]
fn a_token_that_is_refused_too_often_is_turned_away_wherever_it_comes_from() {
    let vault = Vault::new();
    let (reader, other) = (vault.make_token("acme", "read"), vault.make_token("acme", "read"));
    let server = vault.serve_with(&["--watch-denied-max", "3", "--watch-window", "1h"], None);
    let delete =
        |token: &str| server.ask("DELETE", "/v1/recordings/01890000-0000-7000-8000-000000000000").token(token).send();
    for _ in 0..3 {
        delete(&reader).problem(403, "forbidden");
    }

    delete(&reader).problem(429, "too-many-denials");
    delete(&other).problem(403, "forbidden");
    assert_eq!(server.ask("GET", "/v1/recordings").token(&reader).send().status, 200, "what it may do it may still do");
}

#[test]
fn a_token_that_asks_too_often_waits_and_its_uploads_do_not() {
    let vault = Vault::new();
    let server = vault.serve_with(&["--rate-requests-per-s", "1", "--rate-burst", "3"], None);
    let answers: Vec<_> = (0..8).map(|_| server.see("/v1/recordings")).collect();

    let away: Vec<_> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(away.len() >= 3, "{answers:?}");
    for answer in &away {
        answer.problem(429, "too-many-requests");
        assert_eq!(answer.header("retry-after"), "1");
    }
    for number in 0..8 {
        server.put(&format!("{number}"), b"audio").send().id(201);
    }
}

#[test]
fn a_tokens_last_use_is_known_within_the_minute() {
    let vault = Vault::new();
    let made = vault.ok(&["token", "create", "--tenant", "acme", "--name", "t", "--scope", "read"]);
    let server = vault.serve();
    let used = || {
        let list = vault.ok(&["token", "list"]);
        let tokens = list["tokens"].as_array().expect("tokens").clone();
        tokens.into_iter().find(|token| token["id"] == made["id"]).expect("it is listed")["last_used_at"].clone()
    };
    assert!(used().is_null());

    server.ask("GET", "/v1/recordings").token(made["token"].as_str().expect("a token")).send();

    wait_until("its use is written down", || !used().is_null());
}

/// 401, with both challenges, and nothing that tells why.
fn assert_challenged(ask: &Ask) {
    let answer = ask.send();
    assert_eq!(answer.status, 401, "{answer}");
    let schemes: Vec<_> = answer.headers_named("www-authenticate").iter().filter_map(|v| v.split(' ').next()).collect();
    assert_eq!(schemes, ["Basic", "Bearer"], "{answer}");
    if !answer.body.is_empty() {
        answer.problem(401, "unauthorized");
    }
}

/// Well-formed, and nobody's: it belonged to another vault.
fn unknown_token(vault: &Vault) -> String {
    use std::sync::OnceLock;
    static TOKEN: OnceLock<String> = OnceLock::new();
    let token = TOKEN.get_or_init(|| Vault::new().token.clone());
    assert_ne!(*token, vault.token);
    token.clone()
}

fn make_token_from(vault: &Vault, cidr: &str) -> String {
    let made = vault.ok(&["token", "create", "--tenant", "acme", "--name", "t", "--scope", "read", "--cidr", cidr]);
    made["token"].as_str().expect("a token").to_owned()
}
