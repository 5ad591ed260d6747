//! `callvault person`: the provider's staff and their clearance.

use clap::{Args, Subcommand};
use jiff::civil::Date;
use serde::Serialize;

use super::output::{Output, table};
use super::{Failure, Outcome};
use crate::app::Vault;
use crate::catalog::{CatalogError, Person, PersonChange};
use crate::crypto::random::random;
use crate::http::people::{PersonView, changed, checked_day, checked_subject, papers};
use crate::http::tokens::checked_name;
use crate::model::trail::{Action, HOUSE};
use crate::model::{Clearance, PersonId, Timestamp};

#[derive(Subcommand)]
pub enum PersonCommand {
    /// Put a person on record
    Add(AddArgs),
    /// List people, and until when each is cleared
    List,
    /// Change what is on record
    Set(SetArgs),
}

#[derive(Args)]
pub struct AddArgs {
    #[arg(long)]
    name: String,
    /// Day on which the certificate of conduct (VOG) was issued; it counts for six months
    #[arg(long, value_name = "YYYY-MM-DD")]
    vog: Option<Date>,
    /// Day on which the non-disclosure agreement was signed
    #[arg(long, value_name = "YYYY-MM-DD")]
    nda: Option<Date>,
    /// Who it is for the single sign-on: '<issuer> <sub>'
    #[arg(long)]
    subject: Option<String>,
}

#[derive(Args)]
pub struct SetArgs {
    id: PersonId,
    #[arg(long)]
    name: Option<String>,
    /// A day, or 'none'
    #[arg(long, value_name = "YYYY-MM-DD")]
    vog: Option<String>,
    /// A day, or 'none'
    #[arg(long, value_name = "YYYY-MM-DD")]
    nda: Option<String>,
    /// '<issuer> <sub>', or 'none'
    #[arg(long)]
    subject: Option<String>,
    /// on: nothing of the person is taken any more
    #[arg(long, value_name = "ON|OFF")]
    disabled: Option<super::tenant::Switch>,
}

#[derive(Serialize)]
struct PeopleView {
    people: Vec<PersonView>,
}

pub async fn run(vault: Vault, command: PersonCommand, output: Output) -> Outcome {
    let now = vault.clock.now();
    match command {
        PersonCommand::Add(args) => {
            let person = Person {
                id: PersonId::new(now, random()),
                name: checked_name(args.name)?,
                subject: args.subject.map(checked_subject).transpose()?,
                clearance: Clearance {
                    vog: checked_day("vog", args.vog, now)?,
                    nda: checked_day("nda", args.nda, now)?,
                },
                created_at: now,
                disabled_at: None,
            };
            let what = papers(person.clearance.vog, person.clearance.nda);
            vault.note(HOUSE, Action::PersonAdd, |entry| entry.about(person.id).noting(what)).await?;
            vault.catalog.create_person(person.clone()).await.map_err(not_written)?;
            output.print(&PersonView::of(person, now), |person| format!("{}\n", person.id));
        }
        PersonCommand::List => {
            let people = vault.catalog.people().await?;
            vault.note(HOUSE, Action::PersonList, |entry| entry.counting(people.len() as u64)).await?;
            let people = people.into_iter().map(|person| PersonView::of(person, now)).collect();
            output.print(&PeopleView { people }, |list| describe(&list.people));
        }
        PersonCommand::Set(args) => {
            let change = PersonChange {
                name: args.name.map(checked_name).transpose()?,
                subject: args.subject.map(|text| none_or(text, |text| Ok(checked_subject(text)?))).transpose()?,
                vog: args.vog.map(|text| none_or(text, |text| day("vog", &text, now))).transpose()?,
                nda: args.nda.map(|text| none_or(text, |text| day("nda", &text, now))).transpose()?,
                disabled_at: args.disabled.map(|switch| switch.is_on().then_some(now)),
            };
            let what = changed(&change);
            vault.note(HOUSE, Action::PersonSet, |entry| entry.about(args.id).noting(what)).await?;
            let person = vault.catalog.set_person(args.id, change).await.map_err(not_written)?;
            output.print(&PersonView::of(person, now), |person| describe(std::slice::from_ref(person)));
        }
    }
    Ok(())
}

fn none_or<T>(text: String, parse: impl FnOnce(String) -> Result<T, Failure>) -> Result<Option<T>, Failure> {
    if text == "none" { Ok(None) } else { parse(text).map(Some) }
}

fn day(name: &str, text: &str, now: Timestamp) -> Result<Date, Failure> {
    let day = text.parse::<Date>();
    let day = day.map_err(|_| Failure::Config(format!("--{name} is a day such as 2026-11-01, or 'none'")))?;
    checked_day(name, Some(day), now)?;
    Ok(day)
}

fn not_written(error: CatalogError) -> Failure {
    match error {
        CatalogError::NotFound => Failure::Failed("there is no such person: see 'callvault person list'".into()),
        CatalogError::WrongState => Failure::Failed("another person has this subject".into()),
        error => error.into(),
    }
}

fn describe(people: &[PersonView]) -> String {
    let day = |day: Option<Date>| day.map_or("-".into(), |day| day.to_string());
    let rows: Vec<_> = people
        .iter()
        .map(|person| {
            let standing = match (person.disabled_at, person.cleared_until) {
                (Some(at), _) => format!("disabled {at:.0}"),
                (None, Some(until)) => format!("until {until:.0}"),
                (None, None) => person.standing.to_owned(),
            };
            vec![person.id.clone(), person.name.clone(), day(person.vog), day(person.nda), standing]
        })
        .collect();
    table(&["ID", "NAME", "VOG", "NDA", "CLEARED"], &rows)
}
