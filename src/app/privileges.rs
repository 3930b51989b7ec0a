//! A server that root starts does not stay root. What takes root's rights (PostgreSQL's life, starting and ending sandboxes) is
//! kept by this process, which talks to nobody but the server; the server is a process of its own, as an account that owns
//! nothing else. It gets what was prepared for it by descriptor, and of secrets no more than it takes to serve: not the
//! owner of the tables, not the file of signing keys.

use std::{
    collections::BTreeMap,
    future::Future,
    io::{self, Seek, Write},
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use futures::FutureExt;
use nix::{libc, unistd};
use rustix::{
    fs::MemfdFlags,
    process::{Pid, Signal, kill_process, set_parent_process_death_signal},
    thread::set_no_new_privs,
};
use serde::{Deserialize, Serialize};
use tokio::{
    net::TcpListener,
    process::{Child, Command},
};
use zeroize::Zeroizing;

use super::{
    AppError, Database, Listeners,
    database::ServingUrls,
    environments::{Machine, Ready, SERVER_ACCOUNT, account},
    prepare::Prepared,
    signing_keys,
};
use crate::{
    config::Config,
    domain::{secret::Secret, sign_in::ProviderName},
    environments::runner::local::{Account, MonitorEnd, Prepared as PreparedRunner, Setting},
};

/// The hidden subcommand of `latchkey` that [`take_over`] is behind. Its one argument is the number of a descriptor.
pub const SUBCOMMAND: &str = "serve-prepared";
/// Of the server's environment, what it is given: all else may be a secret of whoever started us. Certificates are those that it trusts.
const VARIABLES: [&str; 5] = ["LATCHKEY_LOG", "LATCHKEY_LOG_FORMAT", "RUST_BACKTRACE", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// How much longer than it should the server may take to end before it is ended.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the server is told. Descriptors are told by their numbers, which they keep.
#[derive(Serialize, Deserialize)]
struct Handover {
    config: Config,
    account: (u32, u32),
    /// The process that has kept root's rights.
    monitor: u32,
    serving_url: String,
    direct_url: Option<String>,
    organization: String,
    signing_keys: String,
    client_secrets: BTreeMap<ProviderName, String>,
    announcement: String,
    listener: RawFd,
    metrics: Option<RawFd>,
    runner: Option<RunnerHandover>,
}

#[derive(Serialize, Deserialize)]
struct RunnerHandover {
    id: String,
    setting: Setting,
    socket: RawFd,
    lock: RawFd,
}

/// Listeners, before there is a runtime for them.
pub(super) struct StdListeners {
    address: SocketAddr,
    api: StdListener,
    metrics: Option<StdListener>,
}

impl StdListeners {
    pub(super) fn into_tokio(self) -> io::Result<Listeners> {
        Ok(Listeners {
            address: self.address,
            api: TcpListener::from_std(self.api)?,
            metrics: self.metrics.map(TcpListener::from_std).transpose()?,
        })
    }
}

/// What a server serves with that was told by another process.
pub(super) struct Taken {
    pub(super) config: Config,
    pub(super) listeners: StdListeners,
    pub(super) prepared: Prepared,
    pub(super) announcement: String,
}

/// Starts the server and stays with it until it has ended, or until `shutdown`.
///
/// # Errors
/// [`AppError`]
pub(super) async fn serve(
    config: Config,
    listeners: Listeners,
    database: &Database,
    prepared: Prepared,
    announcement: String,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AppError> {
    let patience = config.limits.shutdown * 2 + PATIENCE;
    // The server may announce itself, and its end be asked for, before this process looks: that is heard from here on.
    let shutdown = shutdown.shared();
    let _ = shutdown.clone().now_or_never();
    let (mut child, machine) = start(config, listeners, database, prepared, announcement).map_err(failed)?;
    let asked_for = async {
        if let Some((machine, end)) = &machine
            && let Err(error) = machine.serve(end).await
        {
            tracing::error!(%error, "what the server asks for cannot be read any more");
        }
        // The server has closed its end: how it ended is seen where its process is waited for.
        std::future::pending::<()>().await;
    };
    let status = tokio::select! {
        status = child.wait() => status.map_err(failed)?,
        () = database.keep_running() => return Ok(()),
        () = asked_for => return Ok(()),
        () = shutdown => end(&mut child, &machine, patience).await.map_err(failed)?,
    };
    if status.success() { Ok(()) } else { Err(AppError::Server(status)) }
}

/// Asks the server to end, and goes on doing what it asks for meanwhile.
async fn end(
    child: &mut Child,
    machine: &Option<(PreparedRunner, MonitorEnd)>,
    patience: Duration,
) -> io::Result<ExitStatus> {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        // An error means that it has ended.
        let _ = kill_process(pid, Signal::TERM);
    }
    let asked_for = async {
        if let Some((machine, end)) = machine {
            let _ = machine.serve(end).await;
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = tokio::time::timeout(patience, child.wait()) => ended,
        () = asked_for => return child.wait().await,
    };
    match ended {
        Ok(status) => status,
        Err(_) => {
            tracing::error!("the server does not end and is killed");
            child.start_kill()?;
            child.wait().await
        }
    }
}

type Started = (Child, Option<(PreparedRunner, MonitorEnd)>);

fn start(
    config: Config,
    listeners: Listeners,
    database: &Database,
    prepared: Prepared,
    announcement: String,
) -> io::Result<Started> {
    let account = account(SERVER_ACCOUNT, "the server").map_err(io::Error::other)?;
    let Account { uid, gid } = account.ok_or_else(|| io::Error::other("only root gives up the rights of root"))?;
    // Kept open here until the child has them.
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    let mut hand_over = |descriptor: OwnedFd| {
        let number = descriptor.as_raw_fd();
        descriptors.push(descriptor);
        number
    };
    let listener = hand_over(listeners.api.into_std()?.into());
    let metrics = listeners.metrics.map(TcpListener::into_std).transpose()?.map(|one| hand_over(one.into()));
    // Whatever becomes of this process: nobody else gets the data directory as long as the server lives.
    database.share_lock()?.map(&mut hand_over);
    let (mut runner, mut machine) = (None, None);
    if let Some(Ready { id, machine: Machine::Own(ready) }) = prepared.runner {
        let (setting, socket, lock, end) = ready.for_another()?;
        let (socket, lock) = (hand_over(socket), hand_over(lock));
        runner = Some(RunnerHandover { id: id.to_string(), setting, socket, lock });
        machine = Some((ready, end));
    }
    let exposed = prepared.client_secrets.into_iter().map(|(name, secret)| (name, secret.expose().to_owned()));
    let handover = Handover {
        config,
        account: (uid, gid),
        monitor: std::process::id(),
        serving_url: prepared.serving_urls.database.expose().to_owned(),
        direct_url: prepared.serving_urls.direct.map(|url| url.expose().to_owned()),
        organization: prepared.organization.to_string(),
        signing_keys: prepared.signing_keys.0.expose().to_owned(),
        client_secrets: exposed.collect(),
        announcement,
        listener,
        metrics,
        runner,
    };
    let text = Zeroizing::new(serde_json::to_vec(&handover)?);
    let mut file = std::fs::File::from(rustix::fs::memfd_create("latchkey handover", MemfdFlags::CLOEXEC)?);
    file.write_all(&text)?;
    file.rewind()?;
    let number = hand_over(file.into());
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();

    let mut command = Command::new(std::env::current_exe()?);
    command.arg(SUBCOMMAND).arg(number.to_string()).env_clear();
    command.envs(VARIABLES.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).kill_on_drop(true);
    // SAFETY: system calls alone, on numbers that were made before the fork.
    unsafe {
        command.pre_exec(move || {
            for number in &numbers {
                if libc::fcntl(*number, libc::F_SETFD, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
    let child = command.spawn()?;
    drop(descriptors);
    Ok((child, machine))
}

/// In the server's process, before anything else and while there is one thread: takes what was prepared, and gives up the
/// rights of root for good.
///
/// # Errors
/// What is wrong: nothing that can be mended here.
pub(super) fn take_over(number: &str) -> io::Result<Taken> {
    let number: RawFd = number.parse().map_err(io::Error::other)?;
    // SAFETY: whoever started this process handed this descriptor over, and told nobody else of it.
    let text = unsafe { std::fs::File::from_raw_fd(number) };
    let handover: Handover = serde_json::from_reader(io::BufReader::new(text))?;
    give_up(handover.account, handover.monitor)?;
    // SAFETY: as above; each is told once.
    let take = |number: RawFd| unsafe { OwnedFd::from_raw_fd(number) };
    let listener = |number: RawFd| StdListener::from(take(number));
    let api = listener(handover.listener);
    let address: SocketAddr = api.local_addr()?;
    let signing_keys = Secret::new(handover.signing_keys);
    let keys = signing_keys::parse(&signing_keys).map_err(io::Error::other)?;
    let runner = handover.runner.map(|runner| {
        let (socket, lock) = (take(runner.socket), take(runner.lock));
        let id = runner.id.parse().map_err(io::Error::other)?;
        Ok::<_, io::Error>(Ready { id, machine: Machine::Monitor { setting: runner.setting, socket, lock } })
    });
    let prepared = Prepared {
        serving_urls: ServingUrls {
            database: Secret::new(handover.serving_url),
            direct: handover.direct_url.map(Secret::new),
        },
        organization: handover.organization.parse().map_err(io::Error::other)?,
        signing_keys: (signing_keys, keys.into()),
        client_secrets: handover.client_secrets.into_iter().map(|(name, text)| (name, Secret::new(text))).collect(),
        runner: runner.transpose()?,
    };
    let listeners = StdListeners { address, api, metrics: handover.metrics.map(listener) };
    Ok(Taken { config: handover.config, listeners, prepared, announcement: handover.announcement })
}

fn give_up((uid, gid): (u32, u32), monitor: u32) -> io::Result<()> {
    let (uid, gid) = (unistd::Uid::from_raw(uid), unistd::Gid::from_raw(gid));
    if uid.is_root() {
        return Err(io::Error::other("the server's account must not be root"));
    }
    unistd::setgroups(&[])?;
    unistd::setresgid(gid, gid, gid)?;
    unistd::setresuid(uid, uid, uid)?;
    // Nothing that it starts gets more rights again; it has no life without the process that has kept them.
    set_no_new_privs(true)?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if unistd::setuid(unistd::Uid::from_raw(0)).is_ok() {
        return Err(io::Error::other("the rights of root could be had again"));
    }
    // Whoever started us may have died before the kernel was told to tell us.
    if unistd::getppid().as_raw().cast_unsigned() != monitor {
        return Err(io::Error::other("the process that started the server is gone"));
    }
    Ok(())
}

fn failed(error: io::Error) -> AppError {
    AppError::Refused(format!("the server's process cannot be started: {error}"))
}
