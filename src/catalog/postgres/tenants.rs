//! Tenants.

use tokio_postgres::Row;

use super::errors::Outcome;
use super::pool::Session;
use super::rows::{parse, take, take_optional};
use super::{Lock, locked};
use crate::catalog::stored::millis;
use crate::catalog::{CatalogError, NewTenant, Tenant, TenantChange};
use crate::model::{Slug, TenantNumber, Timestamp};

pub(super) const TENANT: &str =
    "number, slug, name, recording, customer_term, training_term, cdr_term, created_at, offboarded_at";

pub(super) fn number(number: TenantNumber) -> i64 {
    number.0.into()
}

pub(super) async fn create(db: &Session, new: &NewTenant) -> Outcome<Tenant> {
    // One after the other, so that numbers have no gaps and none is given twice.
    locked(db, Lock::Numbers).await?;
    let inserted = db
        .first(
            &format!(
                "INSERT INTO tenant (number, slug, name, recording, customer_term, training_term, cdr_term, created_at)
                 SELECT coalesce(max(number), 0) + 1, $1, $2, $3, $4, $5, $6, $7 FROM tenant RETURNING {TENANT}"
            ),
            &[
                &new.slug.as_str(),
                &new.name,
                &new.recording,
                &new.customer_term.to_string(),
                &new.training_term.to_string(),
                &new.cdr_term.to_string(),
                &millis(new.created_at),
            ],
        )
        .await;
    match inserted {
        Ok(Some(row)) => tenant(&row, 0),
        Ok(None) => Err(CatalogError::Damaged("a tenant was not written".into()).into()),
        Err(trouble) if trouble.taken_in() == Some("tenant") => Err(CatalogError::SlugTaken.into()),
        Err(trouble) => Err(trouble),
    }
}

pub(super) async fn by_slug(db: &Session, slug: &Slug) -> Outcome<Option<Tenant>> {
    let row = db.first(&format!("SELECT {TENANT} FROM tenant WHERE slug = $1"), &[&slug.as_str()]).await?;
    row.map(|row| tenant(&row, 0)).transpose()
}

pub(super) async fn by_number(db: &Session, tenant_number: TenantNumber) -> Outcome<Option<Tenant>> {
    let sql = format!("SELECT {TENANT} FROM tenant WHERE number = $1");
    let row = db.first(&sql, &[&number(tenant_number)]).await?;
    row.map(|row| tenant(&row, 0)).transpose()
}

pub(super) async fn all(db: &Session) -> Outcome<Vec<Tenant>> {
    // By bytes, as everywhere, and not by the database's own collation.
    let rows = db.all(&format!("SELECT {TENANT} FROM tenant ORDER BY slug COLLATE \"C\""), &[]).await?;
    rows.iter().map(|row| tenant(row, 0)).collect()
}

pub(super) async fn set(db: &Session, tenant_number: TenantNumber, change: &TenantChange) -> Outcome<Tenant> {
    let term = |term: Option<crate::model::Term>| term.map(|term| term.to_string());
    let row = db
        .first(
            &format!(
                "UPDATE tenant SET name = coalesce($2, name), recording = coalesce($3, recording),
                     customer_term = coalesce($4, customer_term), training_term = coalesce($5, training_term),
                     cdr_term = coalesce($6, cdr_term)
                 WHERE number = $1 RETURNING {TENANT}"
            ),
            &[
                &number(tenant_number),
                &change.name,
                &change.recording,
                &term(change.customer_term),
                &term(change.training_term),
                &term(change.cdr_term),
            ],
        )
        .await?;
    tenant(&row.ok_or(CatalogError::NotFound)?, 0)
}

pub(super) async fn offboard(db: &Session, tenant_number: TenantNumber, at: Timestamp) -> Outcome<()> {
    // Waits for recordings of the tenant that are just being begun: the run that punctures his key must see them.
    locked(db, Lock::Tenant(tenant_number)).await?;
    let tenant = by_number(db, tenant_number).await?.ok_or(CatalogError::NotFound)?;
    if tenant.offboarded_at.is_some() {
        return Ok(());
    }
    let key = number(tenant_number);
    db.execute("UPDATE tenant SET offboarded_at = $2 WHERE number = $1", &[&key, &millis(at)]).await?;
    let revoke = "UPDATE token SET revoked_at = $2 WHERE tenant = $1 AND revoked_at IS NULL";
    db.execute(revoke, &[&key, &millis(at)]).await?;
    // One after the other, so that a puncture which is seen has none before it that is not.
    locked(db, Lock::Punctures).await?;
    db.execute("INSERT INTO puncture (tenant) VALUES ($1)", &[&key]).await?;
    Ok(())
}

/// Whether the tenant may get what would outlive its key: `NotFound` without the tenant, `WrongState` once it was offboarded.
pub(super) fn must_live(is_alive: Option<bool>) -> Result<(), CatalogError> {
    match is_alive {
        Some(true) => Ok(()),
        Some(false) => Err(CatalogError::WrongState),
        None => Err(CatalogError::NotFound),
    }
}

pub(super) fn tenant(row: &Row, first: usize) -> Outcome<Tenant> {
    Ok(Tenant {
        number: take(row, first)?,
        slug: parse(row, first + 1, "a slug")?,
        name: row.try_get(first + 2)?,
        recording: row.try_get(first + 3)?,
        customer_term: parse(row, first + 4, "a term")?,
        training_term: parse(row, first + 5, "a term")?,
        cdr_term: parse(row, first + 6, "a term")?,
        created_at: take(row, first + 7)?,
        offboarded_at: take_optional(row, first + 8)?,
    })
}
