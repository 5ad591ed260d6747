//! A future that is polled where it stands, and is run to its end elsewhere when its owner goes.
//!
//! An upload must be finished when its sender hangs up, and hyper drops the answer's future then. Spawning every upload
//! would do, but costs a wake-up of another thread for every frame of every body: a quarter of the whole CPU time.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tracing::{Instrument, Span};

/// Polled in place; spawned when it is dropped before its end.
pub struct Outlive<F: Future<Output: Send + 'static> + Send + 'static> {
    future: Option<Pin<Box<F>>>,
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Outlive<F> {
    pub fn new(future: F) -> Outlive<F> {
        Outlive { future: Some(Box::pin(future)) }
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Future for Outlive<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<F::Output> {
        let future = self.future.as_mut().expect("nobody polls a future after its end");
        let output = ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Drop for Outlive<F> {
    fn drop(&mut self) {
        // A runtime that is going down takes nothing more; what the upload left is for the next start.
        if let (Some(future), Ok(runtime)) = (self.future.take(), tokio::runtime::Handle::try_current()) {
            // What is dropped within a request's span goes on within it.
            match Span::current() {
                span if span.is_none() => runtime.spawn(future),
                span => runtime.spawn(future.instrument(span)),
            };
        }
    }
}
