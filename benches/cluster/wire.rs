//! What all clients of the cluster share: requests that alternate between its servers, and answers as a client sees them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use reqwest::{Body, RequestBuilder, Response};
use serde_json::Value;
use tokio::time::sleep;

use super::audio::audio;
use super::ledger::{Kind, Ledger, Seen};

/// A client that is not answered for so long hangs up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// An upload that is not acknowledged after so long is a fault.
pub const PATIENCE: Duration = Duration::from_secs(240);
const PAUSE_MIN: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// Bytes of one piece of a body that is sent as fast as it goes.
const PIECE_LEN: u64 = 64 << 10;

pub struct World {
    pub ledger: Ledger,
    pub addresses: Vec<SocketAddr>,
    http: reqwest::Client,
    token: String,
    turns: AtomicU64,
    random: AtomicU64,
    /// When the load began, and how long it lasts.
    pub began: Instant,
    pub total: Duration,
}

/// An answer whose body was read.
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub offset: Option<u64>,
    retry_after: Option<Duration>,
    pub json: Value,
}

impl World {
    pub fn new(addresses: Vec<SocketAddr>, token: &str, seed: u64, total: Duration) -> World {
        let builder = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(2));
        World {
            ledger: Ledger::default(),
            addresses,
            http: builder.build().expect("a client"),
            token: token.to_owned(),
            turns: AtomicU64::new(0),
            random: AtomicU64::new(seed),
            began: Instant::now(),
            total,
        }
    }

    /// SplitMix64.
    pub fn random(&self) -> u64 {
        let mut z = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.random() % (high - low + 1)
    }

    pub fn is_over(&self) -> bool {
        self.began.elapsed() >= self.total
    }

    /// A request to whichever server comes next.
    pub fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        let turn = self.turns.fetch_add(1, Relaxed) as usize;
        self.ask_at(self.addresses[turn % self.addresses.len()], method, path)
    }

    pub fn ask_at(&self, address: SocketAddr, method: &str, path: &str) -> RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("http://{address}{path}")).bearer_auth(&self.token)
    }

    /// The answer to a request, or how it failed; `since` is when its last byte was sent.
    pub async fn answer(&self, request: RequestBuilder, last: &LastByte) -> Result<Answer, Seen> {
        let answered = async {
            let response = request.send().await?;
            let number = |name: &str| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
            let (offset, retry_after) = (number("upload-offset"), number("retry-after").map(Duration::from_secs));
            let text = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
            let (status, location) = (response.status().as_u16(), text("location"));
            let body = response.bytes().await?;
            let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
            Ok::<_, reqwest::Error>(Answer { status, location, offset, retry_after, json })
        };
        last.patiently(answered).await.and_then(Result::ok).ok_or(Seen::Broken)
    }

    /// Waits before the next try: longer each time, or as long as the answer asks for.
    pub async fn pause(&self, tries: u32, answer: Option<&Answer>) {
        let grown = PAUSE_MIN.saturating_mul(1 << tries.min(6)).min(PAUSE_MAX);
        let told = answer.and_then(|answer| answer.retry_after).unwrap_or(Duration::ZERO).min(PAUSE_MAX);
        let jitter = Duration::from_millis(self.between(0, 200));
        sleep(grown.max(told) + jitter).await;
    }

    pub fn count(&self, kind: Kind, answer: &Answer) {
        self.ledger.sample(kind, answer.refused(), None);
    }
}

impl Answer {
    /// What was refused, by the name of the problem.
    pub fn refused(&self) -> Seen {
        let problem = self.json["type"].as_str().unwrap_or_default();
        Seen::Refused(self.status, problem.trim_start_matches("/problems/").to_owned())
    }

    pub fn is_problem(&self, name: &str) -> bool {
        matches!(self.refused(), Seen::Refused(_, problem) if problem == name)
    }
}

pub fn refused(response: &Response) -> Seen {
    Seen::Refused(response.status().as_u16(), String::new())
}

/// When the last byte of a body was handed to the connection.
#[derive(Clone)]
pub struct LastByte {
    since: Instant,
    at_ms: Arc<AtomicU64>,
}

impl LastByte {
    pub fn new() -> LastByte {
        LastByte { since: Instant::now(), at_ms: Arc::default() }
    }

    fn touch(&self) {
        self.at_ms.store(self.since.elapsed().as_micros() as u64, Relaxed);
    }

    pub fn waited(&self) -> Duration {
        self.since.elapsed().saturating_sub(Duration::from_micros(self.at_ms.load(Relaxed)))
    }

    /// `None` when nothing was sent or answered for too long.
    async fn patiently<T>(&self, answered: impl Future<Output = T>) -> Option<T> {
        let silence = async {
            while self.waited() < SILENCE_MAX {
                sleep(SILENCE_MAX.saturating_sub(self.waited()) + Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            answered = answered => Some(answered),
            () = silence => None,
        }
    }
}

/// Bytes `from..to` of a recording; `pace` is the bytes of one piece and the time to the next.
pub fn body(index: usize, from: u64, to: u64, pace: Option<(u64, Duration)>, last: &LastByte) -> Body {
    let last = last.clone();
    let (piece_len, every) = pace.unwrap_or((PIECE_LEN, Duration::ZERO));
    let mut next_at = tokio::time::Instant::now();
    Body::wrap_stream(stream::unfold(from, move |position| {
        let last = last.clone();
        next_at += every;
        let at = next_at;
        async move {
            last.touch();
            if position >= to {
                return None;
            }
            if !every.is_zero() {
                tokio::time::sleep_until(at).await;
            }
            let mut piece = vec![0; piece_len.min(to - position) as usize];
            audio(index, position, &mut piece);
            let end = position + piece.len() as u64;
            Some((Ok::<_, std::io::Error>(Bytes::from(piece)), end))
        }
    }))
}
