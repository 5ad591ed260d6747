//! Other servers over the same catalog: a request about what one of them holds is passed on to it, and its answer back.
//!
//! # Promise
//! A sender or a listener needs one address, whichever server he reaches, and is never redirected. Bytes are passed on as they
//! come, in both directions; nothing is kept but what is on its way. A server that does not answer is named in a 503 that says
//! when to try again. A body that is passed on has the limits of time that any other has.
//! # Secrecy
//! The head is passed on as it came, with its token: between servers as between a proxy and a server. What is added says for
//! whom, under a key that only servers of this vault can derive ([`crate::crypto::keys::PeerKey`]): a server believes it, and
//! nobody else's. No address of a request, and nothing of its query, is logged.
//! # Invariants
//! A request is passed on once. One that was, and belongs to a third server, is answered by a 503: its holder changed meanwhile.

mod passing;
mod wire;

use std::net::IpAddr;

use axum::body::Body;
use axum::response::Response;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode};

use self::passing::{Gate, Passing};
use self::wire::Wire;
use super::body::TimedBody;
use super::trail::note_elsewhere;
use super::{Face, traced};
use crate::crypto::keys::PeerKey;
use crate::model::text::{hex, unhex};
use crate::model::{Error, Problem, ReplicaName, Result, Timestamp};

/// For whom a request was passed on, and by whom.
const PEER: HeaderName = HeaderName::from_static("callvault-peer");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// Fields of one connection; they are not passed on (RFC 9110 section 7.6.1). `Expect` is: the sender waits for the holder.
const OF_THE_CONNECTION: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION];

/// What another server passed on is believed for so long, by the two servers' clocks.
const BELIEVED_S: u64 = 300;

/// What becomes of a playback whose recording lies in another server's spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElsewherePlayback {
    /// It is passed through from there.
    Proxy,
    /// It is answered by a problem.
    Refuse,
}

/// This server among those that share the catalog.
pub struct Peers {
    pub name: ReplicaName,
    pub key: PeerKey,
    pub playback: ElsewherePlayback,
    /// Whether this server has told the others where they reach it: a lone one need not look for what others hold.
    pub is_one_of_many: bool,
}

/// The request's part that the stamp is over, as both ends see it.
struct Stamped<'a> {
    from: &'a str,
    to: &'a str,
    at: i64,
    client: Option<IpAddr>,
}

impl Stamped<'_> {
    fn parts(&self, parts: &Parts) -> [Vec<u8>; 6] {
        let address = parts.uri.path_and_query().map_or("", |address| address.as_str());
        [
            parts.method.as_str().into(),
            address.into(),
            self.from.into(),
            self.to.into(),
            self.at.to_be_bytes().into(),
            self.client.map_or(String::new(), |client| client.to_string()).into_bytes(),
        ]
    }
}

impl Peers {
    /// Whom a request that another server passed on is for. `Ok(None)`: it was not passed on.
    pub fn passed_on_for(&self, parts: &Parts, now: Timestamp) -> Result<Option<Option<IpAddr>>> {
        let Some(value) = parts.headers.get(PEER) else { return Ok(None) };
        let client = value.to_str().ok().and_then(|text| self.believed(text, parts, now));
        let detail = "'Callvault-Peer' is what servers of one vault tell each other; this one was not written by them, or their \
                      clocks differ by more than five minutes";
        client.map(Some).ok_or_else(|| Error::new(Problem::BadRequest, detail))
    }

    fn believed(&self, text: &str, parts: &Parts, now: Timestamp) -> Option<Option<IpAddr>> {
        let fields: Vec<&str> = text.split(' ').collect();
        let [from, at, client, stamp] = fields[..] else { return None };
        let client = match client {
            "-" => None,
            address => Some(address.parse::<IpAddr>().ok()?),
        };
        let stamped = Stamped { from, to: self.name.as_str(), at: at.parse().ok()?, client };
        let is_fresh = now.as_second().abs_diff(stamped.at) <= BELIEVED_S;
        let is_ours = is_fresh && self.key.is_stamp(&stamped.parts(parts), &unhex(stamp)?);
        is_ours.then_some(client)
    }

    fn stamp(&self, parts: &Parts, to: &ReplicaName, now: Timestamp, client: Option<IpAddr>) -> HeaderValue {
        let stamped = Stamped { from: self.name.as_str(), to: to.as_str(), at: now.as_second(), client };
        let stamp = hex(&self.key.stamp(&stamped.parts(parts)));
        let client = client.map_or("-".to_owned(), |client| client.to_string());
        let text = format!("{} {} {client} {stamp}", stamped.from, stamped.at);
        HeaderValue::try_from(text).expect("names, numbers and addresses are ASCII")
    }
}

