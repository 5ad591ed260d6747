//! Clearance: who may reach recordings at all, whatever his token says. A certificate of conduct (VOG) that was issued at most
//! six months ago, and a signed non-disclosure agreement (DESIGN section 7).
//!
//! Days are days in UTC. It is asked for at each request: a certificate runs out while a session goes on.

use std::fmt;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Calendar months for which a certificate of conduct counts; the day on which they are over is its last.
pub const VOG_MONTHS: i64 = 6;

/// Who administers is told as long before a clearance runs out: a certificate takes weeks.
pub const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// When the two papers of a person were issued and signed; `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clearance {
    pub vog: Option<Date>,
    pub nda: Option<Date>,
}

/// What a clearance is worth at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Up to, and not including, this instant.
    Cleared {
        until: Timestamp,
    },
    NoVog,
    VogRanOut {
        at: Timestamp,
    },
    NoNda,
    /// A paper bears a day that is yet to come.
    NotYet,
}

impl Clearance {
    pub fn standing(&self, now: Timestamp) -> Standing {
        let Some(vog) = self.vog else { return Standing::NoVog };
        let Some(nda) = self.nda else { return Standing::NoNda };
        let until = vog_until(vog);
        if start_of(vog).max(start_of(nda)) > now {
            return Standing::NotYet;
        }
        if now >= until { Standing::VogRanOut { at: until } } else { Standing::Cleared { until } }
    }
}

impl Standing {
    pub fn is_cleared(&self) -> bool {
        matches!(self, Standing::Cleared { .. })
    }

    /// The end of a clearance that is near.
    pub fn ends_soon(&self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Standing::Cleared { until } if until.duration_since(now) <= SOON => Some(*until),
            _ => None,
        }
    }

    /// One word, for the trail and for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Standing::Cleared { .. } => "cleared",
            Standing::NoVog => "no-vog",
            Standing::VogRanOut { .. } => "vog-ran-out",
            Standing::NoNda => "no-nda",
            Standing::NotYet => "not-yet",
        }
    }
}

/// What is missing, for the person who asks.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Standing::Cleared { until } => write!(f, "cleared until {until:.0}"),
            Standing::NoVog => f.write_str("no certificate of conduct (VOG) is on record"),
            Standing::VogRanOut { at } => {
                write!(f, "the certificate of conduct (VOG) ran out on {at:.0}: it counts for {VOG_MONTHS} months")
            }
            Standing::NoNda => f.write_str("no signed non-disclosure agreement is on record"),
            Standing::NotYet => f.write_str("a paper on record bears a day that is yet to come"),
        }
    }
}

fn vog_until(issued: Date) -> Timestamp {
    let last = issued.checked_add(VOG_MONTHS.months()).and_then(|last| last.checked_add(1.day()));
    last.map_or(Timestamp::MAX, start_of)
}

fn start_of(day: Date) -> Timestamp {
    TimeZone::UTC.to_timestamp(day.at(0, 0, 0, 0)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(vog: Option<&str>, nda: Option<&str>, now: &str) -> Standing {
        let day = |text: &str| text.parse::<Date>().expect("a day");
        Clearance { vog: vog.map(day), nda: nda.map(day) }.standing(now.parse().expect("an instant"))
    }

    #[test]
    fn a_certificate_counts_through_the_day_six_months_on_and_not_a_second_longer() {
        let at = |now| standing(Some("2026-02-28"), Some("2020-01-01"), now);

        assert!(!at("2026-02-27T23:59:59Z").is_cleared());
        assert!(at("2026-02-28T00:00:00Z").is_cleared());
        assert!(at("2026-08-28T23:59:59Z").is_cleared());
        assert_eq!(
            at("2026-08-29T00:00:00Z"),
            Standing::VogRanOut { at: "2026-08-29T00:00:00Z".parse().expect("an instant") }
        );
    }

    #[test]
    fn a_month_without_the_day_ends_on_its_last() {
        let at = |now| standing(Some("2026-08-31"), Some("2026-08-31"), now);

        assert!(at("2027-02-28T23:59:59Z").is_cleared());
        assert!(!at("2027-03-01T00:00:00Z").is_cleared());
    }

    #[test]
    fn either_paper_alone_clears_nobody() {
        let now = "2026-03-01T00:00:00Z";

        assert_eq!(standing(None, Some("2026-01-01"), now), Standing::NoVog);
        assert_eq!(standing(Some("2026-01-01"), None, now), Standing::NoNda);
        assert_eq!(standing(Some("2026-01-01"), Some("2026-03-02"), now), Standing::NotYet);
        assert_eq!(standing(None, None, now), Standing::NoVog);
    }
}
