//! The handshake: from a connection that was accepted to a secured stream, and what its client chose to speak there.
//!
//! # Limits
//! A handshake takes no longer than `upload.header_timeout`. `HANDSHAKES_MAX` are under way at once; one more makes the
//! oldest give way, so that clients that are slow on purpose do not keep out those that are not.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::auth::ClientCertificate;
use super::drain::{Came, Drain, PART_TIME_MAX, Phase};
use crate::model::{Error, Problem};

/// What is offered, the better first (RFC 7301).
pub const PROTOCOLS: [&[u8]; 2] = [HTTP2, b"http/1.1"];
const HTTP2: &[u8] = b"h2";

// Limit: a handshake keeps about 20 KiB.
const HANDSHAKES_MAX: usize = 2_048;
/// The first byte of a handshake's record (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

/// The configuration for the next handshake; another one after a certificate was renewed.
pub type Present = watch::Receiver<Arc<ServerConfig>>;

/// Handshakes that are under way, the oldest first.
#[derive(Default)]
pub struct Handshakes(VecDeque<Weak<Notify>>);

/// The place of a handshake; it is told when it has to give way, and given up when it is dropped.
pub struct Place(Arc<Notify>);

impl Handshakes {
    pub fn begin(&mut self) -> Place {
        while self.0.front().is_some_and(|place| place.strong_count() == 0) {
            self.0.pop_front();
        }
        if self.0.len() >= HANDSHAKES_MAX {
            self.0.retain(|place| place.strong_count() > 0);
        }
        if self.0.len() >= HANDSHAKES_MAX
            && let Some(oldest) = self.0.pop_front().and_then(|place| place.upgrade())
        {
            oldest.notify_one();
        }
        let place = Arc::new(Notify::new());
        self.0.push_back(Arc::downgrade(&place));
        Place(place)
    }
}

/// A secured stream; or else the plain one, where its client was told why, and is to be closed with care.
pub async fn shake_hands(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    place: Place,
    time_max: Duration,
    drain: &Drain,
    came: Came,
) -> Result<TlsStream<TcpStream>, Option<TcpStream>> {
    let is_late = async {
        drain.reached(Phase::Draining).await;
        match came {
            Came::BeforeDrain => tokio::time::sleep(PART_TIME_MAX).await,
            Came::InDrain => std::future::pending().await,
        }
    };
    tokio::select! {
        shaken = shake(stream, config) => shaken,
        () = tokio::time::sleep(time_max) => Err(None),
        () = place.0.notified() => Err(None),
        () = is_late => Err(None),
    }
}

async fn shake(mut stream: TcpStream, config: Arc<ServerConfig>) -> Result<TlsStream<TcpStream>, Option<TcpStream>> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first[0] == HANDSHAKE => {}
        Ok(1) if first[0].is_ascii_alphabetic() => {
            let told = stream.write_all(&plain_refusal()).await;
            return Err(told.is_ok().then_some(stream));
        }
        _ => return Err(None),
    }
    let shaken = TlsAcceptor::from(config).accept(stream).into_fallible().await;
    shaken.map_err(|(error, stream)| {
        tracing::debug!(%error, "a handshake failed");
        Some(stream)
    })
}

/// Whether the client chose HTTP/2.
pub fn speaks_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// The digest of the certificate that the client showed and proved to have.
pub fn client_certificate(stream: &TlsStream<TcpStream>) -> Option<ClientCertificate> {
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    Some(ClientCertificate(Sha256::digest(shown.as_ref()).into()))
}

/// Says goodbye, as TLS wants it, so that the end of an answer is told from a cut; then no more is read but to be thrown away.
pub async fn part(mut stream: TlsStream<TcpStream>) -> Option<TcpStream> {
    let parted = tokio::time::timeout(PART_TIME_MAX, stream.shutdown()).await;
    matches!(parted, Ok(Ok(()))).then(|| stream.into_inner().0)
}

/// What a client reads that speaks HTTP where HTTPS is spoken.
fn plain_refusal() -> Vec<u8> {
    let error = Error::new(Problem::BadRequest, "this port speaks HTTPS only: write https:// for http://");
    let title = error.problem.title();
    let body = format!(
        "{{\"type\":\"/problems/{}\",\"title\":\"{title}\",\"status\":400,\"detail\":\"{error}\"}}",
        error.problem.name()
    );
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\nX-Content-Type-Options: nosniff\r\n\
                Cache-Control: no-store\r\nConnection: close\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_handshake_more_than_the_limit_makes_the_oldest_give_way() {
        let mut handshakes = Handshakes::default();
        let places: Vec<Place> = (0..HANDSHAKES_MAX).map(|_| handshakes.begin()).collect();
        let is_told =
            async |place: &Place| tokio::time::timeout(Duration::from_millis(1), place.0.notified()).await.is_ok();
        assert!(!is_told(&places[0]).await, "all have a place");

        let late = handshakes.begin();

        assert!(is_told(&places[0]).await);
        assert!(!is_told(&places[1]).await && !is_told(&late).await);
    }

    #[tokio::test]
    async fn a_handshake_that_is_over_leaves_its_place_to_the_next() {
        let mut handshakes = Handshakes::default();
        let mut places: VecDeque<Place> = (0..HANDSHAKES_MAX).map(|_| handshakes.begin()).collect();
        places.remove(7);

        let _late = handshakes.begin();

        let told = tokio::time::timeout(Duration::from_millis(1), places[0].0.notified()).await;
        assert!(told.is_err(), "nobody had to give way");
    }
}
