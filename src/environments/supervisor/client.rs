//! Talks to the supervisor of an environment. What comes back is hostile input: bounded, and passed on as text alone.

use std::{
    future::Future,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use tokio::net::UnixStream;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::task::places;
use crate::{
    domain::exec::{
        COMMAND_LIMIT, Command, CommandOutput, DEFAULT_TIMEOUT, LONGEST_TIMEOUT, OUTPUT_LIMIT, OperationsError,
    },
    environments::excerpt::{EXCERPT_LIMIT, excerpt},
    pb::supervisor::v1::{
        CancelExecRequest, ExecRequest, ExecResponse, environment_ops_service_client::EnvironmentOpsServiceClient,
    },
};

/// The most bytes of an answer: two streams with their notes.
const ANSWER_LIMIT: usize = 2 * OUTPUT_LIMIT + 64 * 1024;
/// The most bytes of an answer that says nothing.
const SMALL_ANSWER_LIMIT: usize = 1024;
/// The RPC that has a long answer.
const EXEC_PATH: &str = "/supervisor.v1.EnvironmentOpsService/Exec";
/// The longest wait for an answer that has begun: it comes from this machine.
const READING_TIMEOUT: Duration = Duration::from_secs(10);
/// The most bytes of an answer's headers.
const HEADER_LIMIT: u32 = 16 * 1024;
/// The longest wait for a connection, and for an answer that takes no work.
const SHORT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a command's end may take beyond its own time: the group is asked, then killed, then waited for.
const ENDING_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection to a supervisor.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens: the environment does not run, or not yet.
    #[error("nobody listens")]
    NotRunning,
    /// There is something else than the supervisor, or than its socket, in its place.
    #[error("{0}")]
    NotTheSupervisor(&'static str),
    /// The operating system says no.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What listens does not speak HTTP/2.
    #[error("no HTTP/2 connection: {0}")]
    Protocol(#[from] tonic::transport::Error),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
}

impl From<rustix::io::Errno> for ConnectError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Io(error.into())
    }
}

/// A connection to one supervisor.
#[derive(Debug, Clone)]
pub struct Client(Channel);

impl Client {
    /// Connects to the socket in `run`, the directory that the environment writes to. `owner` is the user ID that the
    /// environment runs as, `supervisor` the number of its first process: whatever else is in the socket's place, or
    /// listens there, is refused before a byte is sent, and links are not followed.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn connect(run: &Path, owner: u32, supervisor: i32) -> Result<Self, ConnectError> {
        let connected = async {
            let socket = open_socket(run, owner)?;
            let stream = match UnixStream::connect(format!("/proc/self/fd/{}", socket.as_raw_fd())).await {
                Ok(stream) => stream,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Err(ConnectError::NotRunning),
                Err(error) => return Err(error.into()),
            };
            // Of whoever began to listen, as the kernel saw it; nobody else can say that they did.
            let listener = stream.peer_cred()?;
            if (listener.uid(), listener.pid()) != (owner, Some(supervisor)) {
                return Err(ConnectError::NotTheSupervisor("another process listens in the supervisor's place"));
            }
            let mut stream = Some(TokioIo::new(stream));
            let connector = tower::service_fn(move |_| {
                // One connection: a second one would have to open the socket again.
                let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
                async move { stream }
            });
            let channel = Endpoint::from_static("http://environment")
                .http2_max_header_list_size(HEADER_LIMIT)
                .initial_stream_window_size(1024 * 1024)
                .initial_connection_window_size(2 * 1024 * 1024)
                .connect_with_connector(connector)
                .await?;
            Ok(Self(channel))
        };
        tokio::time::timeout(SHORT_TIMEOUT, connected).await.map_err(|_| ConnectError::TimedOut)?
    }

    /// Runs a command to its end, and waits for a place for its answer before reading it. Dropping the future ends the command
    /// and its process group.
    ///
    /// # Errors
    /// [`OperationsError`]
    pub async fn exec<Place>(
        self,
        command: Command,
        place: impl Future<Output = Result<Place, OperationsError>>,
    ) -> Result<(CommandOutput, Place), OperationsError> {
        if command.command.len() > COMMAND_LIMIT {
            // The other end would refuse it as well, but could not say why: it does not read that far.
            return Err(OperationsError::Invalid(format!("command: is longer than {COMMAND_LIMIT} bytes")));
        }
        let timeout = if command.timeout.is_zero() { DEFAULT_TIMEOUT } else { command.timeout.min(LONGEST_TIMEOUT) };
        // A part of a second counts as a whole one: zero would ask for the default.
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        let request = ExecRequest {
            operation_id: command.operation_id,
            command: command.command,
            working_directory: command.working_directory,
            timeout_seconds: i32::try_from(seconds).unwrap_or(i32::MAX),
        };
        let late = |_| OperationsError::Unreachable("no answer in time".to_owned());
        let lost = |status: Status| failed(&status, timeout);
        // As a stream of one message: the headers say that the command is over, and the message waits for its place.
        let path = PathAndQuery::from_static(EXEC_PATH);
        let answer = async {
            let mut grpc = Grpc::new(self.0).max_decoding_message_size(ANSWER_LIMIT);
            grpc.ready().await.map_err(|error| OperationsError::Unreachable(error.to_string()))?;
            let codec = ProstCodec::<ExecRequest, ExecResponse>::default();
            grpc.server_streaming(Request::new(request), path, codec).await.map_err(lost)
        };
        let answer = tokio::time::timeout(timeout + ENDING_TIMEOUT, answer).await.map_err(late)??;
        if answer.metadata().get("content-type").is_none_or(|kind| kind != "application/grpc") {
            return Err(OperationsError::Unreachable("the answer is none of gRPC".to_owned()));
        }
        let place = place.await?;
        let mut messages = answer.into_inner();
        let one = async {
            let Some(output) = messages.message().await? else { return Ok(None) };
            // The trailers, which have the status; a second message is none of a supervisor's.
            Ok(if messages.message().await?.is_none() { Some(output) } else { None })
        };
        let output = tokio::time::timeout(READING_TIMEOUT, one).await.map_err(late)?.map_err(lost)?;
        let output = output.ok_or_else(|| OperationsError::Unreachable("not one answer".to_owned()))?;
        if !(0..=255).contains(&output.exit_code) {
            return Err(OperationsError::Unreachable("the exit code is none".to_owned()));
        }
        Ok((CommandOutput { exit_code: output.exit_code, stdout: output.stdout, stderr: output.stderr }, place))
    }

    /// Ends the command with this operation ID.
    ///
    /// # Errors
    /// [`OperationsError`]
    pub async fn cancel(self, operation_id: String) -> Result<(), OperationsError> {
        let mut client = EnvironmentOpsServiceClient::new(self.0).max_decoding_message_size(SMALL_ANSWER_LIMIT);
        let answer = tokio::time::timeout(SHORT_TIMEOUT, client.cancel_exec(CancelExecRequest { operation_id })).await;
        let answer = answer.map_err(|_| OperationsError::Unreachable("no answer in time".to_owned()))?;
        answer.map(drop).map_err(|status| failed(&status, SHORT_TIMEOUT))
    }
}

