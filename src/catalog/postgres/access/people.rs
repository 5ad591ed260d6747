//! The provider's people, and what one of them has asked for.

use tokio_postgres::Row;

use crate::catalog::postgres::errors::{Outcome, Trouble};
use crate::catalog::postgres::pool::Session;
use crate::catalog::postgres::rows::{parse_optional, take, take_optional, uuid};
use crate::catalog::postgres::tenants::number;
use crate::catalog::postgres::{Lock, locked};
use crate::catalog::stored::millis;
use crate::catalog::{Asked, CatalogError, Confirmation, Person, PersonChange};
use crate::model::{Clearance, PersonId, Timestamp};

pub(super) const PERSON: &str = "id, name, subject, vog, nda, created_at, disabled_at";

pub async fn create(db: &Session, person: &Person) -> Outcome<()> {
    let inserted = db
        .execute(
            &format!("INSERT INTO person ({PERSON}) VALUES ($1, $2, $3, $4, $5, $6, $7)"),
            &[
                &uuid(*person.id.as_bytes()),
                &person.name,
                &person.subject,
                &person.clearance.vog.map(|day| day.to_string()),
                &person.clearance.nda.map(|day| day.to_string()),
                &millis(person.created_at),
                &person.disabled_at.map(millis),
            ],
        )
        .await;
    inserted.map(|_| ()).map_err(not_written)
}

pub async fn by_id(db: &Session, id: PersonId) -> Outcome<Option<Person>> {
    let sql = format!("SELECT {PERSON} FROM person WHERE id = $1");
    db.first(&sql, &[&uuid(*id.as_bytes())]).await?.map(|row| person_row(&row, 0)).transpose()
}

pub async fn by_subject(db: &Session, subject: &str) -> Outcome<Option<Person>> {
    let sql = format!("SELECT {PERSON} FROM person WHERE subject = $1");
    db.first(&sql, &[&subject]).await?.map(|row| person_row(&row, 0)).transpose()
}

pub async fn all(db: &Session) -> Outcome<Vec<Person>> {
    let rows = db.all(&format!("SELECT {PERSON} FROM person ORDER BY created_at, id"), &[]).await?;
    rows.iter().map(|row| person_row(row, 0)).collect()
}

pub async fn set(db: &Session, id: PersonId, change: &PersonChange) -> Outcome<Person> {
    let sql = format!("SELECT {PERSON} FROM person WHERE id = $1 FOR UPDATE");
    let row = db.first(&sql, &[&uuid(*id.as_bytes())]).await?.ok_or(CatalogError::NotFound)?;
    let changed = change.clone().applied_to(person_row(&row, 0)?);
    let updated = db
        .execute(
            "UPDATE person SET name = $2, subject = $3, vog = $4, nda = $5, disabled_at = $6 WHERE id = $1",
            &[
                &uuid(*id.as_bytes()),
                &changed.name,
                &changed.subject,
                &changed.clearance.vog.map(|day| day.to_string()),
                &changed.clearance.nda.map(|day| day.to_string()),
                &changed.disabled_at.map(millis),
            ],
        )
        .await;
    updated.map(|_| changed).map_err(not_written)
}

fn not_written(trouble: Trouble) -> Trouble {
    if trouble.taken_in().is_some() { CatalogError::WrongState.into() } else { trouble }
}

pub(super) fn person_row(row: &Row, first: usize) -> Outcome<Person> {
    Ok(Person {
        id: take(row, first)?,
        name: row.try_get(first + 1)?,
        subject: row.try_get(first + 2)?,
        clearance: Clearance {
            vog: parse_optional(row, first + 3, "a day")?,
            nda: parse_optional(row, first + 4, "a day")?,
        },
        created_at: take(row, first + 5)?,
        disabled_at: take_optional(row, first + 6)?,
    })
}

pub async fn ask(db: &Session, asked: &Asked) -> Outcome<Confirmation> {
    // Of two that ask at once, the second sees the first.
    locked(db, Lock::Asked).await?;
    db.execute("DELETE FROM asked WHERE until <= $1", &[&millis(asked.at)]).await?;
    let tenant = number(asked.tenant);
    let sql = "SELECT person, until FROM asked WHERE tenant = $1 AND what = $2";
    let waiting = db.first(sql, &[&tenant, &asked.what]).await?;
    let waiting = waiting.map(|row| Ok::<_, Trouble>((take::<PersonId>(&row, 0)?, take::<Timestamp>(&row, 1)?)));
    match waiting.transpose()? {
        Some((person, until)) if person == asked.person => Ok(Confirmation::Waits { until }),
        Some((by, _)) => {
            db.execute("DELETE FROM asked WHERE tenant = $1 AND what = $2", &[&tenant, &asked.what]).await?;
            Ok(Confirmation::Confirmed { by })
        }
        None => {
            let inserted = db
                .execute(
                    "INSERT INTO asked (tenant, what, person, at, until) VALUES ($1, $2, $3, $4, $5)",
                    &[&tenant, &asked.what, &uuid(*asked.person.as_bytes()), &millis(asked.at), &millis(asked.until)],
                )
                .await;
            match inserted {
                Ok(_) => Ok(Confirmation::Waits { until: asked.until }),
                Err(trouble) if trouble.is_orphan() => Err(CatalogError::NotFound.into()),
                Err(trouble) => Err(trouble),
            }
        }
    }
}
