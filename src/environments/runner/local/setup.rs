//! What a server needs before its first environment: programs, directories, files that all sandboxes share, and the
//! proof that a sandbox can be started.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{CWD, FlockOperation},
    process::{getegid, geteuid},
};

use super::{
    Account, ENVIRONMENTS, LocalConfig, Prepared, Setting,
    cgroups::{self, Cgroups},
    command_line::{Ingredients, SHARED_FILES, is_shown},
    git_config::{GitConfig, GitConfigError},
    hands::Hands,
    launcher::Launcher,
    seccomp::Filter,
    shares,
    state::Directory,
};
use crate::{
    domain::ids::EnvironmentId,
    environments::{
        egress::{PlainHttp, Policy},
        runner::Resources,
        supervisor::task::Task,
    },
};

/// Where programs are looked for if `PATH` does not say.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// The directory of what all sandboxes share.
const SHARED: &str = "shared";
/// The directory of the sandbox that shows that sandboxes can be started.
const PROBE: &str = "probe";
/// What it may use.
const PROBE_RESOURCES: Resources =
    Resources { cpu_millicores: 1000, memory_bytes: 256 << 20, processes: 64, disk_bytes: 1 << 20 };

/// Why there is no local runner. Says what is missing and what to do.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A program is missing.
    #[error("{program} is not installed; environments need it (on Debian: apt-get install {package})")]
    NotInstalled {
        /// Its name.
        program: &'static str,
        /// The package of Debian's that it is in.
        package: &'static str,
    },
    /// The server runs as root, and so would sandboxes.
    #[error("the server runs as root: name an unprivileged account for environments")]
    AccountNeeded,
    /// The server is not root and cannot start processes as somebody else.
    #[error("environments can run as another account only if the server is started as root")]
    NotRoot,
    /// Bubblewrap does not start a sandbox.
    #[error(
        "no sandbox can be started: {0}; environments need bubblewrap 0.8 or newer (on Debian: apt-get install \
         bubblewrap), user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone), a kernel with \
         CONFIG_SECCOMP_FILTER, and a data directory that their account can pass through (chmod o+x)"
    )]
    NoSandbox(String),
    /// The data directory is in what every sandbox gets of this machine.
    #[error(
        "every environment would see the data directory {}, and the files of the others in it: choose one that is not \
         below /usr",
        .0.display()
    )]
    Shown(PathBuf),
    /// The filter of system calls cannot be built.
    #[error("the filter of system calls for environments cannot be built for this machine: {0}")]
    Filter(#[from] seccompiler::BackendError),
    /// The operator's Git configuration is not taken.
    #[error("the Git configuration for environments: {0}")]
    GitConfig(#[from] GitConfigError),
    /// Another server has the data directory.
    #[error("another server uses the environments in {}; stop it first", .0.display())]
    InUse(PathBuf),
    /// What earlier servers left cannot be read.
    #[error("the environments of an earlier server cannot be taken over: {0}")]
    Adoption(String),
    /// A directory or a file.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// Prepares everything that environments share, with the rights that the process was started with.
pub(super) async fn prepare(config: LocalConfig) -> Result<Prepared, SetupError> {
    let is_root = nix::unistd::geteuid().is_root();
    match config.account {
        None if is_root => return Err(SetupError::AccountNeeded),
        Some(account) if is_root && account.uid == 0 => return Err(SetupError::AccountNeeded),
        Some(_) if !is_root => return Err(SetupError::NotRoot),
        Some(_) | None => {}
    }
    if is_shown(&config.data_dir.canonicalize().map_err(at(&config.data_dir))?) {
        return Err(SetupError::Shown(config.data_dir));
    }
    let bubblewrap = find("bwrap", "bubblewrap")?;
    find("git", "git")?;
    let git_config = match &config.git_config {
        Some(path) => GitConfig::read(path).await?,
        None => GitConfig::default(),
    };
    let environments = config.data_dir.join(ENVIRONMENTS);
    let shared = environments.join(SHARED);
    let own = Account { uid: geteuid().as_raw(), gid: getegid().as_raw() };
    let server = config.server.unwrap_or(own);
    let mut hands = Hands {
        bubblewrap,
        account: config.account,
        server,
        ingredients: Ingredients { binary: PathBuf::new(), shared: shared.clone() },
        filter: Filter::build()?,
        cgroups: Cgroups::detect(),
    };
    hands.make_directory(CWD, &environments, 0o710, server).map_err(at(&environments))?;
    // What goes into every sandbox is nothing for a server that may have been taken over to write.
    hands.make_directory(CWD, &shared, 0o710, own).map_err(at(&shared))?;
    let lock = lock(&environments).await?;
    write_shared_files(&shared, &git_config, config.clone_silence)?;
    hands.ingredients.binary = stage_binary(&config.binary, &shared)?;
    give_to_server(&hands, &environments)?;
    let mut hands = Arc::new(hands);
    let mut probed = probe(&hands, &environments).await;
    if probed.is_err()
        && let Some(alone) = Arc::get_mut(&mut hands).filter(|hands| hands.cgroups.any())
    {
        // Groups that can be made and not entered are as good as none.
        alone.cgroups = Cgroups::default();
        probed = probe(&hands, &environments).await;
    }
    if let Some(weaker) = probed? {
        tracing::warn!("environments run, but {weaker}");
    }
    for warning in shares::warnings() {
        tracing::warn!("{warning}");
    }
    let named = git_config.named();
    let no_proxy = ["localhost", "127.0.0.1", "::1"]
        .into_iter()
        .filter(|host| !named.iter().any(|destination| destination.host() == *host))
        .collect::<Vec<_>>()
        .join(",");
    let clone_policy = Policy {
        named,
        own_addresses: config.own_addresses,
        plain_http: PlainHttp::NamedOnly,
        upstream: git_config.proxy.clone(),
    };
    let setting = Setting {
        environments,
        command_policy: Policy { plain_http: PlainHttp::Everywhere, ..clone_policy.clone() },
        clone_policy,
        given_urls: git_config.given_urls(),
        egress: config.egress,
        clone_timeout: config.clone_timeout,
        free_space_reserve: config.free_space_reserve,
        no_proxy,
        owner: hands.owner(),
    };
    Ok(Prepared { hands, setting, lock })
}

/// Environments that are there already may be those of an earlier server, which was root: what was its is now the server's. One
/// with which that cannot be done does not keep the others, and the tokens, from being served.
fn give_to_server(hands: &Hands, environments: &Path) -> Result<(), SetupError> {
    for entry in fs::read_dir(environments).map_err(at(environments))? {
        let entry = entry.map_err(at(environments))?;
        if entry.file_name().to_str().is_some_and(|name| name.parse::<EnvironmentId>().is_ok()) {
            let directory = entry.path();
            if let Err(error) = hands.give_to_server(&Directory::new(directory.clone())) {
                tracing::warn!(directory = %directory.display(), %error, "the directories of an environment cannot be put right");
            }
        }
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> SetupError {
    let path = path.to_owned();
    move |error| SetupError::Io { path, error }
}

fn find(program: &'static str, package: &'static str) -> Result<PathBuf, SetupError> {
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    env::split_paths(&path)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .find(|path| path.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0))
        .ok_or(SetupError::NotInstalled { program, package })
}

/// One server for one data directory.
async fn lock(environments: &Path) -> Result<File, SetupError> {
    let path = environments.join("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    // A server that has just ended may have left the lock to a child between fork and exec.
    for _ in 0..100 {
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::WOULDBLOCK) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => return Err(at(&path)(error.into())),
        }
    }
    Err(SetupError::InUse(environments.to_owned()))
}

fn write_shared_files(shared: &Path, git_config: &GitConfig, clone_silence: Duration) -> Result<(), SetupError> {
    let certificates = match &git_config.certificates {
        Some(path) => fs::read(path).map_err(at(path))?,
        None => Vec::new(),
    };
    for (name, _) in SHARED_FILES {
        let text = match name {
            "passwd" => "dev:x:1000:1000::/home/dev:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n".into(),
            "group" => "dev:x:1000:\nnogroup:x:65534:\n".into(),
            "hosts" => "127.0.0.1 localhost environment\n::1 localhost\n".into(),
            "nsswitch.conf" => "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n".into(),
            "gitconfig" => git_config.for_commands().into_bytes(),
            "clone.gitconfig" => git_config.for_clones(clone_silence).into_bytes(),
            _ => certificates.clone(),
        };
        // A new file each time: running sandboxes keep the one that they began with.
        write_anew(&shared.join(name), &text, 0o644)?;
    }
    Ok(())
}

fn write_anew(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SetupError> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, bytes).map_err(at(&temporary))?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).map_err(at(&temporary))?;
    fs::rename(&temporary, path).map_err(at(path))
}

