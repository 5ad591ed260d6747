//! Request bodies, with their limits of time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body::Body as _;
use tokio::time::{Instant, Sleep};

use super::drain::Drain;
use super::{Face, WireLimits};
use crate::ingest::BodyBreak;

/// When the drain has ended: bytes that were sent before have this long to be read.
const LAST_WAIT: Duration = Duration::from_millis(250);

/// A body whose pauses are limited, and whose pace is where its length was told: a file. There is no limit on its whole time,
/// and none on the pace of a body without a length: a call lasts as long as it lasts.
pub struct TimedBody {
    frames: BodyDataStream,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    wait: Wait,
    /// `None`: it may come as slowly as it likes. Boxed, since ten thousand calls have none.
    pace: Option<Box<Pace>>,
    drain: Arc<Drain>,
}

/// The least rate of a body, averaged over a window. Only the time counts in which its sender is waited for: a slow disk of
/// ours is not his fault.
struct Pace {
    bytes_per_s: u64,
    window: Duration,
    waited: Duration,
    came: u64,
    waits_since: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    No,
    /// For the next frame, no longer than the idle limit.
    Idle,
    /// For what was on its way when the drain ended.
    Last,
}

impl TimedBody {
    pub fn new(body: Body, face: &Face) -> TimedBody {
        let WireLimits { body_idle: idle, rate_min, rate_window, .. } = face.limits;
        let is_file = body.size_hint().exact().is_some();
        let pace = (is_file && rate_min > 0).then(|| Box::new(Pace::new(rate_min, rate_window)));
        TimedBody {
            frames: body.into_data_stream(),
            idle,
            timer: Box::pin(tokio::time::sleep(idle)),
            wait: Wait::No,
            pace,
            drain: face.drain.clone(),
        }
    }

    fn wait(&mut self, wait: Wait, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
        self.wait = wait;
    }
}

impl Pace {
    fn new(bytes_per_s: u64, window: Duration) -> Pace {
        Pace { bytes_per_s, window, waited: Duration::ZERO, came: 0, waits_since: None }
    }

    fn came(&mut self, len: usize) {
        self.came += len as u64;
        self.waited += self.waits_since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    /// Asked before the sender is waited for; a window that is over is looked at, and the next one begins.
    fn is_too_slow(&mut self) -> bool {
        self.waits_since = Some(Instant::now());
        if self.waited < self.window {
            return false;
        }
        let wanted = u128::from(self.bytes_per_s) * self.waited.as_millis();
        let is_too_slow = u128::from(self.came) * 1_000 < wanted;
        (self.waited, self.came) = (Duration::ZERO, 0);
        is_too_slow
    }
}

impl Stream for TimedBody {
    type Item = Result<Bytes, BodyBreak>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Self::Item>> {
        if self.wait != Wait::Last && self.drain.is_over() {
            self.wait(Wait::Last, LAST_WAIT);
        }
        if let Poll::Ready(frame) = self.frames.poll_next_unpin(context) {
            if self.wait == Wait::Idle {
                self.wait = Wait::No;
            }
            if let (Some(pace), Some(Ok(bytes))) = (&mut self.pace, &frame) {
                pace.came(bytes.len());
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyBreak::Cut)));
        }
        if self.wait == Wait::No {
            // Everything that came was taken; whoever was too slow for it is not waited for once more.
            if self.pace.as_mut().is_some_and(|pace| pace.is_too_slow()) {
                return Poll::Ready(Some(Err(BodyBreak::Slow)));
            }
            let idle = self.idle;
            self.wait(Wait::Idle, idle);
        }
        let reason = if self.wait == Wait::Last { BodyBreak::Stopped } else { BodyBreak::Stalled };
        self.timer.as_mut().poll(context).map(|()| Some(Err(reason)))
    }
}
