//! Tokens.

use tokio_postgres::Row;

use super::people::{self, PERSON};
use crate::catalog::postgres::errors::{Outcome, Trouble};
use crate::catalog::postgres::pool::Session;
use crate::catalog::postgres::rows::{bytes, not_stored_by_us, parse, take, take_optional, uuid};
use crate::catalog::postgres::tenants::{self, TENANT, number};
use crate::catalog::postgres::{Lock, locked};
use crate::catalog::stored::millis;
use crate::catalog::{Bearer, CatalogError, TokenKey, TokenRow};
use crate::crypto::token::TokenHash;
use crate::model::{TenantNumber, Timestamp, TokenId};

const TOKEN: &str = "id, tenant, kind, person, name, scopes, hash, networks, certificate, created_at, expires_at, \
                     revoked_at, last_used_at";
/// Columns of a token and of a tenant, which stand before a person's.
const PERSON_AT: usize = 13 + 9;

pub async fn create(db: &Session, token: &TokenRow) -> Outcome<()> {
    if let Some(tenant) = token.tenant {
        locked(db, Lock::TenantShared(tenant)).await?;
        tenants::must_live(tenants::by_number(db, tenant).await?.map(|tenant| tenant.offboarded_at.is_none()))?;
    }
    let inserted = db
        .execute(
            &format!("INSERT INTO token ({TOKEN}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"),
            &[
                &uuid(*token.id.as_bytes()),
                &token.tenant.map(number),
                &(token.kind as i16),
                &token.person.map(|person| uuid(*person.as_bytes())),
                &token.name,
                &token.scopes.to_string(),
                &token.hash.0.as_slice(),
                &token.networks.join(" "),
                &token.certificate.as_ref().map(|digest| digest.as_slice()),
                &millis(token.created_at),
                &token.expires_at.map(millis),
                &token.revoked_at.map(millis),
                &token.last_used_at.map(millis),
            ],
        )
        .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(trouble) if trouble.taken_in().is_some() => Err(CatalogError::WrongState.into()),
        Err(trouble) if trouble.is_orphan() => Err(CatalogError::NotFound.into()),
        Err(trouble) => Err(trouble),
    }
}

pub async fn bearer(db: &Session, by: &TokenKey) -> Outcome<Option<Bearer>> {
    let columns = |table: &str, names: &str| {
        let qualified: Vec<_> = names.split(", ").map(|name| format!("{table}.{name}")).collect();
        qualified.join(", ")
    };
    let sql = |column: &str| {
        format!(
            "SELECT {}, {}, {} FROM token t LEFT JOIN tenant o ON o.number = t.tenant LEFT JOIN person p ON p.id = t.person
             WHERE t.{column} = $1",
            columns("t", TOKEN),
            columns("o", TENANT),
            columns("p", PERSON)
        )
    };
    let row = match by {
        TokenKey::Hash(hash) => db.first(&sql("hash"), &[&hash.0.as_slice()]).await?,
        TokenKey::Certificate(digest) => db.first(&sql("certificate"), &[&digest.as_slice()]).await?,
        TokenKey::Id(id) => db.first(&sql("id"), &[&uuid(*id.as_bytes())]).await?,
    };
    let Some(row) = row else { return Ok(None) };
    let token = token_row(&row)?;
    let tenant = token.tenant.map(|_| tenants::tenant(&row, 13)).transpose()?;
    let person = token.person.map(|_| people::person_row(&row, PERSON_AT)).transpose()?;
    Ok(Some(Bearer { token, tenant, person }))
}

pub async fn all(db: &Session, tenant: Option<TenantNumber>) -> Outcome<Vec<TokenRow>> {
    let sql = format!("SELECT {TOKEN} FROM token WHERE $1::bigint IS NULL OR tenant = $1 ORDER BY created_at, id");
    db.all(&sql, &[&tenant.map(number)]).await?.iter().map(token_row).collect()
}

pub async fn revoke(db: &Session, id: TokenId, at: Timestamp) -> Outcome<()> {
    let sql = "UPDATE token SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1";
    match db.execute(sql, &[&uuid(*id.as_bytes()), &millis(at)]).await? {
        0 => Err(Trouble::Refused(CatalogError::NotFound)),
        _ => Ok(()),
    }
}

pub async fn touch(db: &Session, id: TokenId, at: Timestamp) -> Outcome<()> {
    let sql = "UPDATE token SET last_used_at = greatest(last_used_at, $2) WHERE id = $1";
    db.execute(sql, &[&uuid(*id.as_bytes()), &millis(at)]).await?;
    Ok(())
}

fn token_row(row: &Row) -> Outcome<TokenRow> {
    Ok(TokenRow {
        id: take(row, 0)?,
        tenant: take_optional(row, 1)?,
        kind: take(row, 2)?,
        person: take_optional(row, 3)?,
        name: row.try_get(4)?,
        scopes: parse(row, 5, "scopes")?,
        hash: TokenHash(bytes(row, 6, "a hash")?.ok_or_else(|| not_stored_by_us(6, "a hash"))?),
        networks: row.try_get::<_, &str>(7)?.split_whitespace().map(str::to_owned).collect(),
        certificate: bytes(row, 8, "a certificate's digest")?,
        created_at: take(row, 9)?,
        expires_at: take_optional(row, 10)?,
        revoked_at: take_optional(row, 11)?,
        last_used_at: take_optional(row, 12)?,
    })
}
