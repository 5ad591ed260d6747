//! A provider's keys as they come and go: rotation, outages, floods, and providers that answer nonsense.

use std::path::Path;
use std::time::{Duration, Instant};

use callvault::sso::{Flaw, Refused, SignOn};
use futures::future::join_all;
use serde_json::json;

use super::{claims, invalid, settings, sign_on};
use crate::support::provider::{Mood, Provider, SigningKey};
use crate::support::secured::Authority;

/// Settings under which a test need not wait for long.
const QUICK: &str = "keys_refresh = \"1s\"\nkeys_pause = \"200ms\"\nkeys_max_age = \"3s\"\ntimeout = \"1s\"";
/// Keys are fetched for unknown ones alone.
const UNHURRIED: &str = "keys_pause = \"200ms\"\ntimeout = \"2s\"";

async fn until(what: &str, sign_on: &SignOn, token: &str, wanted: impl Fn(&Result<(), Refused>) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let verified = sign_on.verify(token).await.map(drop);
        if wanted(&verified) {
            return;
        }
        assert!(Instant::now() < deadline, "it never came to be that {what}: {verified:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_new_key_is_taken_with_its_first_token_and_an_old_one_refused_once_it_was_withdrawn() {
    let (old, new) = (SigningKey::new("ES256", "old"), SigningKey::new("EdDSA", "new"));
    let provider = Provider::start(&[&old]);
    let sign_on = sign_on(&provider, QUICK);
    let (by_old, by_new) = (old.token(&claims(&provider)), new.token(&claims(&provider)));
    assert!(sign_on.verify(&by_old).await.is_ok());

    provider.publish(&[&old, &new]);
    assert!(sign_on.verify(&by_new).await.is_ok());
    assert!(sign_on.verify(&by_old).await.is_ok());

    provider.publish(&[&new]);
    until("the old key is refused", &sign_on, &by_old, |verified| *verified == invalid(Flaw::UnknownKey)).await;
    assert!(sign_on.verify(&by_new).await.is_ok());
}

#[tokio::test]
async fn tokens_with_unknown_keys_make_a_bounded_number_of_requests_to_the_provider() {
    let key = SigningKey::new("ES256", "one");
    let provider = Provider::start(&[&key]);
    let sign_on = sign_on(&provider, UNHURRIED);
    let (token, stranger) = (key.token(&claims(&provider)), SigningKey::new("ES256", "x"));
    assert!(sign_on.verify(&token).await.is_ok());
    let begun = Instant::now();

    for round in 0..60 {
        let tokens: Vec<String> = (0..50)
            .map(|number| {
                let header = json!({ "alg": "ES256", "kid": format!("{round}-{number}") });
                stranger.token_with(&header, &claims(&provider))
            })
            .collect();
        for refused in join_all(tokens.iter().map(|token| sign_on.verify(token))).await {
            assert_eq!(refused, invalid(Flaw::UnknownKey));
        }
        assert!(sign_on.verify(&token).await.is_ok());
    }

    let pauses = begun.elapsed().as_millis() / 200;
    let asked = provider.asked_for_keys();
    assert!(asked >= 2 && asked as u128 <= 2 + pauses + 1, "{asked} requests in {pauses} pauses");
}

#[tokio::test]
async fn many_who_wait_for_the_same_key_cause_one_request_and_nobody_else_waits() {
    let (old, new) = (SigningKey::new("ES256", "old"), SigningKey::new("ES256", "new"));
    let provider = Provider::start(&[&old]);
    let sign_on = sign_on(&provider, "timeout = \"5s\"");
    let (by_old, by_new) = (old.token(&claims(&provider)), new.token(&claims(&provider)));
    assert!(sign_on.verify(&by_old).await.is_ok());
    provider.publish(&[&old, &new]);
    provider.be(Mood::Slow(Duration::from_secs(1)));
    let begun = Instant::now();

    let waiting = join_all((0..200).map(|_| sign_on.verify(&by_new)));
    let others = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..100 {
            assert!(sign_on.verify(&by_old).await.is_ok());
        }
        begun.elapsed()
    };
    let (waited, others) = tokio::join!(waiting, others);

    assert!(waited.iter().all(Result::is_ok), "{:?}", waited.iter().find(|one| one.is_err()));
    assert_eq!(provider.asked_for_keys(), 2);
    assert!(begun.elapsed() >= Duration::from_secs(1) && others < Duration::from_millis(900), "{others:?}");
}

