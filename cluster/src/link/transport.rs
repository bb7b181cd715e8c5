//! A mutual TLS stream as ractor_cluster takes it, which can be closed from outside at any moment, also while a write
//! hangs on a peer that went away.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

const READ_BUFFER_BYTES: usize = 64 << 10;

/// One connection to a peer, not yet given to ractor_cluster.
pub(super) struct Transport {
    pub stream: TlsStream<TcpStream>,
    pub label: String,
    pub close: CancellationToken,
}

impl ClusterBidiStream for Transport {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (reader, writer) = tokio::io::split(self.stream);
        let reader = Closable::new(reader, self.close.clone());
        (Box::new(BufReader::with_capacity(READ_BUFFER_BYTES, reader)), Box::new(Closable::new(writer, self.close)))
    }

    fn peer_label(&self) -> Option<String> {
        Some(self.label.clone())
    }
}

struct Closable<T> {
    inner: T,
    close: CancellationToken,
    closed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<T: Unpin> Closable<T> {
    fn new(inner: T, close: CancellationToken) -> Self {
        let closed = Box::pin(close.clone().cancelled_owned());
        Self { inner, close, closed }
    }

    /// Runs `poll` unless the connection was closed; closes it when `poll` fails, so that both halves learn of it.
    fn guarded<R>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if self.closed.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let result = poll(Pin::new(&mut self.inner), context);
        if matches!(result, Poll::Ready(Err(_))) {
            self.close.cancel();
        }
        result
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Closable<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = self.guarded(context, |inner, context| inner.poll_read(context, buf));
        let ended = matches!(result, Poll::Ready(Ok(()))) && buf.filled().len() == before;
        if ended {
            self.close.cancel();
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Closable<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.guarded(context, |inner, context| inner.poll_write(context, buf))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guarded(context, |inner, context| inner.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guarded(context, |inner, context| inner.poll_shutdown(context))
    }
}
