//! Request bodies, with their limits of time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use super::Face;
use super::drain::Drain;
use crate::ingest::BodyBreak;

/// When the drain has ended: bytes that were sent before have this long to be read.
const LAST_WAIT: Duration = Duration::from_millis(250);

/// A body whose pauses are limited. There is no limit on its whole time: a call lasts as long as it lasts.
pub struct TimedBody {
    frames: BodyDataStream,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    wait: Wait,
    drain: Arc<Drain>,
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
        let idle = face.limits.body_idle;
        TimedBody {
            frames: body.into_data_stream(),
            idle,
            timer: Box::pin(tokio::time::sleep(idle)),
            wait: Wait::No,
            drain: face.drain.clone(),
        }
    }

    fn wait(&mut self, wait: Wait, time: Duration) {
        self.timer.as_mut().reset(Instant::now() + time);
        self.wait = wait;
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
            return Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyBreak::Cut)));
        }
        if self.wait == Wait::No {
            let idle = self.idle;
            self.wait(Wait::Idle, idle);
        }
        let reason = if self.wait == Wait::Last { BodyBreak::Stopped } else { BodyBreak::Stalled };
        self.timer.as_mut().poll(context).map(|()| Some(Err(reason)))
    }
}
