//! One request: its route, its answer, and what stands on every answer.
//!
//! # Promise
//! No answer of ours is taken for something else than it is, kept by a cache, or told to another site as the address that led
//! there. What a page of another origin may read is decided by [`super::cors`] alone.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use axum::{BoxError, Router};
use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Method, Request, Version};
use tower_service::Service;

use super::auth::ClientCertificate;
use super::traced::{self, Within};
use super::trail::{Note, concluded};
use super::{SharedFace, cors, later};

/// What stands on every answer that says nothing else in its place.
const ON_EVERY_ANSWER: [(HeaderName, HeaderValue); 4] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];
/// A browser that was here by TLS does not come without it for a year (RFC 6797).
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Plain,
    Secured,
}

pub type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// What answers the requests of a listener's connections.
#[derive(Clone)]
pub struct Answers {
    router: Router,
    pub face: SharedFace,
    line: Line,
    /// What the connection's client showed; on the heap, since most show nothing.
    certificate: Option<Box<ClientCertificate>>,
}

impl Answers {
    pub fn new(router: Router, face: SharedFace, line: Line) -> Answers {
        Answers { router, face, line, certificate: None }
    }

    /// Those of one connection, whose client showed a certificate.
    pub fn to(self, certificate: Option<ClientCertificate>) -> Answers {
        Answers { certificate: certificate.map(Box::new), ..self }
    }

    /// Any case of method: hyper tells `put` from `PUT`, senders do not.
    ///
    /// Limit: a call that goes on keeps this future for as long as it lasts; the request is in that of its route, and gone.
    pub fn answer<B>(&self, peer: SocketAddr, request: Request<B>) -> Answering
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let span = traced::begin(&request);
        let answer = self.reply(peer, request);
        if span.is_none() { Box::pin(answer) } else { Box::pin(Within::new(span, Box::pin(answer))) }
    }

    fn reply<B>(
        &self,
        peer: SocketAddr,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response, Infallible>> + Send + use<B>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let mut request = request.map(Body::new);
        if let Ok(upper) = request.method().as_str().to_ascii_uppercase().parse::<Method>() {
            *request.method_mut() = upper;
        }
        request.extensions_mut().insert(ConnectInfo(peer));
        if let Some(certificate) = &self.certificate {
            request.extensions_mut().insert(**certificate);
        }
        // HTTP/2 resets the one stream; its other requests go on.
        let ends_by_refusal = request.version() < Version::HTTP_2 && !http_body::Body::is_end_stream(request.body());
        let note = Note::of(request.method(), request.uri().path());
        if let Some(note) = &note {
            request.extensions_mut().insert(note.clone());
        }
        let (face, line, mut router) = (self.face.clone(), self.line, self.router.clone());
        let origin = cors::origin(&face.limits.cors_origins, request.headers());
        let answer = later::answer(async move {
            match origin.and_then(|_| cors::preflight(request.method(), request.headers())) {
                Some(preflight) => preflight,
                None => router.call(request).await.unwrap_or_else(|never| match never {}),
            }
        });
        async move {
            let mut response = answer.await;
            if let Some(note) = note {
                response = Box::pin(concluded(face.clone(), note, response)).await;
            }
            // What is left of a refused body is not read as a next request: the client is told not to send one here.
            if ends_by_refusal && !response.status().is_success() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            harden(response.headers_mut(), line);
            cors::open(response.headers_mut(), &face.limits.cors_origins, origin);
            Ok(response)
        }
    }
}

fn harden(headers: &mut HeaderMap, line: Line) {
    for (name, value) in ON_EVERY_ANSWER {
        headers.entry(name).or_insert(value);
    }
    if line == Line::Secured {
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    }
}
