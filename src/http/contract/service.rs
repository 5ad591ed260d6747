//! The rows of what belongs to no recording: receipts, health, explanations, this document.

use hyper::StatusCode;
use schemars::SchemaGenerator;

use super::fields::{PROBLEM, TRAIL};
use super::problems::{ASKED, MEANT};
use super::{Access, Answer, Content, Operation, Refusals};
use crate::http::audit::TrailPage;
use crate::http::ops::Readiness;
use crate::http::receipts::Receipts;
use crate::model::Problem::NotFound;
use crate::model::Scope;

const READINESS: &[Content] = &[Content::Json(SchemaGenerator::subschema_for::<Readiness>)];

pub const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        path: "/v1/receipts",
        id: "listReceipts",
        summary: "List receipts of destruction, newest first",
        description: "",
        access: Access::Scoped(&[Scope::Audit]),
        parameters: &[],
        body: None,
        answers: &[Answer::new(
            StatusCode::OK,
            "All of the tenant's.",
            &[],
            &[Content::Json(SchemaGenerator::subschema_for::<Receipts>)],
        )],
        problems: &[ASKED],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/v1/audit",
        id: "listAuditTrail",
        summary: "List who did what, newest first",
        description: "Each entry is a line of `callvault audit export`, byte for byte: its hash can be checked. A token of the \
                      provider's own that names no tenant reads the trail of the house.",
        access: Access::Scoped(&[Scope::Audit]),
        parameters: &[TRAIL],
        body: None,
        answers: &[Answer::new(
            StatusCode::OK,
            "A page of them.",
            &[],
            &[Content::Json(SchemaGenerator::subschema_for::<TrailPage>)],
        )],
        problems: &[ASKED, MEANT],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/healthz",
        id: "checkHealth",
        summary: "Tell that the process answers",
        description: "",
        access: Access::Open,
        parameters: &[],
        body: None,
        answers: &[Answer::new(StatusCode::OK, "It does.", &[], &[Content::Text])],
        problems: &[],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/readyz",
        id: "checkReadiness",
        summary: "Tell whether an upload that begins would be received, and how each part does",
        description: "",
        access: Access::Open,
        parameters: &[],
        body: None,
        answers: &[
            Answer::new(StatusCode::OK, "It would.", &[], READINESS),
            Answer::new(StatusCode::SERVICE_UNAVAILABLE, "It would not.", &[], READINESS),
        ],
        problems: &[],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/problems",
        id: "listProblems",
        summary: "List every problem, for people",
        description: "",
        access: Access::Open,
        parameters: &[],
        body: None,
        answers: &[Answer::new(StatusCode::OK, "A page.", &[], &[Content::Html])],
        problems: &[],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/problems/{name}",
        id: "explainProblem",
        summary: "Explain a problem, for people",
        description: "`type` of a problem leads here.",
        access: Access::Open,
        parameters: &[PROBLEM],
        body: None,
        answers: &[Answer::new(StatusCode::OK, "A page that says what to do.", &[], &[Content::Html])],
        problems: &[&[NotFound]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/openapi.json",
        id: "describeApi",
        summary: "Describe these operations, as OpenAPI 3.1",
        description: "",
        access: Access::Open,
        parameters: &[],
        body: None,
        answers: &[Answer::new(StatusCode::OK, "This document.", &[], &[Content::AnyJson])],
        problems: &[],
        refusals: Refusals::Plain,
    },
];
