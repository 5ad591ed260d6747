//! The accept loop: connections in, answers out, and an end that loses nothing.
//!
//! # Promise
//! After the stop signal no upload begins, and what runs may go on for `drain.timeout`. So long it goes on answering: that
//! it is not ready, and what does not need to be received. Then the uploads that still run are ended, and every one is kept as
//! far as it came before [`serve`] returns: as a partial recording, or open in the spool for the next start where it is
//! resumable. Where nothing runs it returns at once.
//! # Limits
//! Of one connection: a head of `HEAD_LEN_MAX` with `HEADERS_MAX` fields, within `upload.header_timeout`; trailers and
//! extensions of chunks no longer than that. Of all: as many as open files allow; more wait to be taken in. What cannot be parsed is answered by hyper: 400, 414 or 431, without a body.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use axum::routing::get;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};

use super::drain::{Drain, Phase};
use super::paced::Paced;
use super::{SharedFace, later, linger, ops, routes};

/// Uploads that are ended are finished within this, after the drain.
const FINISH_TIME_MAX: Duration = Duration::from_secs(5);
/// The last answers are written and read within this, after the last upload.
const PART_TIME_MAX: Duration = Duration::from_secs(1);
/// When the drain begins: a request on a connection that was made before may be on its way for this long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// After an error of accept(2), such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What happens with every connection is told this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

// Limit: what one connection reads ahead. Less costs bulk uploads a quarter more CPU.
const READ_AHEAD_MAX: usize = 128 << 10;
// Limit: of a request's head, and of a body's trailers. The call's data, each field as long as it may be and percent-encoded,
// need 24 KiB.
const HEAD_LEN_MAX: usize = 32 << 10;
// Limit: fields in a head, and in trailers.
const HEADERS_MAX: usize = 100;

/// Serves until `stop` resolves, and drains.
pub async fn serve(listener: TcpListener, face: SharedFace, stop: impl Future<Output = ()>) {
    let mut doors = Doors::new(listener, face.clone());
    doors.tend(stop).await;
    face.drain.begin();
    doors.before = std::mem::take(&mut doors.open);
    doors.tend(tokio::time::sleep(face.limits.drain_timeout)).await;
    face.drain.end();
    doors.close(finish_uploads(&face)).await;
    if let Err(error) = face.ingest.settle_uploads().await {
        tracing::error!(error = &error as &dyn std::error::Error, "open uploads were not made durable");
    }
}

