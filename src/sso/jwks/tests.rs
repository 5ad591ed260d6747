//! Which published keys verify what.

use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::KeyPair;
use serde_json::json;

use super::*;

fn rsa(size: KeySize) -> Value {
    let pair = RsaKeyPair::generate(size).expect("a key");
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let public = pair.public_key();
    json!({
        "kty": "RSA",
        "kid": "r",
        "n": number(public.modulus().big_endian_without_leading_zero()),
        "e": number(public.exponent().big_endian_without_leading_zero()),
    })
}

fn point(curve: &str, len: usize) -> Value {
    let number = |byte: u8| URL_SAFE_NO_PAD.encode(vec![byte; len]);
    json!({ "kty": "EC", "crv": curve, "kid": "e", "x": number(1), "y": number(2) })
}

fn edwards() -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": "d", "x": URL_SAFE_NO_PAD.encode([3; 32]) })
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
}

#[test]
fn a_key_verifies_the_algorithms_of_its_kind_and_no_other() {
    let set = set(&[rsa(KeySize::Rsa2048), point("P-256", 32), edwards(), with(point("P-384", 48), "kid", json!("f"))]);
    let of_kind = [
        (
            "r",
            &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ][..],
        ),
        ("e", &[Algorithm::ES256]),
        ("d", &[Algorithm::EdDSA]),
        ("f", &[Algorithm::ES384]),
    ];
    let all = of_kind.iter().flat_map(|(_, algorithms)| algorithms.iter().copied());
    let shared = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

    for algorithm in all.chain(shared) {
        for (kid, own) in of_kind {
            assert_eq!(set.fitting(kid, algorithm).len(), usize::from(own.contains(&algorithm)), "{kid} {algorithm:?}");
        }
    }
    assert!(set.fitting("", Algorithm::RS256).is_empty() && set.fitting("R", Algorithm::RS256).is_empty());
}

#[test]
fn a_key_whose_owner_names_an_algorithm_verifies_that_one_alone() {
    let set = set(&[with(rsa(KeySize::Rsa2048), "alg", json!("PS256"))]);

    assert_eq!(set.fitting("r", Algorithm::PS256).len(), 1);
    for other in [Algorithm::RS256, Algorithm::PS384, Algorithm::ES256] {
        assert!(set.fitting("r", other).is_empty(), "{other:?}");
    }
}

#[test]
fn keys_that_are_private_shared_weak_or_for_something_else_are_passed_over() {
    let sound = rsa(KeySize::Rsa2048);
    let short = with(sound.clone(), "n", json!(URL_SAFE_NO_PAD.encode([0xff; 255])));
    let long = with(sound.clone(), "n", json!(URL_SAFE_NO_PAD.encode([0xff; 1_025])));
    let even = with(sound.clone(), "n", json!(URL_SAFE_NO_PAD.encode([0xfe; 256])));
    let shared = json!({ "kty": "oct", "kid": "r", "k": URL_SAFE_NO_PAD.encode([7; 32]) });
    let bad = [
        short,
        long,
        even,
        shared,
        with(sound.clone(), "use", json!("enc")),
        with(sound.clone(), "key_ops", json!(["encrypt"])),
        with(sound.clone(), "key_ops", json!("verify")),
        with(sound.clone(), "d", json!("AQAB")),
        with(sound.clone(), "alg", json!("HS256")),
        with(sound.clone(), "alg", json!("ES256")),
        with(sound.clone(), "alg", json!("RSA-OAEP")),
        with(sound.clone(), "alg", json!(256)),
        with(sound.clone(), "kid", json!(7)),
        with(sound.clone(), "n", json!("not base64!")),
        with(sound.clone(), "kty", json!("rsa")),
        point("P-256", 31),
        point("P-521", 66),
        point("secp256k1", 32),
        with(edwards(), "crv", json!("Ed448")),
        with(edwards(), "x", json!(URL_SAFE_NO_PAD.encode([3; 33]))),
        json!("a text"),
        json!({}),
    ];

    for jwk in &bad {
        assert_eq!(set(std::slice::from_ref(jwk)).len(), 0, "{jwk}");
    }
    let among_them: Vec<_> = bad.iter().cloned().chain([with(sound, "use", json!("sig"))]).collect();
    assert_eq!(set(&among_them).len(), 1);
}

#[test]
fn a_document_that_is_no_set_or_too_many_keys_is_refused_whole() {
    for other in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":null}", "<html>", "{\"keys\":[]"] {
        assert!(KeySet::parse(other.as_bytes()).is_err(), "{other}");
    }
    let many = vec![edwards(); KEYS_MAX + 1];
    assert!(KeySet::parse(json!({ "keys": many }).to_string().as_bytes()).is_err());
    assert_eq!(set(&many[1..]).len(), KEYS_MAX);
}

#[test]
fn the_length_of_a_number_is_counted_without_its_leading_zeros() {
    assert_eq!(bits(&[]), 0);
    assert_eq!(bits(&[0, 0]), 0);
    assert_eq!(bits(&[0, 1]), 1);
    assert_eq!(bits(&[0x80, 0]), 16);
    assert_eq!(bits(&[0, 0x7f, 0xff]), 15);
}
