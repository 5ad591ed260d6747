//! Parameters and headers, as the rows name them.

use super::Form::{OneOf, Pattern, Short, Text, Uuid, Whole};
use super::Place::{Described, Header as InHeader, NeededHeader, Path, Query};
use super::Presence::{Always, Sometimes};
use super::{Form, Header, Parameter, Place, Presence};
use crate::http::audit::LIMIT_MAX as TRAIL_LIMIT_MAX;
use crate::http::recordings::LIMIT_MAX;
use crate::http::upload::NAME_LEN_MAX;
use crate::model::call::FIELD_LEN_MAX;
use crate::model::trail::Action;

const fn parameter(name: &'static str, place: Place, form: Form, what: &'static str) -> Parameter {
    Parameter { name, place, what, form }
}

const fn header(name: &'static str, presence: Presence, form: Form, what: &'static str) -> Header {
    Header { name, what, form, presence }
}

// What requests have.

/// What a sender says of a recording, whichever way its bytes come.
pub const DESCRIPTION: &[Parameter] = &[
    parameter("class", Described, Pattern(CLASSES), "What it is kept for; `customer` where nothing is said."),
    parameter("call_id", Described, OPTIONAL_TEXT, "The call's id at the PBX."),
    parameter("a_number", Described, OPTIONAL_TEXT, "The caller's number."),
    parameter("b_number", Described, OPTIONAL_TEXT, "The number that was called."),
    parameter("direction", Described, OneOf(&["", "inbound", "outbound", "internal"]), "Which way the call went."),
    parameter("started_at", Described, INSTANT, "When the call began."),
    parameter("answered_at", Described, INSTANT, "When it was answered."),
    parameter("ended_at", Described, INSTANT, "When it ended."),
    parameter("duration_ms", Described, MILLIS, "How long it lasted, in milliseconds."),
    parameter("setup_ms", Described, MILLIS, "How long it took to set up, in milliseconds."),
    parameter("release_ms", Described, MILLIS, "How long it took to release, in milliseconds."),
    parameter("termination_reason", Described, OPTIONAL_TEXT, "Why it ended."),
    parameter("network_status", Described, OPTIONAL_TEXT, "What the network said."),
    parameter(
        "cost_amount",
        Described,
        Pattern("^([0-9]{1,18}(\\.[0-9]{1,18})?)?$"),
        "What it cost: a decimal number.",
    ),
    parameter("cost_currency", Described, Pattern("^([A-Z]{3})?$"), "In which currency (ISO 4217)."),
    parameter("extension", Described, OPTIONAL_TEXT, "The extension that took part."),
];

const CLASSES: &str = "^ *(customer|training) *(, *(customer|training) *)*$";
/// RFC 3339, or Unix seconds.
const INSTANT: Form = Pattern(
    "^([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?Z|\
     [0-9]{1,10}(\\.[0-9]{1,6})?)?$",
);
const MILLIS: Form = Pattern("^[0-9]{0,15}$");
/// An empty value says nothing.
const OPTIONAL_TEXT: Form = Form::UpTo(FIELD_LEN_MAX);

pub const NAME: &[Parameter] = &[parameter(
    "name",
    Described,
    Short(NAME_LEN_MAX),
    "What stands behind `/v1/recordings/` for PUT: the key under which a retry is recognised.",
)];

pub const RECORDING: &[Parameter] = &[parameter("id", Path, Uuid, "The recording's id.")];
pub const RECORDING_NAME: &[Parameter] = &[parameter(
    "id",
    Path,
    Short(NAME_LEN_MAX),
    "Here not an id: the name that the sender gives it, 1 to 512 bytes without control characters. A `/` in it may stand as it \
     is, or as `%2F`.",
)];
pub const UPLOAD: &[Parameter] =
    &[parameter("id", Path, Uuid, "The upload's id, which is that of the recording that it becomes.")];
pub const ANY_UPLOAD: &[Parameter] = &[parameter("id", Path, Text, "Whatever stands here: the answer is the same.")];
pub const PROBLEM: &[Parameter] = &[parameter("name", Path, Text, "The last part of a problem's `type`.")];

pub const TOKEN_ID: &[Parameter] = &[parameter("id", Path, Uuid, "The token's id, which says nothing of the token.")];
pub const PERSON_ID: &[Parameter] = &[parameter("id", Path, Uuid, "The person's id.")];
pub const LINK_ID: &[Parameter] = &[parameter("id", Path, Uuid, "The link's id.")];
pub const LINK: &[Parameter] = &[parameter("link", Path, Text, "As its maker was given it.")];

const SLUG: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

/// On every request with a token.
pub const TENANT: Parameter =
    parameter("Callvault-Tenant", InHeader, Pattern(SLUG), "The tenant's slug, where the token is bound to none.");
