//! Between a server that has given up the rights of root and the process that has kept them (the monitor, in the words of
//! privilege separation: Provos, Friedl, Honeyman, "Preventing Privilege Escalation", 2003). Few things can be asked for,
//! each about one environment by its ID; whoever takes the server over can ask for these, and for nothing else.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use tokio::{io::Interest, net::UnixDatagram, sync::oneshot};

use super::{
    cgroups::Controller,
    hands::{Hands, Launch},
    process::Identity,
    state::Directory,
};
use crate::{
    domain::ids::EnvironmentId,
    environments::{runner::Resources, supervisor::task::Task},
};

/// The most bytes of a message.
const MESSAGE_BYTES: usize = 64 * 1024;
/// The most descriptors that come with a message: the status file and the log of a sandbox, and where one tells what it counts.
const DESCRIPTORS: usize = 3;
/// The most processes of one question, so that it is no longer than a message.
const PROCESSES: usize = 256;

/// What the server asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    MakeDirectories { environment: String },
    Limit { environment: String, resources: Resources },
    Start { environment: String, task: Task, resources: Option<Resources> },
    Kill { identity: Identity },
    RemoveGroup { environment: String },
    Bound { identity: Identity },
    Written { identities: Vec<Identity> },
}

/// What it gets, if it gets anything.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done,
    /// Of [`Request::Limit`]: what is not limited.
    Missing(Vec<Controller>),
    /// Of [`Request::Written`]: bytes, in the same order.
    Written(Vec<u64>),
    /// What went wrong.
    Failed(String),
}

/// Two ends that talk to each other: the server's and the monitor's.
///
/// # Errors
/// What the operating system says.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?)
}

/// The server's end.
#[derive(Debug, Clone)]
pub(super) struct Client(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    socket: UnixDatagram,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    owner: u32,
}

impl Client {
    /// Talks over a socket; sandboxes run as `owner`.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn new(socket: OwnedFd, owner: u32) -> io::Result<Self> {
        let socket = open(socket)?;
        let connection = Arc::new(Connection { socket, next: AtomicU64::new(1), waiting: Mutex::default(), owner });
        let listening = Arc::downgrade(&connection);
        tokio::spawn(async move {
            while let Some(connection) = listening.upgrade() {
                let Ok(Some((bytes, _))) = receive(&connection.socket).await else {
                    // The monitor is gone. Whoever waits is told, and whoever asks from now on.
                    connection.lock().clear();
                    return;
                };
                if let Ok((number, answer)) = serde_json::from_slice::<(u64, Answer)>(&bytes)
                    && let Some(waiting) = connection.lock().remove(&number)
                {
                    // Whoever asked may have gone away.
                    let _ = waiting.send(answer);
                }
            }
        });
        Ok(Self(connection))
    }

    /// The user ID that sandboxes run as.
    pub(super) fn owner(&self) -> u32 {
        self.0.owner
    }

    pub(super) async fn make_directories(&self, directory: &Directory) -> io::Result<()> {
        self.ask(&Request::MakeDirectories { environment: name(directory) }, &[]).await.map(drop)
    }

    pub(super) async fn limit(&self, directory: &Directory, resources: &Resources) -> io::Result<Vec<Controller>> {
        let request = Request::Limit { environment: name(directory), resources: *resources };
        let Answer::Missing(missing) = self.ask(&request, &[]).await? else { return Err(unexpected()) };
        Ok(missing)
    }

    pub(super) async fn start(&self, launch: Launch<'_>) -> io::Result<()> {
        let Launch { directory, task, resources, status, log, output } = launch;
        let request =
            Request::Start { environment: name(directory), task: task.clone(), resources: resources.copied() };
        let mut descriptors = vec![status.as_fd(), log.as_fd()];
        descriptors.extend(output.as_ref().map(AsFd::as_fd));
        self.ask(&request, &descriptors).await.map(drop)
    }

    pub(super) async fn kill(&self, identity: &Identity) -> io::Result<()> {
        self.ask(&Request::Kill { identity: identity.clone() }, &[]).await.map(drop)
    }

    pub(super) async fn bound(&self, identity: &Identity) -> io::Result<()> {
        self.ask(&Request::Bound { identity: identity.clone() }, &[]).await.map(drop)
    }

    pub(super) async fn written(&self, identities: &[Identity]) -> io::Result<Vec<u64>> {
        let mut written = Vec::new();
        for some in identities.chunks(PROCESSES) {
            let request = Request::Written { identities: some.to_vec() };
            let Answer::Written(bytes) = self.ask(&request, &[]).await? else { return Err(unexpected()) };
            written.extend(bytes);
        }
        Ok(written)
    }

    pub(super) async fn remove_group(&self, directory: &Directory) -> io::Result<()> {
        self.ask(&Request::RemoveGroup { environment: name(directory) }, &[]).await.map(drop)
    }

    async fn ask(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> io::Result<Answer> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.0.lock().insert(number, sender);
        let sent = send(&self.0.socket, &serde_json::to_vec(&(number, request))?, descriptors).await;
        if let Err(error) = sent {
            self.0.lock().remove(&number);
            return Err(error);
        }
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the process with the rights of root is gone");
        match answer.await.map_err(|_| gone())? {
            Answer::Failed(error) => Err(io::Error::other(error)),
            answer @ (Answer::Done | Answer::Missing(_) | Answer::Written(_)) => Ok(answer),
        }
    }
}

