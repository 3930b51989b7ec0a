//! How an answer leaves: in pieces, so that what the other end does not take stays here, where it is counted and can be
//! given up. A protocol's implementation takes whole what it is given, however little of it can be sent; and asks for
//! nothing more, nor notices anything, while the other end takes nothing.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// The most bytes that are given away at once.
const PIECE: usize = 64 * 1024;

/// The answers of one connection that are under way. Cheap to clone.
pub(super) struct Answers<Held>(Arc<Mutex<Known<Held>>>);

struct Known<Held> {
    begun: u64,
    under_way: HashMap<u64, Weak<Mutex<State<Held>>>>,
}

/// The body of an answer. What it holds is held until all of it was taken, or given up.
pub(super) struct AnswerBody<Held> {
    number: u64,
    state: Arc<Mutex<State<Held>>>,
    answers: Answers<Held>,
}

struct State<Held> {
    /// None when it was given up.
    answer: Option<Answer<Held>>,
    /// Whether somebody has asked for more since it was looked at last.
    was_asked: bool,
    /// Whether the other end waits for more, which is not there yet.
    is_waited_for: bool,
}

struct Answer<Held> {
    body: Body,
    /// What is left of a long frame.
    rest: Bytes,
    _held: Held,
}

impl<Held> Clone for Answers<Held> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Held> Default for Answers<Held> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Known { begun: 0, under_way: HashMap::new() })))
    }
}

impl<Held> Answers<Held> {
    /// An answer to be sent.
    pub(super) fn begin(&self, body: Body, held: Held) -> AnswerBody<Held> {
        let answer = Answer { body, rest: Bytes::new(), _held: held };
        let state = Arc::new(Mutex::new(State { answer: Some(answer), was_asked: true, is_waited_for: false }));
        let mut known = self.known();
        known.begun += 1;
        let number = known.begun;
        known.under_way.insert(number, Arc::downgrade(&state));
        AnswerBody { number, state, answers: self.clone() }
    }

    /// Gives up what is not taken for as long as the patience lasts, or for twice as long at the most.
    pub(super) async fn give_up(&self, patience: Duration) -> Infallible {
        loop {
            tokio::time::sleep(patience).await;
            let under_way: Vec<_> = self.known().under_way.values().filter_map(Weak::upgrade).collect();
            for state in under_way {
                let mut state = match state.try_lock() {
                    Ok(state) => state,
                    Err(TryLockError::Poisoned(state)) => state.into_inner(),
                    // Somebody asks right now.
                    Err(TryLockError::WouldBlock) => continue,
                };
                if std::mem::take(&mut state.was_asked) || state.is_waited_for {
                    continue;
                }
                let given_up = state.answer.take();
                drop(state);
                drop(given_up);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Held> AnswerBody<Held> {
    fn state(&self) -> MutexGuard<'_, State<Held>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Held> Drop for AnswerBody<Held> {
    fn drop(&mut self) {
        self.answers.known().under_way.remove(&self.number);
    }
}

impl<Held> Answer<Held> {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => self.rest = bytes,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }
}

impl<Held: Send + 'static> HttpBody for AnswerBody<Held> {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut state = self.state();
        state.was_asked = true;
        let Some(answer) = &mut state.answer else {
            // It breaks off, and does not end as if it were whole.
            return Poll::Ready(Some(Err("the answer was not taken".into())));
        };
        let frame = answer.poll_frame(context);
        state.is_waited_for = frame.is_pending();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.state().answer.as_ref().is_some_and(|answer| answer.rest.is_empty() && answer.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state().answer {
            Some(answer) if answer.rest.is_empty() => answer.body.size_hint(),
            Some(_) | None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::BodyExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_long_frame_leaves_in_pieces_and_nothing_is_lost() {
        let bytes: Vec<u8> = (0..PIECE * 3 + 7).map(|number| u8::try_from(number % 251).unwrap()).collect();
        let held = Arc::new(());
        let answers = Answers::default();
        let mut body = answers.begin(Body::from(bytes.clone()), Arc::clone(&held));
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
        assert_eq!(answers.known().under_way.len(), 0, "nothing is kept of it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_given_up_and_what_is_waited_for_is_not() {
        let held = Arc::new(());
        let answers = Answers::default();
        let watching = answers.clone();
        tokio::spawn(async move { watching.give_up(LONG).await });
        let never = || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let endless = || Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b"little"))));
        let begin = |body| answers.begin(body, Arc::clone(&held));
        let (mut long, mut short, mut untouched) =
            (begin(Body::from(vec![0; PIECE * 3])), begin(endless()), begin(never()));
        let (mut waited_for, mut taken) = (begin(never()), begin(endless()));
        long.frame().await.unwrap().unwrap();
        short.frame().await.unwrap().unwrap();
        assert!(futures::poll!(std::pin::pin!(waited_for.frame())).is_pending());
        for _ in 0..10 {
            tokio::time::sleep(LONG / 2).await;
            taken.frame().await.unwrap().unwrap();
        }
        assert_eq!(Arc::strong_count(&held), 3, "two are left");
        for body in [&mut long, &mut short, &mut untouched] {
            body.frame().await.unwrap().expect_err("it breaks off, and does not end as if it were whole");
        }
    }
}
