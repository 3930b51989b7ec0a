//! gRPC's messages in bodies: a flag for compression, the length in four bytes, the message.

use std::convert::Infallible;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tonic::{Status, body::Body};

/// Bytes before each message.
pub(super) const HEADER: usize = 5;

/// A message that is not compressed, with its header.
fn frame(message: &[u8]) -> Result<Bytes, Status> {
    let length = u32::try_from(message.len()).map_err(|_| Status::resource_exhausted("a message of 4 GiB or more"))?;
    let mut framed = BytesMut::with_capacity(HEADER + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    Ok(framed.freeze())
}

/// The body of a request with one message.
pub(super) fn one(message: &[u8]) -> Result<Body, Status> {
    Ok(Body::new(Full::new(frame(message)?).map_err(|never: Infallible| match never {})))
}

/// The body of a request with a stream of messages; an error of the stream is the handler's to see.
pub(super) fn many<S>(messages: S) -> Body
where
    S: futures::Stream<Item = Result<Bytes, Status>> + Send + 'static,
{
    use futures::StreamExt;
    Body::new(StreamBody::new(messages.map(|message| frame(&message?).map(Frame::data))))
}

/// Reads the messages of an answer, and what comes after them.
pub(super) struct Messages {
    body: Body,
    buffer: BytesMut,
    /// All of it has been read.
    is_over: bool,
    /// What came after the messages; nothing before the last of them was read.
    pub(super) trailers: HeaderMap,
}

impl Messages {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), is_over: false, trailers: HeaderMap::new() }
    }

    /// The next message, or none when all have been read.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Status> {
        loop {
            if let Some(message) = self.take() {
                return Ok(Some(message));
            }
            if self.is_over && self.buffer.is_empty() {
                return Ok(None);
            }
            if self.is_over {
                return Err(Status::internal("the answer ends in the middle of a message"));
            }
            match self.body.frame().await.transpose()?.map(Frame::into_data) {
                Some(Ok(data)) => self.buffer.extend_from_slice(&data),
                // Nothing follows them; whoever waited for the end would wait for the handler, which may not have one.
                Some(Err(other)) => {
                    self.trailers = other.into_trailers().unwrap_or_default();
                    self.is_over = true;
                }
                None => self.is_over = true,
            }
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let mut length = self.buffer.get(1..HEADER)?;
        // A message longer than memory does not come from a handler in this process.
        let length = usize::try_from(length.get_u32()).unwrap_or(usize::MAX);
        if self.buffer.len() - HEADER < length {
            return None;
        }
        self.buffer.advance(HEADER);
        Some(self.buffer.split_to(length).freeze())
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    fn pieces(bytes: &[u8], length: usize) -> Body {
        let pieces: Vec<_> = bytes.chunks(length).map(Bytes::copy_from_slice).collect();
        Body::new(StreamBody::new(stream::iter(pieces.into_iter().map(|piece| Ok::<_, Status>(Frame::data(piece))))))
    }

    #[tokio::test]
    async fn messages_are_found_however_the_body_is_cut() {
        let body: Vec<u8> = [frame(b"one").unwrap(), frame(b"").unwrap(), frame(&[7; 300]).unwrap()].concat();
        for length in [1, 2, 5, 6, 100, body.len()] {
            let mut messages = Messages::new(pieces(&body, length));
            for expected in [b"one".as_slice(), b"", &[7; 300]] {
                assert_eq!(messages.next().await.unwrap().as_deref(), Some(expected));
            }
            assert_eq!(messages.next().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn trailers_are_the_end() {
        let frames = [Frame::data(frame(b"one").unwrap()), Frame::trailers(HeaderMap::new())].map(Ok::<_, Status>);
        let mut messages = Messages::new(Body::new(StreamBody::new(stream::iter(frames).chain(stream::pending()))));
        assert_eq!(messages.next().await.unwrap().as_deref(), Some(b"one".as_slice()));
        assert_eq!(messages.next().await.unwrap(), None);
        assert_eq!(messages.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn half_a_message_is_an_error() {
        for length in [1, 4, 6] {
            let half = frame(b"whole").unwrap().slice(..length);
            Messages::new(pieces(&half, 3)).next().await.unwrap_err();
        }
    }
}