impl Connection {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unexpected() -> io::Error {
    io::Error::other("the process with the rights of root answers something else")
}

fn name(directory: &Directory) -> String {
    directory.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The monitor's end: does what is asked for until the server is gone.
///
/// # Errors
/// What the operating system says of the socket.
pub(super) async fn serve(socket: OwnedFd, hands: Arc<Hands>, environments: PathBuf) -> io::Result<()> {
    let socket = Arc::new(open(socket)?);
    while let Some((bytes, descriptors)) = receive(&socket).await? {
        let (socket, hands, environments) = (Arc::clone(&socket), Arc::clone(&hands), environments.clone());
        // Some take a while, and hold up no other.
        tokio::spawn(async move {
            let Ok((number, request)) = serde_json::from_slice::<(u64, Request)>(&bytes) else { return };
            let answer = carry_out(request, descriptors, &hands, &environments).await;
            let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
            let Ok(answer) = serde_json::to_vec(&(number, answer)) else { return };
            // An error is the server's end: there is nobody to tell.
            let _ = send(&socket, &answer, &[]).await;
        });
    }
    Ok(())
}

async fn carry_out(
    request: Request,
    descriptors: Vec<OwnedFd>,
    hands: &Hands,
    environments: &std::path::Path,
) -> io::Result<Answer> {
    let directory = |environment: &str| match environment.parse::<EnvironmentId>() {
        // Written as we write it: no other path comes of it.
        Ok(id) => Ok(Directory::new(environments.join(id.to_string()))),
        Err(_) => Err(io::Error::other("that is no environment")),
    };
    match request {
        Request::MakeDirectories { environment } => {
            hands.make_directories(&directory(&environment)?)?;
            Ok(Answer::Done)
        }
        Request::Limit { environment, resources } => {
            Ok(Answer::Missing(hands.limit(&directory(&environment)?, &resources)))
        }
        Request::Start { environment, task, resources } => {
            let directory = directory(&environment)?;
            let mut descriptors = descriptors.into_iter();
            let (Some(status), Some(log), output, None) =
                (descriptors.next(), descriptors.next(), descriptors.next(), descriptors.next())
            else {
                return Err(io::Error::other("descriptors are missing, or too many"));
            };
            let (directory, task, resources) = (&directory, &task, resources.as_ref());
            let launch = Launch { directory, task, resources, status, log, output };
            let mut child = hands.start(launch)?;
            tokio::spawn(async move { child.wait().await });
            Ok(Answer::Done)
        }
        Request::Kill { identity } => hands.kill(&identity).map(|()| Answer::Done),
        Request::RemoveGroup { environment } => {
            hands.remove_group(&directory(&environment)?).await;
            Ok(Answer::Done)
        }
        Request::Bound { identity } => hands.bound(identity).await.map(|()| Answer::Done),
        Request::Written { identities } => hands.written(identities).await.map(Answer::Written),
    }
}

/// Whole messages with a known end of the connection: what tokio knows as datagrams serves for these as well.
fn open(socket: OwnedFd) -> io::Result<UnixDatagram> {
    UnixDatagram::from_std(socket.into())
}

async fn send(socket: &UnixDatagram, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.len() > MESSAGE_BYTES {
        return Err(io::Error::other("the message is too long"));
    }
    socket
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return Err(io::Error::other("too many descriptors"));
            }
            sendmsg(socket, &[io::IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(())
        })
        .await
}

/// The next message, and what came with it; none when the other end is gone.
async fn receive(socket: &UnixDatagram) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    socket
        .async_io(Interest::READABLE, || {
            let mut bytes = vec![0; MESSAGE_BYTES];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut vectors = [io::IoSliceMut::new(&mut bytes)];
            let received = recvmsg(socket, &mut vectors, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            let descriptors = ancillary
                .drain()
                .filter_map(|message| match message {
                    RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                    RecvAncillaryMessage::ScmCredentials(_) | _ => None,
                })
                .flatten()
                .collect();
            if received.flags.contains(ReturnFlags::TRUNC) {
                return Err(io::Error::other("a message that is too long"));
            }
            if received.bytes == 0 {
                return Ok(None);
            }
            bytes.truncate(received.bytes);
            Ok(Some((bytes, descriptors)))
        })
        .await
}
