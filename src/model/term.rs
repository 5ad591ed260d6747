//! How long a recording is kept: 30 days to 12 months, as agreed with the tenant.

use std::fmt;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};

/// `<n>d` with 30..=365 days, or `<n>mo` with 1..=12 calendar months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    Days(u16),
    Months(u8),
}

/// No term ends sooner: a row that would die younger stops an expire run.
pub const TERM_MIN: SignedDuration = SignedDuration::from_hours(30 * 24);

impl Term {
    /// Six months: what invoices need.
    pub const FINANCE: Term = Term::Months(6);

    /// The second from which a recording received at `received_at` is refused: rounded up, never less than 30 days on.
    /// Months are calendar months in UTC; a day that the last month lacks becomes its last day (31 January + 1 month =
    /// 28 or 29 February, which the 30 days then move to 2 March or 1 March).
    pub fn ends_at(self, received_at: Timestamp) -> Timestamp {
        let second = received_at.as_second() + i64::from(received_at.subsec_nanosecond() > 0);
        let start = Timestamp::from_second(second).expect("a rounded-up instant of this age is valid");
        let floor = start.checked_add(TERM_MIN).expect("the clock is centuries from the end of time");
        let end = match self {
            Term::Days(days) => start.checked_add(SignedDuration::from_hours(i64::from(days) * 24)),
            Term::Months(months) => start
                .to_zoned_datetime(TimeZone::UTC)
                .checked_add(i64::from(months).months())
                .map(|zoned| zoned.timestamp()),
        };
        end.expect("the clock is centuries from the end of time").max(floor)
    }
}

impl FromStr for Term {
    type Err = String;

    fn from_str(text: &str) -> Result<Term, String> {
        let advice = || {
            "a term is '<n>d' with n from 30 to 365, or '<n>mo' with n from 1 to 12, such as '90d' or '6mo'".to_owned()
        };
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit()).then(|| s.parse::<u16>().ok()).flatten();
        if let Some(months) = text.strip_suffix("mo").and_then(digits).filter(|n| (1..=12).contains(n)) {
            return Ok(Term::Months(months as u8));
        }
        match text.strip_suffix('d').and_then(digits).filter(|n| (30..=365).contains(n)) {
            Some(days) => Ok(Term::Days(days)),
            None => Err(advice()),
        }
    }
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Term::Days(days) => write!(f, "{days}d"),
            Term::Months(months) => write!(f, "{months}mo"),
        }
    }
}

#[cfg(test)]
mod tests;
