//! Bounds what answers hold while they are being sent: a client that asks for much and reads little must not cost the service
//! its memory. Small answers are left alone.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};

/// Answers up to this length are not counted: the number of connections bounds them.
const SMALL_BYTES: u64 = 64 * 1024;

/// What is handed to the connection at a time, as a copy: a piece on its way must not hold the whole.
const PIECE_BYTES: usize = 64 * 1024;

/// The longest that a client may take over an answer that is counted.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The room for answers, in KiB. A clone shares it.
#[derive(Clone)]
pub(super) struct Sending(Arc<Semaphore>);

impl Sending {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / 1024)))
    }

    /// The same answer, counted until it is sent; none if there is no room for it.
    pub(super) fn bounded(&self, answer: Response) -> Option<Response> {
        let bytes = answer.body().size_hint().lower();
        if bytes <= SMALL_BYTES {
            return Some(answer);
        }
        let kibibytes = u32::try_from(bytes / 1024).ok()?;
        let room = Arc::clone(&self.0).try_acquire_many_owned(kibibytes).ok()?;
        let counted = |whole| Counted {
            whole,
            piece: Bytes::new(),
            deadline: Box::pin(tokio::time::sleep(TIMEOUT)),
            _room: room,
        };
        Some(answer.map(|whole| Body::new(counted(whole))))
    }
}

/// A body that is sent piece by piece, in time or not at all.
struct Counted {
    whole: Body,
    piece: Bytes,
    deadline: Pin<Box<Sleep>>,
    _room: OwnedSemaphorePermit,
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
        if self.piece.is_empty() {
            match std::task::ready!(Pin::new(&mut self.whole).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.piece = bytes,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let bytes = self.piece.len().min(PIECE_BYTES);
        let piece = Bytes::copy_from_slice(&self.piece.split_to(bytes));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.whole.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, piece) = (self.whole.size_hint(), self.piece.len() as u64);
        rest.exact()
            .map_or_else(SizeHint::default, |rest| SizeHint::with_exact(rest + piece))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn answer(bytes: usize) -> Response {
        Response::new(Body::from(vec![b'a'; bytes]))
    }

    #[tokio::test]
    async fn a_large_answer_takes_room_until_it_is_sent_and_arrives_whole() {
        let sending = Sending::new(1 << 20);
        let large = sending.bounded(answer(600 << 10)).unwrap();
        assert_eq!(large.body().size_hint().exact(), Some(600 << 10));
        assert!(sending.bounded(answer(600 << 10)).is_none(), "no room");
        assert!(
            sending.bounded(answer(60 << 10)).is_some(),
            "a small one needs none"
        );
        assert_eq!(
            large.into_body().collect().await.unwrap().to_bytes(),
            vec![b'a'; 600 << 10]
        );
        assert!(
            sending.bounded(answer(600 << 10)).is_some(),
            "its room is free again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_too_long_is_not_sent_the_rest() {
        let mut body = Sending::new(1 << 20)
            .bounded(answer(600 << 10))
            .unwrap()
            .into_body();
        let piece = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(piece.len(), PIECE_BYTES);
        tokio::time::advance(TIMEOUT).await;
        assert!(body.frame().await.unwrap().is_err());
    }
}
