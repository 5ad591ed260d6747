//! The way of gathered spans to the collector: a batch at a time, each once.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Span, otlp};
use crate::model::error::chain;
use crate::outward::{Failed, Outward};
use crate::spans::{self, Settings};

// Limit: 512 spans are some 300 KiB of JSON.
const BATCH_MAX: usize = 512;
/// A span waits at most this long for others to go with it.
const GATHER_TIME: Duration = Duration::from_secs(1);
/// A collector that took nothing is left alone for this long; the queue fills meanwhile.
const PAUSE: Duration = Duration::from_secs(1);
// Limit: between the end of a server's drain and its own: 10 s are left to it, and uploads that are ended may take 6 of them.
const FINISH_TIME_MAX: Duration = Duration::from_secs(2);
// Limit: an answer says how many spans were not taken, and why.
const ANSWER_LEN_MAX: usize = 64 << 10;

/// Spans that wait for a runtime.
pub struct Traces {
    settings: Settings,
    instance: String,
    gathered: mpsc::Receiver<Span>,
}

/// The task that sends.
pub struct Sending {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Traces {
    pub(super) fn new(settings: Settings, instance: String, gathered: mpsc::Receiver<Span>) -> Traces {
        Traces { settings, instance, gathered }
    }

    /// Begins to send; the collector is not asked for anything before there is a span.
    pub fn start(self) -> Result<Sending, String> {
        let outward = Outward::new(None)?;
        let (end, ended) = oneshot::channel();
        let Traces { settings, instance, gathered } = self;
        let sender = Sender { settings, instance, outward, is_down: false };
        Ok(Sending { end, task: tokio::spawn(sender.run(gathered, ended)) })
    }
}

impl Sending {
    /// Sends what is left; a collector that is slow does not get it.
    pub async fn finish(self) {
        drop(self.end);
        let stop = self.task.abort_handle();
        if tokio::time::timeout(FINISH_TIME_MAX, self.task).await.is_err() {
            stop.abort();
            tracing::warn!("the last spans did not reach the collector (otlp.endpoint) in time");
        }
    }
}

struct Sender {
    settings: Settings,
    instance: String,
    outward: Outward,
    is_down: bool,
}

impl Sender {
    async fn run(mut self, mut gathered: mpsc::Receiver<Span>, mut ended: oneshot::Receiver<()>) {
        let mut batch = Vec::new();
        loop {
            let is_over = tokio::select! {
                count = gathered.recv_many(&mut batch, BATCH_MAX) => count == 0,
                _ = &mut ended => true,
            };
            if is_over {
                break;
            }
            let deadline = Instant::now() + GATHER_TIME;
            while batch.len() < BATCH_MAX {
                let room = BATCH_MAX - batch.len();
                tokio::select! {
                    count = gathered.recv_many(&mut batch, room) => if count == 0 { break },
                    () = tokio::time::sleep_until(deadline) => break,
                    _ = &mut ended => return self.finish(gathered, batch).await,
                }
            }
            if !self.send(&mut batch).await {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    _ = &mut ended => break,
                }
            }
        }
        self.finish(gathered, batch).await;
    }

    /// The last batches, as long as the collector takes them.
    async fn finish(mut self, mut gathered: mpsc::Receiver<Span>, mut batch: Vec<Span>) {
        gathered.close();
        loop {
            while batch.len() < BATCH_MAX
                && let Ok(span) = gathered.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() || !self.send(&mut batch).await {
                return;
            }
        }
    }

    /// Whether the collector took the batch. It is gone all the same: who is down for long would fill any memory.
    async fn send(&mut self, batch: &mut Vec<Span>) -> bool {
        let body = otlp::request(batch, &self.instance);
        let count = batch.len() as u64;
        batch.clear();
        let (timeout, asked) = (self.settings.timeout, self.ask(body));
        let taken = match tokio::time::timeout(timeout, asked).await {
            Ok(taken) => taken.map_err(|error| chain(&*error)),
            Err(_) => Err(format!("there was no answer within {} ms (otlp.timeout)", timeout.as_millis())),
        };
        spans::note_dropped(*taken.as_ref().unwrap_or(&count));
        self.tell(taken.as_ref().err());
        taken.is_ok()
    }

    /// Gives how many spans of the batch the collector did not take.
    async fn ask(&self, body: Vec<u8>) -> Result<u64, Failed> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = self.outward.ask(&self.settings.place, request).await?;
        if !answer.status.is_success() {
            return Err(format!("the collector answers {}", answer.status.as_u16()).into());
        }
        Ok(otlp::rejected(&answer.read(ANSWER_LEN_MAX).await?))
    }

    /// Once when it goes down, and once when it is back.
    fn tell(&mut self, error: Option<&String>) {
        let was_down = std::mem::replace(&mut self.is_down, error.is_some());
        match error {
            Some(error) if !was_down => {
                tracing::warn!(error, "the collector of traces (otlp.endpoint) takes no spans; they are dropped");
            }
            None if was_down => tracing::info!("the collector of traces takes spans again"),
            _ => {}
        }
    }
}
