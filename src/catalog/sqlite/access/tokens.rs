//! Tokens.

use rusqlite::{Connection, Row, params};

use super::people;
use crate::catalog::sqlite::errors::{is_orphan, is_taken, is_there, not_done};
use crate::catalog::sqlite::rows::{all as rows, execute, first, parse, take, take_optional};
use crate::catalog::sqlite::tenants;
use crate::catalog::stored::millis;
use crate::catalog::{Bearer, CatalogError, Result, TokenKey, TokenRow};
use crate::crypto::token::TokenHash;
use crate::model::{TenantNumber, Timestamp, TokenId};

const TOKEN: &str = "id, tenant, kind, person, name, scopes, hash, networks, certificate, created_at, expires_at, \
                     revoked_at, last_used_at";

pub fn create(db: &Connection, token: &TokenRow) -> Result<()> {
    if let Some(tenant) = token.tenant {
        tenants::must_live(db, tenant)?;
    }
    let inserted = db
        .prepare_cached(&format!(
            "INSERT INTO token ({TOKEN}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"
        ))
        .and_then(|mut insert| {
            insert.execute(params![
                token.id.as_bytes(),
                token.tenant.map(|tenant| tenant.0),
                token.kind as u8,
                token.person.map(|person| *person.as_bytes()),
                token.name,
                token.scopes.to_string(),
                token.hash.0,
                token.networks.join(" "),
                token.certificate,
                millis(token.created_at),
                token.expires_at.map(millis),
                token.revoked_at.map(millis),
                token.last_used_at.map(millis),
            ])
        });
    inserted.map(|_| ()).map_err(|error| match error {
        error if is_taken(&error) || is_there(&error) => CatalogError::WrongState,
        error if is_orphan(&error) => CatalogError::NotFound,
        error => not_done(error),
    })
}

pub fn bearer(db: &Connection, by: &TokenKey) -> Result<Option<Bearer>> {
    let by_column = |column: &str| format!("SELECT {TOKEN} FROM token WHERE {column} = ?1");
    let found = match by {
        TokenKey::Hash(hash) => first(db, &by_column("hash"), [hash.0], token_row)?,
        TokenKey::Certificate(digest) => first(db, &by_column("certificate"), [digest], token_row)?,
        TokenKey::Id(id) => first(db, &by_column("id"), [id.as_bytes()], token_row)?,
    };
    let Some(token) = found else { return Ok(None) };
    let orphan = || CatalogError::Damaged("a token belongs to a tenant or a person that is not there".into());
    let tenant = match token.tenant {
        Some(number) => Some(tenants::by_number(db, number)?.ok_or_else(orphan)?),
        None => None,
    };
    let person = match token.person {
        Some(id) => Some(people::by_id(db, id)?.ok_or_else(orphan)?),
        None => None,
    };
    Ok(Some(Bearer { token, tenant, person }))
}

pub fn all(db: &Connection, tenant: Option<TenantNumber>) -> Result<Vec<TokenRow>> {
    let sql = format!("SELECT {TOKEN} FROM token WHERE ?1 IS NULL OR tenant = ?1 ORDER BY created_at, id");
    rows(db, &sql, [tenant.map(|number| number.0)], token_row)
}

pub fn revoke(db: &Connection, id: TokenId, at: Timestamp) -> Result<()> {
    let sql = "UPDATE token SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
    match execute(db, sql, params![id.as_bytes(), millis(at)])? {
        0 => Err(CatalogError::NotFound),
        _ => Ok(()),
    }
}

pub fn touch(db: &Connection, id: TokenId, at: Timestamp) -> Result<()> {
    let sql = "UPDATE token SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1";
    execute(db, sql, params![id.as_bytes(), millis(at)])?;
    Ok(())
}

fn token_row(row: &Row) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        id: take(row, 0)?,
        tenant: take_optional(row, 1)?,
        kind: take(row, 2)?,
        person: take_optional(row, 3)?,
        name: row.get(4)?,
        scopes: parse(row, 5, "scopes")?,
        hash: TokenHash(row.get(6)?),
        networks: row.get::<_, String>(7)?.split_whitespace().map(str::to_owned).collect(),
        certificate: row.get(8)?,
        created_at: take(row, 9)?,
        expires_at: take_optional(row, 10)?,
        revoked_at: take_optional(row, 11)?,
        last_used_at: take_optional(row, 12)?,
    })
}
