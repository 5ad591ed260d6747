//! A provider's keys as it publishes them (RFC 7517), each with what it is good for.
//!
//! # Promise
//! A key that is used is public, asymmetric, of a strength and a curve that are known, for signatures, and for one family of
//! algorithms; where its owner says for which algorithm, for that one alone. Others in the set are passed over.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

// Limit: providers have two to four, and one for each algorithm; each costs a verification where names are not unique.
const KEYS_MAX: usize = 64;
// Limit: what is shorter is not safe, and what is longer takes longer to verify than a request is worth.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Members of private and of shared keys. One that was published is anybody's.
const PRIVATE: [&str; 3] = ["d", "p", "k"];

pub struct KeySet(Vec<Key>);

struct Key {
    kid: String,
    kind: KeyKind,
    /// `None`: the key's owner does not say; any of its kind.
    algorithm: Option<Algorithm>,
    decoding: DecodingKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl KeyKind {
    /// The one kind of key with which an algorithm verifies; a shared secret verifies nothing here.
    fn of(algorithm: Algorithm) -> Option<KeyKind> {
        match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 => Some(KeyKind::Rsa),
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 => Some(KeyKind::Rsa),
            Algorithm::ES256 => Some(KeyKind::P256),
            Algorithm::ES384 => Some(KeyKind::P384),
            Algorithm::EdDSA => Some(KeyKind::Ed25519),
            _ => None,
        }
    }
}

impl KeySet {
    pub fn parse(text: &[u8]) -> Result<KeySet, String> {
        // What the parser says would repeat what it read.
        let document: Document =
            serde_json::from_slice(text).map_err(|_| "the document is not a set of keys (RFC 7517)".to_owned())?;
        if document.keys.len() > KEYS_MAX {
            return Err(format!("the set has more than {KEYS_MAX} keys"));
        }
        Ok(KeySet(document.keys.iter().filter_map(Key::read).collect()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid == kid)
    }

    /// Those of a name that verify an algorithm; several only if the provider gave a name twice.
    pub fn fitting(&self, kid: &str, algorithm: Algorithm) -> Vec<DecodingKey> {
        let fits = |key: &&Key| {
            key.kid == kid
                && KeyKind::of(algorithm) == Some(key.kind)
                && key.algorithm.is_none_or(|own| own == algorithm)
        };
        self.0.iter().filter(fits).map(|key| key.decoding.clone()).collect()
    }

    /// Whether it names the same keys.
    pub fn is_like(&self, other: &KeySet) -> bool {
        let names = |set: &KeySet| set.0.iter().map(|key| (key.kid.clone(), key.kind)).collect::<Vec<_>>();
        names(self) == names(other)
    }
}

impl Key {
    /// `None`: not one that verifies tokens here.
    fn read(jwk: &Value) -> Option<Key> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let is_for_signatures = jwk.get("use").is_none_or(|purpose| purpose == "sig")
            && jwk
                .get("key_ops")
                .is_none_or(|all| all.as_array().is_some_and(|all| all.iter().any(|one| one == "verify")));
        if !is_for_signatures || PRIVATE.iter().any(|name| jwk.get(name).is_some()) {
            return None;
        }
        let part = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let coordinate = |name: &str, len: usize| part(name).filter(|bytes| bytes.len() == len).and(text(name));
        let (kind, decoding) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (modulus, exponent) = (part("n")?, part("e")?);
                let is_strong = RSA_BITS.contains(&bits(&modulus)) && modulus.last()? % 2 == 1;
                (KeyKind::Rsa, is_strong.then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))?)
            }
            ("EC", Some("P-256")) => {
                (KeyKind::P256, DecodingKey::from_ec_components(coordinate("x", 32)?, coordinate("y", 32)?).ok()?)
            }
            ("EC", Some("P-384")) => {
                (KeyKind::P384, DecodingKey::from_ec_components(coordinate("x", 48)?, coordinate("y", 48)?).ok()?)
            }
            ("OKP", Some("Ed25519")) => (KeyKind::Ed25519, DecodingKey::from_ed_components(coordinate("x", 32)?).ok()?),
            _ => return None,
        };
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(own) => Some(super::algorithm(own.as_str()?).ok().filter(|own| KeyKind::of(*own) == Some(kind))?),
        };
        Some(Key { kid: text("kid")?.to_owned(), kind, algorithm, decoding })
    }
}

/// Of a big-endian number without its leading zeros.
fn bits(number: &[u8]) -> usize {
    let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    match number.get(first) {
        None => 0,
        Some(byte) => (number.len() - first) * 8 - byte.leading_zeros() as usize,
    }
}

#[cfg(test)]
mod tests;
