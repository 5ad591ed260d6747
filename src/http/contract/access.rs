//! The rows of who may do what: tokens, people, and playback links.

use hyper::StatusCode;
use schemars::SchemaGenerator;

use super::fields::*;
use super::problems::*;
use super::recordings::PLAYED_ANSWERS;
use super::{Access, Answer, Body, Content, Operation, Refusals};
use crate::http::links::{Made, NewLink};
use crate::http::people::{Changes, NewPerson, People, PersonView};
use crate::http::tokens::{Created, NewToken, Tokens};
use crate::model::Problem::{AddressNotAllowed, Conflict, LinkEnded, NotCleared, NotFound};
use crate::model::Scope;

const ADMIN: Access = Access::Scoped(&[Scope::Admin]);
const LISTENER: Access = Access::Scoped(&[Scope::PlayCustomer, Scope::PlayTraining]);
const PERSON: &[Content] = &[Content::Json(SchemaGenerator::subschema_for::<PersonView>)];

pub const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        path: "/v1/tokens",
        id: "listTokens",
        summary: "List tokens, without their texts",
        description: "Those of the tenant that the token belongs to or that the request names; otherwise all.",
        access: ADMIN,
        parameters: &[],
        body: None,
        answers: &[Answer::new(
            StatusCode::OK,
            "The tokens.",
            &[],
            &[Content::Json(SchemaGenerator::subschema_for::<Tokens>)],
        )],
        problems: &[ASKED],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "POST",
        path: "/v1/tokens",
        id: "createToken",
        summary: "Make a token",
        description: "Its text is in this answer, and nowhere else.",
        access: ADMIN,
        parameters: &[],
        body: Body::needed("What it may do.", &[Content::Json(SchemaGenerator::subschema_for::<NewToken>)]),
        answers: &[Answer::new(
            StatusCode::CREATED,
            "It is valid at once.",
            &[],
            &[Content::Json(SchemaGenerator::subschema_for::<Created>)],
        )],
        problems: &[ASKED, DOCUMENT, &[Conflict]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "DELETE",
        path: "/v1/tokens/{id}",
        id: "revokeToken",
        summary: "Revoke a token",
        description: "",
        access: ADMIN,
        parameters: &[TOKEN_ID],
        body: None,
        answers: &[Answer::new(StatusCode::NO_CONTENT, "It is refused from now on.", &[], &[])],
        problems: &[ASKED, &[NotFound]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/v1/people",
        id: "listPeople",
        summary: "List the provider's people and their clearance",
        description: "",
        access: ADMIN,
        parameters: &[],
        body: None,
        answers: &[Answer::new(
            StatusCode::OK,
            "All of them.",
            &[],
            &[Content::Json(SchemaGenerator::subschema_for::<People>)],
        )],
        problems: &[ASKED],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "POST",
        path: "/v1/people",
        id: "createPerson",
        summary: "Add a person",
        description: "",
        access: ADMIN,
        parameters: &[],
        body: Body::needed("Who it is.", &[Content::Json(SchemaGenerator::subschema_for::<NewPerson>)]),
        answers: &[Answer::new(StatusCode::CREATED, "The person.", &[], PERSON)],
        problems: &[ASKED, DOCUMENT, &[Conflict]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/v1/people/{id}",
        id: "showPerson",
        summary: "Show a person",
        description: "",
        access: ADMIN,
        parameters: &[PERSON_ID],
        body: None,
        answers: &[Answer::new(StatusCode::OK, "The person.", &[], PERSON)],
        problems: &[ASKED, &[NotFound]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "PATCH",
        path: "/v1/people/{id}",
        id: "setPerson",
        summary: "Change a person",
        description: "Members that are left out stay; `null` takes away.",
        access: ADMIN,
        parameters: &[PERSON_ID],
        body: Body::optional("What changes.", &[Content::Json(SchemaGenerator::subschema_for::<Changes>)]),
        answers: &[Answer::new(StatusCode::OK, "The person as changed.", &[], PERSON)],
        problems: &[ASKED, DOCUMENT, &[NotFound, Conflict]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "POST",
        path: "/v1/recordings/{id}/links",
        id: "makeLink",
        summary: "Make a playback link",
        description: "It plays what its maker may play, for as long as he may.",
        access: LISTENER,
        parameters: &[RECORDING, REASON],
        body: Body::optional(
            "What it plays, and until when.",
            &[Content::Json(SchemaGenerator::subschema_for::<NewLink>)],
        ),
        answers: &[Answer::new(
            StatusCode::CREATED,
            "The link, which is shown this once.",
            &[],
            &[Content::Json(SchemaGenerator::subschema_for::<Made>)],
        )],
        problems: &[ASKED, DOCUMENT, FOUND, OPENED, REASONED],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "DELETE",
        path: "/v1/links/{id}",
        id: "revokeLink",
        summary: "Revoke a playback link",
        description: "",
        access: LISTENER,
        parameters: &[LINK_ID],
        body: None,
        answers: &[Answer::new(StatusCode::NO_CONTENT, "It plays no more.", &[], &[])],
        problems: &[ASKED, &[NotFound]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/v1/play/{link}",
        id: "playLink",
        summary: "Play by a link",
        description: "As `playRecording` does; what the link was made for cannot be changed.",
        access: Access::Open,
        parameters: &[LINK, PLAYING],
        body: None,
        answers: PLAYED_ANSWERS,
        problems: &[SERVED, MEANT, FOUND, OPENED, PLAYED, HELD, &[AddressNotAllowed, NotCleared, LinkEnded]],
        refusals: Refusals::Plain,
    },
];
