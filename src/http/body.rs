//! Request bodies, with an idle limit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use crate::ingest::BodyBreak;

/// A body whose pauses are limited. There is no limit on its whole time: a call lasts as long as it lasts.
pub struct TimedBody {
    frames: BodyDataStream,
    idle: Duration,
    timer: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl TimedBody {
    pub fn new(body: Body, idle: Duration) -> TimedBody {
        TimedBody {
            frames: body.into_data_stream(),
            idle,
            timer: Box::pin(tokio::time::sleep(idle)),
            is_waiting: false,
        }
    }
}

impl Stream for TimedBody {
    type Item = Result<Bytes, BodyBreak>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<Self::Item>> {
        match self.frames.poll_next_unpin(context) {
            Poll::Ready(frame) => {
                self.is_waiting = false;
                Poll::Ready(frame.map(|frame| frame.map_err(|_| BodyBreak::Cut)))
            }
            Poll::Pending => {
                if !self.is_waiting {
                    let deadline = Instant::now() + self.idle;
                    self.timer.as_mut().reset(deadline);
                    self.is_waiting = true;
                }
                self.timer.as_mut().poll(context).map(|()| Some(Err(BodyBreak::Stalled)))
            }
        }
    }
}
