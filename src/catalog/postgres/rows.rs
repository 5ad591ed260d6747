//! Columns as checked types, and the model as parameters.

use std::str::FromStr;

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::errors::Outcome;
use crate::catalog::CatalogError;
use crate::catalog::stored::{Stored, int};
use crate::model::TimePath;

/// A place in the order in which wraps die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub epoch: i32,
    pub tree: i32,
    pub tag: i64,
}

impl Place {
    /// Beyond every epoch: what is held, or has no term, is never passed, and lies in the partition of the rest.
    pub const NEVER: Place = Place { epoch: 1 << 20, tree: 0, tag: 0 };

    pub fn of(path: &TimePath) -> Place {
        Place { epoch: epoch(path), tree: path.tree.0.into(), tag: int(path.tag.number()) }
    }

    pub fn take(row: &Row, column: usize) -> Outcome<Option<Place>> {
        match row.try_get::<_, Option<i32>>(column)? {
            Some(epoch) => Ok(Some(Place { epoch, tree: row.try_get(column + 1)?, tag: row.try_get(column + 2)? })),
            None => Ok(None),
        }
    }
}

pub(super) fn epoch(path: &TimePath) -> i32 {
    path.epoch.number() as i32
}

pub(super) fn uuid(bytes: impl Into<[u8; 16]>) -> Uuid {
    Uuid::from_bytes(bytes.into())
}

pub(super) fn uuids(tokens: &[[u8; 16]]) -> Vec<Uuid> {
    tokens.iter().map(|token| Uuid::from_bytes(*token)).collect()
}

/// What a column holds before it is checked.
pub(super) trait Column: Sized {
    fn read(row: &Row, column: usize) -> Outcome<Option<Self>>;
}

impl Column for i64 {
    fn read(row: &Row, column: usize) -> Outcome<Option<i64>> {
        Ok(match *row.columns()[column].type_() {
            Type::INT2 => row.try_get::<_, Option<i16>>(column)?.map(i64::from),
            Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(i64::from),
            _ => row.try_get(column)?,
        })
    }
}

impl Column for [u8; 16] {
    fn read(row: &Row, column: usize) -> Outcome<Option<[u8; 16]>> {
        Ok(row.try_get::<_, Option<Uuid>>(column)?.map(Uuid::into_bytes))
    }
}

pub(super) fn take<T: Stored<Raw: Column>>(row: &Row, column: usize) -> Outcome<T> {
    Ok(take_optional(row, column)?.ok_or_else(|| not_stored_by_us(column, T::WHAT))?)
}

pub(super) fn take_optional<T: Stored<Raw: Column>>(row: &Row, column: usize) -> Outcome<Option<T>> {
    match T::Raw::read(row, column)? {
        Some(raw) => Ok(Some(T::check(raw).ok_or_else(|| not_stored_by_us(column, T::WHAT))?)),
        None => Ok(None),
    }
}

pub(super) fn bytes<const N: usize>(row: &Row, column: usize, what: &'static str) -> Outcome<Option<[u8; N]>> {
    match row.try_get::<_, Option<&[u8]>>(column)? {
        Some(bytes) => Ok(Some(bytes.try_into().map_err(|_| not_stored_by_us(column, what))?)),
        None => Ok(None),
    }
}

pub(super) fn parse<T: FromStr>(row: &Row, column: usize, what: &'static str) -> Outcome<T> {
    Ok(row.try_get::<_, &str>(column)?.parse().map_err(|_| not_stored_by_us(column, what))?)
}

pub(super) fn parse_optional<T: FromStr>(row: &Row, column: usize, what: &'static str) -> Outcome<Option<T>> {
    match row.try_get::<_, Option<&str>>(column)? {
        Some(text) => Ok(Some(text.parse().map_err(|_| not_stored_by_us(column, what))?)),
        None => Ok(None),
    }
}

// Secrecy: says which column, never what is in it.
pub(super) fn not_stored_by_us(column: usize, what: &'static str) -> CatalogError {
    CatalogError::Damaged(format!("column {column} is not {what}"))
}
