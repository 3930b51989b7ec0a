//! Plain gRPC, straight to the routes: with the deadline that tonic's routes do not keep, the limit under its own name, and one
//! message where one is asked for.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::Service;

use super::{deadline, framing::HEADER, trailers::Trailers};

/// Calls the routes.
pub(super) async fn call(
    mut routes: Routes,
    request: Request<Body>,
    takes_one: bool,
    timeout: Option<Duration>,
    limit: usize,
) -> Response<Body> {
    let request = request.map(|body| Body::new(RequestMessages { body, takes_one, limit, place: Place::default() }));
    let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let answer = routes.call(request);
    let answer = match end {
        Some(end) => tokio::time::timeout_at(end, answer).await,
        None => Ok(answer.await),
    };
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Err(_elapsed) => deadline::exceeded().into_http(),
    };
    let code = response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    response.extensions_mut().insert(code);
    let trailers = response.extensions_mut().remove::<Trailers>().map(|trailers| trailers.0);
    if end.is_none() && trailers.is_none() {
        return response;
    }
    let timer = end.map(|end| Box::pin(tokio::time::sleep_until(end)));
    response.map(|body| Body::new(AnswerBody { body: Some(body), timer, trailers }))
}

/// A body whose messages are not longer than the limit, and as many as the method takes. Tonic calls a message that is too long
/// out of range, where the other protocols have RESOURCE_EXHAUSTED; and passes over what follows the one message of a method
/// that takes no more.
struct RequestMessages {
    body: Body,
    takes_one: bool,
    limit: usize,
    place: Place,
}

/// Where in the body one is.
#[derive(Default)]
struct Place {
    /// What has come of a message's header.
    header: [u8; HEADER],
    header_length: usize,
    /// How much of the message itself is to come.
    rest: usize,
    /// Messages that have begun.
    messages: u64,
}

impl Place {
    /// Goes on by these bytes; returns the longest message that begins in them.
    fn advance(&mut self, mut bytes: &[u8]) -> usize {
        let mut longest = 0;
        while !bytes.is_empty() {
            if self.rest > 0 {
                let passed = self.rest.min(bytes.len());
                bytes.advance(passed);
                self.rest -= passed;
                continue;
            }
            self.header[self.header_length] = bytes.get_u8();
            self.header_length += 1;
            if self.header_length == HEADER {
                self.header_length = 0;
                self.messages += 1;
                self.rest = usize::try_from((&self.header[1..]).get_u32()).unwrap_or(usize::MAX);
                longest = longest.max(self.rest);
            }
        }
        longest
    }
}

impl RequestMessages {
    fn advance(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let longest = self.place.advance(bytes);
        if longest > self.limit {
            return Err(Status::resource_exhausted(format!("message size {longest} exceeds limit {}", self.limit)));
        }
        if self.takes_one && self.place.messages > 1 {
            return Err(Status::unimplemented("the method takes one message, and more were sent"));
        }
        Ok(())
    }
}

impl HttpBody for RequestMessages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref()
                    && let Err(status) = self.advance(data)
                {
                    return Poll::Ready(Some(Err(status)));
                }
            }
            Some(Err(_)) => {}
            None if self.takes_one && self.place.messages == 0 => {
                // Once; whoever asks again is at the end.
                self.takes_one = false;
                return Poll::Ready(Some(Err(Status::unimplemented(
                    "the method takes one message, and none was sent",
                ))));
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    // Known before it is read only of a body that has what it must have.
    fn is_end_stream(&self) -> bool {
        !(self.takes_one && self.place.messages == 0) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that ends with its deadline, and with the handler's trailers.
struct AnswerBody {
    /// None when it has come to its end.
    body: Option<Body>,
    timer: Option<Pin<Box<Sleep>>>,
    trailers: Option<HeaderMap>,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // First, since a stream may never have to be waited for.
        let is_over = self.timer.as_mut().is_some_and(|timer| timer.poll_unpin(context).is_ready());
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if is_over {
            // The handler's stream ends here.
            self.body = None;
            let mut trailers = HeaderMap::new();
            let written = deadline::exceeded().add_header(&mut trailers);
            return Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))));
        }
        let mut frame = ready!(Pin::new(body).poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(of_tonic) = frame.trailers_mut()
            && let Some(of_handler) = self.trailers.take()
        {
            of_tonic.extend(of_handler);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_found_however_the_body_is_cut() {
        let body = [[0, 0, 0, 0, 3].as_slice(), b"one", &[0, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat();
        for length in [1, 2, 5, 6, 100, body.len()] {
            let mut place = Place::default();
            let longest = body.chunks(length).map(|piece| place.advance(piece)).max();
            assert_eq!((longest, place.messages, place.rest), (Some(256), 3, 0), "in pieces of {length}");
        }
        // Known as soon as the header is there.
        assert_eq!(Place::default().advance(&[0, 255, 255, 255, 255]), 0xffff_ffff);
    }
}
