//! Single sign-on: which access tokens of a provider are believed, as its keys come and go, and whatever strangers send.

mod keys;
mod others;
mod people;

use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use callvault::config::{Config, RawSettings};
use callvault::model::Clock;
use callvault::model::clock::SystemClock;
use callvault::sso::{Flaw, Refused, SignOn, is_jwt};
use serde_json::{Value, json};

use crate::support::held::now;
use crate::support::provider::{Provider, SigningKey};

/// The settings of one provider, as a file has them.
fn settings(provider: &Provider, more: &str) -> callvault::sso::Settings {
    let text = format!("[oidc]\nissuer = \"{}\"\naudience = [\"callvault\"]\n{more}", provider.issuer);
    let raw: RawSettings = toml::from_str(&text).expect("settings");
    Config::check(raw).expect("sound settings").single_sign_on.expect("there is an issuer")
}

fn sign_on(provider: &Provider, more: &str) -> SignOn {
    sign_on_at(provider, more, Arc::new(SystemClock))
}

fn sign_on_at(provider: &Provider, more: &str, clock: Arc<dyn Clock>) -> SignOn {
    SignOn::start(settings(provider, more), clock).expect("sound settings")
}

/// Claims of an access token for this vault that lives for five minutes.
fn claims(provider: &Provider) -> Value {
    let now_s = now().as_second();
    json!({
        "iss": provider.issuer,
        "aud": ["account", "callvault"],
        "sub": "f:1c:anna",
        "exp": now_s + 300,
        "iat": now_s,
        "jti": "3f",
        "typ": "Bearer",
        "azp": "console",
        "scope": "openid callvault:read callvault:play:customer",
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn invalid<T>(flaw: Flaw) -> Result<T, Refused> {
    Err(Refused::Invalid(flaw))
}

#[tokio::test]
async fn tokens_that_a_provider_signs_today_are_verified_in_every_usual_algorithm() {
    let keys = ["RS256", "PS256", "ES256", "EdDSA"].map(|algorithm| SigningKey::new(algorithm, algorithm));
    let provider = Provider::start(&keys.each_ref());
    let sign_on = sign_on(&provider, "");

    for key in &keys {
        let claims = claims(&provider);
        let verified = sign_on.verify(&key.token(&claims)).await.unwrap_or_else(|error| panic!("{}: {error}", key.kid));
        assert_eq!(verified.subject, format!("{} f:1c:anna", provider.issuer));
        assert_eq!(verified.scopes.to_string(), "read play:customer");
        assert!(verified.tenants.has(&"acme".parse().expect("a slug")));
        assert_eq!(verified.expires_at.as_second(), claims["exp"]);
        for typ in ["JWT", "AT+JWT", "application/at+jwt"] {
            let token = key.token_with(&with(key.header(), "typ", json!(typ)), &claims);
            assert!(sign_on.verify(&token).await.is_ok(), "{typ}");
        }
    }
    assert_eq!(provider.asked_for_keys(), 1);
}

#[tokio::test]
async fn an_algorithm_that_is_not_allowed_verifies_nothing_and_one_that_is_named_does() {
    let keys = ["RS512", "ES384", "RS256"].map(|algorithm| SigningKey::new(algorithm, algorithm));
    let provider = Provider::start(&keys.each_ref());
    let (usual, named) = (sign_on(&provider, ""), sign_on(&provider, "algorithms = [\"RS512\", \"ES384\"]"));

    for key in &keys {
        let token = key.token(&claims(&provider));
        let (first, second) = (usual.verify(&token).await, named.verify(&token).await);
        match key.algorithm {
            "RS256" => assert!(first.is_ok() && second == invalid(Flaw::Algorithm), "{second:?}"),
            _ => assert!(first == invalid(Flaw::Algorithm) && second.is_ok(), "{first:?} {second:?}"),
        }
    }
}

#[tokio::test]
async fn a_token_without_a_signature_or_signed_with_what_everybody_knows_is_refused() {
    let key = SigningKey::new("RS256", "one");
    let mut unbound = key.jwk();
    unbound.as_object_mut().expect("an object").remove("alg");
    let provider = Provider::start(&[]);
    // The key does not say what it is for, and a shared one of the same name is published too.
    let shared = json!({ "kty": "oct", "kid": "one", "k": URL_SAFE_NO_PAD.encode(b"shared") });
    provider.publish_raw(vec![unbound, shared]);
    let sign_on = sign_on(&provider, "");
    let claims = claims(&provider);
    assert!(sign_on.verify(&key.token(&claims)).await.is_ok());

    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "NONE", "nOnE", ""] {
        let header = with(key.header(), "alg", json!(algorithm));
        for signature in ["", "AA"] {
            let token = format!("{}.{}.{signature}", part(&header), part(&claims));
            assert!(is_jwt(&token));
            assert_eq!(sign_on.verify(&token).await, invalid(Flaw::Algorithm), "{algorithm:?}");
        }
    }
    let pem = |der: &[u8], eol: &str| {
        let lines = STANDARD.encode(der);
        let lines = lines.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned());
        let lines: Vec<_> = ["-----BEGIN PUBLIC KEY-----".to_owned()].into_iter().chain(lines).collect();
        format!("{}\n-----END PUBLIC KEY-----{eol}", lines.join("\n")).into_bytes()
    };
    let der = key.public_der();
    let modulus = key.jwk()["n"].as_str().expect("a modulus").as_bytes().to_vec();
    for secret in [der.clone(), pem(&der, "\n"), pem(&der, ""), modulus, b"shared".to_vec(), Vec::new()] {
        for (name, kind) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
            let signed = format!("{}.{}", part(&with(key.header(), "alg", json!(name))), part(&claims));
            let tag = hmac::sign(&hmac::Key::new(kind, &secret), signed.as_bytes());
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert_eq!(sign_on.verify(&token).await, invalid(Flaw::Algorithm), "{name}");
            // The same bytes under an algorithm that is allowed.
            let signed = format!("{}.{}", part(&key.header()), part(&claims));
            let tag = hmac::sign(&hmac::Key::new(kind, &secret), signed.as_bytes());
            let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert_eq!(sign_on.verify(&token).await, invalid(Flaw::Signature), "{name}");
        }
    }
}

