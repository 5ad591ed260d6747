//! The table as OpenAPI 3.1.
//!
//! # Promise
//! Equal tables give equal bytes. The document depends on no setting and on no request, so it may be read by everyone.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::fields::{
    ACCEPT_RANGES, CHALLENGE, CONTENT_LOCATION, CONTENT_RANGE_OF, EVERYWHERE, INTEROP_VERSION, OFFSET_THERE,
    RETRY_AFTER, TENANT, TUS_RESUMABLE, TUS_VERSION, UPLOAD_LIMIT, UPLOAD_LOCATION,
};
use super::{Access, Answer, Content, Form, Header, Operation, Parameter, Place, Presence, Refusals, operations};
use crate::http::problem::{self, registered_type};
use crate::model::{Problem, Scope};

const DESCRIPTION: &str = "A vault for call recordings. Bodies of recordings are streamed in both directions; nothing waits \
    for their end but the answer.\n\nErrors are RFC 9457 problems; each operation lists its own. `type` is an address of this \
    server that says what to do, and may get further values. A method that an address does not have is answered 405 with \
    `Allow`; an address that is reserved 501; what is no HTTP, or has a head that is too large, 400, 414 or 431 without content; over HTTP/2 \
    any request 503 `busy` while there are too many clients.\
    \n\nNames of methods may be written in small letters. Unknown headers, and unknown parameters of uploads, are passed over.";

/// `GET /openapi.json`
pub async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/json")], document()).into_response()
}

/// The document's bytes, made once.
pub fn document() -> Bytes {
    static DOCUMENT: OnceLock<Bytes> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_vec(&Writer::new().write()).expect("it has texts for keys").into()).clone()
}

/// A document under construction.
struct Writer {
    /// Of what is answered.
    schemas: SchemaGenerator,
    /// Of what is asked: a member that may be left out there is always there in an answer.
    asked: SchemaGenerator,
    /// What rows share, each under its name.
    headers: BTreeMap<String, Value>,
    responses: BTreeMap<String, Value>,
}

impl Writer {
    fn new() -> Writer {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Writer {
            schemas: settings.clone().for_serialize().into_generator(),
            asked: settings.for_deserialize().into_generator(),
            headers: BTreeMap::new(),
            responses: BTreeMap::new(),
        }
    }

