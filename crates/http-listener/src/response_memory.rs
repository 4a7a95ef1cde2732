//! Response memory limit: a client that requests much and reads slowly must not use up the memory of
//! the service. Small responses are not counted.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Responses up to this size are not counted: the limit of connections bounds them.
const MAX_UNCOUNTED_BYTES: u64 = 64 * 1024;

/// Bytes passed to the connection at a time, as a copy: a chunk in flight must not keep the whole
/// response in memory.
const CHUNK_BYTES: usize = 64 * 1024;

/// Time limit for a client to read a counted response.
const SEND_TIMEOUT: Duration = Duration::from_mins(1);

/// The memory that large responses may use together, in KiB. A clone shares it.
#[derive(Clone, Debug)]
pub struct ResponseMemory(Arc<Semaphore>);

impl ResponseMemory {
    /// A limit in bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / 1024)))
    }

    /// The same response, counted until it is sent; `None` if it would exceed the limit.
    pub fn reserve(&self, response: Response) -> Option<Response> {
        let bytes = response.body().size_hint().lower();
        if bytes <= MAX_UNCOUNTED_BYTES {
            return Some(response);
        }
        let kibibytes = u32::try_from(bytes / 1024).ok()?;
        let reserved = Arc::clone(&self.0).try_acquire_many_owned(kibibytes).ok()?;
        let counted = |whole| Counted {
            whole,
            chunk: Bytes::new(),
            deadline: Box::pin(tokio::time::sleep(SEND_TIMEOUT)),
            _reserved: reserved,
        };
        Some(response.map(|whole| Body::new(counted(whole))))
    }
}

/// A body that is sent in chunks, and cut at its deadline.
struct Counted {
    whole: Body,
    chunk: Bytes,
    deadline: Pin<Box<Sleep>>,
    _reserved: OwnedSemaphorePermit,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.deadline.as_mut().poll(cx).is_ready() {
            let late = io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly");
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        }
        if self.chunk.is_empty() {
            match std::task::ready!(Pin::new(&mut self.whole).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.chunk = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let bytes = self.chunk.len().min(CHUNK_BYTES);
        let chunk = Bytes::copy_from_slice(&self.chunk.split_to(bytes));
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunk.is_empty() && self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, chunk) = (self.whole.size_hint(), self.chunk.len() as u64);
        rest.exact()
            .map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + chunk))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn response(bytes: usize) -> Response {
        Response::new(Body::from(vec![b'a'; bytes]))
    }

    #[tokio::test]
    async fn a_large_response_is_counted_until_sent() {
        let memory = ResponseMemory::new(1 << 20);
        let large = memory.reserve(response(600 << 10)).unwrap();
        assert_eq!(large.body().size_hint().exact(), Some(600 << 10));
        assert!(
            memory.reserve(response(600 << 10)).is_none(),
            "over the limit"
        );
        assert!(
            memory.reserve(response(60 << 10)).is_some(),
            "a small one is not counted"
        );
        assert_eq!(
            large.into_body().collect().await.unwrap().to_bytes(),
            vec![b'a'; 600 << 10]
        );
        assert!(
            memory.reserve(response(600 << 10)).is_some(),
            "its memory is free again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_client_is_not_sent_the_rest() {
        let mut body = ResponseMemory::new(1 << 20)
            .reserve(response(600 << 10))
            .unwrap()
            .into_body();
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(chunk.len(), CHUNK_BYTES);
        tokio::time::advance(SEND_TIMEOUT).await;
        assert!(body.frame().await.unwrap().is_err());
    }
}
