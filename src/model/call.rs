//! The call's data record (CDR). It holds numbers and names: it is sealed before it leaves memory, and never printed.

use std::fmt;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::shape::Moment;

/// What a PBX tells of a call. Every field may be missing; this is both the JSON of the API and the sealed bytes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(rename = "Call")]
pub struct CallData {
    pub call_id: Option<String>,
    pub a_number: Option<String>,
    pub b_number: Option<String>,
    /// `inbound`, `outbound` or `internal`.
    pub direction: Option<String>,
    #[schemars(with = "Option<Moment>")]
    pub started_at: Option<Timestamp>,
    #[schemars(with = "Option<Moment>")]
    pub answered_at: Option<Timestamp>,
    #[schemars(with = "Option<Moment>")]
    pub ended_at: Option<Timestamp>,
    pub duration_ms: Option<u64>,
    pub setup_ms: Option<u64>,
    pub release_ms: Option<u64>,
    pub termination_reason: Option<String>,
    pub network_status: Option<String>,
    pub cost: Option<Cost>,
    pub extension: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cost {
    /// A decimal number as text: money is never a float.
    pub amount: String,
    /// ISO 4217.
    pub currency: Option<String>,
}

// Secrecy: numbers and names must not reach a log through `{:?}`.
impl fmt::Debug for CallData {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("CallData(REDACTED)")
    }
}

// Limit: the sealed blob stays small enough to live in a catalog row.
pub const FIELD_LEN_MAX: usize = 512;

impl CallData {
    pub fn is_empty(&self) -> bool {
        *self == CallData::default()
    }

    /// Takes one field as the header, form field or query parameter `name` gives it (`a_number`, `started_at`, ...).
    /// `Ok(false)`: no such field. The error says what the value should be, and never repeats it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let value = value.trim();
        if !is_field(name) {
            return Ok(false);
        }
        if value.len() > FIELD_LEN_MAX {
            return Err(format!("'{name}' is longer than {FIELD_LEN_MAX} bytes"));
        }
        if value.is_empty() {
            return Ok(true);
        }
        let text = || Some(value.to_owned());
        match name {
            "call_id" => self.call_id = text(),
            "a_number" => self.a_number = Some(e164(value)),
            "b_number" => self.b_number = Some(e164(value)),
            "direction" => self.direction = Some(direction(value)?),
            "started_at" => self.started_at = Some(instant(name, value)?),
            "answered_at" => self.answered_at = Some(instant(name, value)?),
            "ended_at" => self.ended_at = Some(instant(name, value)?),
            "duration_ms" => self.duration_ms = Some(millis(name, value)?),
            "setup_ms" => self.setup_ms = Some(millis(name, value)?),
            "release_ms" => self.release_ms = Some(millis(name, value)?),
            "termination_reason" => self.termination_reason = text(),
            "network_status" => self.network_status = text(),
            "cost_amount" => {
                let currency = self.cost.take().and_then(|cost| cost.currency);
                self.cost = Some(Cost { amount: decimal(value)?, currency });
            }
            "cost_currency" => {
                let amount = self.cost.take().map_or_else(|| "0".to_owned(), |cost| cost.amount);
                self.cost = Some(Cost { amount, currency: Some(currency(value)?) });
            }
            "extension" => self.extension = text(),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// What [`CallData::set`] takes.
pub const FIELDS: [&str; 15] = [
    "call_id",
    "a_number",
    "b_number",
    "direction",
    "started_at",
    "answered_at",
    "ended_at",
    "duration_ms",
    "setup_ms",
    "release_ms",
    "termination_reason",
    "network_status",
    "cost_amount",
    "cost_currency",
    "extension",
];

fn is_field(name: &str) -> bool {
    FIELDS.contains(&name)
}

/// A number as it is searched: visual separators (RFC 3966 section 5.1.1) removed, an international `00` written as `+`.
/// What is not a telephone number (a SIP user, an extension) stays as it is.
pub fn e164(number: &str) -> String {
    let bare: String = number.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    match (bare.strip_prefix("00"), bare.strip_prefix('+')) {
        (Some(rest), _) if digits(rest) && rest.len() >= 7 => format!("+{rest}"),
        (_, Some(rest)) if digits(rest) => bare,
        _ if digits(&bare) => bare,
        _ => number.to_owned(),
    }
}

fn direction(value: &str) -> Result<String, String> {
    match value {
        "inbound" | "outbound" | "internal" => Ok(value.to_owned()),
        _ => Err("'direction' is 'inbound', 'outbound' or 'internal'".into()),
    }
}

/// RFC 3339, or Unix seconds with an optional fraction, as PBXes send either.
fn instant(name: &str, value: &str) -> Result<Timestamp, String> {
    let from_unix = || {
        // Digits only: Rust's parser takes `NaN`, which would become 1970, and `+31201234567`, a number in the wrong field.
        let plain = value.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let seconds = plain.then(|| value.parse::<f64>().ok()).flatten()?;
        Timestamp::from_millisecond((seconds * 1000.0).round() as i64).ok()
    };
    let parsed = value.parse::<Timestamp>().ok().or_else(from_unix);
    parsed.ok_or_else(|| format!("'{name}' is an RFC 3339 time such as 2026-01-31T12:00:00Z, or Unix seconds"))
}

fn millis(name: &str, value: &str) -> Result<u64, String> {
    // Digits only: Rust's parser also takes a `+`, and with it a telephone number in the wrong field.
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let parsed = digits.then(|| value.parse().ok()).flatten();
    parsed.ok_or_else(|| format!("'{name}' is a whole number of milliseconds"))
}

fn decimal(value: &str) -> Result<String, String> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, "0"));
    let digits = |s: &str| !s.is_empty() && s.len() <= 18 && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err("'cost_amount' is a decimal number such as 0.25".into());
    }
    Ok(value.to_owned())
}

fn currency(value: &str) -> Result<String, String> {
    if value.len() != 3 || !value.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err("'cost_currency' is an ISO 4217 code such as EUR".into());
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_written_in_four_ways_is_searched_as_one() {
        for written in ["+31201234567", "0031201234567", "+31 20 123-45.67", "+31 (20) 1234567"] {
            assert_eq!(e164(written), "+31201234567");
        }
        assert_eq!(e164("alice@pbx.example"), "alice@pbx.example");
        assert_eq!(e164("101"), "101");
    }

    #[test]
    fn a_wrong_value_is_refused_without_being_repeated() {
        for (name, value) in [("started_at", "+31201234567"), ("duration_ms", "+31201234567"), ("direction", "x")] {
            let advice = CallData::default().set(name, value).expect_err("the value is wrong");

            assert!(!advice.contains("31201234567"), "{advice}");
        }
    }

    #[test]
    fn a_time_that_is_no_number_is_refused_rather_than_stored_as_1970() {
        for value in ["NaN", "nan", "inf", "-inf", "1e300", "yesterday"] {
            assert!(CallData::default().set("started_at", value).is_err(), "{value}");
        }
        assert!(CallData::default().set("started_at", "1767225600.5").is_ok());
    }
}