#[tokio::test]
async fn whoever_stops_waiting_takes_nobody_elses_key_away() {
    let (old, new) = (SigningKey::new("ES256", "old"), SigningKey::new("ES256", "new"));
    let provider = Provider::start(&[&old]);
    let sign_on = sign_on(&provider, "timeout = \"5s\"");
    assert!(sign_on.verify(&old.token(&claims(&provider))).await.is_ok());
    provider.publish(&[&new]);
    provider.be(Mood::Slow(Duration::from_millis(500)));
    let by_new = new.token(&claims(&provider));

    let gave_up = tokio::time::timeout(Duration::from_millis(100), sign_on.verify(&by_new)).await;

    assert!(gave_up.is_err());
    assert!(sign_on.verify(&by_new).await.is_ok());
    assert_eq!(provider.asked_for_keys(), 2);
}

#[tokio::test]
async fn while_the_provider_is_down_its_keys_count_until_they_are_too_old_and_then_nobody_is_called_invalid() {
    let key = SigningKey::new("EdDSA", "one");
    let provider = Provider::start(&[&key]);
    let sign_on = sign_on(&provider, QUICK);
    let token = key.token(&claims(&provider));
    assert!(sign_on.verify(&token).await.is_ok());

    provider.be(Mood::Down);
    let down_since = Instant::now();
    // The last fetch was at most a second before.
    while down_since.elapsed() < Duration::from_millis(1_700) {
        assert!(sign_on.verify(&token).await.is_ok(), "after {:?}", down_since.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stranger = SigningKey::new("EdDSA", "x").token(&claims(&provider));
    assert_eq!(sign_on.verify(&stranger).await, invalid(Flaw::UnknownKey));

    until("the keys are too old", &sign_on, &token, |verified| *verified == Err(Refused::Unavailable)).await;
    assert!(down_since.elapsed() < Duration::from_secs(6), "{:?}", down_since.elapsed());
    assert_eq!(sign_on.verify("e30.e30.AA").await, invalid(Flaw::Algorithm));

    provider.be(Mood::Serving);
    until("the provider is back", &sign_on, &token, Result::is_ok).await;
}

#[tokio::test]
async fn a_provider_that_is_down_at_the_start_is_waited_for() {
    let key = SigningKey::new("ES256", "one");
    let provider = Provider::start(&[&key]);
    provider.be(Mood::Down);
    let sign_on = sign_on(&provider, QUICK);
    let token = key.token(&claims(&provider));
    assert_eq!(sign_on.verify(&token).await, Err(Refused::Unavailable));

    provider.be(Mood::Serving);

    until("the provider is back", &sign_on, &token, Result::is_ok).await;
}

#[tokio::test]
async fn what_is_no_set_of_keys_replaces_none_and_no_redirect_is_followed() {
    let key = SigningKey::new("ES256", "one");
    let (provider, elsewhere) = (Provider::start(&[&key]), Provider::start(&[&key]));
    let more = format!("jwks_url = \"{}\"\n{UNHURRIED}", provider.keys_url());
    let (sign_on, token) = (sign_on(&provider, &more), key.token(&claims(&provider)));
    assert!(sign_on.verify(&token).await.is_ok());
    let set = json!({ "keys": [key.jwk()] }).to_string();
    let padded = format!("{set}{}", " ".repeat(256 << 10));
    let moods = [
        Mood::Saying(302, set.clone(), Some(elsewhere.keys_url())),
        Mood::Saying(301, String::new(), Some(elsewhere.keys_url())),
        Mood::Saying(500, set.clone(), None),
        Mood::Saying(404, set.clone(), None),
        Mood::Saying(201, set, None),
        Mood::Saying(200, "<html>".into(), None),
        Mood::Saying(200, String::new(), None),
        Mood::Saying(200, padded, None),
        Mood::Silent,
        Mood::Down,
    ];

    for mood in moods {
        provider.be(mood.clone());
        let anew = super::sign_on(&provider, &more);
        assert_eq!(anew.verify(&token).await, Err(Refused::Unavailable), "{mood:?}");
        // It is asked again in this mood, and keeps what it has.
        let (before, stranger) = (provider.asked_for_keys(), json!({ "alg": "ES256", "kid": "x" }));
        while provider.asked_for_keys() < before + 2 {
            assert_eq!(sign_on.verify(&key.token_with(&stranger, &claims(&provider))).await, invalid(Flaw::UnknownKey));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(sign_on.verify(&token).await.is_ok(), "{mood:?}");
    }
    assert_eq!(elsewhere.asked_for_keys(), 0);
}

#[tokio::test]
async fn a_provider_that_withdraws_all_its_keys_is_believed() {
    let key = SigningKey::new("ES256", "one");
    let provider = Provider::start(&[&key]);
    let sign_on = sign_on(&provider, QUICK);
    let token = key.token(&claims(&provider));
    assert!(sign_on.verify(&token).await.is_ok());

    provider.publish(&[]);

    until("no key is left", &sign_on, &token, |verified| *verified == invalid(Flaw::UnknownKey)).await;
}

#[tokio::test]
async fn a_description_of_another_issuer_or_of_keys_in_the_open_is_not_believed() {
    let key = SigningKey::new("ES256", "one");
    let (provider, other) = (Provider::start(&[&key]), Provider::start(&[&key]));
    let token = key.token(&claims(&provider));
    for described in [
        json!({ "issuer": other.issuer, "jwks_uri": provider.keys_url() }),
        json!({ "issuer": format!("{}/", provider.issuer), "jwks_uri": provider.keys_url() }),
        json!({ "issuer": provider.issuer, "jwks_uri": "http://id.example.com/keys" }),
        json!({ "issuer": provider.issuer, "jwks_uri": "file:///etc/passwd" }),
        json!({ "issuer": provider.issuer }),
        json!({ "jwks_uri": provider.keys_url() }),
        json!([]),
    ] {
        provider.describe_as(described.clone());
        assert_eq!(sign_on(&provider, UNHURRIED).verify(&token).await, Err(Refused::Unavailable), "{described}");
    }

    provider.describe_as(json!({ "issuer": provider.issuer, "jwks_uri": other.keys_url() }));
    assert!(sign_on(&provider, UNHURRIED).verify(&token).await.is_ok());
    assert_eq!((provider.asked_for_keys(), other.asked_for_keys()), (0, 1));
}

#[tokio::test]
async fn over_https_the_provider_shows_a_certificate_of_an_authority_that_is_trusted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let key = SigningKey::new("RS256", "one");
    let provider = Provider::start_secured(&[&key], &ours.server("provider"));
    let plain = Provider::start(&[&key]);
    let token = key.token(&claims(&provider));
    let trusting = |file: &Path| sign_on(&provider, &format!("ca = \"{}\"\n{UNHURRIED}", file.display()));

    assert!(trusting(&ours.file).verify(&token).await.is_ok());
    assert_eq!(trusting(&theirs.file).verify(&token).await, Err(Refused::Unavailable));
    // The system's authorities did not sign it either.
    assert_eq!(sign_on(&provider, UNHURRIED).verify(&token).await, Err(Refused::Unavailable));
    // Keys in the open are not taken for an issuer that is secured, even on this machine.
    provider.describe_as(json!({ "issuer": provider.issuer, "jwks_uri": plain.keys_url() }));
    assert_eq!(trusting(&ours.file).verify(&token).await, Err(Refused::Unavailable));
    assert_eq!(plain.asked_for_keys(), 0);

    let missing = dir.path().join("missing.pem");
    std::fs::write(dir.path().join("empty.pem"), "").expect("written");
    for file in [missing, dir.path().join("empty.pem")] {
        let settings = settings(&provider, &format!("ca = \"{}\"", file.display()));
        let refused = SignOn::start(settings, std::sync::Arc::new(callvault::model::clock::SystemClock));
        assert!(refused.err().is_some_and(|error| error.starts_with("oidc.ca ")), "{}", file.display());
    }
}
