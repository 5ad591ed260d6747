//! What each address takes and answers, in one table; `GET /openapi.json` is that table as OpenAPI 3.1.
//!
//! A route has a row for each of its methods in one of the tables of `contract/`; rows stand in [`operations`]. A row names
//! every status, problem and header that can be an answer. `tests/it/openapi.rs` holds the rows to the router and to the
//! README, and every answer that any test gets to the rows.
//!
//! # To add a route
//! Add its row. Its answer's type derives `JsonSchema` beside `Serialize`. A problem that every request with a token can meet
//! belongs to [`problems::ASKED`]. A header of an answer is a constant of [`fields`].

mod access;
mod document;
pub mod fields;
pub mod problems;
mod recordings;
mod service;
mod uploads;

pub use document::{document, openapi};

use hyper::StatusCode;
use schemars::{Schema, SchemaGenerator};

use crate::model::{Problem, Scope};

/// One method of one address.
pub struct Operation {
    /// `GET` stands for `HEAD` too, which is answered in the same way without content.
    pub method: &'static str,
    /// With `{name}` for what varies. A name that may hold a `/` is one part all the same.
    pub path: &'static str,
    /// What generated clients call it.
    pub id: &'static str,
    pub summary: &'static str,
    /// What the summary leaves open.
    pub description: &'static str,
    pub access: Access,
    pub parameters: &'static [&'static [Parameter]],
    pub body: Option<Body>,
    pub answers: &'static [Answer],
    pub problems: &'static [&'static [Problem]],
    pub refusals: Refusals,
}

/// Who is let in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Open,
    /// A token with one of these scopes.
    Scoped(&'static [Scope]),
}

/// How problems are answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Refusals {
    Plain,
    /// With the headers of resumable uploads, and types that IANA keeps.
    OfUploads,
}

#[derive(Clone, Copy)]
pub struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub what: &'static str,
    pub form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
    Header,
    /// A header that every request of the operation has.
    NeededHeader,
    /// Of an upload's description: the header `Callvault-<Name>`, or a query parameter in snake case.
    Described,
}

/// What a text may be.
#[derive(Clone, Copy)]
pub enum Form {
    Text,
    /// At most so many bytes, and at least one.
    Short(usize),
    /// At most so many bytes.
    UpTo(usize),
    Uuid,
    Moment,
    Whole(u64, u64),
    OneOf(&'static [&'static str]),
    Pattern(&'static str),
    /// An address on this server.
    Address,
}

pub struct Body {
    pub what: &'static str,
    pub contents: &'static [Content],
    pub presence: Presence,
}

pub struct Answer {
    pub status: StatusCode,
    pub what: &'static str,
    pub headers: &'static [Header],
    pub contents: &'static [Content],
}

#[derive(Clone, Copy)]
pub enum Content {
    Json(fn(&mut SchemaGenerator) -> Schema),
    Html,
    Text,
    /// Bytes of this media type, streamed.
    Bytes(&'static str),
    /// A JSON document with a schema of its own.
    AnyJson,
}

#[derive(Clone, Copy)]
pub struct Header {
    pub name: &'static str,
    pub what: &'static str,
    pub form: Form,
    pub presence: Presence,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Always,
    Sometimes,
}

/// Problems that are the answer to no operation, each with the reason.
pub const ELSEWHERE: [(Problem, &str); 2] = [
    (Problem::MethodNotAllowed, "answers every method that an address does not have"),
    (Problem::NotBuilt, "answers addresses that are reserved, and have no operations yet"),
];

/// Every operation that is built.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    [recordings::OPERATIONS, uploads::OPERATIONS, access::OPERATIONS, service::OPERATIONS].into_iter().flatten()
}

impl Body {
    pub const fn needed(what: &'static str, contents: &'static [Content]) -> Option<Body> {
        Some(Body { what, contents, presence: Presence::Always })
    }

    pub const fn optional(what: &'static str, contents: &'static [Content]) -> Option<Body> {
        Some(Body { what, contents, presence: Presence::Sometimes })
    }
}

impl Answer {
    pub const fn new(
        status: StatusCode,
        what: &'static str,
        headers: &'static [Header],
        contents: &'static [Content],
    ) -> Answer {
        Answer { status, what, headers, contents }
    }
}
