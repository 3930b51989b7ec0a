//! A stream as lines of JSON: one message in JSON in, and for each message out one line, at once. Some clients know no other
//! streams, and ask with `Accept: application/jsonl`, or with that as the content type of what they send.
//!
//! How an answer goes is bounded by what such clients take for a message, which is every line:
//!
//! - A line is never empty. While no message comes, single spaces do, so that proxies and clients do not give up: the next line
//!   then begins with them. A message that has nothing in it says nothing, and is a space as well.
//! - Each line ends at a multiple of 64 bytes, filled up with spaces: some clients read in pieces of that length, and would keep
//!   the end of a line until more comes.
//! - A failure before anything was sent is an ordinary error of Connect's, with its HTTP status. One that comes later breaks off
//!   the body, since an error in a line would be taken for a message, and an end in good order for success.
//! - An end after a space would leave half a line, so that is broken off too; who watches begins anew, as after any break.
//! - There is no compression: a message would wait in it for the next one. And there are no trailers.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream;
use http::{Extensions, HeaderMap, HeaderValue, Response, header, request::Parts};
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Status, body::Body, service::Routes};

use super::{
    calls::{self, Answer, failure},
    classify::JSON_LINES,
    deadline,
    error::{Errors, status},
    framing::{self, Messages},
    json,
    methods::Method,
};

/// How long the head of an answer waits for the first message: long enough for a stream that fails as soon as it is begun, and
/// shorter than anybody notices who watches a quiet one.
const HEAD: Duration = Duration::from_millis(100);

/// How many bytes clients read at once.
const PIECE: usize = 64;

/// One call.
pub(super) struct JsonLines {
    pub(super) routes: Routes,
    pub(super) method: Arc<Method>,
    pub(super) errors: Errors,
    /// Bytes of the message of the request.
    pub(super) limit: usize,
    /// How long nothing comes before a space does.
    pub(super) keep_alive: Duration,
}

impl JsonLines {
    /// Calls the routes.
    pub(super) async fn call(mut self, parts: Parts, body: Body, timeout: Option<Duration>) -> Response<Body> {
        let end = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let (request, mut extensions) = (parts.headers.clone(), Extensions::new());
        let begun = self.begin(parts, body, end, &mut extensions);
        let begun = match end {
            Some(end) => timeout_at(end, begun).await.unwrap_or_else(|_elapsed| Err(deadline::exceeded())),
            None => begun.await,
        };
        let mut response = match begun {
            Ok((headers, lines)) => {
                let mut response = Response::new(lines.into_body());
                *response.headers_mut() = headers;
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON_LINES));
                extensions.insert(Code::Ok);
                response
            }
            Err(status) => self.errors.answer(&request, status),
        };
        response.extensions_mut().extend(extensions);
        response
    }

    /// What the handler says before its messages, and these, when it is clear that the stream has begun.
    async fn begin(
        &mut self,
        parts: Parts,
        body: Body,
        end: Option<Instant>,
        extensions: &mut Extensions,
    ) -> Result<(HeaderMap, Lines), Status> {
        let encoding = parts.headers.get(header::CONTENT_ENCODING);
        if encoding.is_some_and(|encoding| encoding != "identity") {
            return Err(Status::unimplemented("content-encoding: a request for lines of JSON is not compressed"));
        }
        let message = read(body, self.limit).await?;
        let message = json::to_message(&self.method.input, &message).map_err(|error| status(&error))?;
        within(message.encoded_len(), self.limit)?;

        let body = framing::one(&message.encode_to_vec())?;
        let remaining = end.map(|end| end.saturating_duration_since(Instant::now()));
        let Parts { headers, extensions: sent, .. } = parts;
        let (of_answer, answer) = calls::call(&mut self.routes, &self.method, headers, remaining, sent, body).await;
        extensions.extend(of_answer);
        let Answer { headers, messages, trailers: _ } = answer?;
        let mut lines = Lines {
            messages,
            method: Arc::clone(&self.method),
            end,
            keep_alive: self.keep_alive,
            first: None,
            sent: 0,
            is_in_line: false,
            is_over: false,
        };
        if let Ok(first) = timeout(HEAD, lines.message()).await {
            match first.transpose()? {
                Some(message) => lines.first = Some(message),
                None => lines.is_over = true,
            }
        }
        Ok((headers, lines))
    }
}

