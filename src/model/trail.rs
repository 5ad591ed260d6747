//! The words of the audit trail: who did what to which recording or right, from where, and what came of it.
//!
//! An [`Entry`] becomes one line of JSON, exactly once; what is hashed, stored, answered and exported are those bytes.
//!
//! # Secrecy
//! No number, name, token or key is a field of an entry. What a person may type freely, the reason of a play or a hold, goes
//! through [`without_numbers`].

use core::net::IpAddr;
use std::fmt;
use std::str::FromStr;

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde::{Serialize, Serializer};

use super::{Class, RecordingId, TenantNumber, TokenId};

/// The trail of what belongs to no tenant: tokens that nobody knows, and the vault's own work.
pub const HOUSE: TenantNumber = TenantNumber(0);

// Limit: free text in an entry; a reason is a sentence.
pub const TEXT_LEN_MAX: usize = 500;
/// Digits in a row, whatever stands between them, that are taken for a call number: none has fewer but extensions, and no
/// date has so many.
pub const NUMBER_DIGITS_MIN: usize = 9;
// Limit: spans of one entry, 3 KB of text; more go into an entry of their own.
pub const RANGES_MAX: usize = 64;

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What was asked for, whether or not it was granted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[$doc])* $name,)* }

        impl Action {
            pub const ALL: &'static [Action] = &[$(Action::$name,)*];
            pub const NAMES: &'static [&'static str] = &[$($text,)*];

            pub fn as_str(self) -> &'static str { match self { $(Action::$name => $text,)* } }
        }
    };
}

actions! {
    /// An upload began: from here on there is a recording.
    Upload = "upload",
    /// Bytes of an upload came, and how it stands.
    Uploaded = "uploaded",
    /// What a crash left of an upload was made a recording.
    Recover = "recover",
    /// A resumable upload's offset was asked for.
    UploadShow = "upload-show",
    /// A resumable upload was given up by its sender.
    UploadCancel = "upload-cancel",
    List = "list",
    Show = "show",
    /// A playback session is about to begin: up to everything may be heard from here on.
    Play = "play",
    /// What a playback session has served.
    Played = "played",
    Change = "change",
    Delete = "delete",
    Erase = "erase",
    Hold = "hold",
    Release = "release",
    LinkCreate = "link-create",
    LinkRevoke = "link-revoke",
    Calls = "calls",
    Requests = "requests",
    Receipts = "receipts",
    AuditRead = "audit-read",
    AuditExport = "audit-export",
    /// Old entries were removed; the signed checkpoint says up to which.
    AuditCut = "audit-cut",
    TokenCreate = "token-create",
    TokenList = "token-list",
    TokenRevoke = "token-revoke",
    PersonAdd = "person-add",
    PersonList = "person-list",
    PersonSet = "person-set",
    TenantCreate = "tenant-create",
    TenantShow = "tenant-show",
    TenantSet = "tenant-set",
    TenantOffboard = "tenant-offboard",
    /// A second person's part in what needs two.
    Confirm = "confirm",
    /// A run of expire has destroyed keys.
    Expire = "expire",
    /// Keys of this tenant are destroyed; the receipt tells which.
    Destroyed = "destroyed",
    /// The catalog is older than the keys: what was written after its backup is missing.
    Restored = "restored",
    /// Requests of one address or one token that were refused, and are told as a count.
    Refused = "refused",
    /// An address that is reserved and does nothing.
    Other = "other",
}

impl FromStr for Action {
    type Err = String;

    fn from_str(text: &str) -> Result<Action, String> {
        Action::ALL.iter().copied().find(|action| action.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
            format!("an action is one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Action {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Allowed,
    /// The one who asked may not.
    Denied,
    /// He may, and it did not work out.
    Failed,
}

/// Who asked: what kind of principal, under which id, from where, and how his clearance stood.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Who {
    /// `pbx`, `app`, `person`, `link`, `operator` (a command on the machine), `system` (the vault itself) or `unknown`.
    pub kind: &'static str,
    /// Of the person, the link, or the operating system's user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub token: Option<TokenId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Of a person at that moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clearance: Option<&'static str>,
}

impl Who {
    /// The vault itself.
    pub const SYSTEM: Who = Who { kind: "system", id: None, token: None, address: None, clearance: None };

    /// Whoever runs a command on the machine.
    pub fn operator(uid: u32) -> Who {
        Who { kind: "operator", id: Some(format!("uid {uid}")), ..Who::SYSTEM }
    }

    pub fn unknown(address: Option<IpAddr>) -> Who {
        Who { kind: "unknown", address, ..Who::SYSTEM }
    }
}

/// One line of a trail, but for its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// To the millisecond.
    pub at: Timestamp,
    pub action: Action,
    pub result: Verdict,
    /// The name of the problem that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<&'static str>,
    pub who: Who,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub recording: Option<RecordingId>,
    /// What else it was done to: the id of a token, a person, a link; a tenant's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub class: Option<Class>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// In a `played`: the number of the `play` that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub play: Option<u64>,
    /// Bytes that were served, first and last, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<(u64, u64)>,
    /// How many: recordings of a page, attempts of a minute, entries of an export.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// What changed or was asked for, in words of the vault's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

fn as_text<T: fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value.as_ref().expect("what is none is skipped"))
}

impl Entry {
    pub fn new(at: Timestamp, action: Action, who: Who) -> Entry {
        let millis = at.as_nanosecond().div_euclid(1_000_000) as i64;
        Entry {
            at: Timestamp::from_millisecond(millis).expect("a millisecond of a valid instant"),
            action,
            result: Verdict::Allowed,
            problem: None,
            who,
            recording: None,
            subject: None,
            class: None,
            reason: None,
            play: None,
            ranges: Vec::new(),
            count: None,
            note: None,
        }
    }

