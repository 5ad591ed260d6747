//! A connection that speaks HTTP/1.1, over TLS or plain.
//!
//! # Limits
//! A head of `HEAD_LEN_MAX` with `HEADERS_MAX` fields, within `upload.header_timeout`; trailers and extensions of chunks no
//! longer than that. What cannot be parsed is answered by hyper: 400, 414 or 431, without a body.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite};

use super::answer::Answers;
use super::drain::{Came, FIRST_WAIT, Phase};
use super::paced::Paced;

// Limit: what one connection reads ahead. Less costs bulk uploads a quarter more CPU.
const READ_AHEAD_MAX: usize = 128 << 10;
// Limit: of a request's head, and of a body's trailers. The call's data, each field as long as it may be and percent-encoded,
// need 24 KiB.
pub const HEAD_LEN_MAX: usize = 32 << 10;
// Limit: fields in a head, and in trailers.
pub const HEADERS_MAX: usize = 100;

/// Answers a connection's requests; gives back the stream that is to be closed with care. `None`: nobody waits for anything
/// there.
pub async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: SocketAddr,
    answers: Answers,
    header_timeout: Duration,
    came: Came,
) -> Option<S> {
    let drain = &answers.face.drain;
    let is_asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        is_asked.store(true, Relaxed);
        answers.answer(peer, request)
    });
    let takes_more = came == Came::BeforeDrain;
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_LEN_MAX)
        .max_buf_size(READ_AHEAD_MAX)
        // A client may close its sending side and still read the answer.
        .half_close(true)
        .keep_alive(takes_more)
        .serve_connection(Paced::new(stream), service);
    let mut ended = None;
    if takes_more {
        ended = tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(ended),
            () = drain.reached(Phase::Draining) => None,
        };
        if ended.is_none() && !is_asked.load(Relaxed) {
            let first = poll_fn(|context| connection.poll_without_shutdown(context));
            ended = tokio::time::timeout(FIRST_WAIT, first).await.ok();
        }
        if ended.is_none() {
            Pin::new(&mut connection).graceful_shutdown();
            let is_idle = poll_fn(|context| Poll::Ready(connection.poll_without_shutdown(context).is_ready())).await;
            if is_idle || !is_asked.load(Relaxed) {
                return None;
            }
        }
    }
    if ended.is_none() {
        ended = tokio::select! {
            ended = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(ended),
            () = drain.reached(Phase::Over) => None,
        };
    }
    let ended = match ended {
        Some(ended) => ended,
        None if !is_asked.load(Relaxed) => return None,
        // A body that is being received ends by this.
        None => poll_fn(|context| connection.poll_without_shutdown(context)).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke");
    }
    Some(connection.into_parts().io.into_inner())
}
