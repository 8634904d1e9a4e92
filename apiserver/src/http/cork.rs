//! A TLS connection whose writes leave together: what one poll of the connection has to say goes to the kernel at its end, or
//! when there is much of it, and not frame by frame.
//!
//! HTTP/2 flushes after every large frame. Hundreds of watches share a connection, so an event they all hear would cost a
//! system call for each of them. Here a flush does nothing while the connection is being polled; [`Handle::pump`] flushes
//! after the poll, and [`together`] sees to it that it is called. What has been upgraded to another protocol is no longer polled
//! with its connection, so its flushes are what they say.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// A socket that takes nothing while it is shut; whoever writes keeps it.
pub(super) struct Gate<S> {
    stream: S,
    shut: Arc<AtomicBool>,
}

/// The connection as HTTP sees it.
pub(super) struct Corked<S>(Handle<S>);

/// Another hold on the same connection.
pub(super) struct Handle<S> {
    tls: Arc<Mutex<TlsStream<Gate<S>>>>,
    shut: Arc<AtomicBool>,
}

// === impl Gate ===

impl<S> Gate<S> {
    /// Open, as the handshake needs it.
    pub(super) fn new(stream: S) -> Self {
        Self { stream, shut: Arc::default() }
    }

    fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Relaxed)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gate<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, to)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_shut() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_shut() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, from)
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

// === impl Corked ===

impl<S: AsyncRead + AsyncWrite + Unpin> Corked<S> {
    /// The two ends of a connection whose handshake is done.
    pub(super) fn new(tls: TlsStream<Gate<S>>) -> (Self, Handle<S>) {
        let shut = Arc::clone(&tls.get_ref().0.shut);
        shut.store(true, Ordering::Relaxed);
        let tls = Arc::new(Mutex::new(tls));
        let handle = Handle { tls: Arc::clone(&tls), shut: Arc::clone(&shut) };
        (Self(Handle { tls, shut }), handle)
    }

    /// Writes; what is kept back goes first if there is too much of it.
    fn write(
        &self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(Pin<&mut TlsStream<Gate<S>>>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut tls = self.0.tls.lock();
        match write(Pin::new(&mut *tls), cx) {
            Poll::Pending if self.0.shut.load(Ordering::Relaxed) => match self.0.flush(&mut tls, cx) {
                Poll::Ready(Ok(())) => write(Pin::new(&mut *tls), cx),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            },
            done => done,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.tls.lock()).poll_read(cx, to)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |tls, cx| tls.poll_write(cx, from))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |tls, cx| tls.poll_write_vectored(cx, from))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.shut.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut *self.0.tls.lock()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shut.store(false, Ordering::Relaxed);
        Pin::new(&mut *self.0.tls.lock()).poll_shutdown(cx)
    }
}

// === impl Handle ===

impl<S: AsyncRead + AsyncWrite + Unpin> Handle<S> {
    /// Lets go what was kept back.
    fn pump(&self, cx: &mut Context<'_>) {
        if self.shut.load(Ordering::Relaxed) {
            // An error comes again when something is written or read. A full socket wakes this task when there is room.
            let _flushed = self.flush(&mut self.tls.lock(), cx);
        }
    }

    /// Nothing is kept back from now on.
    fn release(&self, cx: &mut Context<'_>) {
        self.pump(cx);
        self.shut.store(false, Ordering::Relaxed);
    }

    fn flush(&self, tls: &mut TlsStream<Gate<S>>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut.store(false, Ordering::Relaxed);
        let flushed = Pin::new(tls).poll_flush(cx);
        self.shut.store(true, Ordering::Relaxed);
        flushed
    }
}

/// Polls a connection, and lets go after each poll what it has written.
pub(super) async fn together<F: Future, S: AsyncRead + AsyncWrite + Unpin>(
    connection: F,
    handle: Handle<S>,
) -> F::Output {
    let mut connection = std::pin::pin!(connection);
    std::future::poll_fn(|cx| {
        let polled = connection.as_mut().poll(cx);
        if polled.is_ready() {
            handle.release(cx)
        } else {
            handle.pump(cx)
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests;
