//! A provider that is not ours: keys and tokens by another implementation of JOSE (joserfc), in a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use callvault::config::{Config, RawSettings};
use callvault::model::clock::SystemClock;
use callvault::sso::SignOn;
use serde_json::Value;

/// Killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test]
async fn keys_and_tokens_of_another_implementation_are_understood_in_every_algorithm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3");
    python.arg(root.join("tests/it/sso/provider.py")).env("PYTHONPATH", root.join("target/test-clients/joserfc"));
    // It warns of the older name of an algorithm, which providers still use.
    python.env("PYTHONWARNINGS", "ignore");
    let mut process = Process(python.stdout(Stdio::piped()).spawn().expect("this test needs python3"));
    let mut line = String::new();
    let stdout = process.0.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    let told: Value = serde_json::from_str(&line).expect("the provider runs: tests/run installs joserfc");
    let (issuer, tokens) = (told["issuer"].as_str().expect("a text"), told["tokens"].as_object().expect("tokens"));
    let named: Vec<_> = tokens.keys().map(|name| format!("\"{name}\"")).collect();
    let text = format!(
        "[oidc]\nissuer = \"{issuer}\"\naudience = [\"callvault\"]\nalgorithms = [{}]\ntimeout = \"20s\"",
        named.join(", ")
    );
    let raw: RawSettings = toml::from_str(&text).expect("settings");
    let settings = Config::check(raw).expect("sound").single_sign_on.expect("there is an issuer");
    let sign_on = SignOn::start(settings, Arc::new(SystemClock)).expect("sound settings");

    assert_eq!(tokens.len(), 10);
    for (algorithm, token) in tokens {
        let token = token.as_str().expect("a text");
        let verified = sign_on.verify(token).await.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        assert_eq!(verified.subject, format!("{issuer} anna"));
        assert_eq!(verified.scopes.to_string(), "read");
    }
}