/// Opens the supervisor's socket without following links, and makes sure that it is one, of the right owner. The
/// descriptor stands for this very file, whatever is put in its place afterwards.
fn open_socket(run: &Path, owner: u32) -> Result<OwnedFd, ConnectError> {
    let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |at: &OwnedFd| openat(at, places::SUPERVISOR_SOCKET, path, Mode::empty());
    let directory = openat(CWD, run, path | OFlags::DIRECTORY, Mode::empty());
    let socket = match directory.and_then(|directory| open(&directory)) {
        Ok(socket) => socket,
        Err(rustix::io::Errno::NOENT) => return Err(ConnectError::NotRunning),
        Err(error) => return Err(error.into()),
    };
    let status = fstat(&socket)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Socket {
        return Err(ConnectError::NotTheSupervisor("the supervisor's socket is no socket"));
    }
    if status.st_uid != owner {
        return Err(ConnectError::NotTheSupervisor("the supervisor's socket belongs to somebody else"));
    }
    Ok(socket)
}

/// Nothing of a status is passed on but its code and, cleaned, its text.
fn failed(status: &Status, timeout: Duration) -> OperationsError {
    let text = excerpt(status.message(), EXCERPT_LIMIT);
    if std::error::Error::source(status).is_some() {
        // Of this end's making: the connection broke, or what came over it was not HTTP/2.
        return OperationsError::Unreachable(text);
    }
    match status.code() {
        Code::DeadlineExceeded => OperationsError::TimedOut(timeout),
        Code::Cancelled => OperationsError::Cancelled,
        Code::InvalidArgument | Code::AlreadyExists | Code::FailedPrecondition => OperationsError::Invalid(text),
        Code::ResourceExhausted => OperationsError::Exhausted(text),
        Code::Ok
        | Code::Unknown
        | Code::NotFound
        | Code::PermissionDenied
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => OperationsError::Unreachable(format!("{:?}: {text}", status.code())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_socket_of_somebody_else_is_refused() {
        let run = tempfile::tempdir().unwrap();
        let (own, here) = (rustix::process::geteuid().as_raw(), std::process::id().cast_signed());
        assert!(matches!(Client::connect(run.path(), own, here).await, Err(ConnectError::NotRunning)));
        let socket = UnixListener::bind(run.path().join(places::SUPERVISOR_SOCKET)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let refused = Client::connect(run.path(), own + 1, here).await;
        assert!(matches!(refused, Err(ConnectError::NotTheSupervisor(_))), "{refused:?}");
        assert!(socket.accept().is_err(), "nobody came");
        // Another process listens than the one that should.
        let refused = Client::connect(run.path(), own, here + 1).await;
        assert!(matches!(refused, Err(ConnectError::NotTheSupervisor(_))), "{refused:?}");
        let (mut connection, _) = socket.accept().unwrap();
        let said = io::Read::read(&mut connection, &mut [0]);
        assert!(matches!(said, Ok(0)), "nothing was said: {said:?}");
        // The file of a socket that nobody listens on any more.
        drop(socket);
        assert!(matches!(Client::connect(run.path(), own, here).await, Err(ConnectError::NotRunning)));
    }
}
