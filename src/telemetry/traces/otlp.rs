//! Spans as OTLP over HTTP has them in JSON: ids in hexadecimal, whole numbers of 64 bits as text.

use serde_json::{Value as Json, json};

use super::{Attribute, Span};
use crate::model::text::hex;
use crate::spans::{ERROR, Kind, ROUTE, STATUS};

/// An error, in the words of OTLP.
const STATUS_CODE_ERROR: u64 = 2;
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One request's body. `instance`: the name of this server among those of its vault.
pub fn request(spans: &[Span], instance: &str) -> Vec<u8> {
    let resource = [("service.name", "callvault"), ("service.version", VERSION), ("service.instance.id", instance)];
    let resource = resource.map(|(key, value)| json!({"key": key, "value": {"stringValue": value}}));
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({"name": "callvault", "version": VERSION});
    let scope_spans = json!([{"scope": scope, "spans": spans}]);
    json!({"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": scope_spans}]}).to_string().into()
}

/// How many spans of a batch a collector says it did not take, though it took the request.
pub fn rejected(answer: &[u8]) -> u64 {
    let answer: Json = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    rejected.as_u64().or_else(|| rejected.as_str()?.parse().ok()).unwrap_or(0)
}

fn span(span: &Span) -> Json {
    let mut attributes: Vec<Json> = span.attributes.iter().map(attribute).collect();
    if is_request(span) {
        attributes.push(json!({"key": "http.request.method", "value": {"stringValue": span.name}}));
    }
    let mut json = json!({
        "traceId": hex(&span.context.trace),
        "spanId": hex(&span.context.span),
        "name": name(span),
        "kind": span.kind,
        "startTimeUnixNano": span.begun_at_ns.to_string(),
        "endTimeUnixNano": span.begun_at_ns.saturating_add(span.duration_ns).to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = hex(&parent).into();
    }
    if has_failed(span) {
        json["status"] = json!({"code": STATUS_CODE_ERROR});
    }
    json
}

/// It is called by its method.
fn is_request(span: &Span) -> bool {
    span.kind == Kind::Server.number()
}

/// Of a request: its method, and its route where it has one.
fn name(span: &Span) -> String {
    match find(span, ROUTE) {
        Some(Attribute::Text(_, route)) => format!("{} {route}", span.name),
        _ => span.name.to_string(),
    }
}

/// What this side did not do: a refusal is its sender's.
fn has_failed(span: &Span) -> bool {
    let is_fault = matches!(find(span, STATUS), Some(Attribute::Whole(_, 500..)));
    find(span, ERROR).is_some() || (is_fault && is_request(span))
}

fn find<'a>(span: &'a Span, key: &str) -> Option<&'a Attribute> {
    span.attributes.iter().find(|attribute| attribute.key() == key)
}

fn attribute(attribute: &Attribute) -> Json {
    let value = match attribute {
        Attribute::Text(_, text) => json!({"stringValue": text}),
        Attribute::Whole(_, number) => json!({"intValue": number.to_string()}),
    };
    json!({"key": attribute.key(), "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_a_collector_did_not_take_are_read_from_its_answer() {
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"full"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedSpans":3}}"#), 3);
        for none in [&b"{}"[..], b"", b"not JSON", br#"{"partialSuccess":{}}"#] {
            assert_eq!(rejected(none), 0);
        }
    }
}
