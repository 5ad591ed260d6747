//! A body on its way to another server.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;

use crate::http::body::TimedBody;
use crate::ingest::BodyBreak;

/// Polled once its gate is open: until then a sender who waits for `100 Continue` is not told to send.
pub struct Passing {
    body: Option<TimedBody>,
    len: Option<u64>,
    gate: Gate,
    broke: Broke,
}

/// Why a body did not reach its end, for whoever answers its sender.
#[derive(Clone, Default)]
pub struct Broke(Arc<OnceLock<BodyBreak>>);

/// Closed until the holder wants the body.
pub struct Gate(Option<oneshot::Receiver<()>>);

/// Opens a gate, once.
pub struct Opener(Mutex<Option<oneshot::Sender<()>>>);

impl Broke {
    pub fn reason(&self) -> Option<BodyBreak> {
        self.0.get().copied()
    }
}

impl Gate {
    pub fn new(is_closed: bool) -> (Gate, Opener) {
        let (sender, receiver) = oneshot::channel();
        (Gate(is_closed.then_some(receiver)), Opener(Mutex::new(Some(sender))))
    }

    fn poll_open(&mut self, context: &mut Context) -> Poll<()> {
        let Some(opened) = &mut self.0 else { return Poll::Ready(()) };
        match Pin::new(opened).poll(context) {
            Poll::Ready(Ok(())) => {
                self.0 = None;
                Poll::Ready(())
            }
            // Nobody is left who could want it: the answer is on its way.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Opener {
    pub fn open(&self) {
        if let Some(sender) = self.0.lock().expect("no holder of the gate's lock panics").take() {
            // The body may be gone.
            let _ = sender.send(());
        }
    }
}

impl Passing {
    pub fn nothing() -> Passing {
        Passing { body: None, len: None, gate: Gate(None), broke: Broke::default() }
    }

    /// `len`: where it was told.
    pub fn new(body: TimedBody, len: Option<u64>, gate: Gate) -> (Passing, Broke) {
        let broke = Broke::default();
        (Passing { body: Some(body), len, gate, broke: broke.clone() }, broke)
    }
}

impl http_body::Body for Passing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        futures::ready!(this.gate.poll_open(context));
        match futures::ready!(body.poll_next_unpin(context)) {
            Some(Ok(bytes)) => {
                this.len = this.len.map(|len| len.saturating_sub(bytes.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            // The connection breaks off with it: the holder keeps what arrived, as of any other sender.
            Some(Err(reason)) => {
                this.broke.0.get_or_init(|| reason);
                Poll::Ready(Some(Err(io::Error::other("the body broke off"))))
            }
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none() || self.len == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.body, self.len) {
            (None, _) => SizeHint::with_exact(0),
            (Some(_), Some(len)) => SizeHint::with_exact(len),
            (Some(_), None) => SizeHint::new(),
        }
    }
}
