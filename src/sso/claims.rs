//! What a token says whose signature was verified: by whom, for whom, for when, about whom.

use jiff::Timestamp;
use serde_json::Value;

use super::token::Flaw;
use super::{Settings, Tenants};
use crate::model::Scopes;

/// Who was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// `<issuer> <sub>`, as a person's row has it. An issuer has no space.
    pub subject: String,
    pub scopes: Scopes,
    pub tenants: Tenants,
    /// As the token says it; it is taken until `oidc.clock_skew` later.
    pub expires_at: Timestamp,
}

// Limit: OpenID Connect Core 1.0, section 2.
const SUB_LEN_MAX: usize = 255;
/// Claims that other tokens of a provider have, and access tokens do not: hashes of an ID token, the events of a logout token
/// (RFC 9068 section 5, RFC 8725 section 3.12).
const OF_OTHER_TOKENS: [&str; 4] = ["at_hash", "c_hash", "s_hash", "events"];

impl Verified {
    pub fn from_claims(claims: &Value, settings: &Settings, now: Timestamp) -> Result<Verified, Flaw> {
        if claims["iss"] != *settings.issuer {
            return Err(Flaw::Issuer);
        }
        if !names_one_of(&claims["aud"], &settings.audiences) {
            return Err(Flaw::Audience);
        }
        // Keycloak tells its tokens apart by this claim.
        let is_bearer = claims.get("typ").is_none_or(|kind| kind == "Bearer" || kind == "at+jwt");
        // What was asked for at a sign-on says so; Keycloak repeats it in tokens that it marks as access tokens.
        let is_id_token = claims.get("nonce").is_some() && claims.get("typ").is_none();
        if !is_bearer || is_id_token || OF_OTHER_TOKENS.iter().any(|name| claims.get(name).is_some()) {
            return Err(Flaw::Type);
        }
        if claims.get("cnf").is_some() {
            return Err(Flaw::Bound);
        }
        let skew_s = settings.clock_skew.as_secs() as i64;
        let now_s = now.as_second();
        let (expires_s, before_s, issued_s) =
            (seconds(&claims["exp"])?.ok_or(Flaw::Time)?, seconds(&claims["nbf"])?, seconds(&claims["iat"])?);
        if now_s.saturating_sub(skew_s) >= expires_s {
            return Err(Flaw::Expired);
        }
        if [before_s, issued_s].into_iter().flatten().any(|begins_s| begins_s > now_s.saturating_add(skew_s)) {
            return Err(Flaw::TooEarly);
        }
        let is_sound = |sub: &&str| (1..=SUB_LEN_MAX).contains(&sub.len()) && !sub.contains(char::is_control);
        let sub = claims["sub"].as_str().filter(is_sound).ok_or(Flaw::Subject)?;
        Ok(Verified {
            subject: format!("{} {sub}", settings.issuer),
            scopes: settings.rights.scopes(claims),
            tenants: settings.rights.tenants(claims),
            expires_at: Timestamp::from_second(expires_s).map_err(|_| Flaw::Time)?,
        })
    }
}

/// `aud` is a text or a list of texts (RFC 7519 section 4.1.3).
fn names_one_of(claim: &Value, names: &[String]) -> bool {
    let is_ours = |value: &Value| value.as_str().is_some_and(|text| names.iter().any(|name| name == text));
    match claim {
        Value::Array(values) => values.iter().any(is_ours),
        value => is_ours(value),
    }
}

/// A NumericDate, rounded down to the second; `None` where there is none.
fn seconds(claim: &Value) -> Result<Option<i64>, Flaw> {
    // Limit: beyond these a number is no time, and less exact than a second.
    const ANY_TIME: std::ops::Range<f64> = -1e11..1e12;
    match claim {
        Value::Null => Ok(None),
        Value::Number(number) => {
            let seconds = number.as_f64().filter(|seconds| ANY_TIME.contains(seconds)).ok_or(Flaw::Time)?;
            Ok(Some(seconds.floor() as i64))
        }
        _ => Err(Flaw::Time),
    }
}

#[cfg(test)]
mod tests;
