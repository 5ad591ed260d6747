//! Tenants.

use rusqlite::{Connection, Row, params};

use super::errors::{is_taken, not_done};
use super::rows::{all as rows, execute, first, parse, take, take_optional};
use crate::catalog::stored::millis;
use crate::catalog::{CatalogError, NewTenant, Result, Tenant, TenantChange};
use crate::model::{Slug, TenantNumber, Timestamp};

const TENANT: &str = "number, slug, name, recording, customer_term, training_term, cdr_term, created_at, offboarded_at";

pub(super) fn create(db: &Connection, new: &NewTenant) -> Result<Tenant> {
    let inserted = db
        .prepare_cached(
            "INSERT INTO tenant (slug, name, recording, customer_term, training_term, cdr_term, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )
        .and_then(|mut insert| {
            insert.insert(params![
                new.slug.as_str(),
                new.name,
                new.recording,
                new.customer_term.to_string(),
                new.training_term.to_string(),
                new.cdr_term.to_string(),
                millis(new.created_at),
            ])
        });
    let number = inserted.map_err(|error| if is_taken(&error) { CatalogError::SlugTaken } else { not_done(error) })?;
    let number = u32::try_from(number).map_err(|_| CatalogError::Damaged("tenant numbers have run out".into()))?;
    existing(db, TenantNumber(number))
}

pub(super) fn by_slug(db: &Connection, slug: &Slug) -> Result<Option<Tenant>> {
    first(db, &format!("SELECT {TENANT} FROM tenant WHERE slug = ?1"), [slug.as_str()], tenant)
}

pub(super) fn by_number(db: &Connection, number: TenantNumber) -> Result<Option<Tenant>> {
    first(db, &format!("SELECT {TENANT} FROM tenant WHERE number = ?1"), [number.0], tenant)
}

pub(super) fn all(db: &Connection) -> Result<Vec<Tenant>> {
    rows(db, &format!("SELECT {TENANT} FROM tenant ORDER BY slug"), [], tenant)
}

pub(super) fn set(db: &Connection, number: TenantNumber, change: TenantChange) -> Result<Tenant> {
    execute(
        db,
        "UPDATE tenant SET name = coalesce(?2, name), recording = coalesce(?3, recording),
             customer_term = coalesce(?4, customer_term), training_term = coalesce(?5, training_term),
             cdr_term = coalesce(?6, cdr_term)
         WHERE number = ?1",
        params![
            number.0,
            change.name,
            change.recording,
            change.customer_term.map(|term| term.to_string()),
            change.training_term.map(|term| term.to_string()),
            change.cdr_term.map(|term| term.to_string()),
        ],
    )?;
    existing(db, number)
}

pub(super) fn offboard(db: &Connection, number: TenantNumber, at: Timestamp) -> Result<()> {
    if existing(db, number)?.offboarded_at.is_some() {
        return Ok(());
    }
    execute(db, "UPDATE tenant SET offboarded_at = ?2 WHERE number = ?1", params![number.0, millis(at)])?;
    execute(
        db,
        "UPDATE token SET revoked_at = ?2 WHERE tenant = ?1 AND revoked_at IS NULL",
        params![number.0, millis(at)],
    )?;
    execute(db, "INSERT INTO puncture (tenant) VALUES (?1)", [number.0])?;
    Ok(())
}

/// Refuses what would outlive the tenant's key: `NotFound` without the tenant, `WrongState` once it was offboarded.
pub(super) fn must_live(db: &Connection, number: TenantNumber) -> Result<()> {
    let sql = "SELECT offboarded_at IS NULL FROM tenant WHERE number = ?1";
    match first(db, sql, [number.0], |row| row.get::<_, bool>(0))? {
        Some(true) => Ok(()),
        Some(false) => Err(CatalogError::WrongState),
        None => Err(CatalogError::NotFound),
    }
}

fn existing(db: &Connection, number: TenantNumber) -> Result<Tenant> {
    by_number(db, number)?.ok_or(CatalogError::NotFound)
}

fn tenant(row: &Row) -> rusqlite::Result<Tenant> {
    Ok(Tenant {
        number: take(row, 0)?,
        slug: parse(row, 1, "a slug")?,
        name: row.get(2)?,
        recording: row.get(3)?,
        customer_term: parse(row, 4, "a term")?,
        training_term: parse(row, 5, "a term")?,
        cdr_term: parse(row, 6, "a term")?,
        created_at: take(row, 7)?,
        offboarded_at: take_optional(row, 8)?,
    })
}
