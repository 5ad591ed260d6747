//! Playback links.

use tokio_postgres::Row;

use crate::catalog::postgres::errors::{Outcome, Trouble};
use crate::catalog::postgres::pool::Session;
use crate::catalog::postgres::rows::{not_stored_by_us, parse_optional, take, take_optional, uuid};
use crate::catalog::postgres::tenants::number;
use crate::catalog::stored::{millis, second};
use crate::catalog::{CatalogError, LINK_KEPT, LinkRow, LinkSession};
use crate::model::{LinkId, Timestamp};

const LINK: &str = "id, tenant, recording, class, expires_at, address, uses_max, token, person, created_at, revoked_at";

pub async fn create(db: &Session, link: &LinkRow) -> Outcome<()> {
    let ended = second(link.created_at - LINK_KEPT);
    db.execute("DELETE FROM link WHERE expires_at < $1", &[&ended]).await?;
    let inserted = db
        .execute(
            &format!("INSERT INTO link ({LINK}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"),
            &[
                &uuid(*link.id.as_bytes()),
                &number(link.tenant),
                &uuid(*link.recording.as_bytes()),
                &(link.class as i16),
                &link.expires_at.as_second(),
                &link.address.map(|address| address.to_string()),
                &link.uses_max.map(|uses| i32::try_from(uses).unwrap_or(i32::MAX)),
                &link.token.map(|token| uuid(*token.as_bytes())),
                &link.person.map(|person| uuid(*person.as_bytes())),
                &millis(link.created_at),
                &link.revoked_at.map(millis),
            ],
        )
        .await;
    match inserted {
        Err(trouble) if trouble.taken_in().is_some() => Err(CatalogError::WrongState.into()),
        inserted => inserted.map(|_| ()),
    }
}

pub async fn by_id(db: &Session, id: LinkId) -> Outcome<Option<LinkRow>> {
    let sql = format!("SELECT {LINK} FROM link WHERE id = $1");
    db.first(&sql, &[&uuid(*id.as_bytes())]).await?.map(|row| link_row(&row)).transpose()
}

pub async fn revoke(db: &Session, id: LinkId, at: Timestamp) -> Outcome<()> {
    let sql = "UPDATE link SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1";
    match db.execute(sql, &[&uuid(*id.as_bytes()), &millis(at)]).await? {
        0 => Err(Trouble::Refused(CatalogError::NotFound)),
        _ => Ok(()),
    }
}

/// Whether the player has a session.
pub async fn plays(db: &Session, session: &LinkSession) -> Outcome<bool> {
    let (link, player) = (uuid(*session.link.as_bytes()), uuid(session.player));
    let sql = "SELECT 1 FROM link_session WHERE link = $1 AND player = $2 AND until > $3";
    Ok(db.first(sql, &[&link, &player, &millis(session.now)]).await?.is_some())
}

pub async fn play(db: &Session, session: &LinkSession) -> Outcome<bool> {
    let (link, player) = (uuid(*session.link.as_bytes()), uuid(session.player));
    // Of many players that begin at once, and of one that begins twice, each is counted once.
    if db.first("SELECT 1 FROM link WHERE id = $1 FOR UPDATE", &[&link]).await?.is_none() {
        return Ok(false);
    }
    if plays(db, session).await? {
        return Ok(true);
    }
    let counted = "UPDATE link SET uses = uses + 1 WHERE id = $1 AND (uses_max IS NULL OR uses < uses_max)";
    if db.execute(counted, &[&link]).await? == 0 {
        return Ok(false);
    }
    let begun = "INSERT INTO link_session (link, player, until) VALUES ($1, $2, $3)
                 ON CONFLICT (link, player) DO UPDATE SET until = excluded.until";
    db.execute(begun, &[&link, &player, &millis(session.until)]).await?;
    Ok(true)
}

fn link_row(row: &Row) -> Outcome<LinkRow> {
    let uses_max: Option<i32> = row.try_get(6)?;
    Ok(LinkRow {
        id: take(row, 0)?,
        tenant: take(row, 1)?,
        recording: take(row, 2)?,
        class: take(row, 3)?,
        expires_at: Timestamp::from_second(row.try_get(4)?).map_err(|_| not_stored_by_us(4, "an instant"))?,
        address: parse_optional(row, 5, "an address")?,
        uses_max: uses_max.and_then(|uses| u32::try_from(uses).ok()),
        token: take_optional(row, 7)?,
        person: take_optional(row, 8)?,
        created_at: take(row, 9)?,
        revoked_at: take_optional(row, 10)?,
    })
}
