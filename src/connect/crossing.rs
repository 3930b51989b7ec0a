//! What passes by the engine, which has no place for it: why a body could not be read, what became of the call, and the
//! extensions of the answer.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Extensions;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

/// One request's; it travels in the request's extensions.
#[derive(Debug, Clone, Default)]
pub(super) struct Crossing(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failure: Option<Status>,
    code: Option<Code>,
    extensions: Extensions,
}

impl Crossing {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the body could not be read, if it could not.
    pub(super) fn failure(&self) -> Option<Status> {
        self.state().failure.clone()
    }

    /// A handler has answered with this code.
    pub(super) fn answered(&self, code: Code) {
        self.state().code = Some(code);
    }

    /// A handler has answered with these extensions.
    pub(super) fn extend(&self, extensions: Extensions) {
        self.state().extensions.extend(extensions);
    }

    /// The code of the handler's answer, if it came to one, and the extensions.
    pub(super) fn finish(&self) -> (Option<Code>, Extensions) {
        let mut state = self.state();
        (state.code, std::mem::take(&mut state.extensions))
    }
}

/// The body of a request, which tells why it cannot be read.
pub(super) struct RequestBody {
    body: Body,
    crossing: Crossing,
}

impl RequestBody {
    pub(super) const fn new(body: Body, crossing: Crossing) -> Self {
        Self { body, crossing }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Err(status)) = &frame {
            self.crossing.state().failure = Some(status.clone());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
