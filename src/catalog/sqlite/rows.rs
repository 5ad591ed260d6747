//! Between rows and the model: what SQLite stores as numbers, text and bytes comes out as checked types or not at all.

use std::str::FromStr;

use rusqlite::types::{FromSql, Type};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::errors::not_done;
use crate::catalog::Result;
use crate::model::epoch::{Tag, TreeId};
use crate::model::ids::CallId;
use crate::model::{
    Class, Completeness, Epoch, ObjectId, RecordingId, State, SubjectId, TenantNumber, Timestamp, TokenId,
};

/// Carries out one statement; returns how many rows it changed.
pub(super) fn execute(db: &Connection, sql: &str, params: impl Params) -> Result<usize> {
    db.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(not_done)
}

pub(super) fn first<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    decode: impl FnOnce(&Row) -> rusqlite::Result<T>,
) -> Result<Option<T>> {
    let row = db.prepare_cached(sql).and_then(|mut statement| statement.query_row(params, decode).optional());
    row.map_err(not_done)
}

pub(super) fn all<T>(
    db: &Connection,
    sql: &str,
    params: impl Params,
    decode: impl FnMut(&Row) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    let rows = db.prepare_cached(sql).and_then(|mut statement| statement.query_map(params, decode)?.collect());
    rows.map_err(not_done)
}

/// SQLite's integers end at 2^63 - 1.
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

/// A type of the model that is stored as a number or as bytes.
pub(super) trait Stored: Sized {
    type Raw: FromSql;
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

stored! {
    RecordingId: [u8; 16], "a recording's id", |raw| Some(RecordingId::from_bytes(raw));
    CallId: [u8; 16], "a call's id", |raw| Some(CallId::from_bytes(raw));
    TokenId: [u8; 16], "a token's id", |raw| Some(TokenId::from_bytes(raw));
    SubjectId: [u8; 16], "a subject's id", |raw| Some(SubjectId(raw));
    ObjectId: [u8; 16], "an object's name", |raw| Some(ObjectId(raw));
    TenantNumber: u32, "a tenant's number", |raw| Some(TenantNumber(raw));
    Timestamp: i64, "an instant", |raw| Timestamp::from_millisecond(raw).ok();
    State: u8, "a state", State::from_number;
    Completeness: u8, "a completeness", Completeness::from_number;
    Class: u8, "a class", Class::from_number;
    Epoch: u32, "an epoch", Epoch::new;
    TreeId: u16, "a tree", |raw| Some(TreeId(raw));
    Tag: i64, "a tag", |raw| u64::try_from(raw).ok().and_then(Tag::new);
    u64: i64, "a count", |raw| u64::try_from(raw).ok();
}

pub(super) fn take<T: Stored>(row: &Row, column: usize) -> rusqlite::Result<T> {
    T::check(row.get(column)?).ok_or_else(|| not_stored_by_us(column, T::WHAT))
}

pub(super) fn take_optional<T: Stored>(row: &Row, column: usize) -> rusqlite::Result<Option<T>> {
    match row.get::<_, Option<T::Raw>>(column)? {
        Some(raw) => T::check(raw).map(Some).ok_or_else(|| not_stored_by_us(column, T::WHAT)),
        None => Ok(None),
    }
}

pub(super) fn parse_optional<T: FromStr>(row: &Row, column: usize, what: &'static str) -> rusqlite::Result<Option<T>> {
    match row.get::<_, Option<String>>(column)? {
        Some(text) => text.parse().map(Some).map_err(|_| not_stored_by_us(column, what)),
        None => Ok(None),
    }
}

pub(super) fn parse<T: FromStr>(row: &Row, column: usize, what: &'static str) -> rusqlite::Result<T> {
    row.get::<_, String>(column)?.parse().map_err(|_| not_stored_by_us(column, what))
}

// Secrecy: says which column, never what is in it.
pub(super) fn not_stored_by_us(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, format!("not {what}").into())
}
