//! The calls: one wheel that turns once a tick interval and sends every stream its bytes when it comes by.
//!
//! Nothing is kept of a stream but its socket and how much it sent: its bytes follow from its number and the position.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::audio::audio;
use super::server::Server;
use super::wire::{Answer, Wire};
use super::{Mode, Plan};

// Limit: a listener queues 128 connections by default; one that finds no place there is tried again after a second.
pub const OPENING_MAX: usize = 100;
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The wheel sleeps at least this long, so that it is woken 500 times a second and not once for each stream.
const NAP: Duration = Duration::from_millis(2);

pub struct Load<'a> {
    plan: &'a Plan,
    token: String,
    streams: Vec<Stream>,
    /// When the wheel began to turn, and how many streams came by since.
    turning_since: Instant,
    turned: u64,
    /// When the first stream ends; the others follow.
    ends_at: Instant,
    endings: JoinSet<Ending>,
    buffer: Vec<u8>,
    pub late_max: Duration,
    /// Ticks at which a socket was full: the server is behind.
    pub skipped: u64,
    pub failures: BTreeMap<String, usize>,
    pub opening: Vec<Duration>,
}

struct Stream {
    wire: Option<Wire>,
    /// The address of a resumable upload; the name of a plain one.
    path: String,
    sent: u64,
    /// The end of a tick of which a socket took a part only.
    rest: Vec<u8>,
}

/// A stream as its sender knows it.
pub struct Sent {
    /// Name or id of the recording.
    pub key: String,
    pub len: u64,
}

/// How a stream was answered.
pub struct Ending {
    pub status: u16,
    /// From the last byte to the acknowledgement.
    pub waited: Duration,
    note: String,
}

