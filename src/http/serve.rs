//! The accept loop: connections in, answers out, and an end that loses nothing.
//!
//! # Promise
//! After the stop signal no upload begins, and what runs may go on for `drain.timeout`. So long it goes on answering: that
//! it is not ready, and what does not need to be received. Then the uploads that still run are ended, and every one is kept as
//! far as it came before [`serve`] returns: as a partial recording, or open in the spool for the next start where it is
//! resumable. Where nothing runs it returns at once.
//! # Limits
//! Of all connections: as many as open files allow; more wait to be taken in. Of one: [`super::http1`], [`super::http2`]; of
//! one that is not secured yet: [`super::tls`].

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};

use super::answer::{Answers, Line};
use super::drain::{Came, PART_TIME_MAX};
use super::tls::{Handshakes, Place, Present};
use super::{SharedFace, http1, http2, linger, ops, routes, tls};

/// Uploads that are ended are finished within this, after the drain.
const FINISH_TIME_MAX: Duration = Duration::from_secs(5);
/// After an error of accept(2), such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Of a request for metrics.
const METRICS_HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// What happens with every connection is told this often.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Serves until `stop` resolves, and drains. Every connection is secured where there is a configuration for it.
pub async fn serve(listener: TcpListener, face: SharedFace, secured: Option<Present>, stop: impl Future<Output = ()>) {
    let mut doors = Doors::new(listener, face.clone(), secured);
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
    let router = Router::new()
        .route("/metrics", get(move |headers| ops::metrics(metrics.clone(), headers)))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(move || ops::readyz(ready.clone())));
    let answers = Answers::new(router, face, Line::Plain);
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let answers = answers.clone();
                let _ = stream.set_nodelay(true);
                tokio::spawn(async move {
                    let answered = http1::answer(stream, peer, answers, METRICS_HEAD_TIME_MAX, Came::BeforeDrain).await;
                    if let Some(stream) = answered {
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
    answers: Answers,
    face: SharedFace,
    secured: Option<Present>,
    handshakes: Handshakes,
    /// Each gives its stream back when its last answer was written.
    open: JoinSet<Option<TcpStream>>,
    /// Those that were open when the drain began.
    before: JoinSet<Option<TcpStream>>,
    /// Their last answer is being read.
    parting: JoinSet<()>,
    complained_at: Option<Instant>,
}

impl Doors {
    fn new(listener: TcpListener, face: SharedFace, secured: Option<Present>) -> Doors {
        let line = if secured.is_some() { Line::Secured } else { Line::Plain };
        Doors {
            listener,
            answers: Answers::new(routes::router(face.clone()), face.clone(), line),
            face,
            secured,
            handshakes: Handshakes::default(),
            open: JoinSet::new(),
            before: JoinSet::new(),
            parting: JoinSet::new(),
            complained_at: None,
        }
    }

    /// Takes and tends connections until `end` resolves; in the drain no longer than something runs that ran before.
    async fn tend(&mut self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        while !self.face.drain.is_draining() || !self.before.is_empty() {
            let has_room = has_room(self.face.limits.descriptors_max);
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

    fn take(&mut self, stream: TcpStream, peer: SocketAddr) {
        let (answers, header_timeout) = (self.answers.clone(), self.face.limits.header_timeout);
        let came = if self.face.drain.is_draining() { Came::InDrain } else { Came::BeforeDrain };
        let _ = stream.set_nodelay(true);
        match &self.secured {
            Some(present) => {
                let (config, place) = (present.borrow().clone(), self.handshakes.begin());
                self.open.spawn(answer_secured(stream, peer, config, place, answers, came));
            }
            None if is_welcome(&self.face, peer) => {
                self.open.spawn(http1::answer(stream, peer, answers, header_timeout, came));
            }
            None => {
                tracing::warn!(%peer, "a connection was refused: its address is neither loopback nor a trusted proxy");
            }
        }
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

/// Answers a connection that begins with a handshake. What only the handshake and HTTP/2 need is boxed: a call that goes on
/// does not keep it.
async fn answer_secured(
    stream: TcpStream,
    peer: SocketAddr,
    config: Arc<ServerConfig>,
    place: Place,
    answers: Answers,
    came: Came,
) -> Option<TcpStream> {
    let header_timeout = answers.face.limits.header_timeout;
    let shaken = Box::pin(tls::shake_hands(stream, config, place, header_timeout, &answers.face.drain, came)).await;
    let stream = match shaken {
        Ok(stream) => Box::new(stream),
        Err(refused) => return refused,
    };
    let answers = answers.to(tls::client_certificate(&stream));
    let stream = match tls::speaks_http2(&stream) {
        true => Box::pin(http2::answer(stream, peer, answers, header_timeout, came)).await,
        false => http1::answer(stream, peer, answers, header_timeout, came).await,
    };
    Box::pin(tls::part(*stream?)).await
}

/// Whether the work on one more connection or request will find the descriptors that it needs. The kernel gives the lowest
/// number that is free, so that a new one tells how many are open.
pub fn has_room(descriptors_max: u64) -> bool {
    let is_below = |stderr: std::io::Stderr| {
        stderr.as_fd().try_clone_to_owned().is_ok_and(|fd| (fd.as_raw_fd() as u64) < descriptors_max)
    };
    descriptors_max == u64::MAX || is_below(std::io::stderr())
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
