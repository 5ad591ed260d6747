//! The clock of whoever holds the bucket: the `Date` of its answers (RFC 9110 section 6.6.1).

use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::fmt::rfc2822::DateTimeParser;

use crate::model::Timestamp;

/// The form that senders must write (IMF-fixdate) is one of RFC 2822's.
const FORM: DateTimeParser = DateTimeParser::new();

/// The newest `Date` that came. It says whole seconds, rounded down.
#[derive(Clone, Debug, Default)]
pub struct Dates(Arc<Mutex<Option<(Timestamp, Instant)>>>);

impl Dates {
    /// The store's time; `None`: none came since then, or it was no date.
    pub fn since(&self, asked_at: Instant) -> Option<Timestamp> {
        let newest = *self.0.lock().expect("no holder of the dates' lock panics");
        let (date, came_at) = newest.filter(|(_, came_at)| *came_at >= asked_at)?;
        date.checked_add(came_at.elapsed()).ok()
    }

    pub fn note(&self, value: Option<&str>) {
        let date = value.and_then(|text| FORM.parse_timestamp(text).ok());
        *self.0.lock().expect("no holder of the dates' lock panics") = date.map(|date| (date, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_date_counts_from_when_it_came_and_what_is_no_date_counts_as_none() {
        let (dates, asked_at) = (Dates::default(), Instant::now());
        assert_eq!(dates.since(asked_at), None);

        dates.note(Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        let read = dates.since(asked_at).expect("it came");
        assert_eq!(read.as_second(), 784_111_777);
        assert_eq!(dates.since(Instant::now()), None, "it came before it was asked for");

        for none in [Some("yesterday"), None] {
            dates.note(none);
            assert_eq!(dates.since(asked_at), None);
        }
    }
}