impl<'a> Load<'a> {
    /// Opens every stream, up to the moment at which the server asks for its body.
    pub async fn open(plan: &'a Plan, server: &Server) -> Load<'a> {
        let opened =
            stream::iter(0..plan.streams as usize).map(|index| open(plan, server, index)).buffered(OPENING_MAX);
        let (mut streams, mut opening, mut failures) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (index, opened) in opened.collect::<Vec<_>>().await.into_iter().enumerate() {
            let path = plan.name(index);
            streams.push(match opened {
                Ok((wire, path, waited)) => {
                    opening.push(waited);
                    Stream { wire: Some(wire), path, sent: 0, rest: Vec::new() }
                }
                Err(reason) => {
                    *failures.entry(reason).or_default() += 1;
                    Stream { wire: None, path, sent: 0, rest: Vec::new() }
                }
            });
        }
        let now = Instant::now();
        Load {
            plan,
            token: server.token.clone(),
            streams,
            turning_since: now,
            turned: 0,
            ends_at: now + plan.steady_time(),
            endings: JoinSet::new(),
            buffer: Vec::new(),
            late_max: Duration::ZERO,
            skipped: 0,
            failures,
            opening,
        }
    }

    /// What was sent of each stream.
    pub fn sent(&self) -> Vec<Sent> {
        let key = |path: &str| path.rsplit_once("/uploads/").map_or(path, |(_, id)| id).to_owned();
        self.streams.iter().map(|stream| Sent { key: key(&stream.path), len: stream.sent }).collect()
    }

    /// Turns the wheel for a while.
    pub async fn turn(&mut self, until: Instant) {
        let count = self.streams.len() as u64;
        loop {
            let now = Instant::now();
            let mut due = self.due();
            while due <= now {
                self.step((self.turned % count) as usize, now);
                self.late_max = self.late_max.max(now - due);
                self.turned += 1;
                due = self.due();
                // Those who wait for an answer want to read it.
                if self.turned.is_multiple_of(64) {
                    tokio::task::yield_now().await;
                }
            }
            if now >= until {
                return;
            }
            sleep_until(due.max(now + NAP).min(until).into()).await;
        }
    }

    /// Turns the wheel until every stream has ended; how each was answered.
    pub async fn end(&mut self) -> Vec<Ending> {
        self.turn(self.end_of(self.streams.len()) + self.plan.tick_time()).await;
        let mut endings = Vec::new();
        while let Some(ending) = self.endings.join_next().await {
            let ending = ending.expect("it does not panic");
            if !(200..300).contains(&ending.status) {
                self.fail(format!("status {} {}", ending.status, ending.note));
            }
            endings.push(ending);
        }
        endings
    }

    /// Connects every stream again and goes on where the server says that it stands; what each has to send again.
    pub async fn resume(&mut self, server: &Server) -> Vec<u64> {
        let mut cut_off = Vec::new();
        for (index, stream) in self.streams.iter_mut().enumerate() {
            stream.rest.clear();
            if stream.wire.take().is_some() {
                cut_off.push((index, stream.path.clone()));
            }
        }
        let resumed = stream::iter(cut_off).map(async |(index, path)| (index, resume(server, &path).await));
        let resumed: Vec<_> = resumed.buffer_unordered(OPENING_MAX).collect().await;
        let mut sent_again = Vec::new();
        for (index, resumed) in resumed {
            let sent = self.streams[index].sent;
            match resumed {
                Ok((wire, offset)) if offset <= sent => {
                    sent_again.push(sent - offset);
                    (self.streams[index].wire, self.streams[index].sent) = (Some(wire), offset);
                }
                Ok((_, offset)) => self.fail(format!("the server stands at {offset} of {sent} sent bytes")),
                Err(reason) => self.fail(reason),
            }
        }
        (self.turning_since, self.turned) = (Instant::now(), 0);
        sent_again
    }

    fn fail(&mut self, reason: String) {
        *self.failures.entry(reason).or_default() += 1;
    }

    /// When the next stream comes by: they are spread evenly over the tick interval.
    fn due(&self) -> Instant {
        let nanos = self.plan.tick_time().as_nanos() * u128::from(self.turned) / self.streams.len() as u128;
        self.turning_since + Duration::from_nanos(nanos as u64)
    }

    fn end_of(&self, index: usize) -> Instant {
        self.ends_at + Duration::from_secs_f64(index as f64 / self.plan.ends_per_s as f64)
    }

    fn step(&mut self, index: usize, now: Instant) {
        if now >= self.end_of(index) {
            return self.hang_up(index, b"0\r\n\r\n");
        }
        let stream = &mut self.streams[index];
        let Some(wire) = &stream.wire else { return };
        let is_rest = !stream.rest.is_empty();
        let bytes = if is_rest {
            &stream.rest
        } else {
            frame(&mut self.buffer, index, stream.sent, self.plan.tick_len());
            &self.buffer
        };
        match wire.tcp.try_write(bytes) {
            Ok(count) => {
                stream.sent += if is_rest { 0 } else { self.plan.tick_len() };
                stream.rest = if count < bytes.len() { bytes[count..].to_vec() } else { Vec::new() };
                self.skipped += u64::from(is_rest);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.skipped += 1,
            // The server hung up; it may have said why.
            Err(_) => self.hang_up(index, b""),
        }
    }

    /// Sends the last of a stream and lets a task wait for the answer.
    fn hang_up(&mut self, index: usize, last: &[u8]) {
        let stream = &mut self.streams[index];
        let Some(wire) = stream.wire.take() else { return };
        let mut bytes = std::mem::take(&mut stream.rest);
        bytes.extend_from_slice(last);
        let closing = match self.plan.mode {
            Mode::Put => None,
            Mode::Tus => Some(close_at(&stream.path, &self.token, stream.sent)),
        };
        self.endings.spawn(finish(wire, bytes, closing));
    }
}

/// One tick as a chunk of a chunked body.
fn frame(buffer: &mut Vec<u8>, index: usize, position: u64, len: u64) {
    buffer.clear();
    buffer.extend_from_slice(format!("{len:x}\r\n").as_bytes());
    let head_len = buffer.len();
    buffer.resize(head_len + len as usize, 0);
    audio(index, position, &mut buffer[head_len..]);
    buffer.extend_from_slice(b"\r\n");
}

async fn finish(mut wire: Wire, bytes: Vec<u8>, closing: Option<String>) -> Ending {
    let started = Instant::now();
    let asked = async {
        let mut answer = wire.ask(&bytes).await?;
        if let (204, Some(closing)) = (answer.status, closing) {
            answer = wire.ask(closing.as_bytes()).await?;
        }
        Ok::<_, std::io::Error>(answer)
    };
    let asked = timeout(ANSWER_TIME_MAX, asked).await;
    let waited = started.elapsed();
    match asked {
        Ok(Ok(answer)) if answer.status < 300 => Ending { status: answer.status, waited, note: String::new() },
        Ok(Ok(answer)) => Ending { status: answer.status, waited, note: wire.text(&answer).await },
        Ok(Err(error)) => Ending { status: 0, waited, note: error.to_string() },
        Err(_) => Ending { status: 0, waited, note: "no answer".to_owned() },
    }
}

/// The connection on which the body goes, the path to which it goes, and how long it took to begin.
async fn open(plan: &Plan, server: &Server, index: usize) -> Result<(Wire, String, Duration), String> {
    let started = Instant::now();
    let mut wire = Wire::connect(server.address).await.map_err(|error| error.to_string())?;
    let name = plan.name(index);
    let (request, path) = match plan.mode {
        Mode::Put => (format!("PUT /v1/recordings/{name} HTTP/1.1\r\ncontent-type: audio/basic\r\n"), name),
        Mode::Tus => {
            let request = format!(
                "POST /v1/uploads HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ntus-resumable: 1.0.0\r\n\
                 upload-defer-length: 1\r\nupload-metadata: filename {}\r\ncontent-length: 0\r\n\r\n",
                server.token,
                STANDARD.encode(&name)
            );
            let answer = wire.ask(request.as_bytes()).await.map_err(|error| error.to_string())?;
            let location = answer.header("location").filter(|_| answer.status == 201);
            let Some(location) = location else { return Err(refused(&mut wire, &answer).await) };
            // A relative address as well as a whole one.
            let path = location.find("/v1/").map_or(location, |start| &location[start..]).to_owned();
            (append_at(&path, 0), path)
        }
    };
    begin_body(&mut wire, &server.token, &request).await?;
    Ok((wire, path, started.elapsed()))
}

/// Tries for a while: a server that has just started may be busy with what it finds.
async fn resume(server: &Server, path: &str) -> Result<(Wire, u64), String> {
    let started = Instant::now();
    loop {
        match resume_once(server, path).await {
            Err(_) if started.elapsed() < RETRY_TIME_MAX => sleep(RETRY_PAUSE).await,
            resumed => return resumed,
        }
    }
}

async fn resume_once(server: &Server, path: &str) -> Result<(Wire, u64), String> {
    let mut wire = Wire::connect(server.address).await.map_err(|error| error.to_string())?;
    let request = format!(
        "HEAD {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {}\r\ntus-resumable: 1.0.0\r\n\r\n",
        server.token
    );
    let answer = wire.ask(request.as_bytes()).await.map_err(|error| error.to_string())?;
    let offset = answer.number("upload-offset").filter(|_| answer.status < 300);
    let offset = offset.ok_or_else(|| format!("HEAD of an upload: status {}", answer.status))?;
    begin_body(&mut wire, &server.token, &append_at(path, offset)).await?;
    Ok((wire, offset))
}

fn append_at(path: &str, offset: u64) -> String {
    format!(
        "PATCH {path} HTTP/1.1\r\ntus-resumable: 1.0.0\r\ncontent-type: application/offset+octet-stream\r\n\
         upload-offset: {offset}\r\n"
    )
}

/// An empty PATCH that tells how long the whole is.
fn close_at(path: &str, token: &str, len: u64) -> String {
    format!(
        "PATCH {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\ntus-resumable: 1.0.0\r\n\
         content-type: application/offset+octet-stream\r\nupload-offset: {len}\r\nupload-length: {len}\r\n\
         content-length: 0\r\n\r\n"
    )
}

/// Sends the rest of the head; returns when the server wants the body, which it does when the recording has begun.
async fn begin_body(wire: &mut Wire, token: &str, request: &str) -> Result<(), String> {
    let rest = "transfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n";
    let head = format!("{request}host: bench\r\nauthorization: Bearer {token}\r\n{rest}");
    let answer = wire.ask(head.as_bytes()).await.map_err(|error| error.to_string())?;
    if answer.status == 100 { Ok(()) } else { Err(refused(wire, &answer).await) }
}

async fn refused(wire: &mut Wire, answer: &Answer) -> String {
    format!("status {} {}", answer.status, wire.text(answer).await)
}
