//! What is opened of environments' directories outside of their sandboxes: what is the server's own, and nothing below a
//! workspace.

use std::{collections::BTreeSet, env, fs, path::Path};

use latchkey::pb::gitpod::v1::{EnvironmentPhase, ListEnvironmentsRequest};

use crate::support::{
    LocalServer, Starter,
    environments::{from_nothing, from_url, status},
    left_out,
    watch::{Opened, Watch},
};

/// What a clone leaves for the server: a regular file or nothing, and read no further than a report is long.
const REPORT: &str = "run/report.json";
/// Makes what might lead somebody on who follows it, under names that somebody might look for.
const SNARES: &str = "mkdir -p d/e && echo x >d/e/f && mkfifo fifo && ln -s / root && ln -s ../../state.json state.json && ln -s d link && \
    cd /run/latchkey && ln -sf /workspace/name/README.md report.json && ln -s /workspace ws && cd && ln -s /workspace/name name";

#[tokio::test]
async fn nobody_outside_a_sandbox_opens_anything_below_a_workspace() {
    if !nix::unistd::geteuid().is_root() {
        left_out("only root is told who opens what");
        return;
    }
    for starter in Starter::all() {
        let (local, watch) = LocalServer::start_watched(starter).await;
        live(local, &watch).await;
    }
}

/// All that happens to environments, in short.
async fn live(mut local: LocalServer, watch: &Watch) {
    local.git.add_repository("owner/name", &[("README.md", "hello\n"), ("a/b", "c\n")]);
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let cloned = api.create_running(from_url("https://github.com/owner/name")).await;
    let empty = api.create_running(from_nothing()).await;
    let failed = api.create(from_url("https://github.com/owner/no-such")).await.unwrap().id;
    api.until_failed(&failed).await;
    for id in [&cloned, &empty] {
        api.said(id, SNARES).await;
    }
    let listed = api.environments.clone().list_environments(ListEnvironmentsRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().environments.len(), 3);
    api.stop(&cloned).await.unwrap();
    let stopped = api.until(&cloned, EnvironmentPhase::Stopped).await;
    assert!(status(&stopped).disk_bytes > 0, "it is counted when it stops");
    // The next server finds one that is stopped, one that runs, one that failed.
    local.kill().await;
    local.start_again().await;
    let api = local.api(&token).await;
    api.start(&cloned).await.unwrap();
    api.until(&cloned, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&cloned, "cat README.md d/e/f").await, "hello\nx");
    assert_eq!(outside(watch), BTreeSet::new());

    // Who did open something would be seen.
    let control = Path::new(&cloned).join("ws/name/README.md");
    assert_eq!(fs::read_to_string(watch.path(&control)).unwrap(), "hello\n");
    let control = BTreeSet::from([Opened { path: control, program: env::current_exe().unwrap(), in_sandbox: false }]);
    assert_eq!(outside(watch), control);

    for id in [&cloned, &empty, &failed] {
        api.delete_whole(id).await;
        assert!(!watch.path(id).exists());
    }
    assert_eq!(outside(watch), control);
    // The rest was done inside: cloning, commands, and what counts and removes.
    for (path, program) in
        [("name/README.md", "git"), ("name/README.md", "cat"), ("name/d/e/f", "sh"), ("name/d/e", "latchkey")]
    {
        let path = Path::new("/workspace").join(path);
        // By the name that the program has outside: `sh` is a link.
        let of_program =
            |one: &Opened| one.program.file_name().is_some_and(|name| name.to_string_lossy().ends_with(program));
        let is_so = |one: &Opened| one.in_sandbox && one.path == path && of_program(one);
        assert!(watch.opened().iter().any(is_so), "{program} has not opened {}", path.display());
    }
}

/// What was opened by processes that are in no sandbox, but for what is the server's own: an environment's directories as such
/// and the files beside them; what all environments share; and a clone's report.
fn outside(watch: &Watch) -> BTreeSet<Opened> {
    let is_own = |path: &Path| {
        let parts = path.components().collect::<Vec<_>>();
        let is_report = parts.len() == 3 && path.ends_with(REPORT);
        // An absolute one is none of the file system's as the server sees it.
        path.is_relative() && (parts.len() <= 2 || is_report)
    };
    watch.opened().into_iter().filter(|one| !one.in_sandbox && !is_own(&one.path)).collect()
}