#[tokio::test]
async fn a_token_that_brings_its_own_key_along_or_says_where_to_fetch_one_is_refused_unread() {
    let (key, attacker) = (SigningKey::new("ES256", "one"), SigningKey::new("ES256", "theirs"));
    let (provider, theirs) = (Provider::start(&[&key]), Provider::start(&[&attacker]));
    let sign_on = sign_on(&provider, "");
    let claims = claims(&provider);
    let certificate = STANDARD.encode(b"a certificate");

    for kid in ["theirs", "one"] {
        let header = with(attacker.header(), "kid", json!(kid));
        for (name, value) in [
            ("jku", json!(theirs.keys_url())),
            ("jwk", attacker.jwk()),
            ("x5u", json!(theirs.keys_url())),
            ("x5c", json!([certificate])),
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
            ("zip", json!("DEF")),
            ("jku", json!(null)),
        ] {
            let token = attacker.token_with(&with(header.clone(), name, value.clone()), &claims);
            assert_eq!(sign_on.verify(&token).await, invalid(Flaw::Header), "{name}");
            // Neither when the issuer's own key signed it.
            let token = key.token_with(&with(key.header(), name, value), &claims);
            assert_eq!(sign_on.verify(&token).await, invalid(Flaw::Header), "{name}");
        }
    }
    assert_eq!(sign_on.verify(&attacker.token(&claims)).await, invalid(Flaw::UnknownKey));
    let under_our_name = attacker.token_with(&key.header(), &claims);
    assert_eq!(sign_on.verify(&under_our_name).await, invalid(Flaw::Signature));
    assert_eq!(theirs.asked_for_keys(), 0);
}

