//! Claims of verified tokens, each to its second and its form.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::*;
use crate::sso::{Claim, KeyTimes, KeysAt, Place, Rights};

const NOW_S: i64 = 1_800_000_000;

fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        issuer: "https://id.example.com".into(),
        audiences: vec!["callvault".into(), "vault".into()],
        keys_at: KeysAt::Named(Place::parse("https://id.example.com/keys").expect("a place")),
        authorities: None,
        algorithms: Vec::new(),
        clock_skew: Duration::from_secs(60),
        token_len_max: 16 << 10,
        keys: KeyTimes { refresh: second, pause: second, max_age: second, timeout: second },
        rights: Rights {
            scopes_claim: Claim("scope".into()),
            scopes: BTreeMap::new(),
            tenants_claim: None,
            tenants: BTreeMap::new(),
        },
    }
}

/// What sound claims become with one of them changed; `null` takes it away.
fn judged(name: &str, value: Value) -> Result<Verified, Flaw> {
    let mut claims = json!({
        "iss": "https://id.example.com",
        "aud": ["account", "callvault"],
        "sub": "7a6f",
        "exp": NOW_S + 300,
        "iat": NOW_S,
        "scope": "openid callvault:read",
    });
    match value {
        Value::Null => claims.as_object_mut().expect("an object").remove(name),
        value => claims.as_object_mut().expect("an object").insert(name.to_owned(), value),
    };
    Verified::from_claims(&claims, &settings(), Timestamp::from_second(NOW_S).expect("an instant"))
}

#[test]
fn sound_claims_become_a_subject_of_its_issuer() {
    let verified = judged("jti", json!("x")).expect("sound");

    assert_eq!(verified.subject, "https://id.example.com 7a6f");
    assert_eq!(verified.scopes.to_string(), "read");
    assert_eq!(verified.tenants, Tenants::Any);
    assert_eq!(verified.expires_at.as_second(), NOW_S + 300);
}

#[test]
fn times_count_to_the_second_with_the_skew_that_is_set() {
    assert!(judged("exp", json!(NOW_S - 59)).is_ok());
    assert_eq!(judged("exp", json!(NOW_S - 60)), Err(Flaw::Expired));
    assert!(judged("nbf", json!(NOW_S + 60)).is_ok());
    assert_eq!(judged("nbf", json!(NOW_S + 61)), Err(Flaw::TooEarly));
    assert!(judged("iat", json!(NOW_S + 60)).is_ok());
    assert_eq!(judged("iat", json!(NOW_S + 61)), Err(Flaw::TooEarly));
    assert!(judged("iat", json!(null)).is_ok());
    assert!(judged("exp", json!(NOW_S as f64 - 58.5)).is_ok());
    assert_eq!(judged("exp", json!(NOW_S as f64 - 60.5)), Err(Flaw::Expired));
    for other in [json!(null), json!("1800000300"), json!([]), json!(true), json!(1e300), json!(u64::MAX)] {
        assert_eq!(judged("exp", other.clone()), Err(Flaw::Time), "{other}");
    }
    assert_eq!(judged("nbf", json!("soon")), Err(Flaw::Time));
}

#[test]
fn an_issuer_and_an_audience_are_compared_byte_for_byte() {
    for other in [
        json!(null),
        json!("https://id.example.com/"),
        json!("HTTPS://id.example.com"),
        json!(["https://id.example.com"]),
    ] {
        assert_eq!(judged("iss", other.clone()), Err(Flaw::Issuer), "{other}");
    }
    assert!(judged("aud", json!("vault")).is_ok());
    for other in
        [json!(null), json!("Vault"), json!("vault "), json!([]), json!([["vault"]]), json!({ "vault": 1 }), json!("")]
    {
        assert_eq!(judged("aud", other.clone()), Err(Flaw::Audience), "{other}");
    }
}

#[test]
fn a_subject_is_a_text_that_can_be_written_down() {
    assert!(judged("sub", json!("x".repeat(255))).is_ok());
    for other in [
        json!(null),
        json!(""),
        json!(7),
        json!(["7a6f"]),
        json!({}),
        json!("a\nb"),
        json!("a\u{0}"),
        json!("x".repeat(256)),
    ] {
        assert_eq!(judged("sub", other.clone()), Err(Flaw::Subject), "{other}");
    }
}

#[test]
fn another_kind_of_token_and_one_that_is_bound_to_a_key_are_refused() {
    for (name, value) in [
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("typ", json!(7)),
        ("at_hash", json!("x")),
        ("c_hash", json!("x")),
        ("events", json!({ "http://schemas.openid.net/event/backchannel-logout": {} })),
    ] {
        assert_eq!(judged(name, value), Err(Flaw::Type), "{name}");
    }
    assert!(judged("typ", json!("Bearer")).is_ok());
    assert_eq!(judged("cnf", json!({ "jkt": "x" })), Err(Flaw::Bound));
}