/// Puts the binary where the account can read it (it may have been built in a home directory) and where it stays what
/// it is while this server runs (it may be built anew). Its name says which one it is.
fn stage_binary(binary: &Path, shared: &Path) -> Result<PathBuf, SetupError> {
    let found = binary.metadata().map_err(at(binary))?;
    let name = format!("latchkey-{}-{}-{}", found.ino(), found.len(), found.mtime());
    let staged = shared.join(&name);
    for entry in fs::read_dir(shared).map_err(at(shared))? {
        let entry = entry.map_err(at(shared))?;
        let other = entry.file_name();
        if other.to_str().is_some_and(|other| other.starts_with("latchkey-") && other != name) {
            // Sandboxes that run from it keep it.
            fs::remove_file(entry.path()).map_err(at(&entry.path()))?;
        }
    }
    if staged.exists() {
        return Ok(staged);
    }
    let temporary = shared.join("latchkey-new");
    let is_readable_by_all = found.mode() & 0o555 == 0o555;
    // A second name for the same file if that is possible, else a copy.
    if !(is_readable_by_all && fs::hard_link(binary, &temporary).is_ok()) {
        fs::copy(binary, &temporary).map_err(at(&temporary))?;
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).map_err(at(&temporary))?;
        // Its name says that it is whole, after a power cut too.
        File::open(&temporary).and_then(|file| file.sync_all()).map_err(at(&temporary))?;
    }
    fs::rename(&temporary, &staged).map_err(at(&staged))?;
    Ok(staged)
}

/// Starts a sandbox that does nothing, with limits; says which of them hold only in part.
async fn probe(hands: &Arc<Hands>, environments: &Path) -> Result<Option<String>, SetupError> {
    let directory = Directory::new(environments.join(PROBE));
    // Of its own, as a server of another data directory may be starting at this moment; and the same one each time, so that one
    // that is killed meanwhile leaves none that the next does not remove.
    let found = environments.metadata().map_err(at(environments))?;
    let directory = directory.in_group(format!("{PROBE}-{}-{}", found.dev(), found.ino()));
    let launcher = Launcher::Own(Arc::clone(hands));
    launcher.make_directories(&directory).await.map_err(at(directory.path()))?;
    let weaker = cgroups::warning(&hands.limit(&directory, &PROBE_RESOURCES));
    let result = launcher.run(&directory, &Task::Probe, Some(&PROBE_RESOURCES)).await;
    hands.remove_group(&directory).await;
    directory.remove().map_err(at(directory.path()))?;
    result.map_err(|failure| SetupError::NoSandbox(failure.to_string()))?;
    Ok(weaker)
}