pub const REASON: &[Parameter] =
    &[parameter("Callvault-Reason", InHeader, Short(200), "Why a person listens, without telephone numbers.")];

const CONTENT_DIGEST: Parameter =
    parameter("Content-Digest", InHeader, Text, "RFC 9530, with `sha-256` or `sha-512`; verified.");
const CONTENT_MD5: Parameter = parameter("Content-MD5", InHeader, Text, "Base64 of 16 bytes (RFC 1864); verified.");
pub const DIGESTS: &[Parameter] = &[
    CONTENT_DIGEST,
    CONTENT_MD5,
    parameter("Repr-Digest", InHeader, Text, "RFC 9530, of the whole recording; verified."),
];
pub const CONTENT_DIGESTS: &[Parameter] = &[CONTENT_DIGEST, CONTENT_MD5];
pub const CONTENT_RANGE: &[Parameter] = &[parameter(
    "Content-Range",
    InHeader,
    Text,
    "`bytes <first>-<last>/<total or *>`: continues a partial recording exactly at its end.",
)];

pub const LISTING: &[Parameter] = &[
    parameter("class", Query, OneOf(&["customer", "training"]), "Only those that are kept for this."),
    parameter("from", Query, Form::Moment, "Only those that were received at this time or later."),
    parameter("to", Query, Form::Moment, "Only those that were received before this time."),
    parameter("number", Query, Form::UpTo(FIELD_LEN_MAX), "Only calls from or to this number, however it is written."),
    parameter("call_id", Query, Form::UpTo(FIELD_LEN_MAX), "Only those of the call with this id."),
    parameter(
        "state",
        Query,
        OneOf(&["receiving", "spooled", "stored", "held", "expiring", "shredded", "erased", "deleted"]),
        "Only those in this state.",
    ),
    parameter("limit", Query, Whole(1, LIMIT_MAX as u64), "How many at most; 100 where nothing is said."),
    parameter("cursor", Query, Text, "As the page before gave it."),
];
pub const TRAIL: &[Parameter] = &[
    parameter("recording", Query, Uuid, "Only what was done to this recording."),
    parameter("action", Query, OneOf(Action::NAMES), "Only this."),
    parameter("from", Query, Form::Moment, "Only what happened at this time or later."),
    parameter("to", Query, Form::Moment, "Only what happened before this time."),
    parameter("limit", Query, Whole(1, TRAIL_LIMIT_MAX as u64), "How many at most; 100 where nothing is said."),
    parameter("cursor", Query, Text, "As the page before gave it."),
];
pub const ERASE: &[Parameter] =
    &[parameter("erase", Query, OneOf(&["0", "1"]), "1: a data subject's right is exercised (scope `rights`).")];
pub const CLASS: &[Parameter] =
    &[parameter("class", Query, OneOf(&["customer", "training"]), "Through which of its classes.")];
pub const PLAYING: &[Parameter] = &[
    parameter(
        "raw",
        Query,
        OneOf(&["0", "1"]),
        "1: a WAV's head as it came, with the sizes that its writer could not know.",
    ),
    parameter("follow", Query, OneOf(&["0", "1"]), "1: a call that goes on is played until it ends."),
    parameter("Range", InHeader, Text, "One range of bytes; of several, none is taken (RFC 9110)."),
    parameter("If-Match", InHeader, Text, "412 where the recording's ETag is another."),
    parameter("If-None-Match", InHeader, Text, "304 where the recording's ETag is this."),
    parameter("If-Range", InHeader, Text, "`Range` counts only where the recording's ETag is this."),
];

/// What begins or continues an upload, in the two dialects.
pub const BEGINNING: &[Parameter] = &[
    parameter("Upload-Defer-Length", InHeader, OneOf(&["1"]), "tus: the length follows later."),
    parameter(
        "Upload-Metadata",
        InHeader,
        Text,
        "tus: pairs of key and base64, as the description's names in snake case.",
    ),
    parameter("Content-Disposition", InHeader, Text, "IETF: `filename` is the recording's name."),
];
pub const DIALECT: &[Parameter] = &[
    parameter(
        "Tus-Resumable",
        InHeader,
        OneOf(&["1.0.0"]),
        "tus: in each request. Without it the IETF's dialect is spoken.",
    ),
    parameter("Upload-Draft-Interop-Version", InHeader, OneOf(&["8"]), "IETF: the draft's version."),
];
pub const PIECE: &[Parameter] = &[
    parameter("Upload-Length", InHeader, Whole(0, INTEGER_MAX), "The length of the whole."),
    parameter("Upload-Complete", InHeader, OneOf(&["?0", "?1"]), "IETF: whether this is the last piece."),
    parameter("Upload-Checksum", InHeader, Text, "tus: `<sha1, sha256 or md5> <base64>` of the piece."),
];
pub const OFFSET: &[Parameter] = &[parameter(
    "Upload-Offset",
    NeededHeader,
    Whole(0, INTEGER_MAX),
    "Where the piece begins: where the upload ends.",
)];

