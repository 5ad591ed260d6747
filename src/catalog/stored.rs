//! Between rows and the model, for every backend: what a database stores as numbers and bytes comes out as checked types or
//! not at all.

use crate::model::epoch::{Tag, TreeId};
use crate::model::ids::CallId;
use crate::model::{
    Class, Completeness, Epoch, LinkId, ObjectId, PersonId, PrincipalKind, RecordingId, State, SubjectId, TenantNumber,
    Timestamp, TokenId,
};

/// Integers of databases end at 2^63 - 1.
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).expect("lengths, tags, generations and row numbers stay below 2^63")
}

/// Milliseconds since 1970, rounded down, as stored.
pub(super) fn millis(instant: Timestamp) -> i64 {
    instant.as_nanosecond().div_euclid(1_000_000) as i64
}

/// Rounded up: stored instants are whole milliseconds, and one is before `instant` exactly if it is below this.
pub(super) fn millis_up(instant: Timestamp) -> i64 {
    instant.as_nanosecond().div_euclid(1_000_000) as i64 + i64::from(instant.as_nanosecond().rem_euclid(1_000_000) > 0)
}

/// Rounded down: a whole second is later than the instant exactly if it is above this.
pub(super) fn second(instant: Timestamp) -> i64 {
    instant.as_nanosecond().div_euclid(1_000_000_000) as i64
}

/// A type of the model that is stored as a number (`i64`) or as 16 bytes.
pub(super) trait Stored: Sized {
    type Raw;
    const WHAT: &'static str;
    fn check(raw: Self::Raw) -> Option<Self>;
}

macro_rules! stored {
    ($($type:ty: $raw:ty, $what:literal, $check:expr;)*) => {
        $(impl Stored for $type {
            type Raw = $raw;
            const WHAT: &'static str = $what;
            fn check(raw: $raw) -> Option<$type> {
                let check: fn($raw) -> Option<$type> = $check;
                check(raw)
            }
        })*
    };
}

/// Through the integer that the model's own check takes.
macro_rules! narrow {
    ($check:expr) => {
        |raw| raw.try_into().ok().and_then($check)
    };
}

stored! {
    RecordingId: [u8; 16], "a recording's id", |raw| Some(RecordingId::from_bytes(raw));
    CallId: [u8; 16], "a call's id", |raw| Some(CallId::from_bytes(raw));
    TokenId: [u8; 16], "a token's id", |raw| Some(TokenId::from_bytes(raw));
    PersonId: [u8; 16], "a person's id", |raw| Some(PersonId::from_bytes(raw));
    LinkId: [u8; 16], "a link's id", |raw| Some(LinkId::from_bytes(raw));
    PrincipalKind: i64, "a kind of principal", narrow!(PrincipalKind::from_number);
    SubjectId: [u8; 16], "a subject's id", |raw| Some(SubjectId(raw));
    ObjectId: [u8; 16], "an object's name", |raw| Some(ObjectId(raw));
    TenantNumber: i64, "a tenant's number", narrow!(|number| Some(TenantNumber(number)));
    Timestamp: i64, "an instant", |raw| Timestamp::from_millisecond(raw).ok();
    State: i64, "a state", narrow!(State::from_number);
    Completeness: i64, "a completeness", narrow!(Completeness::from_number);
    Class: i64, "a class", narrow!(Class::from_number);
    Epoch: i64, "an epoch", narrow!(Epoch::new);
    TreeId: i64, "a tree", narrow!(|number| Some(TreeId(number)));
    Tag: i64, "a tag", narrow!(Tag::new);
    u64: i64, "a count", |raw| u64::try_from(raw).ok();
}
