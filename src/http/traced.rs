//! The span of a request, where traces are wanted: from its head to the end of its answer's body.
//!
//! # Secrecy
//! Of an address, the template of its route is all that is told, and the id of a recording that stands in it.
//! # Limits
//! A request that goes on keeps nothing of this where traces are off.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::BoxError;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::{HeaderMap, Method, Request};
use tracing::Span;

use super::answer::Answering;
use super::contract::operations;
use crate::model::RecordingId;
use crate::spans::{self, TRACEPARENT};

/// A method that is none of HTTP's own: a sender may write anything there.
const OTHER: &str = "_OTHER";

/// The request's span; none where it is not traced.
pub fn begin<B>(request: &Request<B>) -> Span {
    if !spans::is_on() {
        return Span::none();
    }
    let (method, path) = (known(request.method()), request.uri().path());
    let route = route(method, path);
    let recording = route.filter(|route| route.contains("{id}") && method != "PUT").and_then(|_| recording_in(path));
    spans::request(method, route, recording, came_with(request.headers()))
}

/// An answer that is made within a span, body and all.
pub struct Within {
    span: Span,
    /// `None`: it is made.
    answer: Option<Answering>,
}

impl Within {
    pub fn new(span: Span, answer: Answering) -> Within {
        Within { span, answer: Some(answer) }
    }
}

impl Future for Within {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Self::Output> {
        let Within { span, answer } = &mut *self;
        let entered = span.enter();
        let answered = answer.as_mut().expect("nobody polls a future after its end").as_mut();
        let response = ready!(answered.poll(context))?;
        *answer = None;
        drop(entered);
        spans::answered(span, response.status().as_u16());
        let span = std::mem::replace(span, Span::none());
        Poll::Ready(Ok(response.map(|body| match http_body::Body::is_end_stream(&body) {
            true => body,
            false => Body::new(Traced { body, span }),
        })))
    }
}

impl Drop for Within {
    /// What goes on when its answer is not waited for, goes on within the span ([`super::outlive`]).
    fn drop(&mut self) {
        let _entered = self.span.enter();
        self.answer = None;
    }
}

/// What is told to another server that answers in this one's place.
pub fn pass_on(headers: &mut HeaderMap) {
    if let Some(here) = spans::current() {
        headers.insert(TRACEPARENT, here.to_string().parse().expect("hexadecimal digits"));
    }
}

fn known(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| method == known).unwrap_or(OTHER)
}

/// One that came twice is none.
fn came_with(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
}

/// As the contract writes it: `None` for what is at no address, or has no such method.
fn route(method: &str, path: &str) -> Option<&'static str> {
    let method = if method == "HEAD" { "GET" } else { method };
    let of_method = operations().filter(|operation| operation.method == method);
    let mut paths = of_method.map(|operation| operation.path);
    paths.find(|template| match template.strip_suffix("{id}").filter(|_| method == "PUT") {
        // What a sender calls his recording may hold a `/`.
        Some(before) => path.strip_prefix(before).is_some_and(|name| !name.is_empty()),
        None => is_at(template, path),
    })
}

fn is_at(template: &str, path: &str) -> bool {
    let (mut wanted, mut segments) = (template.split('/'), path.split('/'));
    loop {
        match (wanted.next(), segments.next()) {
            (None, None) => return true,
            (Some(part), Some(segment)) if part == segment || (part.starts_with('{') && !segment.is_empty()) => {}
            _ => return false,
        }
    }
}

fn recording_in(path: &str) -> Option<RecordingId> {
    let mut segments = path.strip_prefix("/v1/")?.split('/');
    let is_one = matches!(segments.next()?, "recordings" | "uploads");
    segments.next().filter(|_| is_one)?.parse().ok()
}

/// A body that is read within the span of its request.
struct Traced {
    body: Body,
    span: Span,
}

impl http_body::Body for Traced {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Traced { body, span } = &mut *self;
        let _within = span.enter();
        Pin::new(body).poll_frame(context).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_by_the_template_of_its_route_alone() {
        for (method, path, template) in [
            ("PUT", "/v1/recordings/2026/call to +31.wav", Some("/v1/recordings/{id}")),
            ("PUT", "/v1/recordings/x/audio", Some("/v1/recordings/{id}")),
            ("POST", "/v1/recordings", Some("/v1/recordings")),
            ("HEAD", "/v1/recordings/x/audio", Some("/v1/recordings/{id}/audio")),
            ("GET", "/v1/play/secret", Some("/v1/play/{link}")),
            ("GET", "/v1/recordings/", None),
            ("GET", "/v1/recordings/a/b/c", None),
            ("PUT", "/v1/recordings/", None),
            ("GET", "/in/cv_secret/name", None),
            ("DELETE", "/healthz", None),
            ("_OTHER", "/healthz", None),
        ] {
            assert_eq!(route(method, path), template, "{method} {path}");
        }
    }

    #[test]
    fn every_operation_is_at_the_route_that_the_contract_gives_it() {
        for operation in operations() {
            let path = operation.path.replace(['{', '}'], "");
            assert_eq!(route(operation.method, &path), Some(operation.path), "{} {path}", operation.method);
        }
    }

    #[test]
    fn only_the_id_of_a_recording_is_read_from_an_address() {
        let id = "01980000-0000-7000-8000-000000000000";
        assert!(recording_in(&format!("/v1/recordings/{id}/audio")).is_some_and(|found| found.to_string() == id));
        assert!(recording_in(&format!("/v1/uploads/{id}")).is_some());
        for other in [&format!("/v1/people/{id}"), "/v1/recordings/+31655501234", "/v1/recordings", "/"] {
            assert_eq!(recording_in(other), None, "{other}");
        }
    }
}
