//! Terms: what is accepted, and which second they end.

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a valid instant")
}

#[test]
fn a_term_outside_30_days_to_12_months_is_refused() {
    for text in ["29d", "366d", "0mo", "13mo", "30", "d", "mo", "+30d", "-1mo", "30 d", "1y", "", "99999999999d"] {
        assert!(text.parse::<Term>().is_err(), "{text:?} was accepted");
    }
    for text in ["30d", "365d", "1mo", "12mo"] {
        assert_eq!(text.parse::<Term>().expect("a valid term").to_string(), text);
    }
}

#[test]
fn a_month_is_a_calendar_month_but_never_less_than_30_days() {
    let one = Term::Months(1);

    assert_eq!(one.ends_at(at("2026-01-31T10:00:00Z")), at("2026-03-02T10:00:00Z"));
    assert_eq!(one.ends_at(at("2026-07-15T10:00:00Z")), at("2026-08-15T10:00:00Z"));
    assert_eq!(Term::Months(12).ends_at(at("2024-02-29T00:00:00Z")), at("2025-02-28T00:00:00Z"));
}

#[test]
fn a_term_ends_on_a_whole_second_never_early() {
    let ends = Term::Days(30).ends_at(at("2026-01-01T00:00:00.25Z"));

    assert_eq!(ends, at("2026-01-31T00:00:01Z"));
}