#[tokio::test]
async fn claims_of_another_service_another_issuer_and_another_time_are_refused() {
    let key = SigningKey::new("EdDSA", "one");
    let provider = Provider::start(&[&key]);
    let sign_on = sign_on(&provider, "");
    let sound = claims(&provider);
    let now_s = now().as_second();

    for (name, value, flaw) in [
        ("aud", json!("account"), Flaw::Audience),
        ("aud", json!(["account", "Callvault"]), Flaw::Audience),
        ("iss", json!("https://id.example.com"), Flaw::Issuer),
        ("iss", json!(format!("{}/", provider.issuer)), Flaw::Issuer),
        ("exp", json!(now_s - 61), Flaw::Expired),
        ("exp", json!(null), Flaw::Time),
        ("exp", json!("never"), Flaw::Time),
        ("nbf", json!(now_s + 120), Flaw::TooEarly),
        ("iat", json!(now_s + 120), Flaw::TooEarly),
        ("sub", json!(null), Flaw::Subject),
        ("sub", json!(""), Flaw::Subject),
        ("sub", json!(7), Flaw::Subject),
        ("sub", json!(["f:1c:anna"]), Flaw::Subject),
        ("typ", json!("ID"), Flaw::Type),
        ("at_hash", json!("x"), Flaw::Type),
        ("cnf", json!({ "jkt": "x" }), Flaw::Bound),
    ] {
        let token = key.token(&with(sound.clone(), name, value.clone()));
        assert_eq!(sign_on.verify(&token).await, invalid(flaw), "{name} {value}");
    }
    for typ in [json!("dpop+jwt"), json!("logout+jwt"), json!("JOSE"), json!(""), json!(7), json!(null)] {
        let token = key.token_with(&with(key.header(), "typ", typ.clone()), &sound);
        assert_eq!(sign_on.verify(&token).await, invalid(Flaw::Type), "{typ}");
    }
    assert!(sign_on.verify(&key.token(&sound)).await.is_ok());
}

#[tokio::test]
async fn a_key_of_the_same_name_at_another_provider_opens_nothing() {
    let (ours, theirs) = (SigningKey::new("ES256", "one"), SigningKey::new("ES256", "one"));
    let (provider, other) = (Provider::start(&[&ours]), Provider::start(&[&theirs]));
    let (here, there) = (sign_on(&provider, ""), sign_on(&other, ""));

    // Each is sound where it belongs, and whoever signs claims of the other is told by his signature.
    let of_other = theirs.token(&claims(&other));
    assert!(there.verify(&of_other).await.is_ok());
    assert_eq!(here.verify(&of_other).await, invalid(Flaw::Signature));
    assert_eq!(here.verify(&theirs.token(&claims(&provider))).await, invalid(Flaw::Signature));
    assert_eq!(here.verify(&ours.token(&claims(&other))).await, invalid(Flaw::Issuer));
}

