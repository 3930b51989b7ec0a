//! Makes a new cluster: whole or not at all.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::account::Account;
use super::blocking;
use super::config::Role;
use super::error::{EmbeddedError, describe};
use super::files::ensure_directory;
use super::installation::Installation;
use super::layout::Layout;
use super::log_tail;
use super::process::Process;

/// How long `initdb` may take, flushing to a slow disk included.
const DEADLINE: Duration = Duration::from_secs(120);

/// The beginning of the name of a directory in which a cluster is being made.
const UNFINISHED: &str = "initializing-";

/// How many clusters this process has begun to make.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// A child that does not outlive the future that waits for it.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // Both fail only for a child that has already been collected.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Makes the cluster if there is none. `initdb` works in a directory beside it, which takes its name only when it is
/// whole and on disk: a crash at any point leaves no half cluster behind.
pub(super) async fn initialize(
    layout: &Layout,
    account: &Account,
    installation: &Installation,
    durable: bool,
) -> Result<(), EmbeddedError> {
    let data = layout.data();
    if data.exists() {
        return Ok(());
    }
    // The name is this attempt's own: what is left of an earlier one that was cut short goes on in its own place.
    let attempt = BEGUN.fetch_add(1, Ordering::Relaxed);
    let unfinished = layout.root().join(format!("{UNFINISHED}{}-{attempt}", std::process::id()));
    let mut child = {
        let (layout, account, unfinished) = (layout.clone(), account.clone(), unfinished.clone());
        let program = installation.program("initdb");
        blocking(move || {
            remove_unfinished(layout.root())?;
            ensure_directory(&unfinished, layout.of_postgres(0o700))?;
            let log = layout.create_log(&layout.initdb_log())?;
            account.spawn(&program, &arguments(&unfinished, durable), layout.root(), log).map(Guarded)
        })
        .await?
    };
    let status = finish(&mut child.0, layout).await?;
    if !status.is_some_and(|status| status.success()) {
        let (path, output) = (data, log_tail::of_file(&layout.initdb_log()));
        let _ =
            blocking(move || fs::remove_dir_all(unfinished).map_err(EmbeddedError::io("remove", Path::new("")))).await;
        return Err(if log_tail::says_disk_full(&output) {
            EmbeddedError::DiskFull { path, output }
        } else {
            EmbeddedError::Initialize { path, status: describe(status), output }
        });
    }
    let root = layout.root().to_path_buf();
    blocking(move || {
        fs::rename(&unfinished, &data).map_err(EmbeddedError::io("put in place", &data))?;
        let directory = fs::File::open(&root).map_err(EmbeddedError::io("open", &root))?;
        directory.sync_all().map_err(EmbeddedError::io("flush to disk", &root))
    })
    .await
}

/// Waits for `initdb`; None if it took too long.
async fn finish(child: &mut Child, layout: &Layout) -> Result<Option<ExitStatus>, EmbeddedError> {
    let failed = |error: io::Error| EmbeddedError::io("wait for initdb in", layout.root())(error);
    let pid = i32::try_from(child.id()).map_err(|_| failed(io::ErrorKind::InvalidData.into()))?;
    match Process::open(pid).map_err(failed)? {
        Some(process) if !process.ended(DEADLINE).await.map_err(failed)? => Ok(None),
        Some(_) | None => child.wait().map(Some).map_err(failed),
    }
}

fn arguments(directory: &Path, durable: bool) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![
        "--pgdata".into(),
        directory.into(),
        format!("--username={}", Role::Superuser.name()).into(),
        "--auth=peer".into(),
        "--locale=C".into(),
        "--encoding=UTF8".into(),
        "--data-checksums".into(),
        "--no-instructions".into(),
    ];
    if !durable {
        arguments.push("--no-sync".into());
    }
    arguments
}

fn remove_unfinished(root: &Path) -> Result<(), EmbeddedError> {
    for entry in fs::read_dir(root).map_err(EmbeddedError::io("read the directory", root))? {
        let entry = entry.map_err(EmbeddedError::io("read the directory", root))?;
        if !entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            continue;
        }
        match fs::remove_dir_all(entry.path()) {
            Ok(()) => {}
            // An initdb that outlived its starter is still writing there: the next new cluster takes care of it.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(EmbeddedError::io("remove", &entry.path())(error)),
        }
    }
    Ok(())
}
