//! Time limits for what a client sends before a request begins: an idle connection may wait for its
//! next request, a new one or one with a part of a head must not.
//!
//! hyper has one limit for both. Once a request has begun, its reader limits the time.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::pool::Activity;

/// Time limit for the head of a request, and for the first one of a connection to begin.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A socket whose reads fail when the client has sent nothing, or only a part of a head, for too long.
pub(crate) struct Prompt<S> {
    socket: S,
    activity: Arc<Activity>,
    keep_alive: Duration,
    wait: Wait,
    /// How many requests had begun when the wait did.
    requests: u64,
    deadline: Pin<Box<Sleep>>,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The first byte of a head.
    Begin,
    /// The rest of it.
    Rest,
}

impl<S> Prompt<S> {
    pub(crate) fn new(socket: S, activity: Arc<Activity>, keep_alive: Duration) -> Self {
        Self {
            socket,
            activity,
            keep_alive,
            wait: Wait::Begin,
            requests: 0,
            deadline: Box::pin(tokio::time::sleep(HEAD_TIMEOUT)),
        }
    }

    /// Begins the wait for the next head if a request is over.
    fn follow(&mut self) {
        let requests = self.activity.requests();
        if self.requests != requests {
            (self.requests, self.wait) = (requests, Wait::Begin);
            let end = self.activity.idle_since() + self.keep_alive;
            self.deadline.set(tokio::time::sleep_until(end));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Prompt<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.socket).poll_read(cx, buffer);
        let in_use = this.activity.is_in_use();
        if !in_use {
            this.follow();
        }
        if read.is_ready() {
            if !in_use && buffer.filled().len() > before && this.wait == Wait::Begin {
                this.wait = Wait::Rest;
                this.deadline.set(tokio::time::sleep(HEAD_TIMEOUT));
            }
            return read;
        }
        while this.deadline.as_mut().poll(cx).is_ready() {
            if !in_use {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            // hyper may not read again when the request ends.
            this.deadline.set(tokio::time::sleep(this.keep_alive));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prompt<S> {
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
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