/// What is yet to be sent.
struct Lines {
    messages: Messages,
    method: Arc<Method>,
    end: Option<Instant>,
    keep_alive: Duration,
    /// A message that was there before the head was sent.
    first: Option<Bytes>,
    /// Bytes that have been sent, as far as they matter: since the last multiple of a piece.
    sent: usize,
    /// A space was sent, and no line since.
    is_in_line: bool,
    is_over: bool,
}

impl Lines {
    fn into_body(self) -> Body {
        Body::new(StreamBody::new(stream::unfold(self, |mut lines| async move {
            let piece = lines.next().await?;
            lines.is_over |= piece.is_err();
            Some((piece.map(Frame::data), lines))
        })))
    }

    /// The next line, or a space; an error breaks off the body.
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        if self.is_over {
            return None;
        }
        if let Some(message) = self.first.take() {
            return Some(self.line(message));
        }
        let now = Instant::now();
        // Also of a stream that never has to be waited for.
        if self.end.is_some_and(|end| end <= now) {
            return Some(Err(deadline::exceeded()));
        }
        let next_space = now + self.keep_alive;
        let wake = self.end.map_or(next_space, |end| end.min(next_space));
        match timeout_at(wake, self.message()).await {
            Ok(Some(message)) => Some(message.and_then(|message| self.line(message))),
            Ok(None) if self.is_in_line => Some(Err(Status::unavailable("the stream is over"))),
            Ok(None) => None,
            Err(_elapsed) if self.end == Some(wake) => Some(Err(deadline::exceeded())),
            Err(_elapsed) => Some(Ok(self.space())),
        }
    }

    /// The next message. Whoever gives up waiting for it loses nothing.
    async fn message(&mut self) -> Option<Result<Bytes, Status>> {
        match self.messages.next().await {
            Ok(Some(message)) => Some(Ok(message)),
            Ok(None) => failure(&self.messages.trailers).map(Err),
            Err(status) => Some(Err(status)),
        }
    }

    fn space(&mut self) -> Bytes {
        self.is_in_line = true;
        self.sent = (self.sent + 1) % PIECE;
        Bytes::from_static(b" ")
    }

    /// A message as it is sent.
    fn line(&mut self, message: Bytes) -> Result<Bytes, Status> {
        if message.is_empty() {
            return Ok(self.space());
        }
        let json = json::from_protobuf(&self.method.output, &message).map_err(|error| status(&error))?;
        let mut line = BytesMut::from(json);
        line.resize((self.sent + line.len() + 1).next_multiple_of(PIECE) - self.sent - 1, b' ');
        line.put_u8(b'\n');
        (self.sent, self.is_in_line) = (0, false);
        Ok(line.freeze())
    }
}

/// The whole body, if it is no longer than the limit.
async fn read(mut body: Body, limit: usize) -> Result<Bytes, Status> {
    // A length that is told is believed before anything is read.
    within(usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX), limit)?;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await.transpose()? {
        if let Some(data) = frame.data_ref() {
            within(whole.len().saturating_add(data.len()), limit)?;
            whole.extend_from_slice(data);
        }
    }
    Ok(whole.freeze())
}

