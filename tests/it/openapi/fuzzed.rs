//! A server under requests that schemathesis makes of the document.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{packages, root};
use crate::support::{Server, Vault, noise};

/// Another seed makes other requests; this one makes the same in every run.
const SEED: &str = "20240101";
/// Longer, and the run counts as failed: it has to stay one that everybody waits for.
const TIME_MAX: Duration = Duration::from_secs(150);

/// Refusals are what a fuzzer lives on: it is not turned away for them.
const UNWATCHED: [&str; 4] = ["--watch-denied-max", "1000000", "--rate-requests-per-s", "0"];

/// One run; what schemathesis told.
fn fuzz(vault: &Vault, server: &Server, token: &str, args: &[&str]) -> String {
    println!("schemathesis with the seed {SEED}");
    let mut fuzzer = Command::new("python3");
    fuzzer.args(["-m", "schemathesis.cli", "--config-file"]).arg(root().join("tests/it/openapi/fuzzed.toml"));
    fuzzer.arg("run").arg(format!("{}/openapi.json", server.url)).args(["--seed", SEED, "--no-color"]).args(args);
    fuzzer.env("PYTHONPATH", format!("{}:{}", packages().display(), root().join("tests/it/openapi").display()));
    fuzzer.env("PYTHONDONTWRITEBYTECODE", "1").env("SCHEMATHESIS_HOOKS", "hooks").env("CALLVAULT_TOKEN", token);
    let output = fuzzer.current_dir(vault.dir.path()).output();
    let output = output.expect("python3 is there; tests/run installs what it needs");

    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(!server.log_text().contains("panicked"), "{}", server.log_text());
    told.into_owned()
}

/// How many requests it made.
fn asked(told: &str) -> u32 {
    let count = told.split("Test cases:").nth(1).and_then(|rest| rest.split_whitespace().next());
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no count in {told}"))
}

#[test]
fn requests_that_are_made_of_the_document_are_answered_as_it_tells() {
    let vault = Vault::new();
    let server = vault.serve_with(&UNWATCHED, None);
    server.put("a", &noise(1, 40_000)).send().id(201);
    let begun = Instant::now();

    // It would revoke the token by which it asks; people are for another token.
    let left_out = ["--exclude-operation-id", "revokeToken", "--exclude-path-regex", "^/v1/people"];
    let told = fuzz(&vault, &server, &vault.token, &left_out);

    assert!(asked(&told) > 1_000, "{told}");
    assert!(begun.elapsed() < TIME_MAX, "it took {:?}", begun.elapsed());
    server.put("b", &noise(1, 40_000)).send().id(201);
}

#[test]
fn requests_about_people_that_are_made_of_the_document_are_answered_as_it_tells() {
    let vault = Vault::new();
    let server = vault.serve_with(&UNWATCHED, None);
    let house = vault.ok(&["token", "create", "--name", "house", "--scope", "admin"]);

    let house = house["token"].as_str().expect("a token");
    let told = fuzz(&vault, &server, house, &["--include-path-regex", "^/v1/people"]);

    assert!(asked(&told) > 100, "{told}");
    assert_eq!(server.ask("GET", "/v1/people").token(house).send().status, 200);
}
