//! What `/openapi.json` tells, held against every answer that a test gets.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::wire::Answer;

/// What any answer may have: framing, and what a page of another origin is told.
const UNTOLD_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "vary",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// The document, as the program makes it.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::from_slice(&callvault::http::contract::document()).expect("it is JSON"))
}

/// What a reference leads to; anything else is what it is.
pub fn resolved(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let found = reference.strip_prefix('#').and_then(|pointer| document().pointer(pointer));
            found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => value,
    }
}

pub fn paths() -> &'static Map<String, Value> {
    document()["paths"].as_object().expect("the document has paths")
}

/// The address of the document that a request's path has. All that is put below `/v1/recordings/` is a name, but for holds.
fn template(method: &str, path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap_or_default();
    if method == "PUT"
        && path.len() > "/v1/recordings/".len()
        && path.starts_with("/v1/recordings/")
        && !path.ends_with("/hold")
    {
        return Some("/v1/recordings/{id}");
    }
    let is_like = |template: &str| {
        let (told, asked): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        told.len() == asked.len()
            && told
                .iter()
                .zip(asked)
                .all(|(told, asked)| *told == asked || (told.starts_with('{') && !asked.is_empty()))
    };
    paths().keys().map(String::as_str).find(|template| is_like(template))
}

/// What an answer has that the document does not tell.
pub fn untold(method: &str, target: &str, asked: &[(String, String)], answer: &Answer) -> Option<String> {
    let asks = |name: &str| asked.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let is_preflight = asks("access-control-request-method").is_some();
    // The framing or the head was refused, before there was a request.
    let is_no_request = matches!(answer.status, 400 | 414 | 431) && answer.body.is_empty() && method != "HEAD";
    // A port with TLS, to whoever speaks without.
    let is_no_tls =
        answer.status == 400 && String::from_utf8_lossy(&answer.body).contains("this port speaks HTTPS only");
    if is_preflight || is_no_request || is_no_tls {
        return None;
    }
    let is_tus = asks("tus-resumable").is_some();
    let method = asks("x-http-method-override").filter(|_| is_tus).map_or(method, String::as_str).to_ascii_uppercase();
    let operation = template(&method, target).map(|template| &paths()[template][method.to_ascii_lowercase()]);
    let Some(operation) = operation.filter(|operation| !operation.is_null()) else {
        let is_refused = (400..500).contains(&answer.status) || matches!(answer.status, 501 | 503);
        return (!is_refused).then(|| format!("{method} {target} is in no document, and was answered"));
    };
    let response = resolved(&operation["responses"][answer.status.to_string()]);
    if response.is_null() {
        return Some(format!("{}: {} is not told", operation["operationId"], answer.status));
    }
    let found = untold_headers(response, answer).or_else(|| untold_content(response, answer));
    found.map(|found| format!("{}: {}: {found}", operation["operationId"], answer.status))
}

fn untold_headers(response: &Value, answer: &Answer) -> Option<String> {
    let none = Map::new();
    let told = response["headers"].as_object().unwrap_or(&none);
    let names: BTreeSet<String> = told.keys().map(|name| name.to_ascii_lowercase()).collect();
    let is_told = |name: &str| UNTOLD_HEADERS.contains(&name) || names.contains(name);
    if let Some((name, _)) = answer.headers.iter().find(|(name, _)| !is_told(name)) {
        return Some(format!("the header '{name}' is not told"));
    }
    let missing = told.iter().find(|(name, header)| {
        resolved(header)["required"] == true && answer.headers_named(&name.to_ascii_lowercase()).is_empty()
    });
    missing.map(|(name, _)| format!("the header '{name}' is told, and not there"))
}

fn untold_content(response: &Value, answer: &Answer) -> Option<String> {
    if answer.body.is_empty() {
        return None;
    }
    let media_type = answer.header("content-type").split(';').next().unwrap_or_default();
    let contents = response["content"].as_object();
    let content = contents.and_then(|contents| contents.get(media_type).or_else(|| contents.get("*/*")));
    let Some(content) = content else { return Some(format!("'{media_type}' is not told")) };
    if media_type != "application/problem+json" {
        return None;
    }
    let types = &content["schema"]["allOf"][1]["properties"]["type"]["enum"];
    let kind = &answer.json()["type"];
    let is_told = types.as_array().is_some_and(|types| types.contains(kind));
    (!is_told).then(|| format!("the problem {kind} is not told"))
}