    fn write(mut self) -> Value {
        let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for operation in operations() {
            let methods = paths.entry(operation.path).or_default();
            methods.insert(operation.method.to_ascii_lowercase(), self.operation(operation, Part::Whole));
            if operation.method == "GET" {
                methods.insert("head".into(), self.operation(operation, Part::Head));
            }
        }
        self.schemas.subschema_for::<problem::Document>();
        let mut schemas = self.schemas.take_definitions(true);
        for (name, schema) in self.asked.take_definitions(true) {
            assert!(!schemas.contains_key(&name), "{name} is both asked and answered: they are two types");
            schemas.insert(name, schema);
        }
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "callvault",
                "version": env!("CARGO_PKG_VERSION"),
                "summary": env!("CARGO_PKG_DESCRIPTION"),
                "description": DESCRIPTION,
                "license": { "name": "Apache-2.0 OR MIT", "identifier": env!("CARGO_PKG_LICENSE") },
            },
            "servers": [{ "url": "/" }],
            "paths": paths,
            "components": {
                "schemas": schemas,
                "headers": self.headers,
                "responses": self.responses,
                "securitySchemes": security_schemes(),
            },
        })
    }

    fn operation(&mut self, operation: &Operation, part: Part) -> Value {
        let (id, summary) = match part {
            Part::Whole => (operation.id.to_owned(), operation.summary.to_owned()),
            Part::Head => (format!("{}Head", operation.id), format!("{}: the answer's head alone", operation.summary)),
        };
        let mut document = json!({
            "operationId": id,
            "summary": summary,
            "tags": [tag(operation.path)],
            "security": security(operation.access),
            "responses": self.answers(operation, part),
        });
        if !operation.description.is_empty() {
            document["description"] = operation.description.into();
        }
        let of_the_token = [TENANT];
        let of_the_token = of_the_token.iter().filter(|_| operation.access != Access::Open);
        let parameters: Vec<_> =
            operation.parameters.iter().copied().flatten().chain(of_the_token).flat_map(parameters).collect();
        if !parameters.is_empty() {
            document["parameters"] = parameters.into();
        }
        if let Some(body) = &operation.body {
            document["requestBody"] = json!({
                "description": body.what,
                "required": body.presence == Presence::Always,
                "content": contents(body.contents, &mut self.asked),
            });
        }
        document
    }

    fn answers(&mut self, operation: &Operation, part: Part) -> Map<String, Value> {
        let mut answers = Map::new();
        for answer in operation.answers {
            answers.insert(answer.status.as_u16().to_string(), self.answer(answer, part));
        }
        let mut by_status: BTreeMap<u16, Vec<Problem>> = BTreeMap::new();
        for problem in operation.problems.iter().copied().flatten() {
            let problems = by_status.entry(problem.status()).or_default();
            if !problems.contains(problem) {
                problems.push(*problem);
            }
        }
        for (status, mut problems) in by_status {
            problems.sort_by_key(|problem| *problem as usize);
            answers.insert(status.to_string(), self.refusal(&problems, operation.refusals, part));
        }
        answers
    }

    fn answer(&mut self, answer: &Answer, part: Part) -> Value {
        let mut document = json!({ "description": answer.what, "headers": self.headers(answer.headers) });
        if part == Part::Whole && !answer.contents.is_empty() {
            document["content"] = contents(answer.contents, &mut self.schemas).into();
        }
        document
    }

    /// The problems of one status: a response that rows share.
    fn refusal(&mut self, problems: &[Problem], refusals: Refusals, part: Part) -> Value {
        let mut name = problems.iter().map(|problem| problem.name()).collect::<Vec<_>>().join(".");
        if refusals == Refusals::OfUploads {
            name += ".upload";
        }
        if part == Part::Head {
            name += ".head";
        }
        if !self.responses.contains_key(&name) {
            let response = self.response_of(problems, refusals, part);
            self.responses.insert(name.clone(), response);
        }
        json!({ "$ref": format!("#/components/responses/{name}") })
    }

    fn response_of(&mut self, problems: &[Problem], refusals: Refusals, part: Part) -> Value {
        let titles: Vec<_> =
            problems.iter().map(|problem| format!("`{}`: {}.", problem.name(), problem.title())).collect();
        let headers = refusal_headers(problems, refusals);
        let mut document = json!({ "description": titles.join("\n\n"), "headers": self.headers(&headers) });
        if part == Part::Whole {
            let types = problems.iter().flat_map(|problem| types_of(*problem, refusals)).collect::<Vec<_>>();
            let reference = self.schemas.subschema_for::<problem::Document>();
            let schema = json!({
                "allOf": [reference, {
                    "properties": { "type": { "enum": types }, "status": { "type": "integer", "enum": [problems[0].status()] } },
                }],
            });
            document["content"] = json!({ "application/problem+json": { "schema": schema } });
        }
        document
    }

    /// References to the headers, and to those that stand on every answer.
    fn headers(&mut self, headers: &[Header]) -> Map<String, Value> {
        let mut references = Map::new();
        for header in headers.iter().chain(&EVERYWHERE) {
            let is_needed = header.presence == Presence::Always;
            let name = if is_needed { header.name.to_owned() } else { format!("{}.optional", header.name) };
            let document = json!({ "description": header.what, "required": is_needed, "schema": schema(header.form) });
            let before = self.headers.insert(name.clone(), document.clone());
            assert!(before.is_none_or(|before| before == document), "two headers are called {name}");
            references.insert(header.name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
        }
        references
    }
}

fn contents(contents: &[Content], schemas: &mut SchemaGenerator) -> Map<String, Value> {
    let content = |content: &Content| match content {
        Content::Json(schema) => ("application/json", json!({ "schema": schema(schemas) })),
        Content::Html => ("text/html", json!({ "schema": { "type": "string" } })),
        Content::Text => ("text/plain", json!({ "schema": { "type": "string" } })),
        Content::Bytes(media_type) => (*media_type, json!({ "schema": { "type": "string", "format": "binary" } })),
        Content::AnyJson => ("application/json", json!({ "schema": { "type": "object" } })),
    };
    contents.iter().map(content).map(|(media_type, document)| (media_type.to_owned(), document)).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Whole,
    /// The answer to `HEAD`.
    Head,
}

