//! `/v1/people`: the provider's staff and their clearance, for scope `admin` of the provider's own.

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use jiff::ToSpan;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::told;
use super::recordings::{json, method_not_allowed};
use super::tokens::{checked_name, not_done, unprocessable};
use super::trail::{note_count, note_subject, note_what};
use super::{Face, SharedFace};
use crate::catalog::{CatalogError, Person, PersonChange};
use crate::crypto::random::random;
use crate::model::shape::{Day, Moment};
use crate::model::{Clearance, Error, PersonId, Problem, Result, Standing, Timestamp};

// Limit: an issuer's URL and a subject of 255 characters (OpenID Connect Core, section 2).
const SUBJECT_LEN_MAX: usize = 1_024;

/// Who is to be added.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPerson {
    #[schemars(length(min = 1, max = 200))]
    name: String,
    /// Day on which the certificate of conduct was issued.
    #[schemars(with = "Option<Day>")]
    vog: Option<Date>,
    /// Day on which the non-disclosure agreement was signed.
    #[schemars(with = "Option<Day>")]
    nda: Option<Date>,
    /// `<issuer> <sub>` of the single sign-on.
    subject: Option<String>,
}

/// Members that are left out stay; `null` takes away.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PersonChanges")]
pub struct Changes {
    name: Option<String>,
    #[serde(default, deserialize_with = "told")]
    #[schemars(with = "Option<Day>")]
    vog: Option<Option<Date>>,
    #[serde(default, deserialize_with = "told")]
    #[schemars(with = "Option<Day>")]
    nda: Option<Option<Date>>,
    #[serde(default, deserialize_with = "told")]
    #[schemars(with = "Option<String>")]
    subject: Option<Option<String>>,
    /// Whether nothing of his is taken any more.
    disabled: Option<bool>,
}

/// The provider's people.
#[derive(Serialize, JsonSchema)]
pub struct People {
    people: Vec<PersonView>,
}

/// A person as he is shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Person")]
pub struct PersonView {
    #[schemars(with = "PersonId")]
    pub id: String,
    pub name: String,
    pub subject: Option<String>,
    #[schemars(with = "Option<Day>")]
    pub vog: Option<Date>,
    #[schemars(with = "Option<Day>")]
    pub nda: Option<Date>,
    pub cleared: bool,
    /// `cleared`, `no-vog`, `vog-ran-out`, `no-nda` or `not-yet`.
    pub standing: &'static str,
    #[schemars(with = "Option<Moment>")]
    pub cleared_until: Option<Timestamp>,
    #[schemars(with = "Moment")]
    pub created_at: Timestamp,
    #[schemars(with = "Option<Moment>")]
    pub disabled_at: Option<Timestamp>,
}

impl PersonView {
    pub fn of(person: Person, now: Timestamp) -> PersonView {
        let standing = person.clearance.standing(now);
        PersonView {
            id: person.id.to_string(),
            name: person.name,
            subject: person.subject,
            vog: person.clearance.vog,
            nda: person.clearance.nda,
            cleared: standing.is_cleared(),
            standing: standing.word(),
            cleared_until: match standing {
                Standing::Cleared { until } => Some(until),
                _ => None,
            },
            created_at: person.created_at,
            disabled_at: person.disabled_at,
        }
    }
}

