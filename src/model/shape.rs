//! What the texts in our answers are, for the schemas by which clients read them.
//!
//! A field that is written as text names its stand-in here: `#[schemars(with = "Moment")]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::trail::{Action, Verdict};
use super::{Class, LinkId, PersonId, PrincipalKind, RecordingId, Scope, State, TokenId};

/// An instant, as RFC 3339 in UTC.
pub struct Moment;

/// A day, as RFC 3339 has it.
pub struct Day;

/// `customer` or `training`.
pub struct AudioClass;

/// How long a class is kept, as it was agreed: `90d`, `6mo`.
pub struct TermText;

/// An address on this server.
pub struct Address;

fn one_of(names: impl Iterator<Item = &'static str>) -> Schema {
    json_schema!({ "type": "string", "enum": names.collect::<Vec<_>>() })
}

fn id() -> Schema {
    json_schema!({ "type": "string", "format": "uuid" })
}

macro_rules! shapes {
    ($($name:ident: $schema:expr;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }

            fn inline_schema() -> bool {
                true
            }
        }
    )*};
}

shapes! {
    Moment: json_schema!({ "type": "string", "format": "date-time" });
    Day: json_schema!({ "type": "string", "format": "date" });
    AudioClass: one_of(Class::AUDIO.into_iter().map(Class::as_str));
    TermText: json_schema!({ "type": "string", "pattern": "^[0-9]+(d|mo)$" });
    Address: json_schema!({ "type": "string", "format": "uri-reference" });
    RecordingId: id();
    TokenId: id();
    PersonId: id();
    LinkId: id();
    Scope: one_of(Scope::ALL.into_iter().map(Scope::as_str));
    PrincipalKind: one_of(PrincipalKind::ALL.into_iter().map(PrincipalKind::as_str));
    Action: one_of(Action::NAMES.iter().copied());
    Verdict: one_of(["allowed", "denied", "failed"].into_iter());
    State: one_of(State::ALL.into_iter().map(State::as_str));
}