impl Face {
    /// Passes a playback on, and its bytes back as they come.
    pub(super) async fn play_from(&self, parts: &Parts, holder: &ReplicaName) -> Result<Response> {
        if self.peers.playback == ElsewherePlayback::Refuse {
            let detail = format!(
                "the recording is not in the store yet: it is in the spool of replica '{holder}', and cannot be played here"
            );
            return Err(Error::new(Problem::Elsewhere, detail));
        }
        let (wire, request) = self.connect(parts, holder).await?;
        let answered = wire.ask(without_body(request)).await;
        let (head, body, guard) = answered.map_err(|error| no_answer(holder, error))?;
        note_elsewhere(parts);
        let body = Body::from_stream(wire::guarded(body, guard));
        Ok(answer(head, body))
    }

    /// Passes a request about an upload on, and its answer back. The sender hears `100 Continue` when the holder says so.
    pub(super) async fn pass_on(&self, parts: &Parts, body: Body, holder: &ReplicaName) -> Result<Response> {
        let (wire, request) = self.connect(parts, holder).await?;
        if matches!(parts.method, Method::GET | Method::HEAD | Method::DELETE) {
            let (head, body) = wire.ask_whole(without_body(request)).await.map_err(|error| no_answer(holder, error))?;
            note_elsewhere(parts);
            return Ok(answer(head, Body::from(body)));
        }
        self.drain.admit()?;
        let (gate, opener) = Gate::new(parts.headers.contains_key(EXPECT));
        let len = http_body::Body::size_hint(&body).exact();
        let (passing, broke) = Passing::new(TimedBody::new(body, self), len, gate);
        let mut request = request.body(passing).expect("the head was one before");
        hyper::ext::on_informational(&mut request, move |head| {
            if head.status() == StatusCode::CONTINUE {
                opener.open();
            }
        });
        match wire.send_whole(request).await {
            Ok((head, body)) => {
                note_elsewhere(parts);
                Ok(answer(head, Body::from(body)))
            }
            Err(error) => Err(match broke.reason() {
                Some(reason) => {
                    let detail =
                        format!("the body broke off on its way to replica '{holder}', which keeps what arrived there");
                    Error::new(reason.problem(), detail)
                }
                None => no_answer(holder, error),
            }),
        }
    }

    /// The way to a holder, and the head of what is to be asked there.
    async fn connect(&self, parts: &Parts, holder: &ReplicaName) -> Result<(Wire, hyper::http::request::Builder)> {
        let now = self.clock.now();
        if self.peers.passed_on_for(parts, now)?.is_some() {
            let detail = format!("replica '{holder}' has it by now; try again");
            return Err(Error::new(Problem::Elsewhere, detail));
        }
        let replicas = self.catalog.replicas().await.map_err(|error| {
            Error::new(Problem::Unavailable, "the catalog does not answer; try again").because(error)
        })?;
        let url = replicas.into_iter().find(|replica| replica.name == *holder).and_then(|replica| replica.url);
        let authority = url.as_deref().and_then(|url| url.strip_prefix("http://"));
        let authority = authority.ok_or_else(|| {
            let detail =
                format!("it is in the spool of replica '{holder}', which has told no address (replica.url); try again");
            Error::new(Problem::Elsewhere, detail)
        })?;
        let wire = Wire::connect(authority).await.map_err(|error| no_answer(holder, error))?;
        let address = parts.uri.path_and_query().map_or("/", |address| address.as_str());
        let mut request = Request::builder().method(parts.method.clone()).uri(address);
        let headers = request.headers_mut().expect("the address was one before");
        *headers = passed_on(&parts.headers);
        headers.remove(FORWARDED_FOR);
        headers.remove(PEER);
        traced::pass_on(headers);
        headers.insert(HOST, HeaderValue::try_from(authority).map_err(|error| no_answer(holder, error))?);
        headers.insert(PEER, self.peers.stamp(parts, holder, now, self.client_address(parts)?));
        Ok((wire, request))
    }
}

fn without_body(request: hyper::http::request::Builder) -> Request<Passing> {
    let mut request = request.body(Passing::nothing()).expect("the head was one before");
    request.headers_mut().remove(CONTENT_LENGTH);
    request
}

/// Without what belongs to one connection.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_THE_CONNECTION) {
        headers.remove(name);
    }
    headers
}

fn answer(head: hyper::http::response::Parts, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = passed_on(&head.headers);
    response
}

fn no_answer(holder: &ReplicaName, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let detail = format!("it is in the spool of replica '{holder}', which does not answer; nothing is lost; try again");
    Error::new(Problem::Elsewhere, detail).because(error)
}

#[cfg(test)]
mod tests;
