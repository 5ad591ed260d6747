//! Statements, and columns as checked types.

use std::str::FromStr;

use rusqlite::types::{FromSql, Type};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use super::errors::not_done;
use crate::catalog::Result;
use crate::catalog::stored::Stored;

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

pub(super) fn take<T: Stored<Raw: FromSql>>(row: &Row, column: usize) -> rusqlite::Result<T> {
    T::check(row.get(column)?).ok_or_else(|| not_stored_by_us(column, T::WHAT))
}

pub(super) fn take_optional<T: Stored<Raw: FromSql>>(row: &Row, column: usize) -> rusqlite::Result<Option<T>> {
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
