//! A token's form, before anything in it is believed, and its signature (RFC 7515 compact serialisation, RFC 8725).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::{Map, Value};
use thiserror::Error;

use super::Settings;

/// What is wrong with a token; for the log. It repeats nothing of the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Flaw {
    #[error("it is longer than oidc.token_len_max")]
    TooLong,
    #[error("it is not three parts in base64url")]
    Shape,
    #[error("its header or its claims are no JSON object with each name once")]
    Json,
    #[error("its algorithm is none of oidc.algorithms")]
    Algorithm,
    #[error("its header names a key, an address of keys, or something critical that is not understood")]
    Header,
    #[error("its header names no key (kid)")]
    NoKey,
    #[error("it is not an access token: its type is another")]
    Type,
    #[error("its key (kid) is none that the issuer publishes")]
    UnknownKey,
    #[error("its key is for another use or another algorithm")]
    UnfitKey,
    #[error("its signature is not its key's")]
    Signature,
    #[error("its issuer (iss) is not oidc.issuer")]
    Issuer,
    #[error("it is for none of oidc.audience (aud)")]
    Audience,
    #[error("it has no time of expiry (exp), or one of its times is none")]
    Time,
    #[error("it has expired (exp)")]
    Expired,
    #[error("it is not valid yet (nbf), or was issued in the future (iat)")]
    TooEarly,
    #[error("it is bound to a key of its client (cnf), which a bearer does not show")]
    Bound,
    #[error("it says for whom it is (sub) in no text of 1 to 255 bytes")]
    Subject,
}

/// Header fields that would bring a key along, say where to fetch one, or change what is signed.
const REFUSED: [&str; 8] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "enc", "zip"];
/// `typ` of an access token (RFC 9068), and what providers wrote before it.
const TYPES: [&str; 3] = ["at+jwt", "application/at+jwt", "jwt"];

/// Whether a text has the shape of a signed JWT: three parts, of which the last may be empty, as `alg: none` has it.
pub fn is_jwt(text: &str) -> bool {
    let is_base64url = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let mut parts = text.split('.');
    let three = (parts.next(), parts.next(), parts.next(), parts.next());
    matches!(three, (Some(header), Some(claims), Some(signature), None)
        if !header.is_empty() && [header, claims, signature].into_iter().all(is_base64url))
}

/// A token whose header is sound; its claims are nobody's until a key verifies them.
#[derive(Debug)]
pub struct Token<'a> {
    pub algorithm: Algorithm,
    pub kid: String,
    /// Header and claims, as they were signed.
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
}

impl<'a> Token<'a> {
    pub fn read(text: &'a str, settings: &Settings) -> Result<Token<'a>, Flaw> {
        if text.len() > settings.token_len_max {
            return Err(Flaw::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').filter(|_| is_jwt(text)).ok_or(Flaw::Shape)?;
        let (header, claims) = signed.split_once('.').ok_or(Flaw::Shape)?;
        let header = object(header)?;
        let text_of = |name: &str| header.get(name).and_then(Value::as_str);
        let algorithm = text_of("alg").and_then(|name| super::algorithm(name).ok());
        let algorithm = algorithm.filter(|algorithm| settings.algorithms.contains(algorithm)).ok_or(Flaw::Algorithm)?;
        if REFUSED.iter().any(|name| header.contains_key(*name)) {
            return Err(Flaw::Header);
        }
        let is_access_token = match header.get("typ") {
            None => true,
            Some(Value::String(name)) => TYPES.contains(&name.to_ascii_lowercase().as_str()),
            Some(_) => false,
        };
        if !is_access_token || header.contains_key("cty") {
            return Err(Flaw::Type);
        }
        let kid = text_of("kid").filter(|kid| !kid.is_empty()).ok_or(Flaw::NoKey)?.to_owned();
        Ok(Token { algorithm, kid, signed, claims, signature })
    }

    /// The claims, if one of these keys signed them. A key must be one for the token's algorithm.
    pub fn claims(&self, keys: &[DecodingKey]) -> Result<Value, Flaw> {
        let is_signed_by =
            |key| crypto::verify(self.signature, self.signed.as_bytes(), key, self.algorithm).unwrap_or(false);
        if !keys.iter().any(is_signed_by) {
            return Err(Flaw::Signature);
        }
        object(self.claims).map(Value::Object)
    }
}

fn object(part: &str) -> Result<Map<String, Value>, Flaw> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Shape)?;
    serde_json::from_slice::<Distinct>(&bytes).map(|object| object.0).map_err(|_| Flaw::Json)
}

/// A JSON object in which each name stands once: of two, one reader takes the first and another the last (RFC 7519 section 4).
struct Distinct(Map<String, Value>);

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Distinct, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Distinct;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with each name once")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Distinct, A::Error> {
                let mut object = Map::new();
                while let Some((name, value)) = entries.next_entry::<String, Value>()? {
                    if object.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name stands twice"));
                    }
                }
                Ok(Distinct(object))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
