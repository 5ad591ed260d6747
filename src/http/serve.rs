//! The accept loop: connections in, answers out, and an end that loses nothing.
//!
//! # Promise
//! After the stop signal no connection is accepted; what runs may go on for `drain.timeout`, then its connections are closed,
//! and every upload that was running is kept as far as it came before [`serve`] returns.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::Response;
use futures::FutureExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service;

use super::{SharedFace, linger, ops, routes};

/// Uploads that broke off are finished within this, after their connections were closed.
const FINISH_TIME_MAX: Duration = Duration::from_secs(5);
/// After an error of accept(2), such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` resolves.
pub async fn serve(listener: TcpListener, face: SharedFace, stop: impl Future<Output = ()>) {
    let router = routes::router(face.clone());
    let (closing, closed) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if is_welcome(&face, peer) => {
                    connections.spawn(connection(stream, peer, router.clone(), face.clone(), closed.clone()));
                }
                Ok((_, peer)) => {
                    tracing::warn!(%peer, "a connection was refused: its address is neither loopback nor a trusted proxy");
                }
                Err(error) => {
                    tracing::error!(%error, "connections cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    drop(closing);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(face.limits.drain_timeout, drained).await.is_err() {
        tracing::warn!(count = connections.len(), "connections are closed while they are at work");
        connections.shutdown().await;
    }
    finish_uploads(&face).await;
}

/// Serves metrics until the process ends.
pub async fn serve_metrics(listener: TcpListener, face: SharedFace) {
    let app = Router::new().route("/metrics", axum::routing::get(move || ops::metrics(face.clone())));
    let (_closing, closed) = watch::channel(());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(answer(stream, peer, app.clone(), Duration::from_secs(10), closed.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    face: SharedFace,
    closed: watch::Receiver<()>,
) {
    let header_timeout = face.limits.header_timeout;
    answer(stream, peer, router, header_timeout, closed).await;
}

async fn answer(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
    mut closed: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| Box::pin(call(router.clone(), peer, request)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        // Limit: what one connection reads ahead. Less costs bulk uploads a quarter more CPU.
        .max_buf_size(128 << 10)
        // A client may close its sending side and still read the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => ended,
        _ = closed.changed() => {
            std::pin::Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke");
    }
    let stream = connection.into_parts().io.into_inner();
    tokio::select! {
        () = linger::close(stream) => {}
        // A server that stops does not wait for those who have nothing more to say.
        _ = closed.changed() => {}
    }
}

/// Any case of method: hyper tells `put` from `PUT`, senders do not.
async fn call(mut router: Router, peer: SocketAddr, request: Request<Incoming>) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    if let Ok(upper) = request.method().as_str().to_ascii_uppercase().parse::<Method>() {
        *request.method_mut() = upper;
    }
    request.extensions_mut().insert(ConnectInfo(peer));
    let has_body = !request.body().is_end_stream();
    let mut response = router.call(request).await?;
    // What is left of a refused body is not read as a next request: the client is told not to send one here.
    if has_body && !response.status().is_success() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
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
    if tokio::time::timeout(FINISH_TIME_MAX, finished.fuse()).await.is_err() {
        tracing::warn!("uploads are still being finished; the next start goes on with them");
    }
    if let Err(error) = face.ingest.settle_uploads().await {
        tracing::error!(error = &error as &dyn std::error::Error, "open uploads were not made durable");
    }
}
