//! One connection to another server, for one request.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http_body_util::{BodyExt, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::response::Parts;
use hyper_util::rt::TokioIo;
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::passing::Passing;

/// A server that is restarted refuses at once; one whose machine is gone is not waited for longer.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(2);
/// For the head of an answer to a request without a body.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);
/// What was sent and not taken, or asked and not answered, by a machine that is gone: the connection breaks.
const SILENCE_MAX: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;
// Limit: answers about uploads are a recording as JSON, or a problem; the call's data, each field as long as it may be, need 24 KiB.
const ANSWER_LEN_MAX: usize = 256 << 10;

type Failed = Box<dyn std::error::Error + Send + Sync>;

pub struct Wire {
    sender: SendRequest<Passing>,
    guard: Guard,
}

/// Breaks the connection off when it is dropped.
pub struct Guard(JoinHandle<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Wire {
    pub async fn connect(authority: &str) -> Result<Wire, Failed> {
        let stream = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(with_port(authority))).await??;
        stream.set_nodelay(true)?;
        watch_for_silence(&stream)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // How it ends, the answer tells.
        let guard = Guard(tokio::spawn(async move { drop(connection.await) }));
        Ok(Wire { sender, guard })
    }

    /// An answer whose body is read as it comes.
    pub async fn ask(mut self, request: Request<Passing>) -> Result<(Parts, Incoming, Guard), Failed> {
        let answer = tokio::time::timeout(ANSWER_TIME_MAX, self.sender.send_request(request)).await??;
        let (head, body) = answer.into_parts();
        Ok((head, body, self.guard))
    }

    /// A short answer, to a request without a body.
    pub async fn ask_whole(self, request: Request<Passing>) -> Result<(Parts, Bytes), Failed> {
        let (head, body, _guard) = self.ask(request).await?;
        Ok((head, whole(body).await?))
    }

    /// A short answer, to a request whose body lasts as long as it lasts.
    pub async fn send_whole(mut self, request: Request<Passing>) -> Result<(Parts, Bytes), Failed> {
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok((head, whole(body).await?))
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Failed> {
    let collected = tokio::time::timeout(ANSWER_TIME_MAX, Limited::new(body, ANSWER_LEN_MAX).collect()).await?;
    Ok(collected?.to_bytes())
}

/// A body whose connection lives no longer than it.
pub fn guarded(body: Incoming, guard: Guard) -> impl Stream<Item = Result<Bytes, hyper::Error>> + Send {
    let guarded = (body.into_data_stream(), guard);
    futures::stream::unfold(guarded, |(mut frames, guard)| async move {
        let frame = futures::StreamExt::next(&mut frames).await?;
        Some((frame, (frames, guard)))
    })
}

fn watch_for_silence(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_tcp_user_timeout(stream, SILENCE_MAX.as_millis() as u32)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, SILENCE_MAX / PROBES)?;
    sockopt::set_tcp_keepintvl(stream, SILENCE_MAX / PROBES)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    Ok(())
}

fn with_port(authority: &str) -> String {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    if has_port { authority.to_owned() } else { format!("{authority}:80") }
}
