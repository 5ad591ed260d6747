//! An upload's description: headers `Callvault-*`, or query parameters of the same names in snake case.

use hyper::HeaderMap;
use hyper::http::request::Parts;

use crate::ingest::digest::ExpectedDigests;
use crate::model::range::UploadRange;
use crate::model::{CallData, Class, Error, Problem, Result};

/// What was said about an upload.
pub struct Metadata {
    pub classes: Vec<Class>,
    pub media_type: String,
    pub call: CallData,
    pub declared_len: Option<u64>,
    pub range: Option<UploadRange>,
    pub digests: ExpectedDigests,
}

const HEADER_PREFIX: &str = "callvault-";
const UNKNOWN_TYPE: &str = "application/octet-stream";

impl Metadata {
    /// Headers win over the query; what is not known is passed over.
    pub fn read(parts: &Parts) -> Result<Metadata> {
        let mut metadata = Metadata {
            classes: Vec::new(),
            media_type: media_type(&parts.headers)?,
            call: CallData::default(),
            declared_len: declared_len(&parts.headers)?,
            range: upload_range(&parts.headers)?,
            digests: digests(&parts.headers)?,
        };
        for (name, value) in query(parts) {
            metadata.take(&name, &value)?;
        }
        for (name, value) in &parts.headers {
            if let Some(name) = name.as_str().strip_prefix(HEADER_PREFIX) {
                let value = std::str::from_utf8(value.as_bytes())
                    .map_err(|_| bad(format!("the header 'Callvault-{name}' is not UTF-8")))?;
                metadata.take(&name.replace('-', "_"), value)?;
            }
        }
        if metadata.classes.is_empty() {
            metadata.classes.push(Class::Customer);
        }
        if let (Some(range), Some(len)) = (metadata.range, metadata.declared_len)
            && range.len() != len
        {
            let detail = "Content-Length and Content-Range name different lengths";
            return Err(Error::new(Problem::LengthMismatch, detail));
        }
        Ok(metadata)
    }

    fn take(&mut self, name: &str, value: &str) -> Result<()> {
        if name == "class" {
            self.classes = classes(value)?;
            return Ok(());
        }
        self.call.set(name, value).map(|_| ()).map_err(|advice| Error::new(Problem::Unprocessable, advice))
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

/// The essence of `Content-Type`, without its parameters. A form that wraps the recording is refused: stored as it comes,
/// it could not be played.
fn media_type(headers: &HeaderMap) -> Result<String> {
    let Some(value) = headers.get("content-type").and_then(|value| value.to_str().ok()) else {
        return Ok(UNKNOWN_TYPE.into());
    };
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
    // With both, the framing is chunked (RFC 9112 section 6.3), and the length says nothing.
    if headers.contains_key("transfer-encoding") {
        return Ok(None);
    }
    let Some(value) = headers.get("content-length") else {
        let detail = "send Content-Length, or Transfer-Encoding: chunked";
        return Err(Error::new(Problem::LengthRequired, detail));
    };
    let len = value.to_str().ok().and_then(|text| text.parse().ok());
    len.map(Some).ok_or_else(|| bad("'Content-Length' is a number of bytes".into()))
}

fn upload_range(headers: &HeaderMap) -> Result<Option<UploadRange>> {
    let Some(value) = headers.get("content-range") else { return Ok(None) };
    let range = value.to_str().ok().and_then(UploadRange::parse);
    range.map(Some).ok_or_else(|| bad("'Content-Range' is 'bytes <first>-<last>/<total or *>'".into()))
}

fn digests(headers: &HeaderMap) -> Result<ExpectedDigests> {
    let mut digests = ExpectedDigests::default();
    for name in ["repr-digest", "content-digest"] {
        for value in headers.get_all(name) {
            let text = value.to_str().map_err(|_| bad(format!("'{name}' is not ASCII")))?;
            digests.add_structured(name, text).map_err(bad)?;
        }
    }
    if let Some(value) = headers.get("content-md5") {
        let text = value.to_str().map_err(|_| bad("'Content-MD5' is not ASCII".into()))?;
        digests.add_md5(text).map_err(bad)?;
    }
    Ok(digests)
}

fn bad(detail: String) -> Error {
    Error::new(Problem::BadRequest, detail)
}
