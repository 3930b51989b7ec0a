//! How an answer leaves: in pieces, so that what the other end does not take stays here, where it is counted and can be
//! given up. A protocol's implementation takes whole what it is given, however little of it can be sent.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// The most bytes that are given away at once.
const PIECE: usize = 64 * 1024;

/// The body of an answer. What it holds is held until all of it was taken, or given up.
pub(super) struct AnswerBody<Held> {
    body: Body,
    /// What is left of a long frame.
    rest: Option<Rest<Held>>,
    held: Option<Held>,
    /// How long nothing of a long frame may be taken.
    patience: Duration,
}

/// Shared with a task that gives it up when nobody takes it.
struct Rest<Held>(Arc<Mutex<State<Held>>>);

struct State<Held> {
    bytes: Bytes,
    /// Whether something was taken since it was last looked at.
    is_moving: bool,
    given_up: bool,
    _held: Option<Held>,
}

impl<Held: Send + 'static> AnswerBody<Held> {
    pub(super) fn new(body: Body, held: Held, patience: Duration) -> Self {
        Self { body, rest: None, held: Some(held), patience }
    }

    /// Keeps a long frame, to be taken piece by piece, for as long as somebody takes it.
    fn keep(&mut self, bytes: Bytes) {
        let state = State { bytes, is_moving: true, given_up: false, _held: self.held.take() };
        let state = Arc::new(Mutex::new(state));
        let (watched, patience) = (Arc::downgrade(&state), self.patience);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(patience).await;
                let Some(state) = watched.upgrade() else { return };
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if !std::mem::take(&mut state.is_moving) {
                    state.bytes = Bytes::new();
                    state.given_up = true;
                    state._held = None;
                    return;
                }
            }
        });
        self.rest = Some(Rest(state));
    }

    /// The next piece of a long frame, if one is under way; an error if it was given up.
    fn piece(&mut self) -> Option<Result<Bytes, axum::BoxError>> {
        let Rest(state) = self.rest.as_ref()?;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.given_up {
            return Some(Err("the answer was not taken".into()));
        }
        let length = state.bytes.len().min(PIECE);
        let piece = state.bytes.split_to(length);
        state.is_moving = true;
        let is_over = state.bytes.is_empty();
        if is_over {
            // Held on: trailers are still to come.
            let held = state._held.take();
            drop(state);
            self.held = held;
            self.rest = None;
        }
        Some(Ok(piece))
    }
}

impl<Held: Send + Unpin + 'static> HttpBody for AnswerBody<Held> {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(piece) = self.piece() {
            return Poll::Ready(Some(piece.map(Frame::data)));
        }
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        match frame.into_data() {
            Ok(bytes) if bytes.len() > PIECE => {
                self.keep(bytes);
                let piece = self.piece().expect("a long frame has a first piece");
                Poll::Ready(Some(piece.map(Frame::data)))
            }
            Ok(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            Err(other) => Poll::Ready(Some(Ok(other))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_none() { self.body.size_hint() } else { SizeHint::default() }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_long_frame_leaves_in_pieces_and_nothing_is_lost() {
        let bytes: Vec<u8> = (0..PIECE * 3 + 7).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let held = Arc::new(());
        let mut body = AnswerBody::new(Body::from(bytes.clone()), Arc::clone(&held), Duration::from_secs(60));
        let mut taken = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            taken.extend_from_slice(&piece);
            assert_eq!(Arc::strong_count(&held), 2);
        }
        assert!(taken == bytes && body.is_end_stream());
        drop(body);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[tokio::test]
    async fn what_nobody_takes_is_given_up() {
        let held = Arc::new(());
        let answer = Body::from(vec![0; PIECE * 3]);
        let mut body = AnswerBody::new(answer, Arc::clone(&held), Duration::from_millis(20));
        body.frame().await.unwrap().unwrap();
        while Arc::strong_count(&held) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        body.frame().await.unwrap().expect_err("it breaks off, and does not end as if it were whole");
    }
}