    pub fn of(self, recording: RecordingId) -> Entry {
        Entry { recording: Some(recording), ..self }
    }

    pub fn about(self, subject: impl fmt::Display) -> Entry {
        Entry { subject: Some(shortened(&subject.to_string())), ..self }
    }

    pub fn noting(self, note: impl fmt::Display) -> Entry {
        Entry { note: Some(shortened(&note.to_string())), ..self }
    }

    pub fn because(self, reason: &str) -> Entry {
        Entry { reason: Some(shortened(&without_numbers(reason))), ..self }
    }

    pub fn counting(self, count: u64) -> Entry {
        Entry { count: Some(count), ..self }
    }

    /// The bytes that are hashed, stored and exported: one line without a line break.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("an entry has only texts and numbers")
    }
}

fn shortened(text: &str) -> String {
    let end = (0..=TEXT_LEN_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

/// The text with everything that may be a call number replaced by `[number]`: nine digits or more, with nothing between them
/// but blanks and the signs of telephone books.
pub fn without_numbers(text: &str) -> String {
    let is_between = |c: char| matches!(c, '+' | '-' | '.' | '/' | '(' | ')') || c.is_whitespace();
    let (mut out, mut run, mut digits) = (String::new(), String::new(), 0);
    for c in text.chars().chain(['\0']) {
        if c.is_numeric() || is_between(c) {
            run.push(c);
            digits += usize::from(c.is_numeric());
            continue;
        }
        if digits >= NUMBER_DIGITS_MIN {
            let blank_before = run.len() - run.trim_start().len();
            let blank_after = run.len() - run.trim_end().len();
            let (start, end) = (&run[..blank_before], &run[run.len() - blank_after..]);
            out.push_str(&format!("{start}[number]{end}"));
        } else {
            out.push_str(&run);
        }
        run.clear();
        digits = 0;
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

/// Spans of bytes, first and last, merged where they meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(u64, u64)>);

impl Spans {
    /// Adds `first..=last`.
    pub fn add(&mut self, first: u64, last: u64) {
        // Nearly always the next bytes of the last span.
        let at = self.0.partition_point(|(_, end)| end.saturating_add(1) < first);
        let meets = self.0[at..].iter().take_while(|(start, _)| *start <= last.saturating_add(1)).count();
        let met = &self.0[at..at + meets];
        let start = met.first().map_or(first, |(start, _)| first.min(*start));
        let end = met.last().map_or(last, |(_, end)| last.max(*end));
        self.0.splice(at..at + meets, [(start, end)]);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_ranges(self) -> Vec<(u64, u64)> {
        self.0
    }
}

/// How long entries are kept: 1 to 120 calendar months.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrailTerm(u8);

impl TrailTerm {
    pub const DEFAULT: TrailTerm = TrailTerm(24);

    /// Entries before this instant are past their term.
    pub fn before(self, now: Timestamp) -> Timestamp {
        let then = now.to_zoned_datetime(TimeZone::UTC).checked_sub(i64::from(self.0).months());
        then.map_or(Timestamp::MIN, |then| then.timestamp())
    }
}

impl FromStr for TrailTerm {
    type Err = String;

    fn from_str(text: &str) -> Result<TrailTerm, String> {
        let months = text.strip_suffix("mo").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        let months = months.and_then(|digits| digits.parse::<u8>().ok()).filter(|months| (1..=120).contains(months));
        months.map(TrailTerm).ok_or_else(|| "'<n>mo' with n from 1 to 120, such as '24mo'".into())
    }
}

impl fmt::Display for TrailTerm {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}mo", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_call_number_never_stays_in_free_text() {
        for (text, kept) in [
            ("called back on +31 (0)6-1234 5678 today", "called back on [number] today"),
            ("0612345678", "[number]"),
            ("klacht 2026-11-27, ticket 4711", "klacht 2026-11-27, ticket 4711"),
            ("from 06.12.34.56.78,then", "from [number],then"),
            ("arabic ٠٦١٢٣٤٥٦٧٨", "arabic [number]"),
            ("", ""),
        ] {
            assert_eq!(without_numbers(text), kept);
        }
    }

    #[test]
    fn spans_that_meet_become_one_in_whatever_order_they_come() {
        let mut spans = Spans::default();
        for (first, last) in [(10, 19), (30, 39), (0, 4), (20, 29), (5, 5), (100, 100), (7, 200)] {
            spans.add(first, last);
        }

        assert_eq!(spans.into_ranges(), [(0, 5), (7, 200)]);
    }

    #[test]
    fn an_entry_is_one_line_without_what_it_does_not_know() {
        let at: Timestamp = "2026-11-27T10:00:00.1239Z".parse().expect("an instant");
        let entry = Entry::new(at, Action::Play, Who::operator(7)).because("line\nbreak");

        let text = r#"{"at":"2026-11-27T10:00:00.123Z","action":"play","result":"allowed","who":{"kind":"operator","id":"uid 7"},"reason":"line\nbreak"}"#;
        assert_eq!(entry.to_text(), text);
    }

    #[test]
    fn terms_of_trails_are_months_from_one_to_120() {
        assert_eq!("24mo".parse(), Ok(TrailTerm::DEFAULT));
        for bad in ["0mo", "121mo", "24", "1y", "mo", "+3mo"] {
            assert!(bad.parse::<TrailTerm>().is_err(), "{bad}");
        }
        let now = "2026-03-31T00:00:00Z".parse().expect("an instant");
        assert_eq!(TrailTerm(1).before(now).to_string(), "2026-02-28T00:00:00Z");
    }
}
