//! Why a person listens: `Callvault-Reason`. It goes into the tenant's trail, so it holds no telephone number.

use hyper::header::HeaderName;
use hyper::http::request::Parts;

use crate::model::trail::NUMBER_DIGITS_MIN;
use crate::model::{Error, Problem, Result};

const REASON: HeaderName = HeaderName::from_static("callvault-reason");
// Limit: a sentence and the number of a ticket.
const REASON_LEN_MAX: usize = 200;

/// What the request says of itself; `None`: nothing.
pub fn read(parts: &Parts) -> Result<Option<String>> {
    let Some(value) = parts.headers.get(REASON) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).ok().map(str::trim).filter(|text| !text.is_empty());
    let sound = text.filter(|text| text.len() <= REASON_LEN_MAX && !text.chars().any(char::is_control));
    let advice = || {
        let detail = format!("'Callvault-Reason' is 1 to {REASON_LEN_MAX} bytes of UTF-8");
        Error::new(Problem::ReasonNeeded, detail)
    };
    let text = sound.ok_or_else(advice)?;
    if holds_a_number(text) {
        return Err(Error::new(Problem::ReasonNeeded, "'Callvault-Reason' holds no telephone number: name the ticket"));
    }
    Ok(Some(text.to_owned()))
}

/// More is taken for a number here than where the trail replaces one: a person can write his reason anew, and the trail's own
/// times must stand.
fn holds_a_number(text: &str) -> bool {
    let mut digits = 0;
    for c in text.chars() {
        match c {
            c if c.is_numeric() => digits += 1,
            // Whatever people write between digits; a letter ends a number.
            c if !c.is_alphabetic() => {}
            _ => digits = 0,
        }
        if digits >= NUMBER_DIGITS_MIN {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(value: &[u8]) -> Result<Option<String>> {
        let request = hyper::Request::builder().header(REASON, value).body(()).expect("a request");
        read(&request.into_parts().0)
    }

    #[test]
    fn a_reason_is_a_sentence_without_a_telephone_number() {
        let ticket = "Klacht 2026-1187, zie dossier é";
        assert_eq!(reason(ticket.as_bytes()).expect("a reason"), Some(ticket.to_owned()));

        for refused in [
            "020\u{2013}5550123 4",
            "06_12345678",
            "06,12,34,56,78",
            "06\u{a0}12345678",
            "belt +31 20 123 45 67",
            "(020) 555-0123 4",
            "0612345678",
            "",
            "   ",
            "\u{661}23456789",
        ] {
            let error = reason(refused.as_bytes()).expect_err(refused);
            assert_eq!(error.problem, Problem::ReasonNeeded);
            assert!(!error.public.contains("123"), "{error}");
        }
        reason(&[b'x'; REASON_LEN_MAX]).expect("as long as it may be");
        reason(&[b'x'; REASON_LEN_MAX + 1]).expect_err("longer");
        reason(b"\xff\xfe").expect_err("no text");
    }
}
