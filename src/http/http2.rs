//! A connection that speaks HTTP/2, which only TLS offers: browsers, and portals that ask for much at once.
//!
//! Each request is a task of its own. One that its client resets is dropped; an upload is finished all the same
//! ([`super::outlive`]).
//! # Limits
//! Of one connection: `STREAMS_MAX` requests at once, each with a head like that of HTTP/1.1; `CONNECTION_WINDOW` bytes that
//! no request has taken yet; `ABANDONED_MAX` requests that were reset before their answer. One without requests is closed after
//! `upload.header_timeout`, one whose peer is gone after `PING_EVERY` and `PONG_WITHIN`. A request that finds no descriptor
//! left is answered 503.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{oneshot, watch};

use super::answer::Answers;
use super::drain::{Came, PART_TIME_MAX, Phase};
use super::http1::{HEAD_LEN_MAX, HEADERS_MAX};
use super::linger::Lingering;
use super::serve::has_room;
use crate::model::{Error, Problem};

// Limit: a browser asks for a dozen at once; a portal that uploads more opens another connection.
const STREAMS_MAX: u32 = 100;
// Limit: what one upload reads ahead, and all uploads of a connection together: that much memory one peer can fill.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
// Limit: of an answer that its reader has not taken yet.
const SEND_AHEAD_MAX: usize = 64 << 10;
// Limit: requests that are reset before we looked at them (CVE-2023-44487), and streams that break the protocol.
const RESETS_PENDING_MAX: usize = 20;
const ERROR_RESETS_MAX: usize = 100;
// Limit: requests that are reset while they are answered. Seeking in a recording resets a few; who resets so many is asked to
// connect anew, and cut off after as many again.
const ABANDONED_MAX: usize = 1_000;
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(60);

/// Answers a connection's requests; gives back the stream that is to be closed with care. `None`: nobody waits for anything
/// there.
pub async fn answer<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    peer: SocketAddr,
    answers: Answers,
    header_timeout: Duration,
    came: Came,
) -> Option<S> {
    let drain = answers.face.drain.clone();
    let streams = watch::Sender::new(Streams::default());
    let (counted, seen) = (streams.clone(), streams.subscribe());
    let service = service_fn(move |request| answer_one(answers.clone(), peer, request, Running::begin(&counted)));
    let (lent, given_back) = Lent::new(stream);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_LEN_MAX as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_AHEAD_MAX)
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN)
        .serve_connection(TokioIo::new(lent), service);
    let mut connection = Box::pin(connection);
    let takes_no_more = async {
        match came {
            Came::BeforeDrain => tokio::select! {
                () = idle(seen.clone(), header_timeout) => {}
                () = abandoned(seen.clone(), ABANDONED_MAX) => {}
                () = drain.reached(Phase::Draining) => {}
            },
            // It gets the one answer for which it came.
            Came::InDrain => drop(tokio::time::timeout(header_timeout, seen.clone().changed()).await),
        }
    };
    let mut ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = takes_no_more => None,
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        let is_left = async {
            drain.reached(Phase::Draining).await;
            idle(seen.clone(), PART_TIME_MAX).await;
        };
        ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = is_left => None,
            () = abandoned(seen.clone(), 2 * ABANDONED_MAX) => None,
        };
    }
    if let Err(error) = ended? {
        tracing::debug!(%peer, %error, "a connection broke");
    }
    drop(connection);
    given_back.await.ok()
}

/// One request, to the end of its answer's body.
fn answer_one(
    answers: Answers,
    peer: SocketAddr,
    mut request: Request<Incoming>,
    mut running: Running,
) -> Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> {
    Box::pin(async move {
        let response = if request.headers().len() > HEADERS_MAX {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE.into_response()
        } else if !has_room(answers.face.limits.descriptors_max) {
            Error::new(Problem::Busy, "too many clients at once; try again after 'Retry-After'").into_response()
        } else {
            name_framing(&mut request);
            let over = answers.face.drain.reached(Phase::Over);
            let mut answer = answers.answer(peer, request.map(Lingering::new));
            drop(answers);
            let answered = tokio::select! {
                answered = &mut answer => Some(answered),
                () = over => None,
            };
            // A body that is being received looks at the phase when it is polled, and ends by it.
            let answered = match answered {
                Some(answered) => answered,
                None => answer.await,
            };
            answered.unwrap_or_else(|never| match never {})
        };
        running.is_answered = true;
        Ok(response.map(|body| {
            Body::new(body.map_err(move |error| {
                let _ = &running;
                error
            }))
        }))
    })
}

/// A request's framing in the fields of HTTP/1.1: HTTP/2 frames a body by itself.
fn name_framing(request: &mut Request<Incoming>) {
    let is_empty = request.body().is_end_stream();
    let takes_body = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE);
    let headers = request.headers_mut();
    headers.remove(TRANSFER_ENCODING);
    if takes_body && !headers.contains_key(CONTENT_LENGTH) {
        match is_empty {
            true => headers.insert(CONTENT_LENGTH, 0.into()),
            false => headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
        };
    }
}

/// What becomes of a connection's requests.
#[derive(Default)]
struct Streams {
    running: usize,
    abandoned: usize,
}

/// A request from its head to the end of its answer.
struct Running {
    streams: watch::Sender<Streams>,
    is_answered: bool,
}

impl Running {
    fn begin(streams: &watch::Sender<Streams>) -> Running {
        streams.send_modify(|streams| streams.running += 1);
        Running { streams: streams.clone(), is_answered: false }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.streams.send_modify(|streams| {
            streams.running -= 1;
            streams.abandoned += usize::from(!self.is_answered);
        });
    }
}

/// Resolves when for so long there was no request.
async fn idle(mut streams: watch::Receiver<Streams>, time: Duration) {
    loop {
        if streams.wait_for(|streams| streams.running == 0).await.is_err() {
            return;
        }
        if tokio::time::timeout(time, streams.changed()).await.is_err() {
            return;
        }
    }
}

async fn abandoned(mut streams: watch::Receiver<Streams>, count: usize) {
    drop(streams.wait_for(|streams| streams.abandoned >= count).await);
}

/// A stream that comes back when hyper drops it.
struct Lent<S> {
    stream: Option<S>,
    back: Option<oneshot::Sender<S>>,
}

impl<S: Unpin> Lent<S> {
    fn new(stream: S) -> (Lent<S>, oneshot::Receiver<S>) {
        let (back, given_back) = oneshot::channel();
        (Lent { stream: Some(stream), back: Some(back) }, given_back)
    }

    fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(self.stream.as_mut().expect("it is given back when it is dropped"))
    }
}

impl<S> Drop for Lent<S> {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            drop(back.send(stream));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lent<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.stream().poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lent<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.stream().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}
