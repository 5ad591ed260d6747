//! The rows of `/v1/recordings`.

use hyper::StatusCode;
use schemars::SchemaGenerator;

use super::fields::*;
use super::problems::*;
use super::{Access, Answer, Body, Content, Operation, Refusals};
use crate::http::recordings::{Ended, Page};
use crate::model::Scope;
use crate::reading::life::RecordingView;

const RECORDING_JSON: &[Content] = &[Content::Json(SchemaGenerator::subschema_for::<RecordingView>)];

/// What a recording's bytes may be sent as.
pub const AUDIO: &[Content] =
    &[Content::Bytes("application/octet-stream"), Content::Bytes("audio/*"), Content::Bytes("video/*")];
const PLAYED_AS: &[Content] = &[Content::Bytes("*/*")];

const RECEIVED_ANSWERS: &[Answer] = &[
    Answer::new(StatusCode::OK, "The same bytes were here already, or they completed it.", &[LOCATION], RECORDING_JSON),
    Answer::new(StatusCode::CREATED, "It is durable in the store, and plays.", &[LOCATION], RECORDING_JSON),
    Answer::new(
        StatusCode::ACCEPTED,
        "It is durable in the spool, plays, and will be forwarded to the store.",
        &[LOCATION],
        RECORDING_JSON,
    ),
];

/// Of a recording that is played.
pub const PLAYED_ANSWERS: &[Answer] = &[
    Answer::new(StatusCode::OK, "All of it.", &[ETAG, ACCEPT_RANGES, SUNSET, DISPOSITION], PLAYED_AS),
    Answer::new(
        StatusCode::PARTIAL_CONTENT,
        "The range that was asked for.",
        &[ETAG, ACCEPT_RANGES, SUNSET, DISPOSITION, CONTENT_RANGE_OF],
        PLAYED_AS,
    ),
    Answer::new(StatusCode::NOT_MODIFIED, "It is the one of `If-None-Match`.", &[ETAG, SUNSET], &[]),
];

pub const OPERATIONS: &[Operation] = &[
    Operation {
        method: "GET",
        path: "/v1/recordings",
        id: "listRecordings",
        summary: "List recordings, newest first",
        description: "What has ended is listed only where `state` asks for it.",
        access: Access::Scoped(&[Scope::Read]),
        parameters: &[LISTING],
        body: None,
        answers: &[Answer::new(
            StatusCode::OK,
            "A page of them.",
            &[],
            &[Content::Json(SchemaGenerator::subschema_for::<Page>)],
        )],
        problems: &[ASKED, MEANT, OPENED],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "POST",
        path: "/v1/recordings",
        id: "receiveRecording",
        summary: "Send a recording",
        description: "A call that is still going on is sent without `Content-Length`, in chunks.",
        access: Access::Scoped(&[Scope::Ingest]),
        parameters: &[DESCRIPTION, DIGESTS],
        body: Body::needed("The recording's bytes, at least one.", AUDIO),
        answers: RECEIVED_ANSWERS,
        problems: &[ASKED, MEANT, AT_ONCE, RECEIVED, &[crate::model::Problem::Deleted]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "PUT",
        path: "/v1/recordings/{id}",
        id: "putRecording",
        summary: "Send a recording under a name",
        description: "A retry with the same bytes is recognised by the name. What was received under a name is never replaced.",
        access: Access::Scoped(&[Scope::Ingest]),
        parameters: &[RECORDING_NAME, DESCRIPTION, DIGESTS, CONTENT_RANGE],
        body: Body::needed("The recording's bytes, at least one.", AUDIO),
        answers: RECEIVED_ANSWERS,
        problems: &[ASKED, MEANT, AT_ONCE, RECEIVED, KNOWN, HELD, OPENED],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/v1/recordings/{id}",
        id: "showRecording",
        summary: "Show a recording",
        description: "",
        access: Access::Scoped(&[Scope::Read]),
        parameters: &[RECORDING],
        body: None,
        answers: &[Answer::new(StatusCode::OK, "The recording.", &[], RECORDING_JSON)],
        problems: &[ASKED, FOUND, OPENED],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "DELETE",
        path: "/v1/recordings/{id}",
        id: "endRecording",
        summary: "Delete or erase a recording",
        description: "Deleting takes the scope `manage`, erasing `rights`. The answer says what is final when; or, of an \
                      erasure that takes two persons, until when the other has to send it too.",
        access: Access::Scoped(&[Scope::Manage, Scope::Rights]),
        parameters: &[RECORDING, ERASE],
        body: None,
        answers: &[Answer::new(
            StatusCode::ACCEPTED,
            "It is refused from now on.",
            &[],
            &[Content::Json(SchemaGenerator::subschema_for::<Ended>)],
        )],
        problems: &[ASKED, MEANT, FOUND, &[crate::model::Problem::SecondPersonNeeded]],
        refusals: Refusals::Plain,
    },
    Operation {
        method: "GET",
        path: "/v1/recordings/{id}/audio",
        id: "playRecording",
        summary: "Play a recording",
        description: "The bytes come as they are opened, with the media type of the recording. An answer that runs across \
                      `expires_at` is cut.",
        access: Access::Scoped(&[Scope::PlayCustomer, Scope::PlayTraining]),
        parameters: &[RECORDING, CLASS, PLAYING, REASON],
        body: None,
        answers: PLAYED_ANSWERS,
        problems: &[ASKED, MEANT, FOUND, OPENED, PLAYED, HELD, REASONED],
        refusals: Refusals::Plain,
    },
];
