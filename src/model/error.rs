//! The error of a verb: how to react, what to tell a stranger, and what to tell the log.

use std::error::Error as StdError;
use std::fmt;

pub type Result<T> = std::result::Result<T, Error>;

/// How to react.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request is wrong; sending it again changes nothing.
    Invalid,
    /// Not allowed.
    Denied,
    NotFound,
    /// It was there and is not any more, for ever.
    Gone,
    /// What is there contradicts the request.
    Conflict,
    /// Too much at once; try later.
    Busy,
    /// A part that we need does not answer; try later.
    Unavailable,
    /// Stored bytes are not what was stored.
    Integrity,
    /// Our fault.
    Internal,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $slug:literal, $kind:ident, $status:literal, $title:literal, $advice:literal;)*) => {
        /// Every way in which a request can fail: one name, one reaction, one HTTP status, one page under
        /// `/problems/<name>` that says what to do (RFC 9457).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Problem { $($(#[$doc])* $name,)* }

        impl Problem {
            pub const ALL: &'static [Problem] = &[$(Problem::$name,)*];

            pub fn name(self) -> &'static str { match self { $(Problem::$name => $slug,)* } }
            pub fn kind(self) -> Kind { match self { $(Problem::$name => Kind::$kind,)* } }
            pub fn status(self) -> u16 { match self { $(Problem::$name => $status,)* } }
            pub fn title(self) -> &'static str { match self { $(Problem::$name => $title,)* } }
            pub fn advice(self) -> &'static str { match self { $(Problem::$name => $advice,)* } }
        }
    };
}

