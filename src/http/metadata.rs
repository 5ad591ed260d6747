//! An upload's description: headers `Callvault-*`, or query parameters of the same names in snake case.
//!
//! [`Metadata`] is that of an upload in one request. One in pieces has its own ways of telling lengths and digests
//! ([`super::resumable`]), and takes the parts of this file that it needs.

use hyper::HeaderMap;
use hyper::http::request::Parts;

use crate::ingest::digest::ExpectedDigests;
use crate::model::range::UploadRange;
use crate::model::{CallData, Class, Error, Problem, Result};

/// What a sender says of a recording, whatever way its bytes come.
#[derive(Default)]
pub struct Description {
    pub name: Option<String>,
    /// Empty: nothing was said.
    pub classes: Vec<Class>,
    pub call: CallData,
}

/// What was said about an upload in one request.
pub struct Metadata {
    pub classes: Vec<Class>,
    pub media_type: String,
    pub call: CallData,
    pub declared_len: Option<u64>,
    pub range: Option<UploadRange>,
    pub digests: ExpectedDigests,
}

const HEADER_PREFIX: &str = "callvault-";
pub const UNKNOWN_TYPE: &str = "application/octet-stream";
const REPR_DIGEST: &str = "repr-digest";
const CONTENT_DIGEST: &str = "content-digest";

impl Description {
    /// Takes query parameters; what is not known is passed over.
    pub fn take_query(&mut self, parts: &Parts) -> Result<()> {
        query(parts).into_iter().try_for_each(|(name, value)| self.take(&name, &value))
    }

    /// Takes headers. They are read last, and win.
    pub fn take_headers(&mut self, headers: &HeaderMap) -> Result<()> {
        for (name, value) in headers {
            if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
                let value = std::str::from_utf8(value.as_bytes())
                    .map_err(|_| bad(format!("the header 'Callvault-{name}' is not UTF-8")))?;
                self.take(&name.replace('-', "_"), value)?;
            }
        }
        Ok(())
    }

    /// Takes one field by its name in snake case.
    pub fn take(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "class" => self.classes = classes(value)?,
            "name" => self.name = Some(value.to_owned()),
            _ => {
                self.call.set(name, value).map_err(|advice| Error::new(Problem::Unprocessable, advice))?;
            }
        }
        Ok(())
    }

    /// The classes; where nothing was said, the customer's.
    pub fn classes(&self) -> Vec<Class> {
        if self.classes.is_empty() { vec![Class::Customer] } else { self.classes.clone() }
    }
}

impl Metadata {
    /// Headers win over the query; what is not known is passed over.
    pub fn read(parts: &Parts) -> Result<Metadata> {
        let media_type = media_type(&parts.headers)?;
        let (declared_len, range) = (declared_len(&parts.headers)?, upload_range(&parts.headers)?);
        let mut digests = content_digests(&parts.headers)?;
        add_repr_digests(&mut digests, &parts.headers)?;
        let mut description = Description::default();
        description.take_query(parts)?;
        description.take_headers(&parts.headers)?;
        let (classes, call) = (description.classes(), description.call);
        let metadata = Metadata { classes, media_type, call, declared_len, range, digests };
        if let (Some(range), Some(len)) = (metadata.range, metadata.declared_len)
            && range.len() != len
        {
            let detail = "Content-Length and Content-Range name different lengths";
            return Err(Error::new(Problem::LengthMismatch, detail));
        }
        Ok(metadata)
    }
}

/// One class, or both with a comma.
fn classes(value: &str) -> Result<Vec<Class>> {
    let mut classes = Vec::new();
    for text in value.split(',').map(str::trim) {
        let class = Class::parse_audio(text).ok_or_else(|| {
            Error::new(Problem::Unprocessable, "'class' is 'customer', 'training', or both with a comma")
        })?;
        if !classes.contains(&class) {
            classes.push(class);
        }
    }
    Ok(classes)
}

/// Query parameters in their order, percent-decoded. A parameter that is not UTF-8 is passed over.
pub fn query(parts: &Parts) -> Vec<(String, String)> {
    let query = parts.uri.query().unwrap_or_default();
    let decoded = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
    match decoded {
        Ok(decoded) if !query.is_empty() => decoded.0,
        _ => Vec::new(),
    }
}

/// The essence of `Content-Type`.
pub fn media_type(headers: &HeaderMap) -> Result<String> {
    match headers.get("content-type").and_then(|value| value.to_str().ok()) {
        Some(value) => media_type_of(value),
        None => Ok(UNKNOWN_TYPE.into()),
    }
}

/// The essence of a media type, without its parameters. A form that wraps the recording is refused: stored as it comes, it
/// could not be played.
pub fn media_type_of(value: &str) -> Result<String> {
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "multipart/form-data" {
        let detail = "multipart forms are not built yet: send the recording's bytes as the body";
        return Err(Error::new(Problem::UnsupportedMediaType, detail));
    }
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let sound = essence.len() <= 127 && essence.split_once('/').is_some_and(|(a, b)| token(a) && token(b));
    // What curl --data-binary says of anything.
    let says_nothing = essence == "application/x-www-form-urlencoded";
    Ok(if sound && !says_nothing { essence } else { UNKNOWN_TYPE.into() })
}

fn declared_len(headers: &HeaderMap) -> Result<Option<u64>> {
    if !headers.contains_key("transfer-encoding") && !headers.contains_key("content-length") {
        let detail = "send Content-Length, or Transfer-Encoding: chunked";
        return Err(Error::new(Problem::LengthRequired, detail));
    }
    content_len(headers)
}

/// The length of the content; `None`: it is chunked. Without any framing there is none (RFC 9112 section 6.3).
pub fn content_len(headers: &HeaderMap) -> Result<Option<u64>> {
    // With both, the framing is chunked, and the length says nothing.
    if headers.contains_key("transfer-encoding") {
        return Ok(None);
    }
    let Some(value) = headers.get("content-length") else { return Ok(Some(0)) };
    let len = value.to_str().ok().and_then(|text| text.parse().ok());
    len.map(Some).ok_or_else(|| bad("'Content-Length' is a number of bytes".into()))
}

fn upload_range(headers: &HeaderMap) -> Result<Option<UploadRange>> {
    let Some(value) = headers.get("content-range") else { return Ok(None) };
    let range = value.to_str().ok().and_then(UploadRange::parse);
    range.map(Some).ok_or_else(|| bad("'Content-Range' is 'bytes <first>-<last>/<total or *>'".into()))
}

/// What a request says of its own content.
pub fn content_digests(headers: &HeaderMap) -> Result<ExpectedDigests> {
    let mut digests = ExpectedDigests::default();
    add_digests(&mut digests, headers, CONTENT_DIGEST)?;
    if let Some(value) = headers.get("content-md5") {
        let text = value.to_str().map_err(|_| bad("'Content-MD5' is not ASCII".into()))?;
        digests.add_md5(text).map_err(bad)?;
    }
    Ok(digests)
}

/// Adds what is said of the whole recording, for a request whose content is the whole.
pub fn add_repr_digests(digests: &mut ExpectedDigests, headers: &HeaderMap) -> Result<()> {
    add_digests(digests, headers, REPR_DIGEST)
}

fn add_digests(digests: &mut ExpectedDigests, headers: &HeaderMap, name: &str) -> Result<()> {
    for value in headers.get_all(name) {
        let text = value.to_str().map_err(|_| bad(format!("'{name}' is not ASCII")))?;
        digests.add_structured(name, text).map_err(bad)?;
    }
    Ok(())
}

fn bad(detail: String) -> Error {
    Error::new(Problem::BadRequest, detail)
}
