//! What is left on the disk of environments that the database does not know, as after it was put back to an earlier state.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use latchkey::pb::gitpod::v1::EnvironmentPhase;
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::support::{LocalServer, environments::from_nothing, eventually};

/// A directory that nobody can remove as long as this lives, as one on a disk that has become read-only.
struct Immutable(PathBuf);

impl Immutable {
    fn make(directory: &Path) -> Option<Self> {
        set(directory, true).ok().map(|()| Self(directory.to_owned()))
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        let _ = set(&self.0, false);
    }
}

fn set(directory: &Path, is_immutable: bool) -> rustix::io::Result<()> {
    let directory = File::open(directory).unwrap();
    let mut flags = ioctl_getflags(&directory)?;
    flags.set(IFlags::IMMUTABLE, is_immutable);
    ioctl_setflags(&directory, flags)
}

#[tokio::test]
async fn what_nobody_knows_any_more_is_removed_as_soon_as_it_can_be() {
    let mut local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let [stray, stuck] = [api.create_running(from_nothing()).await, api.create_running(from_nothing()).await];
    local.kill().await;
    let sql = local.database.superuser().await;
    sql.batch_execute("DELETE FROM environment_tokens; DELETE FROM environments").await.unwrap();
    // Only root may do that, and not on every file system: elsewhere the rest of the test holds all the same.
    let holding = Immutable::make(&local.directory_of(&stuck).join("ws"));

    local.start_again().await;
    let api = local.api(&token).await;
    eventually("the stray is gone", async || (!local.directory_of(&stray).exists()).then_some(())).await;
    // What cannot be removed holds up nobody.
    let id = api.create_running(from_nothing()).await;
    if holding.is_some() {
        eventually("the server has said so", async || {
            local
                .server()
                .log()
                .contains("what is left of environments that are no more cannot be removed yet")
                .then_some(())
        })
        .await;
        assert!(local.directory_of(&stuck).exists());
    }
    drop(holding);
    eventually("the other is gone as well", async || (!local.directory_of(&stuck).exists()).then_some(())).await;
    for gone in [&stray, &stuck] {
        local.is_gone(gone).await;
    }
    api.until(&id, EnvironmentPhase::Running).await;
    api.delete_whole(&id).await;
}