problems! {
    BadRequest = "bad-request", Invalid, 400, "The request is not well-formed",
        "Read the detail, correct the request and send it again.";
    EmptyBody = "empty-body", Invalid, 400, "The upload has no bytes",
        "An empty recording is never made. Check that the sender opened its file before it sent, and send the recording again.";
    DigestMismatch = "digest-mismatch", Invalid, 400, "The bytes do not match their digest",
        "The bytes that arrived are not the ones whose digest was sent. Nothing was kept: send the recording again.";
    InconsistentLength = "inconsistent-upload-length", Invalid, 400, "The upload's length is told in two ways",
        "Upload-Length, Content-Length, what was told before and what has arrived must agree on the length of the whole.";
    CompletedUpload = "completed-upload", Invalid, 400, "The upload is complete",
        "Nothing can be added to it or taken from it here. The recording has the upload's id: GET /v1/recordings/{id}.";
    LengthMismatch = "length-mismatch", Invalid, 400, "The body is not as long as Content-Range says",
        "Send exactly the bytes that Content-Range names.";
    Unauthorized = "unauthorized", Denied, 401, "A token is needed",
        "Send 'Authorization: Bearer cv_...', or Basic with the tenant's slug as user and the token as password. Tokens are made by 'callvault token create'; with oidc.issuer set, people send an access token of that provider, which must be for this vault and not have expired.";
    Forbidden = "forbidden", Denied, 403, "The token may not do this",
        "Use a token that has the scope which the detail names.";
    AddressNotAllowed = "address-not-allowed", Denied, 403, "The token is not taken from this address",
        "The token names the networks from which it is taken. Send the request from one of them, or make a token with the right '--cidr'. Behind a proxy, name the proxy in trusted_proxies.";
    NotCleared = "not-cleared", Denied, 403, "This person is not cleared to reach recordings",
        "A certificate of conduct (VOG) issued at most six months ago and a signed non-disclosure agreement are needed. Whoever administers the vault records both: 'callvault person set ID --vog YYYY-MM-DD --nda YYYY-MM-DD'.";
    SecondPersonNeeded = "second-person-needed", Denied, 403, "Two persons are needed for this",
        "four_eyes is on: one person asks for it, and another sends the same request within four_eyes_window. Both need tokens of kind 'person' of their own.";
    RecordingNotEnabled = "recording-not-enabled", Denied, 403, "Recording is not enabled for this tenant",
        "The tenant has not switched customer recording on: 'callvault tenant set SLUG --recording on'. Training recordings are sent with 'Callvault-Class: training'.";
    NotFound = "not-found", NotFound, 404, "There is no such thing here",
        "Check the address and the id. A recording of another tenant is answered in the same way.";
    MethodNotAllowed = "method-not-allowed", Invalid, 405, "This address does not take that method",
        "Use one of the methods in the 'Allow' header.";
    TooSlow = "too-slow", Invalid, 408, "The body came too slowly",
        "Nothing arrived for the idle limit (upload.idle); or a body with a Content-Length came with less than upload.rate_min, over upload.rate_window. A call that is still going on is sent without a length. What had arrived is kept as a partial recording; continue it with Content-Range.";
    Conflict = "conflict", Conflict, 409, "What is stored contradicts the request",
        "What was received under a name is never replaced. Send other audio under another name, or continue at the offset that the problem names.";
    StillReceiving = "still-receiving", Conflict, 409, "An upload under this name is still running",
        "Wait until it has ended, or send under another name.";
    OffsetMismatch = "offset-mismatch", Conflict, 409, "The bytes do not start where the recording ends",
        "Continue exactly at 'offset', which resumable uploads also give as Upload-Offset.";
    Superseded = "superseded", Conflict, 409, "A newer request goes on with the upload",
        "Ask for the offset (HEAD) and go on there, from one request at a time.";
    LinkEnded = "link-ended", Gone, 410, "The playback link has ended",
        "Its time is over, its uses are used up, or it was revoked. Ask whoever sent it for another.";
    UploadExpired = "upload-expired", Gone, 410, "The upload can no longer be continued",
        "Its window (upload.resume_window) is over. What had arrived is kept as a partial recording; begin a new upload under the same name to go on at its end.";
    Ended = "ended", Gone, 410, "The recording's term has ended",
        "Its term is over and it cannot be played again, by anyone.";
    Erased = "erased", Gone, 410, "The recording was erased",
        "A data subject's right was exercised. It cannot be played again, by anyone.";
    Deleted = "deleted", Gone, 410, "The recording was deleted",
        "It was deleted before its term ended.";
    LengthRequired = "length-required", Invalid, 411, "The request has no body framing",
        "Send Content-Length, or Transfer-Encoding: chunked for a call that is still going on.";
    PreconditionFailed = "precondition-failed", Conflict, 412, "The recording is not the one that was named",
        "Fetch it again without If-Match to see its present ETag.";
    UnsupportedVersion = "unsupported-version", Invalid, 412, "This version of the tus protocol is not spoken here",
        "Use the version in the 'Tus-Version' header, and send it as 'Tus-Resumable'.";
    TooLarge = "too-large", Invalid, 413, "The upload is larger than the limit",
        "Split the recording, or raise upload.bytes_max.";
    UnsupportedMediaType = "unsupported-media-type", Invalid, 415, "The body is wrapped in a form that is not taken",
        "Send the recording's bytes as the body itself (curl -T file, or curl --data-binary @file).";
    RangeNotSatisfiable = "range-not-satisfiable", Invalid, 416, "The range lies outside the recording",
        "The recording's length stands behind the slash of Content-Range.";
    Unprocessable = "unprocessable", Invalid, 422, "The request is well-formed but means nothing here",
        "Read the detail: it names the field and what it may be.";
    ReasonNeeded = "reason-needed", Invalid, 422, "A person says why he listens",
        "Send 'Callvault-Reason: <why>' with at most 200 bytes, such as the number of a ticket. It goes into the tenant's audit trail, so it holds no telephone number.";
    TenantNeeded = "tenant-needed", Invalid, 422, "The request names no tenant",
        "This token is not bound to one tenant: name it in 'Callvault-Tenant: <slug>', or as the user of Basic.";
    ChecksumMismatch = "checksum-mismatch", Invalid, 460, "The piece does not match its checksum",
        "The bytes that arrived are not the ones whose checksum was sent. Nothing of the piece was kept: send it again at the same offset.";
    TooManyDenials = "too-many-denials", Busy, 429, "Too many requests from here were refused",
        "This address, or this token, has sent too many requests that were refused (watch.denied_max within watch.window). Try again after Retry-After, with a token that may do what it asks for.";
    TooManyRequests = "too-many-requests", Busy, 429, "The token asks too often",
        "Try again after Retry-After, or raise rate.requests_per_s. Uploads are not counted.";
    Draining = "draining", Busy, 503, "The server is stopping",
        "Send the upload again after Retry-After: another server takes it, or this one when it has started again. What had arrived of an upload that was cut off is kept: go on at 'offset'.";
    Busy = "busy", Busy, 503, "Too many uploads at once",
        "Try again after Retry-After, or raise upload.count_max.";
    Integrity = "integrity", Integrity, 500, "Stored bytes are not what was stored",
        "Nothing false was served. The event is in the log: compare with 'callvault verify', and restore the object from a backup.";
    Internal = "internal", Internal, 500, "Something went wrong on our side",
        "Try again; if it stays, the log says more.";
    NotBuilt = "not-built", Invalid, 501, "This part is not built yet",
        "The address is reserved by the design, and nothing stands behind it in this version.";
    Unavailable = "unavailable", Unavailable, 503, "A part that is needed does not answer",
        "Try again after Retry-After. Nothing that was acknowledged is lost.";
    Elsewhere = "elsewhere", Unavailable, 503, "Another server holds it, and cannot be asked",
        "What is still being received, or waits for the object store, lies in one server's spool. The detail names that server: it is being restarted, or is not reached at its replica.url. Try again after Retry-After; nothing is lost.";
    SpoolFull = "spool-full", Busy, 507, "There is no room to receive",
        "The spool or its disk is full. Nothing that was acknowledged is lost: make room in spool_dir, or raise spool.bytes_max or spool.count_max.";
}

/// An error with its causes, each once, for the log and for whoever runs a command.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

/// What a verb answers when it cannot do what was asked.
#[derive(Debug)]
pub struct Error {
    pub problem: Problem,
    /// For the stranger who asked: says what to do. No number, name, key, token or path stands in it.
    pub public: String,
    /// For the log.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
    /// Where an upload can be continued.
    pub offset: Option<u64>,
    /// When to try again; `None`: what is usual.
    pub retry_after_s: Option<u64>,
}

impl Error {
    pub fn new(problem: Problem, public: impl Into<String>) -> Error {
        Error { problem, public: public.into(), source: None, offset: None, retry_after_s: None }
    }

    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }

    pub fn at_offset(mut self, offset: u64) -> Error {
        self.offset = Some(offset);
        self
    }

    pub fn after_s(mut self, seconds: u64) -> Error {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn kind(&self) -> Kind {
        self.problem.kind()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.public)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
