//! Tells HTTP/2 from HTTP/1.1 by the first bytes of a connection, for clients that know beforehand that we speak it.
//!
//! Used by `connection` if HTTP/2 is switched on.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;
use super::frames::Frames;

/// RFC 9113 section 3.4.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes have been looked at; reading gives them again.
#[derive(Debug)]
pub(super) struct Sniffed<S> {
    stream: S,
    head: [u8; PREFACE.len()],
    filled: usize,
    given: usize,
    /// The frames behind the preface of HTTP/2, and who is told of them.
    frames: Option<(Frames, Arc<Activity>)>,
}

impl<S> Sniffed<S> {
    pub(super) fn new(stream: S) -> Sniffed<S> {
        Sniffed {
            stream,
            head: [0; PREFACE.len()],
            filled: 0,
            given: 0,
            frames: None,
        }
    }

    /// Begins to tell of the frames behind the preface: the connection is HTTP/2.
    pub(super) fn watch_frames(&mut self, activity: &Arc<Activity>) {
        self.frames = Some((Frames::default(), Arc::clone(activity)));
    }

    /// Whether the client has sent nothing yet.
    pub(super) fn is_silent(&self) -> bool {
        self.filled == 0
    }
}

impl<S: AsyncRead + Unpin> Sniffed<S> {
    /// Reads until it is clear which protocol it is. Given up half-way, it goes on where it was.
    ///
    /// # Errors
    /// Those of the stream.
    pub(super) async fn is_http2(&mut self) -> io::Result<bool> {
        while PREFACE.starts_with(&self.head[..self.filled]) {
            if self.filled == PREFACE.len() {
                return Ok(true);
            }
            let mut free = ReadBuf::new(&mut self.head[self.filled..]);
            let stream = &mut self.stream;
            poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut free)).await?;
            let read = free.filled().len();
            if read == 0 {
                break; // the end: HTTP/1.1 knows what that means
            }
            self.filled += read;
        }
        Ok(false)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Sniffed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.given < this.filled {
            let again = &this.head[this.given..this.filled];
            let again = &again[..again.len().min(buf.remaining())];
            buf.put_slice(again);
            this.given += again.len();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if let Some((frames, activity)) = &mut this.frames {
            let ended = frames.pass(&buf.filled()[before..]);
            activity.has_read_frames(ended, frames.is_within());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Sniffed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn protocol_is_told_however_the_bytes_come_and_every_byte_is_given_again() {
        let long = [&PREFACE[..], b"and more"].concat();
        for (bytes, is_http2) in [
            (&long[..], true),
            (PREFACE, true),
            (&PREFACE[..23], false),
            (b"PRI * HTTP/1.1\r\n\r\n", false),
            (b"POST / HTTP/1.1\r\n\r\n", false),
            (b"P", false),
            (b"", false),
        ] {
            for piece in [1, 5, 100] {
                let (mut client, server) = tokio::io::duplex(100);
                let mut sniffed = Sniffed::new(server);
                let sending = async {
                    for piece in bytes.chunks(piece) {
                        client.write_all(piece).await.expect("room");
                        tokio::task::yield_now().await;
                    }
                    drop(client);
                };
                let (told, ()) = tokio::join!(sniffed.is_http2(), sending);
                assert_eq!(told.expect("no error"), is_http2, "{bytes:?}");
                assert_eq!(sniffed.is_silent(), bytes.is_empty());
                let mut read = Vec::new();
                sniffed.read_to_end(&mut read).await.expect("no error");
                assert_eq!(read, bytes);
            }
        }
    }
}
