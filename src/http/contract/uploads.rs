//! The rows of `/v1/uploads`: one resource, two dialects.

use hyper::StatusCode;
use schemars::SchemaGenerator;

use super::fields::*;
use super::problems::{ASKED, FOUND, HELD, KNOWN, MEANT, OF_A_PIECE, OPENED, RECEIVED, RESUMED};
use super::{Access, Answer, Body, Content, Header, Operation, Refusals};
use crate::model::Problem::{Busy, SpoolFull};
use crate::model::Scope;
use crate::reading::life::RecordingView;

const PIECES: &[Content] =
    &[Content::Bytes("application/offset+octet-stream"), Content::Bytes("application/partial-upload")];
const FIRST_PIECES: &[Content] = &[
    Content::Bytes("application/offset+octet-stream"),
    Content::Bytes("application/octet-stream"),
    Content::Bytes("audio/*"),
];
const COMPLETED: &[Content] = &[Content::Json(SchemaGenerator::subschema_for::<RecordingView>)];

/// Of an upload, wherever it is told of.
const STATE: &[Header] = &[
    UPLOAD_OFFSET,
    UPLOAD_COMPLETE,
    UPLOAD_EXPIRES,
    UPLOAD_LIMIT,
    CONTENT_LOCATION,
    UPLOAD_LOCATION,
    UPLOAD_LENGTH,
    DEFER_LENGTH,
    TUS_RESUMABLE,
    INTEROP_VERSION,
];
const INGEST: Access = Access::Scoped(&[Scope::Ingest]);
const GONE_WELL: &[Header] = &[TUS_RESUMABLE, INTEROP_VERSION];

const OFFERED: &[Answer] = &[Answer::new(StatusCode::NO_CONTENT, "In its headers.", OFFER, &[])];

const fn offered(path: &'static str, id: &'static str) -> Operation {
    Operation {
        method: "OPTIONS",
        path,
        id,
        summary: "Tell what uploads can do",
        description: "In both dialects. It needs no token.",
        access: Access::Open,
        parameters: if path.len() > "/v1/uploads".len() { &[ANY_UPLOAD] } else { &[] },
        body: None,
        answers: OFFERED,
        problems: &[],
        refusals: Refusals::OfUploads,
    }
}

pub const OPERATIONS: &[Operation] = &[
    offered("/v1/uploads", "offerUploads"),
    Operation {
        method: "POST",
        path: "/v1/uploads",
        id: "beginUpload",
        summary: "Begin an upload that can be gone on with",
        description: "With its first piece, with all of it, or with nothing. tus wants `Tus-Resumable`, and `Upload-Length` or \
                      `Upload-Defer-Length: 1`; the IETF's draft wants `Upload-Complete`.",
        access: INGEST,
        parameters: &[DIALECT, BEGINNING, PIECE, NAME, DESCRIPTION, DIGESTS],
        body: Body::optional(
            "The first piece. In tus its type is `application/offset+octet-stream`, in the IETF's dialect \
                              the recording's own.",
            FIRST_PIECES,
        ),
        answers: &[
            Answer::new(
                StatusCode::CREATED,
                "It is begun. In the IETF's dialect, with the recording as JSON where this was all of it.",
                STATE,
                COMPLETED,
            ),
            Answer::new(StatusCode::ACCEPTED, "IETF: this was all of it, durable in the spool.", STATE, COMPLETED),
        ],
        problems: &[ASKED, MEANT, RECEIVED, KNOWN, OPENED, HELD, OF_A_PIECE],
        refusals: Refusals::OfUploads,
    },
    offered("/v1/uploads/{id}", "offerUpload"),
    Operation {
        method: "GET",
        path: "/v1/uploads/{id}",
        id: "showUpload",
        summary: "Tell how far an upload has come",
        description: "In its headers. A request that is sending to it is ended, so that the offset stays true.",
        access: INGEST,
        parameters: &[UPLOAD, DIALECT],
        body: None,
        answers: &[
            Answer::new(StatusCode::OK, "tus: so far.", STATE, &[]),
            Answer::new(StatusCode::NO_CONTENT, "IETF: so far.", STATE, &[]),
        ],
        problems: &[ASKED, FOUND, RESUMED, OPENED, HELD, &[Busy, SpoolFull]],
        refusals: Refusals::OfUploads,
    },
    Operation {
        method: "PATCH",
        path: "/v1/uploads/{id}",
        id: "continueUpload",
        summary: "Send the next piece of an upload",
        description: "Exactly at its end. A newer request ends an older one.",
        access: INGEST,
        parameters: &[UPLOAD, DIALECT, OFFSET, PIECE, CONTENT_DIGESTS],
        body: Body::optional("The piece.", PIECES),
        answers: &[
            Answer::new(StatusCode::NO_CONTENT, "It is taken.", STATE, &[]),
            Answer::new(StatusCode::CREATED, "IETF: the upload is complete; the recording.", STATE, COMPLETED),
            Answer::new(StatusCode::ACCEPTED, "IETF: the same, durable in the spool.", STATE, COMPLETED),
        ],
        problems: &[ASKED, FOUND, RESUMED, RECEIVED, KNOWN, OPENED, HELD, OF_A_PIECE],
        refusals: Refusals::OfUploads,
    },
    Operation {
        method: "DELETE",
        path: "/v1/uploads/{id}",
        id: "giveUpUpload",
        summary: "Give an upload up",
        description: "What came is removed, and its name is free.",
        access: INGEST,
        parameters: &[UPLOAD, DIALECT],
        body: None,
        answers: &[Answer::new(StatusCode::NO_CONTENT, "It is gone.", GONE_WELL, &[])],
        problems: &[ASKED, FOUND, RESUMED, OPENED, HELD, &[Busy, SpoolFull]],
        refusals: Refusals::OfUploads,
    },
];
