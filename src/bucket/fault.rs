//! What went wrong with a bucket, and what a person does about it.
//!
//! # Secrecy
//! An error names the place, what was tried, and S3's code for the reason: no key, no header, no query string.

use object_store::Error;
use object_store::client::HttpError;

use super::wire::code_in;

/// Why a bucket did not do it, coarse enough to say how to react.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    NoObject,
    NoBucket,
    /// A conditional create found the name taken.
    Exists,
    WrongKey,
    WrongRegion,
    WrongClock,
    Denied,
    /// It does not answer, or says that it cannot now.
    Down,
    /// The store does not know this kind of request.
    Unknown,
    Refused,
}

/// One request that failed.
#[derive(Debug)]
pub struct BucketError {
    pub place: String,
    pub verb: &'static str,
    pub fault: Fault,
    /// S3's code, or what the connection said.
    pub reason: String,
}

impl BucketError {
    /// Trying again later may help; a person need not change anything.
    pub fn is_down(&self) -> bool {
        self.fault == Fault::Down
    }
}

impl std::fmt::Display for BucketError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let BucketError { place, verb, reason, .. } = self;
        write!(f, "{place}: {verb} failed: {reason}")?;
        match self.fault {
            Fault::NoObject => f.write_str(" (there is no such object)"),
            Fault::NoBucket => f.write_str("; there is no such bucket: make it, or name another"),
            Fault::Exists => f.write_str(" (the name is taken)"),
            Fault::WrongKey => f.write_str(
                "; the store does not know this access key, or the secret is not its secret: look at AWS_ACCESS_KEY_ID, \
                 AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or at the credentials file",
            ),
            Fault::WrongRegion => f.write_str("; the bucket is in another region: set AWS_REGION to the bucket's"),
            Fault::WrongClock => f.write_str("; this machine's clock is wrong: set it right"),
            Fault::Denied => write!(f, "; the credentials are good, but may not {verb}: let their policy allow it"),
            Fault::Unknown => f.write_str("; the store does not know this request"),
            Fault::Down | Fault::Refused => Ok(()),
        }
    }
}

impl std::error::Error for BucketError {}

pub fn fault(place: &str, verb: &'static str, error: &Error) -> BucketError {
    let text = chain(error);
    let (code, status) = (code_in(text.as_bytes()), status_in(&text));
    let connection = connection_error(error);
    let fault = by_code(&code).unwrap_or_else(|| match (error, status) {
        (Error::NotFound { .. }, _) => Fault::NoObject,
        (Error::AlreadyExists { .. } | Error::Precondition { .. }, _) => Fault::Exists,
        (Error::PermissionDenied { .. } | Error::Unauthenticated { .. }, _) => Fault::Denied,
        (_, Some(301 | 307)) => Fault::WrongRegion,
        (_, Some(501 | 405)) => Fault::Unknown,
        (_, Some(408 | 429 | 500..)) => Fault::Down,
        _ if text.contains("redirect without LOCATION") => Fault::WrongRegion,
        _ if connection.is_some() || text.contains("Server returned error response") => Fault::Down,
        _ => Fault::Refused,
    });
    let reason = match (code.is_empty(), status, connection) {
        (false, Some(status), _) => format!("{code} ({status})"),
        (false, None, _) => code,
        (true, Some(status), _) => format!("status {status}"),
        (true, None, Some(connection)) => connection,
        (true, None, None) => own_words(error),
    };
    BucketError { place: place.to_owned(), verb, fault, reason }
}

pub fn by_code(code: &str) -> Option<Fault> {
    Some(match code {
        "NoSuchBucket" | "InvalidBucketName" => Fault::NoBucket,
        "NoSuchKey" => Fault::NoObject,
        "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "InvalidToken"
        | "ExpiredToken"
        | "NotSignedUp"
        | "InvalidClientTokenId"
        | "TokenRefreshRequired"
        | "InvalidSecurity" => Fault::WrongKey,
        "RequestTimeTooSkewed" => Fault::WrongClock,
        "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "IllegalLocationConstraintException" => Fault::WrongRegion,
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Fault::Denied,
        "NotImplemented" | "MethodNotAllowed" => Fault::Unknown,
        "SlowDown" | "InternalError" | "ServiceUnavailable" | "RequestTimeout" => Fault::Down,
        _ => return None,
    })
}

fn status_in(text: &str) -> Option<u16> {
    text.split_once("status code: ")?.1.get(..3)?.parse().ok()
}

/// What the connection said, without the request that it was about.
fn connection_error(error: &Error) -> Option<String> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<HttpError>() {
            let mut innermost = error;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            return Some(innermost.to_string());
        }
        cause = error.source();
    }
    None
}

/// The innermost cause: outer ones name the request.
fn own_words(error: &Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn chain(error: &Error) -> String {
    crate::model::error::chain(error)
}
