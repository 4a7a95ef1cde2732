//! A socket that is closed so that its last answer arrives.
//!
//! hyper closes as soon as it has answered. Where it has not read all that the client sent, the kernel takes that for a
//! failure and throws the answer away with the connection. So what still comes is read and dropped, for a while.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// The longest that is waited for the client to end as well.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The most that is read and dropped.
const MAX_BYTES: usize = 1 << 20;

/// See the module. `at_rest`: all that the client sent was read and answered, so there is nothing to wait for.
pub(super) struct Lingering<S> {
    socket: S,
    at_rest: Arc<AtomicBool>,
    closing: Option<Closing>,
}

struct Closing {
    deadline: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Lingering<S> {
    pub(super) const fn new(socket: S, at_rest: Arc<AtomicBool>) -> Self {
        Self {
            socket,
            at_rest,
            closing: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            socket,
            at_rest,
            closing,
        } = &mut *self;
        if closing.is_none() {
            ready!(Pin::new(&mut *socket).poll_shutdown(cx))?;
        }
        let closing = closing.get_or_insert_with(|| Closing {
            deadline: Box::pin(tokio::time::sleep(TIMEOUT)),
            bytes_left: MAX_BYTES,
        });
        let mut bytes = [0; 4096];
        while closing.bytes_left > 0 {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut *socket).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    closing.bytes_left = closing.bytes_left.saturating_sub(buffer.filled().len());
                }
                // It ended as well, or is gone.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending if at_rest.load(Ordering::Relaxed) => return Poll::Ready(Ok(())),
                Poll::Pending => return closing.deadline.as_mut().poll(cx).map(Ok),
            }
        }
        Poll::Ready(Ok(()))
    }
}
