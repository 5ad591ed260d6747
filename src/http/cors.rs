//! Pages of other origins: none may read an answer, unless `cors.origins` names it.
//!
//! # Promise
//! A page of an origin that is named reads what its own token opens. A browser is never told to send what it keeps
//! (`Access-Control-Allow-Credentials` is on no answer), and an origin that is not named is told nothing.

use axum::response::{IntoResponse, Response};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method, StatusCode};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
/// Seconds for which a browser need not ask again.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");

/// What a page may send besides what every page may. The call's data ([`SENT_PREFIX`]) are further ones.
const SENT: [&str; 20] = [
    "authorization",
    "content-digest",
    "content-md5",
    "content-range",
    "content-type",
    "if-match",
    "if-none-match",
    "if-range",
    "range",
    "repr-digest",
    "tus-resumable",
    "upload-checksum",
    "upload-complete",
    "upload-defer-length",
    "upload-draft-interop-version",
    "upload-length",
    "upload-metadata",
    "upload-offset",
    "x-http-method-override",
    "x-requested-with",
];
const SENT_PREFIX: &str = "callvault-";

/// What a page may read besides what every page may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "accept-ranges, allow, content-disposition, content-length, content-location, content-range, date, etag, location, \
     retry-after, sunset, tus-checksum-algorithm, tus-extension, tus-max-size, tus-resumable, tus-version, upload-complete, \
     upload-draft-interop-version, upload-expires, upload-length, upload-limit, upload-offset",
);

/// Which of the named origins asks.
pub fn origin(named: &[HeaderValue], headers: &HeaderMap) -> Option<usize> {
    let asking = headers.get(ORIGIN).filter(|_| !named.is_empty())?;
    named.iter().position(|origin| origin == asking)
}

/// The answer to a browser that asks before it sends what its page wants; `None` for any other request.
pub fn preflight(method: &Method, headers: &HeaderMap) -> Option<Response> {
    if method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let wanted = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok());
    let wanted = wanted.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
    let allowed: Vec<String> =
        wanted.filter(|name| SENT.contains(&name.as_str()) || name.starts_with(SENT_PREFIX)).collect();
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE_S);
    if let Ok(allowed) = HeaderValue::try_from(allowed.join(", ")) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    Some(response)
}

/// Opens an answer to the origin that asked.
pub fn open(headers: &mut HeaderMap, named: &[HeaderValue], origin: Option<usize>) {
    if named.is_empty() {
        return;
    }
    // The answer of another server that was passed on says so already.
    headers.insert(VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin.and_then(|index| named.get(index)) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}
