//! A server under requests that schemathesis makes of the document.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{packages, root};
use crate::support::{Vault, noise};

/// Another seed makes other requests; this one makes the same in every run.
const SEED: &str = "20240101";
/// Longer, and the run counts as failed: it has to stay one that everybody waits for.
const TIME_MAX: Duration = Duration::from_secs(90);

#[test]
fn requests_that_are_made_of_the_document_are_answered_as_it_tells() {
    let vault = Vault::new();
    let server = vault.serve();
    server.put("a", &noise(1, 40_000)).send().id(201);
    println!("schemathesis with the seed {SEED}");
    let begun = Instant::now();

    let mut fuzzer = Command::new("python3");
    fuzzer.args(["-m", "schemathesis.cli", "--config-file"]).arg(root().join("tests/it/openapi/fuzzed.toml"));
    fuzzer.arg("run").arg(format!("{}/openapi.json", server.url));
    fuzzer.args(["--checks", "all", "--phases", "examples,coverage,fuzzing,stateful", "--seed", SEED, "--no-color"]);
    fuzzer.env("PYTHONPATH", format!("{}:{}", packages().display(), root().join("tests/it/openapi").display()));
    fuzzer.env("SCHEMATHESIS_HOOKS", "hooks").env("CALLVAULT_TOKEN", &vault.token).current_dir(vault.dir.path());
    let output = fuzzer.output().expect("python3 is there; tests/run installs what it needs");

    let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(told.contains(" passed"), "{told}");
    assert!(begun.elapsed() < TIME_MAX, "it took {:?}", begun.elapsed());
    assert!(!server.log_text().contains("panicked"), "{}", server.log_text());
}
