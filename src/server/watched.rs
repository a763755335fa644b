//! A connection's stream that tells its [`Activity`] what passes, and that closes so that the last answer arrives.
//!
//! Lies directly on the socket, below TLS and HTTP, so that deadlines hold for both.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

/// Most bytes that are dropped of a client that goes on sending: some three times the default of `--max-body-bytes`.
/// The answer is lost if it sends more, because closing with bytes unread makes the kernel reset the connection.
const LINGER_BYTES: usize = 320 << 20;

/// Bytes dropped at a time, as many as come in one segment over loopback.
const LINGER_CHUNK: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// The client sends nothing more.
    ended: bool,
    /// Our side is closed.
    shut: bool,
    dropped: usize,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Watched<S> {
        Watched {
            stream,
            activity,
            ended: false,
            shut: false,
            dropped: 0,
        }
    }
}

impl<S: AsyncRead + Unpin> Watched<S> {
    /// Reads and drops what the client still sends, until it stops.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut space = [const { MaybeUninit::uninit() }; LINGER_CHUNK];
        while !self.ended && self.dropped < LINGER_BYTES {
            let mut chunk = ReadBuf::uninit(&mut space);
            match Pin::new(&mut self.stream).poll_read(cx, &mut chunk) {
                Poll::Ready(Ok(())) if !chunk.filled().is_empty() => {
                    self.dropped += chunk.filled().len();
                }
                Poll::Ready(_) => self.ended = true,
                // Most clients whose requests were read send no more, even if they leave their side open.
                Poll::Pending if self.dropped == 0 && !self.activity.is_mid_message() => break,
                Poll::Pending => {
                    self.activity.lingers();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        let read = buf.filled().len() - before;
        if result.is_err() || read == 0 {
            self.ended = true;
        } else if !self.activity.has_read(read) {
            let reason = "more framing than any request has";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, reason)));
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if written.is_pending() {
            self.activity.is_blocked();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        if written.is_pending() {
            self.activity.is_blocked();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Whoever writes flushes when nothing of the answer is left: only then has the client taken it.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.activity.has_flushed();
        Poll::Ready(Ok(()))
    }

    /// Closes our side, which ends the answer, and waits for a client that is still sending.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.shut = true;
        }
        self.poll_linger(cx).map(Ok)
    }
}