/// `/v1/people`
pub async fn collection(face: SharedFace, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let answered = match parts.method {
        Method::GET | Method::HEAD => face.list_people(&parts).await,
        Method::POST => face.create_person(&parts, body).await,
        _ => return method_not_allowed("GET, HEAD, POST"),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

/// `/v1/people/{id}`
pub async fn item(face: SharedFace, request: Request, id: String) -> Response {
    let (parts, body) = request.into_parts();
    let answered = match parts.method {
        Method::GET | Method::HEAD => face.show_person(&parts, &id).await,
        Method::PATCH => face.set_person(&parts, body, &id).await,
        _ => return method_not_allowed("GET, HEAD, PATCH"),
    };
    answered.unwrap_or_else(IntoResponse::into_response)
}

impl Face {
    async fn list_people(&self, parts: &Parts) -> Result<Response> {
        let admin = self.authorise_admin(parts).await?;
        self.must_be_of_the_house(&admin)?;
        let now = self.clock.now();
        let people = self.catalog.people().await.map_err(not_done)?;
        note_count(parts, people.len());
        let people = people.into_iter().map(|person| PersonView::of(person, now)).collect();
        Ok(json(StatusCode::OK, &People { people }))
    }

    async fn create_person(&self, parts: &Parts, body: Body) -> Result<Response> {
        let admin = self.authorise_admin(parts).await?;
        self.must_be_of_the_house(&admin)?;
        self.must_give_rights(&admin)?;
        let new: NewPerson = self.read_document(parts, body).await?;
        let now = self.clock.now();
        let person = Person {
            id: PersonId::new(now, random()),
            name: checked_name(new.name)?,
            subject: new.subject.map(checked_subject).transpose()?,
            clearance: Clearance { vog: checked_day("vog", new.vog, now)?, nda: checked_day("nda", new.nda, now)? },
            created_at: now,
            disabled_at: None,
        };
        note_subject(parts, person.id);
        note_what(parts, papers(person.clearance.vog, person.clearance.nda));
        self.note_granted(parts).await?;
        self.catalog.create_person(person.clone()).await.map_err(not_written)?;
        Ok(json(StatusCode::CREATED, &PersonView::of(person, now)))
    }

    async fn show_person(&self, parts: &Parts, id: &str) -> Result<Response> {
        let admin = self.authorise_admin(parts).await?;
        self.must_be_of_the_house(&admin)?;
        let person = match id.parse::<PersonId>() {
            Ok(id) => self.catalog.person(id).await.map_err(not_done)?,
            Err(_) => None,
        };
        let person = person.ok_or_else(unknown)?;
        note_subject(parts, person.id);
        Ok(json(StatusCode::OK, &PersonView::of(person, self.clock.now())))
    }

    async fn set_person(&self, parts: &Parts, body: Body, id: &str) -> Result<Response> {
        let admin = self.authorise_admin(parts).await?;
        self.must_be_of_the_house(&admin)?;
        let id = id.parse::<PersonId>().map_err(|_| unknown())?;
        let changes: Changes = self.read_document(parts, body).await?;
        let now = self.clock.now();
        let day = |name, day: Option<Option<Date>>| day.map(|day| checked_day(name, day, now)).transpose();
        let change = PersonChange {
            name: changes.name.map(checked_name).transpose()?,
            subject: changes.subject.map(|subject| subject.map(checked_subject).transpose()).transpose()?,
            vog: day("vog", changes.vog)?,
            nda: day("nda", changes.nda)?,
            disabled_at: changes.disabled.map(|is_disabled| is_disabled.then_some(now)),
        };
        if !change.only_disables() {
            self.must_give_rights(&admin)?;
        }
        note_subject(parts, id);
        note_what(parts, changed(&change));
        self.note_granted(parts).await?;
        let person = self.catalog.set_person(id, change).await.map_err(not_written)?;
        Ok(json(StatusCode::OK, &PersonView::of(person, now)))
    }
}

/// A clearance, for the trail.
pub fn papers(vog: Option<Date>, nda: Option<Date>) -> String {
    let day = |day: Option<Date>| day.map_or("none".into(), |day| day.to_string());
    format!("vog {}, nda {}", day(vog), day(nda))
}

/// What changes, for the trail: no name and no subject.
pub fn changed(change: &PersonChange) -> String {
    let day = |name, day: Option<Option<Date>>| {
        day.map(|day| format!("{name} {}", day.map_or("none".into(), |day| day.to_string())))
    };
    let whether = |name: &str, is_changed: bool| is_changed.then(|| name.to_owned());
    let disabled = change.disabled_at.map(|at| if at.is_some() { "disabled" } else { "enabled" }.to_owned());
    let parts = [
        whether("name", change.name.is_some()),
        whether("subject", change.subject.is_some()),
        day("vog", change.vog),
        day("nda", change.nda),
        disabled,
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A paper bears no day that is yet to come, wherever on earth it was written.
pub fn checked_day(name: &str, day: Option<Date>, now: Timestamp) -> Result<Option<Date>> {
    let today = now.to_zoned_datetime(TimeZone::UTC).date();
    match day {
        Some(day) if today.checked_add(1.day()).is_ok_and(|tomorrow| day > tomorrow) => {
            Err(unprocessable(format!("'{name}' lies in the future: it is the day on which it was issued or signed")))
        }
        day => Ok(day),
    }
}

/// An issuer and a subject, with one space between.
pub fn checked_subject(subject: String) -> Result<String> {
    let sound = subject.len() <= SUBJECT_LEN_MAX
        && !subject.chars().any(char::is_control)
        && subject.split_once(' ').is_some_and(|(issuer, sub)| issuer.contains("://") && !sub.is_empty());
    let advice = "'subject' is '<issuer> <sub>', such as 'https://sso.example.com/realms/staff 8f14e45f'";
    if sound { Ok(subject) } else { Err(unprocessable(advice)) }
}

fn unknown() -> Error {
    Error::new(Problem::NotFound, "there is no such person")
}

fn not_written(error: CatalogError) -> Error {
    match error {
        CatalogError::NotFound => unknown(),
        CatalogError::WrongState => Error::new(Problem::Conflict, "another person has this subject"),
        error => not_done(error),
    }
}