#[tokio::test]
async fn a_token_that_was_altered_cut_doubled_or_written_otherwise_is_refused() {
    let key = SigningKey::new("RS256", "one");
    let provider = Provider::start(&[&key]);
    let sign_on = sign_on(&provider, "token_len_max = \"2KiB\"");
    let claims = claims(&provider);
    let sound = key.token(&claims);
    assert!(sign_on.verify(&sound).await.is_ok());
    let parts: Vec<&str> = sound.split('.').collect();
    let promoted = URL_SAFE_NO_PAD.encode(with(claims.clone(), "scope", json!("callvault:admin")).to_string());

    for (altered, flaw) in [
        (format!("{}.{promoted}.{}", parts[0], parts[2]), Flaw::Signature),
        (format!("{}.{}.{}", parts[0], parts[1], &parts[2][..parts[2].len() - 4]), Flaw::Signature),
        (format!("{}.{}.", parts[0], parts[1]), Flaw::Signature),
        (format!("{}.{}.{}A", parts[0], parts[1], parts[2]), Flaw::Signature),
        (format!("{}.{}", parts[0], parts[1]), Flaw::Shape),
        (format!("{sound}.{}.{}", parts[1], parts[2]), Flaw::Shape),
        (format!("{sound}="), Flaw::Shape),
        (format!(" {sound}"), Flaw::Shape),
        (sound.replacen('.', "..", 1), Flaw::Shape),
        (key.token(&with(claims.clone(), "x", json!("x".repeat(2_048)))), Flaw::TooLong),
    ] {
        assert_eq!(sign_on.verify(&altered).await, invalid(flaw), "{altered}");
    }
    // Every single character counts.
    for at in (0..sound.len()).step_by(7) {
        let mut bytes = sound.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(bytes).expect("ASCII");
        assert!(matches!(sign_on.verify(&altered).await, Err(Refused::Invalid(_))), "character {at}");
    }
    let header = key.header().to_string();
    let twice = |text: &str, name: &str, value: &str| format!("{{\"{name}\":{value},{}", &text[1..]);
    let text = claims.to_string();
    for (header, claims) in [
        (twice(&header, "kid", "\"two\""), text.clone()),
        (twice(&header, "alg", "\"none\""), text.clone()),
        (header.clone(), twice(&text, "sub", "\"somebody\"")),
        (header.clone(), twice(&text, "aud", "\"callvault\"")),
        (header.clone(), "[]".to_owned()),
        (header.clone(), "\"text\"".to_owned()),
        (header.clone(), format!("{text} {text}")),
        (header.clone(), text.replacen('{', "{,", 1)),
        ("{}x".to_owned(), text.clone()),
    ] {
        assert_eq!(sign_on.verify(&key.sign(&header, &claims)).await, invalid(Flaw::Json), "{header} {claims}");
    }
    assert_eq!(sign_on.verify(&key.sign("{\"alg\":\"RS256\"}", &text)).await, invalid(Flaw::NoKey));
    assert_eq!(sign_on.verify(&key.sign("{\"alg\":\"RS256\",\"kid\":7}", &text)).await, invalid(Flaw::NoKey));
    assert_eq!(sign_on.verify(&key.sign("{\"kid\":\"one\"}", &text)).await, invalid(Flaw::Algorithm));
}

#[tokio::test]
async fn a_key_is_good_for_its_own_algorithm_and_for_signatures_alone() {
    let keys = [SigningKey::new("RS256", "rsa"), SigningKey::new("ES256", "curve"), SigningKey::new("RS256", "other")];
    let provider = Provider::start(&[]);
    let for_secrets = with(keys[2].jwk(), "use", json!("enc"));
    provider.publish_raw(vec![keys[0].jwk(), keys[1].jwk(), for_secrets]);
    let sign_on = sign_on(&provider, "");
    let claims = claims(&provider);

    for (key, algorithm) in [(&keys[0], "PS256"), (&keys[0], "ES256"), (&keys[1], "RS256"), (&keys[1], "EdDSA")] {
        let token = key.token_with(&with(key.header(), "alg", json!(algorithm)), &claims);
        assert_eq!(sign_on.verify(&token).await, invalid(Flaw::UnfitKey), "{algorithm}");
    }
    assert_eq!(sign_on.verify(&keys[2].token(&claims)).await, invalid(Flaw::UnknownKey));
    assert!(sign_on.verify(&keys[0].token(&claims)).await.is_ok());
}

#[test]
fn a_token_of_ours_is_never_taken_for_one_of_a_provider() {
    for ours in ["cv_4x", "cv_a.b.c.d", "", "a.b", ".b.c", "a.b.c.d.e", "a.b.c=", "a b.c.d"] {
        assert!(!is_jwt(ours), "{ours}");
    }
    assert!(is_jwt("eyJhbGciOiJub25lIn0.e30."));
}