/// Serves metrics until the process ends, and tells whoever asks whether it is ready: a kubelet is no trusted proxy.
pub async fn serve_metrics(listener: TcpListener, face: SharedFace) {
    let (metrics, ready) = (face.clone(), face.clone());
    let app = Router::new()
        .route("/metrics", get(move |headers| ops::metrics(metrics.clone(), headers)))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(move || ops::readyz(ready.clone())));
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let (app, face) = (app.clone(), face.clone());
                tokio::spawn(async move {
                    if let Some(stream) =
                        answer(stream, peer, app, Duration::from_secs(10), &face.drain, Came::BeforeDrain).await
                    {
                        linger::close(stream).await;
                    }
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// A listener with its connections.
struct Doors {
    listener: TcpListener,
    router: Router,
    face: SharedFace,
    /// Each gives its stream back when its last answer was written.
    open: JoinSet<Option<TcpStream>>,
    /// Those that were open when the drain began.
    before: JoinSet<Option<TcpStream>>,
    /// Their last answer is being read.
    parting: JoinSet<()>,
    complained_at: Option<Instant>,
}

impl Doors {
    fn new(listener: TcpListener, face: SharedFace) -> Doors {
        let router = routes::router(face.clone());
        let (open, before, parting) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        Doors { listener, router, face, open, before, parting, complained_at: None }
    }

    /// Takes and tends connections until `end` resolves; in the drain no longer than something runs that ran before.
    async fn tend(&mut self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        while !self.face.drain.is_draining() || !self.before.is_empty() {
            let has_room = self.has_room();
            if !has_room {
                self.complain(|| tracing::warn!("more clients than the limit of open files allows; they wait"));
            }
            tokio::select! {
                () = &mut end => return,
                () = tokio::time::sleep(ACCEPT_PAUSE), if !has_room => {}
                accepted = self.listener.accept(), if has_room => match accepted {
                    Ok((stream, peer)) => self.take(stream, peer),
                    Err(error) => {
                        self.complain(|| tracing::error!(%error, "connections cannot be accepted"));
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = self.before.join_next() => self.part(ended),
                Some(ended) = self.open.join_next() => self.part(ended),
                Some(_) = self.parting.join_next() => {}
            }
        }
    }

    /// Whether the work on one more connection will find the descriptors that it needs. The kernel gives the lowest number
    /// that is free, so that a new one tells how many are open.
    fn has_room(&self) -> bool {
        let max = self.face.limits.descriptors_max;
        max == u64::MAX || self.listener.as_fd().try_clone_to_owned().is_ok_and(|fd| (fd.as_raw_fd() as u64) < max)
    }

    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        if !is_welcome(&self.face, peer) {
            tracing::warn!(%peer, "a connection was refused: its address is neither loopback nor a trusted proxy");
            return;
        }
        let (router, face) = (self.router.clone(), self.face.clone());
        let came = if face.drain.is_draining() { Came::InDrain } else { Came::BeforeDrain };
        self.open
            .spawn(async move { answer(stream, peer, router, face.limits.header_timeout, &face.drain, came).await });
    }

    fn part(&mut self, ended: Result<Option<TcpStream>, JoinError>) {
        if let Ok(Some(stream)) = ended {
            self.parting.spawn(linger::close(stream));
        }
    }

    fn complain(&mut self, complaint: impl FnOnce()) {
        if self.complained_at.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained_at = Some(Instant::now());
            complaint();
        }
    }

    /// Takes nobody in any more. Those who upload get their answer, the others are not waited for.
    async fn close(self, uploads: impl Future<Output = ()>) {
        let Doors { listener, mut before, mut open, mut parting, .. } = self;
        drop(listener);
        let mut left = pin!(async {
            for connections in [&mut before, &mut open] {
                while let Some(ended) = connections.join_next().await {
                    if let Ok(Some(stream)) = ended {
                        parting.spawn(linger::close(stream));
                    }
                }
            }
            while parting.join_next().await.is_some() {}
        });
        let mut uploads = pin!(uploads);
        tokio::select! {
            () = &mut left => uploads.await,
            () = &mut uploads => {
                if tokio::time::timeout(PART_TIME_MAX, left).await.is_err() {
                    tracing::warn!("connections are closed while they are at work");
                }
            }
        }
    }
}

/// When a connection was accepted. Its task may run for the first time much later.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    BeforeDrain,
    InDrain,
}

/// Answers a connection's requests; gives back the stream that is to be closed with care. `None`: nobody waits for anything
/// there.
async fn answer(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
    drain: &Drain,
    came: Came,
) -> Option<TcpStream> {
    let _ = stream.set_nodelay(true);
    let is_asked = AtomicBool::new(false);
    let service = service_fn(|request| {
        is_asked.store(true, Relaxed);
        Box::pin(call(router.clone(), peer, request))
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

/// Any case of method: hyper tells `put` from `PUT`, senders do not.
///
/// Limit: a call that goes on keeps this future for as long as it lasts; the request is in that of its route, and gone.
fn call(
    router: Router,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response, Infallible>> + Send {
    let mut request = request.map(Body::new);
    if let Ok(upper) = request.method().as_str().to_ascii_uppercase().parse::<Method>() {
        *request.method_mut() = upper;
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    let has_body = !request.body().is_end_stream();
    let answer = later::answer(router, request);
    async move {
        let mut response = answer.await;
        // What is left of a refused body is not read as a next request: the client is told not to send one here.
        if has_body && !response.status().is_success() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

/// Plain HTTP is for this machine, and for proxies that are named.
fn is_welcome(face: &SharedFace, peer: SocketAddr) -> bool {
    let address = peer.ip().to_canonical();
    address.is_loopback() || face.limits.trusted_proxies.iter().any(|network| network.contains(&address))
}

async fn finish_uploads(face: &SharedFace) {
    let finished = async {
        while face.ingest.live.count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(FINISH_TIME_MAX, finished).await.is_err() {
        tracing::warn!("uploads are still being finished; the next start goes on with them");
    }
}
