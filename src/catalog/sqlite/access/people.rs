//! The provider's people, and what one of them has asked for.

use rusqlite::{Connection, Row, params};

use crate::catalog::sqlite::errors::{is_orphan, is_taken, is_there, not_done};
use crate::catalog::sqlite::rows::{all as rows, execute, first, parse_optional, take, take_optional};
use crate::catalog::stored::millis;
use crate::catalog::{Asked, CatalogError, Confirmation, Person, PersonChange, Result};
use crate::model::{Clearance, PersonId, Timestamp};

const PERSON: &str = "id, name, subject, vog, nda, created_at, disabled_at";

pub fn create(db: &Connection, person: &Person) -> Result<()> {
    let inserted = db
        .prepare_cached(&format!("INSERT INTO person ({PERSON}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"))
        .and_then(|mut insert| {
            insert.execute(params![
                person.id.as_bytes(),
                person.name,
                person.subject,
                person.clearance.vog.map(|day| day.to_string()),
                person.clearance.nda.map(|day| day.to_string()),
                millis(person.created_at),
                person.disabled_at.map(millis),
            ])
        });
    inserted.map(|_| ()).map_err(not_written)
}

pub fn by_id(db: &Connection, id: PersonId) -> Result<Option<Person>> {
    first(db, &format!("SELECT {PERSON} FROM person WHERE id = ?1"), [id.as_bytes()], person_row)
}

pub fn by_subject(db: &Connection, subject: &str) -> Result<Option<Person>> {
    first(db, &format!("SELECT {PERSON} FROM person WHERE subject = ?1"), [subject], person_row)
}

pub fn all(db: &Connection) -> Result<Vec<Person>> {
    rows(db, &format!("SELECT {PERSON} FROM person ORDER BY created_at, id"), [], person_row)
}

pub fn set(db: &Connection, id: PersonId, change: &PersonChange) -> Result<Person> {
    let changed = change.clone().applied_to(by_id(db, id)?.ok_or(CatalogError::NotFound)?);
    let updated = db
        .prepare_cached("UPDATE person SET name = ?2, subject = ?3, vog = ?4, nda = ?5, disabled_at = ?6 WHERE id = ?1")
        .and_then(|mut update| {
            update.execute(params![
                id.as_bytes(),
                changed.name,
                changed.subject,
                changed.clearance.vog.map(|day| day.to_string()),
                changed.clearance.nda.map(|day| day.to_string()),
                changed.disabled_at.map(millis),
            ])
        });
    updated.map_err(not_written)?;
    Ok(changed)
}

fn not_written(error: rusqlite::Error) -> CatalogError {
    if is_taken(&error) || is_there(&error) { CatalogError::WrongState } else { not_done(error) }
}

fn person_row(row: &Row) -> rusqlite::Result<Person> {
    Ok(Person {
        id: take(row, 0)?,
        name: row.get(1)?,
        subject: row.get(2)?,
        clearance: Clearance { vog: parse_optional(row, 3, "a day")?, nda: parse_optional(row, 4, "a day")? },
        created_at: take(row, 5)?,
        disabled_at: take_optional(row, 6)?,
    })
}

pub fn ask(db: &Connection, asked: &Asked) -> Result<Confirmation> {
    execute(db, "DELETE FROM asked WHERE until <= ?1", [millis(asked.at)])?;
    let key = params![asked.tenant.0, asked.what];
    let waiting = |row: &Row| Ok((take::<PersonId>(row, 0)?, take::<Timestamp>(row, 1)?));
    match first(db, "SELECT person, until FROM asked WHERE tenant = ?1 AND what = ?2", key, waiting)? {
        Some((person, until)) if person == asked.person => Ok(Confirmation::Waits { until }),
        Some((by, _)) => {
            execute(db, "DELETE FROM asked WHERE tenant = ?1 AND what = ?2", key)?;
            Ok(Confirmation::Confirmed { by })
        }
        None => {
            let inserted = db
                .prepare_cached("INSERT INTO asked (tenant, what, person, at, until) VALUES (?1, ?2, ?3, ?4, ?5)")
                .and_then(|mut insert| {
                    insert.execute(params![
                        asked.tenant.0,
                        asked.what,
                        asked.person.as_bytes(),
                        millis(asked.at),
                        millis(asked.until)
                    ])
                });
            inserted.map_err(|error| if is_orphan(&error) { CatalogError::NotFound } else { not_done(error) })?;
            Ok(Confirmation::Waits { until: asked.until })
        }
    }
}