fn refusal_headers(problems: &[Problem], refusals: Refusals) -> Vec<Header> {
    let mut headers = match problems[0].status() {
        401 => vec![CHALLENGE],
        416 => vec![CONTENT_RANGE_OF, ACCEPT_RANGES],
        429 | 503 | 507 => vec![RETRY_AFTER],
        _ => Vec::new(),
    };
    if refusals == Refusals::OfUploads {
        headers.extend([TUS_RESUMABLE, INTEROP_VERSION, OFFSET_THERE, UPLOAD_LIMIT, UPLOAD_LOCATION, CONTENT_LOCATION]);
        if problems.contains(&Problem::UnsupportedVersion) {
            headers.push(TUS_VERSION);
        }
    }
    headers
}

fn types_of(problem: Problem, refusals: Refusals) -> impl Iterator<Item = String> {
    let registered = registered_type(problem).filter(|_| refusals == Refusals::OfUploads);
    [problem::local_type(problem)].into_iter().chain(registered)
}

/// One parameter, or the two ways of telling one.
fn parameters(parameter: &Parameter) -> Vec<Value> {
    let written = |name: String, place: &str, is_needed: bool| {
        json!({
            "name": name,
            "in": place,
            "required": is_needed,
            "description": parameter.what,
            "schema": schema(parameter.form),
        })
    };
    let name = || parameter.name.to_owned();
    match parameter.place {
        Place::Path => vec![written(name(), "path", true)],
        Place::Query => vec![written(name(), "query", false)],
        Place::Header => vec![written(name(), "header", false)],
        Place::NeededHeader => vec![written(name(), "header", true)],
        Place::Described => {
            vec![written(header_name(parameter.name), "header", false), written(name(), "query", false)]
        }
    }
}

/// `a_number` as `Callvault-A-Number`.
fn header_name(name: &str) -> String {
    let mut header = "Callvault".to_owned();
    for word in name.split('_') {
        let (first, rest) = word.split_at(1);
        header += &format!("-{}{rest}", first.to_ascii_uppercase());
    }
    header
}

fn schema(form: Form) -> Value {
    match form {
        Form::Text => json!({ "type": "string" }),
        Form::Short(len) => json!({ "type": "string", "minLength": 1, "maxLength": len }),
        Form::UpTo(len) => json!({ "type": "string", "maxLength": len }),
        Form::Uuid => json!({ "type": "string", "format": "uuid" }),
        Form::Moment => json!({ "type": "string", "format": "date-time" }),
        Form::Whole(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Form::OneOf(names) => json!({ "type": "string", "enum": names }),
        Form::Pattern(pattern) => json!({ "type": "string", "pattern": pattern }),
        Form::Address => json!({ "type": "string", "format": "uri-reference" }),
    }
}

/// The part of the vault that an address belongs to.
fn tag(path: &str) -> &str {
    let part = path.strip_prefix("/v1/").unwrap_or("service");
    part.split('/').next().unwrap_or(part)
}

fn security_schemes() -> Value {
    let in_address = |name: &str| {
        json!({
            "type": "apiKey",
            "in": "query",
            "name": name,
            "description": "For uploads by PBXes that cannot set headers; it opens nothing else.",
        })
    };
    json!({
        "bearer": { "type": "http", "scheme": "bearer", "description": "A token, `cv_...`." },
        "basic": { "type": "http", "scheme": "basic", "description": "The tenant's slug, and the token as password." },
        "token": in_address("token"),
        "key": in_address("key"),
    })
}

/// Each way in: a scheme, with one of the scopes.
fn security(access: Access) -> Value {
    let Access::Scoped(scopes) = access else { return json!([]) };
    let ways = scopes.iter().flat_map(|scope| {
        let schemes: &[&str] =
            if *scope == Scope::Ingest { &["bearer", "basic", "token", "key"] } else { &["bearer", "basic"] };
        schemes.iter().map(|scheme| Value::from(Map::from_iter([((*scheme).to_owned(), json!([scope.as_str()]))])))
    });
    ways.collect::<Vec<_>>().into()
}