/// The largest Integer of a structured field (RFC 9651).
const INTEGER_MAX: u64 = 999_999_999_999_999;

// What answers have.

/// On every answer.
pub const EVERYWHERE: [Header; 5] = [
    header("X-Content-Type-Options", Always, OneOf(&["nosniff"]), "An answer is what it says it is."),
    header("Referrer-Policy", Always, OneOf(&["no-referrer"]), "No other site hears of the address."),
    header("Content-Security-Policy", Always, Text, "An answer loads and runs nothing."),
    header("Cache-Control", Always, Pattern("no-store"), "No cache keeps it."),
    header("Strict-Transport-Security", Sometimes, Text, "Over TLS: a browser comes back by TLS only."),
];

pub const LOCATION: Header = header("Location", Always, Form::Address, "Where it is.");
pub const ETAG: Header = header("ETag", Sometimes, Text, "Strong. A call that is followed has none.");
pub const ACCEPT_RANGES: Header =
    header("Accept-Ranges", Always, OneOf(&["bytes", "none"]), "`none` for a call that is followed.");
pub const CONTENT_RANGE_OF: Header =
    header("Content-Range", Always, Pattern("^bytes ([0-9]+-[0-9]+|\\*)/[0-9]+$"), "Which bytes of how many.");
pub const SUNSET: Header = header("Sunset", Always, Text, "The time from which it is refused (RFC 8594).");
pub const DISPOSITION: Header = header("Content-Disposition", Always, Text, "A safe name for a file.");
pub const CHALLENGE: Header = header("WWW-Authenticate", Always, Text, "Basic, and Bearer.");
pub const RETRY_AFTER: Header =
    header("Retry-After", Always, Whole(0, u32::MAX as u64), "Try again after so many seconds.");
pub const ALLOW: Header = header("Allow", Always, Text, "The methods of this address.");

pub const UPLOAD_LOCATION: Header =
    header("Location", Sometimes, Form::Address, "The upload, or the recording that it became.");
pub const UPLOAD_OFFSET: Header = header("Upload-Offset", Always, WHOLE, "So many bytes are durable.");
pub const OFFSET_THERE: Header = header("Upload-Offset", Sometimes, WHOLE, "So many bytes are durable.");
pub const UPLOAD_LENGTH: Header =
    header("Upload-Length", Sometimes, WHOLE, "The length of the whole, where it is known.");
pub const DEFER_LENGTH: Header =
    header("Upload-Defer-Length", Sometimes, OneOf(&["1"]), "tus: the length is not known yet.");
pub const UPLOAD_COMPLETE: Header =
    header("Upload-Complete", Sometimes, OneOf(&["?0", "?1"]), "IETF: whether it is whole.");
pub const UPLOAD_EXPIRES: Header = header("Upload-Expires", Sometimes, Text, "tus: until when it can be gone on with.");
pub const UPLOAD_LIMIT: Header = header("Upload-Limit", Sometimes, Text, "IETF: `max-size`, and `max-age` in seconds.");
pub const CONTENT_LOCATION: Header =
    header("Content-Location", Sometimes, Form::Address, "The recording, once the upload is complete.");
pub const TUS_RESUMABLE: Header = header("Tus-Resumable", Sometimes, OneOf(&["1.0.0"]), "tus: on each of its answers.");
pub const TUS_VERSION: Header =
    header("Tus-Version", Sometimes, OneOf(&["1.0.0"]), "The version of tus that is spoken.");
pub const INTEROP_VERSION: Header =
    header("Upload-Draft-Interop-Version", Sometimes, OneOf(&["8"]), "IETF: where the request had it.");
/// What `OPTIONS` tells of uploads.
pub const OFFER: &[Header] = &[
    ALLOW,
    TUS_RESUMABLE,
    TUS_VERSION,
    header("Tus-Extension", Always, Text, "What of tus is spoken."),
    header("Tus-Max-Size", Always, WHOLE, "Bytes of one recording, at most."),
    header("Tus-Checksum-Algorithm", Always, Text, "What `Upload-Checksum` may be."),
    header("Accept-Patch", Always, Text, "What a piece's `Content-Type` may be."),
    UPLOAD_LIMIT,
];

const WHOLE: Form = Whole(0, u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::call::FIELDS;

    #[test]
    fn every_field_of_a_call_is_a_parameter_of_uploads() {
        let named: Vec<_> =
            DESCRIPTION.iter().map(|parameter| parameter.name).filter(|name| *name != "class").collect();

        assert_eq!(named, FIELDS);
    }
}
