//! Reading a connection in small pieces until it proves to be fast.
//!
//! hyper doubles its read buffer when a read fills it, up to what bulk uploads need for their speed, and keeps it. A server that
//! falls behind for a moment would let the buffers of ten thousand calls grow at once. So a connection is read by a page at
//! a time, which never fills the buffer, until many full reads in a row say that it is a file that comes, not a call.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Half of hyper's smallest buffer.
const PIECE_LEN: usize = 4 << 10;
/// Full pieces in a row after which a sender is fast: 64 KiB, eight seconds of G.711.
const FULL_PIECES_MIN: u32 = 16;

pub struct Paced<S> {
    stream: TokioIo<S>,
    full_pieces: u32,
}

impl<S> Paced<S> {
    pub fn new(stream: S) -> Paced<S> {
        Paced { stream: TokioIo::new(stream), full_pieces: 0 }
    }

    pub fn into_inner(self) -> S {
        self.stream.into_inner()
    }
}

impl<S: AsyncRead + Unpin> Read for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.full_pieces >= FULL_PIECES_MIN {
            return Pin::new(&mut self.stream).poll_read(context, cursor);
        }
        let mut piece = [0; PIECE_LEN];
        let room = PIECE_LEN.min(cursor.remaining());
        let mut buffer = ReadBuf::new(&mut piece[..room]);
        ready!(Pin::new(self.stream.inner_mut()).poll_read(context, &mut buffer))?;
        self.full_pieces = if buffer.remaining() == 0 { self.full_pieces + 1 } else { 0 };
        cursor.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Write for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