fn within(length: usize, limit: usize) -> Result<(), Status> {
    if length > limit {
        return Err(Status::resource_exhausted(format!("message size {length} exceeds limit {limit}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
    use http::Request;
    use http_body_util::Full;
    use tonic_health::pb::{
        FILE_DESCRIPTOR_SET, HealthCheckRequest, HealthCheckResponse,
        health_server::{Health, HealthServer},
    };

    use tower::Service;

    use super::*;
    use crate::connect::Connect;

    type Told = Result<HealthCheckResponse, Status>;

    /// A service whose stream tells what a test tells it; for a service with a name there is none.
    struct Telling(Mutex<Option<UnboundedReceiver<Told>>>);

    #[tonic::async_trait]
    impl Health for Telling {
        async fn check(
            &self,
            _request: tonic::Request<HealthCheckRequest>,
        ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
            Err(Status::unimplemented("not asked for"))
        }

        type WatchStream = UnboundedReceiver<Told>;

        async fn watch(
            &self,
            request: tonic::Request<HealthCheckRequest>,
        ) -> Result<tonic::Response<Self::WatchStream>, Status> {
            if !request.get_ref().service.is_empty() {
                return Err(Status::not_found("no such service"));
            }
            Ok(tonic::Response::new(self.0.lock().unwrap().take().expect("asked once")))
        }
    }

    const NEVER: Duration = Duration::from_secs(3600);
    const SOON: Duration = Duration::from_millis(5);

    fn request(headers: &[(&'static str, &'static str)], body: &'static str) -> Request<Full<Bytes>> {
        let mut request = Request::post("/grpc.health.v1.Health/Watch").header("content-type", "application/jsonl");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
    }

    /// The answer to a request, before which the stream has told this.
    async fn answer(
        keep_alive: Duration,
        request: Request<Full<Bytes>>,
        told: Vec<Told>,
    ) -> (UnboundedSender<Told>, Response<Body>) {
        let (sender, receiver) = mpsc::unbounded();
        told.into_iter().for_each(|told| sender.unbounded_send(told).unwrap());
        let routes = Routes::new(HealthServer::new(Telling(Mutex::new(Some(receiver)))));
        let mut connect = Connect::new(routes, [FILE_DESCRIPTOR_SET])
            .unwrap()
            .with_message_limit(1000)
            .with_json_lines_keep_alive(keep_alive);
        (sender, connect.call(request).await.unwrap())
    }

    fn serving(status: i32) -> Told {
        Ok(HealthCheckResponse { status })
    }

    async fn piece(response: &mut Response<Body>) -> Option<Result<Bytes, Status>> {
        let frame = response.body_mut().frame().await?;
        Some(frame.map(|frame| frame.into_data().expect("there are no trailers")))
    }

    async fn error(response: Response<Body>) -> (u16, serde_json::Value, Code) {
        let code = *response.extensions().get::<Code>().unwrap();
        assert_eq!(response.headers()["content-type"], "application/json");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap(), code)
    }

    #[tokio::test]
    async fn each_message_is_a_line_at_once() {
        let (sender, mut response) = answer(NEVER, request(&[("accept-encoding", "gzip")], "{}"), vec![]).await;
        assert_eq!((response.status().as_u16(), response.headers().len()), (200, 1), "{response:?}");
        assert_eq!(response.headers()["content-type"], "application/jsonl");
        assert_eq!(response.extensions().get::<Code>(), Some(&Code::Ok));
        let mut sent = 0;
        // What says nothing is a space before the next line.
        for (status, line) in [(1, r#"{"status":"SERVING"}"#), (0, ""), (2, r#"{"status":"NOT_SERVING"}"#)] {
            sender.unbounded_send(serving(status)).unwrap();
            let piece = piece(&mut response).await.unwrap().unwrap();
            assert_eq!(piece.trim_ascii(), line.as_bytes());
            sent += piece.len();
            assert_eq!(
                piece.ends_with(b"\n") && sent.is_multiple_of(PIECE),
                !line.is_empty(),
                "{piece:?} after {sent}"
            );
        }
        drop(sender);
        assert!(piece(&mut response).await.is_none(), "ended in good order");
    }

    #[tokio::test]
    async fn while_nothing_comes_spaces_do_and_no_empty_line() {
        let (sender, mut response) = answer(SOON, request(&[], "{}"), vec![]).await;
        for _ in 0..3 {
            assert_eq!(piece(&mut response).await.unwrap().unwrap(), " ");
        }
        sender.unbounded_send(serving(1)).unwrap();
        // There may be another space on its way.
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            line.extend_from_slice(&piece(&mut response).await.unwrap().unwrap());
        }
        assert_eq!(line.trim_ascii(), br#"{"status":"SERVING"}"#);
        assert!((3 + line.len()).is_multiple_of(PIECE), "{} bytes more", line.len());
    }

    #[tokio::test]
    async fn half_a_line_is_not_taken_for_the_end() {
        let (sender, mut response) = answer(SOON, request(&[], "{}"), vec![]).await;
        assert_eq!(piece(&mut response).await.unwrap().unwrap(), " ");
        drop(sender);
        while let Some(Ok(space)) = piece(&mut response).await {
            assert_eq!(space, " ");
        }
        assert!(piece(&mut response).await.is_none(), "it was broken off, and that was all");
    }

    #[tokio::test]
    async fn a_failure_before_anything_was_sent_is_an_ordinary_error() {
        let (_sender, refused) = answer(NEVER, request(&[], r#"{"service":"x"}"#), vec![]).await;
        let expected = serde_json::json!({ "code": "not_found", "message": "no such service" });
        assert_eq!(error(refused).await, (404, expected, Code::NotFound));

        // Or so soon that nothing was sent yet.
        let failed = vec![Err(Status::aborted("at once"))];
        let (_sender, response) = answer(NEVER, request(&[], "{}"), failed).await;
        assert_eq!(response.headers()["x-should-retry"], "false", "{response:?}");
        let expected = serde_json::json!({ "code": "aborted", "message": "at once" });
        assert_eq!(error(response).await, (409, expected, Code::Aborted));
    }

    #[tokio::test]
    async fn a_failure_after_that_breaks_off_the_body() {
        let told = vec![serving(1), Err(Status::aborted("later"))];
        let (_sender, mut response) = answer(NEVER, request(&[], "{}"), told).await;
        assert_eq!(piece(&mut response).await.unwrap().unwrap().trim_ascii(), br#"{"status":"SERVING"}"#);
        assert_eq!(piece(&mut response).await.unwrap().unwrap_err().code(), Code::Aborted);
        assert!(piece(&mut response).await.is_none());
    }

    #[tokio::test]
    async fn a_deadline_ends_it_before_and_after_the_first_line() {
        let timed = || request(&[("connect-timeout-ms", "20")], "{}");
        let (_sender, none) = answer(NEVER, timed(), vec![]).await;
        assert_eq!((error(none).await.0), 504);
        let (sender, mut one) = answer(NEVER, timed(), vec![serving(1)]).await;
        piece(&mut one).await.unwrap().unwrap();
        assert_eq!(piece(&mut one).await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
        drop(one);
        assert!(sender.is_closed(), "nobody waits for more");
    }

    #[tokio::test]
    async fn who_leaves_is_told_no_more() {
        let (sender, mut response) = answer(NEVER, request(&[], "{}"), vec![serving(1)]).await;
        piece(&mut response).await.unwrap().unwrap();
        assert!(!sender.is_closed());
        drop(response);
        assert!(sender.is_closed());
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused_as_elsewhere() {
        static LONG: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| format!("{{}}{}", " ".repeat(999)));
        for (headers, body, status) in [
            (&[][..], "", 400),
            (&[], "{}{}", 400),
            (&[], LONG.as_str(), 429),
            (&[("content-encoding", "gzip")], "{}", 501),
            (&[("connect-timeout-ms", "soon")], "{}", 400),
            (&[("connect-timeout-ms", "0")], "{}", 504),
        ] {
            let (_sender, response) = answer(NEVER, request(headers, body), vec![]).await;
            assert_eq!(error(response).await.0, status, "{headers:?} {body:.20}");
        }
    }
}
