//! Playback links.

use rusqlite::{Connection, Row, params};

use crate::catalog::sqlite::errors::{is_there, not_done};
use crate::catalog::sqlite::rows::{execute, first, not_stored_by_us, parse_optional, take, take_optional};
use crate::catalog::stored::{millis, second};
use crate::catalog::{CatalogError, LINK_KEPT, LinkRow, LinkSession, Result};
use crate::model::{LinkId, Timestamp};

const LINK: &str = "id, tenant, recording, class, expires_at, address, uses_max, token, person, created_at, revoked_at";

pub fn create(db: &Connection, link: &LinkRow) -> Result<()> {
    execute(db, "DELETE FROM link WHERE expires_at < ?1", [second(link.created_at - LINK_KEPT)])?;
    let inserted = db
        .prepare_cached(&format!("INSERT INTO link ({LINK}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"))
        .and_then(|mut insert| {
            insert.execute(params![
                link.id.as_bytes(),
                link.tenant.0,
                link.recording.as_bytes(),
                link.class as u8,
                link.expires_at.as_second(),
                link.address.map(|address| address.to_string()),
                link.uses_max,
                link.token.map(|token| *token.as_bytes()),
                link.person.map(|person| *person.as_bytes()),
                millis(link.created_at),
                link.revoked_at.map(millis),
            ])
        });
    inserted.map(|_| ()).map_err(|error| if is_there(&error) { CatalogError::WrongState } else { not_done(error) })
}

pub fn by_id(db: &Connection, id: LinkId) -> Result<Option<LinkRow>> {
    first(db, &format!("SELECT {LINK} FROM link WHERE id = ?1"), [id.as_bytes()], link_row)
}

pub fn revoke(db: &Connection, id: LinkId, at: Timestamp) -> Result<()> {
    let sql = "UPDATE link SET revoked_at = coalesce(revoked_at, ?2) WHERE id = ?1";
    match execute(db, sql, params![id.as_bytes(), millis(at)])? {
        0 => Err(CatalogError::NotFound),
        _ => Ok(()),
    }
}

/// Whether the player has a session.
pub fn plays(db: &Connection, session: &LinkSession) -> Result<bool> {
    let key = params![session.link.as_bytes(), session.player, millis(session.now)];
    let sql = "SELECT 1 FROM link_session WHERE link = ?1 AND player = ?2 AND until > ?3";
    Ok(first(db, sql, key, |_| Ok(()))?.is_some())
}

pub fn play(db: &Connection, session: &LinkSession) -> Result<bool> {
    if plays(db, session)? {
        return Ok(true);
    }
    let counted = "UPDATE link SET uses = uses + 1 WHERE id = ?1 AND (uses_max IS NULL OR uses < uses_max)";
    if execute(db, counted, [session.link.as_bytes()])? == 0 {
        return Ok(false);
    }
    let begun = "INSERT INTO link_session (link, player, until) VALUES (?1, ?2, ?3)
                 ON CONFLICT (link, player) DO UPDATE SET until = excluded.until";
    execute(db, begun, params![session.link.as_bytes(), session.player, millis(session.until)])?;
    Ok(true)
}

fn link_row(row: &Row) -> rusqlite::Result<LinkRow> {
    let expires_at = Timestamp::from_second(row.get(4)?).map_err(|_| not_stored_by_us(4, "an instant"))?;
    Ok(LinkRow {
        id: take(row, 0)?,
        tenant: take(row, 1)?,
        recording: take(row, 2)?,
        class: take(row, 3)?,
        expires_at,
        address: parse_optional(row, 5, "an address")?,
        uses_max: row.get(6)?,
        token: take_optional(row, 7)?,
        person: take_optional(row, 8)?,
        created_at: take(row, 9)?,
        revoked_at: take_optional(row, 10)?,
    })
}
