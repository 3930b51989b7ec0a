//! Environments on this machine, with real sandboxes: their life, and what is left of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support {
    pub(crate) mod git_server;
    pub(crate) mod machine;
}

use std::{fs, time::Duration};

use latchkey::{
    domain::{
        environment::{Content, GitSource, GitTarget},
        exec::OperationsError,
        ids::EnvironmentId,
    },
    environments::runner::{
        Checkout, ContentState, FailureKind, Runner,
        local::{LocalRunner, SetupError},
    },
};
use support::{
    git_server::{GitServer, Manners},
    machine::{
        Machine, RESOURCES, command, eventually, exec, processes_with, repository, run, running, sandbox, try_exec,
    },
};

#[tokio::test]
async fn an_environment_lives_stops_lives_again_and_goes() {
    let machine = Machine::new().await;
    let commit = machine.git.add_repository("owner/name", &[("README.md", "hello\n")]);
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    assert_eq!(runner.observe(id).await.unwrap().content, ContentState::Absent);

    let content = repository("owner/name", GitTarget::RemoteHead);
    let checkout = runner.create(id, &content, &RESOURCES).await.unwrap();
    assert_eq!(checkout, Checkout { branch: Some("main".into()), commit: Some(commit) });
    assert_eq!(runner.create(id, &content, &RESOURCES).await.unwrap(), checkout, "twice is once");
    assert!(!runner.observe(id).await.unwrap().is_running);
    assert_eq!(try_exec(&runner, id, "true").await, Err(OperationsError::NotRunning));

    runner.start(id, &RESOURCES).await.unwrap();
    runner.start(id, &RESOURCES).await.unwrap();
    assert!(runner.observe(id).await.unwrap().is_running);
    let output = exec(&runner, id, "pwd; cat README.md; echo no >&2; exit 7").await;
    assert_eq!(
        (output.exit_code, output.stdout.as_str(), output.stderr.as_str()),
        (7, "/workspace/name\nhello\n", "no\n")
    );
    assert_eq!(exec(&runner, id, "kill -KILL $$").await.exit_code, 128 + 9);
    let marker = format!("31536000.{}", id.uuid().as_u128());
    // In a session of its own as well: whatever a command leaves behind ends with the environment.
    exec(
        &runner,
        id,
        &format!("echo kept > kept; sleep {marker} >/dev/null 2>&1 & setsid sleep {marker} >/dev/null 2>&1 &"),
    )
    .await;
    // The shell ends without waiting until they have become what it began.
    eventually("both sleep", || processes_with(&marker).len() == 2).await;

    runner.stop(id).await.unwrap();
    runner.stop(id).await.unwrap();
    assert_eq!(processes_with(&marker), Vec::<String>::new());
    assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());
    assert!(!runner.observe(id).await.unwrap().is_running);
    assert_eq!(try_exec(&runner, id, "true").await, Err(OperationsError::NotRunning));

    runner.start(id, &RESOURCES).await.unwrap();
    assert_eq!(exec(&runner, id, "cat kept").await.stdout, "kept\n");

    // Deleted while it runs, with files that resist.
    exec(&runner, id, "mkdir -p ~/a/b; touch ~/a/b/c; chmod 0 ~/a/b ~/a ~; chmod 0 /workspace/name/.git /workspace")
        .await;
    runner.delete(id).await.unwrap();
    runner.delete(id).await.unwrap();
    assert!(!machine.directory_of(id).exists());
    assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());
    assert_eq!(runner.environments().await.unwrap(), []);
    assert_eq!(runner.observe(id).await.unwrap().content, ContentState::Absent);
}

#[tokio::test]
async fn a_directory_that_was_being_made_is_made_again() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    // As a server leaves it that is killed before what it has made is the account's.
    let directory = machine.directory_of(id);
    fs::create_dir_all(directory.join(".ws.new")).unwrap();
    runner.create(id, &Content::Empty, &RESOURCES).await.unwrap();
    runner.start(id, &RESOURCES).await.unwrap();
    assert_eq!(exec(&runner, id, "touch /workspace/x && ls /workspace").await.stdout, "x\n");
    fs::create_dir(directory.join(".home.new")).unwrap();
    runner.delete(id).await.unwrap();
    assert!(!directory.exists());
}

#[tokio::test]
async fn what_runs_outlives_the_server() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let (running, stopped) = (running(&runner).await, EnvironmentId::generate());
    runner.create(stopped, &Content::Empty, &RESOURCES).await.unwrap();
    let pid = exec(&runner, running, "sleep 1000 >/dev/null 2>&1 & echo $!").await.stdout;
    assert!(matches!(LocalRunner::open(machine.config.clone()).await, Err(SetupError::InUse(_))));

    drop(runner);
    let runner = machine.runner().await;
    assert!(runner.observe(running).await.unwrap().is_running);
    assert!(!runner.observe(stopped).await.unwrap().is_running);
    assert_eq!(exec(&runner, running, &format!("kill -0 {pid}")).await.exit_code, 0);
    // The way out is there again: the proxy answers, though it refuses.
    let said = exec(&runner, running, "git ls-remote https://10.0.0.1/a/b").await.stderr;
    assert!(said.contains("403"), "{said}");
    let mut found = runner.environments().await.unwrap();
    found.sort();
    assert_eq!(found, [running, stopped]);

    // Killed by somebody else while no server looked.
    drop(runner);
    let process = sandbox(&machine.directory_of(running)).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::KILL).unwrap();
    let runner = machine.runner().await;
    assert!(!runner.observe(running).await.unwrap().is_running);
    runner.start(running, &RESOURCES).await.unwrap();
    assert_eq!(exec(&runner, running, "true").await.exit_code, 0);
    for id in found {
        runner.delete(id).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_server_had_half_done_is_ended_and_done_again() {
    let machine = Machine::new().await;
    machine.git.add_repository("owner/slow", &[("a", "b")]);
    machine.git.set_manners("owner/slow", Manners::Silent);
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    let content = repository("owner/slow", GitTarget::RemoteHead);
    let mut create = runner.create(id, &content, &RESOURCES);
    tokio::select! {
        result = &mut create => panic!("{result:?}"),
        () = eventually("the clone reaches the server", || !machine.git.requests().is_empty()) => {}
    }
    // As a crash would leave it: nobody's destructor runs.
    std::mem::forget(create);
    assert!(sandbox(&machine.directory_of(id)).is_some());
    drop(runner);
    let runner = machine.runner().await;
    assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());
    assert_eq!(runner.observe(id).await.unwrap().content, ContentState::Incomplete);
    assert_eq!(runner.start(id, &RESOURCES).await.unwrap_err().kind(), FailureKind::NotCreated);

    // Given up while it was under way: the sandbox ends without being asked for again.
    let seen = machine.git.requests().len();
    let mut create = runner.create(id, &content, &RESOURCES);
    tokio::select! {
        result = &mut create => panic!("{result:?}"),
        () = eventually("the clone reaches the server", || machine.git.requests().len() > seen) => {}
    }
    drop(create);
    eventually("the sandbox ends", || sandbox(&machine.directory_of(id)).is_none()).await;

    machine.git.set_manners("owner/slow", Manners::Plain);
    runner.create(id, &content, &RESOURCES).await.unwrap();
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn every_target_is_checked_out() {
    let machine = Machine::new().await;
    let git = &machine.git;
    let first = git.add_repository("owner/name", &[("a", "1")]);
    let second = git.add_commit("owner/name", "feature/with/slashes", &first, &[("a", "2")]);
    git.add_tag("owner/name", "v1", &second);
    let hidden = git.add_commit("owner/name", "gone", &first, &[("a", "3")]);
    git.remove_branch("owner/name", "gone");
    git.add_empty_repository("owner/empty");
    let runner = machine.runner().await;
    let text = str::to_owned;
    for (name, target, branch, commit) in [
        (
            "owner/name",
            GitTarget::RemoteBranch(text("feature/with/slashes")),
            Some("feature/with/slashes"),
            Some(&second),
        ),
        ("owner/name", GitTarget::LocalBranch(text("new/branch")), Some("new/branch"), Some(&first)),
        ("owner/name", GitTarget::RemoteTag(text("v1")), None, Some(&second)),
        ("owner/name", GitTarget::RemoteCommit(first.clone()), None, Some(&first)),
        ("owner/name", GitTarget::RemoteCommit(hidden.clone()), None, Some(&hidden)),
        ("owner/empty", GitTarget::RemoteHead, Some("main"), None),
        ("owner/empty", GitTarget::LocalBranch(text("new")), Some("new"), None),
    ] {
        let id = EnvironmentId::generate();
        let checkout = runner.create(id, &repository(name, target.clone()), &RESOURCES).await.unwrap();
        assert_eq!(checkout, Checkout { branch: branch.map(text), commit: commit.cloned() }, "{target:?}");
        runner.delete(id).await.unwrap();
    }

    let upstream = Some("https://github.com/owner/upstream");
    let target = GitTarget::RemoteBranch(text("feature/with/slashes"));
    let source = GitSource::new("https://github.com/owner/name", upstream, target, Some("deep/er")).unwrap();
    let id = EnvironmentId::generate();
    runner.create(id, &Content::Git { source, context_url: None }, &RESOURCES).await.unwrap();
    runner.start(id, &RESOURCES).await.unwrap();
    let said = exec(
        &runner,
        id,
        "pwd; cat a; git status -sb; git remote get-url --all upstream; git config remote.upstream.url",
    )
    .await;
    assert_eq!(
        said.stdout,
        format!(
            "/workspace/deep/er\n2## feature/with/slashes...origin/feature/with/slashes\n{}/owner/upstream\nhttps://github.com/owner/upstream\n",
            git.url()
        )
    );
    // The operator's rewrites hold for commands as well.
    let said = exec(
        &runner,
        id,
        "git fetch 2>&1 && git config --global user.name me && git -c core.hooksPath=x log --format=%H -1",
    )
    .await;
    assert_eq!((said.exit_code, said.stdout.trim()), (0, second.as_str()), "{}", said.stderr);
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_clone_that_fails_says_why() {
    let mut machine = Machine::new().await;
    machine.config.clone_timeout = Duration::from_secs(3);
    let git = &machine.git;
    git.add_repository("owner/name", &[("a", "1")]);
    git.set_manners("owner/private", Manners::Private);
    git.set_manners("owner/forbidden", Manners::Forbidden);
    git.set_manners("owner/page", Manners::WebPage);
    git.set_manners("owner/silent", Manners::Silent);
    let runner = machine.runner().await;
    let text = str::to_owned;
    let unknown = "0123456789012345678901234567890123456789";
    let head = GitTarget::RemoteHead;
    for (url, target, kind, words) in [
        (
            "https://github.com/owner/none",
            head.clone(),
            FailureKind::RepositoryNotFound,
            "no repository at https://github.com/owner/none",
        ),
        (
            "https://github.com/owner/private",
            head.clone(),
            FailureKind::AuthenticationRequired,
            "public repositories only",
        ),
        ("https://github.com/owner/forbidden", head.clone(), FailureKind::AccessDenied, "denies access"),
        ("https://github.com/owner/page", head.clone(), FailureKind::NotARepository, "no Git repository"),
        ("https://github.com/owner/silent", head.clone(), FailureKind::TimedOut, "longer than 3 s"),
        (
            "https://no-such-host.invalid/a/b",
            head.clone(),
            FailureKind::HostNotFound,
            "the host no-such-host.invalid does not resolve",
        ),
        ("https://localhost/a/b", head.clone(), FailureKind::AddressRefused, "of host localhost is loopback"),
        (
            "https://10.1.2.3/a/b",
            head.clone(),
            FailureKind::AddressRefused,
            "the address 10.1.2.3 of host 10.1.2.3 is private",
        ),
        ("https://169.254.169.254/a/b", head.clone(), FailureKind::AddressRefused, "metadata"),
        (
            "https://github.com/owner/name",
            GitTarget::RemoteBranch(text("no/such")),
            FailureKind::BranchNotFound,
            "\"no/such\"",
        ),
        ("https://github.com/owner/name", GitTarget::RemoteTag(text("v9")), FailureKind::TagNotFound, "\"v9\""),
        ("https://github.com/owner/name", GitTarget::RemoteCommit(text(unknown)), FailureKind::CommitNotFound, unknown),
    ] {
        let source = GitSource::new(url, None, target, None).unwrap();
        let id = EnvironmentId::generate();
        let content = Content::Git { source, context_url: None };
        let failure = runner.create(id, &content, &RESOURCES).await.unwrap_err();
        assert_eq!(failure.kind(), kind, "{url}: {failure}");
        assert!(failure.message().contains(words), "{url}: {failure}");
        assert_eq!(processes_with(&id.to_string()), Vec::<String>::new());
        runner.delete(id).await.unwrap();
        assert!(!machine.directory_of(id).exists());
    }
}

#[tokio::test]
async fn https_is_trusted_by_the_operators_certificates() {
    let machine = Machine::new().await;
    let git = GitServer::start_tls().await;
    let commit = git.add_repository("owner/name", &[("a", "1")]);
    let (id, content) = (EnvironmentId::generate(), repository("owner/name", GitTarget::RemoteHead));

    fs::write(machine.config.git_config.as_ref().unwrap(), git.rewriting("https://github.com/")).unwrap();
    let runner = machine.runner().await;
    let failure = runner.create(id, &content, &RESOURCES).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::CertificateNotTrusted, "{failure}");
    drop(runner);

    machine.lead_to(&git);
    let runner = machine.runner().await;
    assert_eq!(runner.create(id, &content, &RESOURCES).await.unwrap().commit, Some(commit));
    runner.start(id, &RESOURCES).await.unwrap();
    let fetch = exec(&runner, id, "env -u NO_PROXY -u no_proxy git fetch").await;
    assert_eq!(fetch.exit_code, 0, "commands trust them too: {}", fetch.stderr);
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_redirect_does_not_lead_out_of_the_rules() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    for (to, words) in [
        // Plain http is for the operator's own rewrites: here there is one, so that git itself would follow.
        ("http://1.1.1.1", "only https is allowed"),
        ("http://localhost:1", "only https is allowed"),
        ("https://192.168.0.1", "private"),
        ("https://169.254.169.254", "metadata"),
    ] {
        machine.git.set_manners("owner/elsewhere", Manners::Elsewhere(to));
        let id = EnvironmentId::generate();
        let content = repository("owner/elsewhere", GitTarget::RemoteHead);
        let failure = runner.create(id, &content, &RESOURCES).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::AddressRefused, "{failure}");
        assert!(failure.message().contains(words), "{failure}");
        runner.delete(id).await.unwrap();
    }
    // Where the operator rewrites to nothing but https, git asks nobody over http.
    let git = GitServer::start_tls().await;
    git.set_manners("owner/elsewhere", Manners::Elsewhere("http://1.1.1.1"));
    machine.lead_to(&git);
    drop(runner);
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    let content = repository("owner/elsewhere", GitTarget::RemoteHead);
    let failure = runner.create(id, &content, &RESOURCES).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::GitFailed, "git's own refusal: {failure}");
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_socket_that_is_not_the_supervisors_is_not_talked_to() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let elsewhere = machine.config.data_dir.join("elsewhere.sock");
    let trap = std::os::unix::net::UnixListener::bind(&elsewhere).unwrap();
    trap.set_nonblocking(true).unwrap();
    let socket = "/run/latchkey/supervisor.sock";
    exec(&runner, id, &format!("mv {socket} {socket}.old && ln -s {} {socket}", elsewhere.display())).await;
    let refused = try_exec(&runner, id, "true").await;
    assert!(matches!(&refused, Err(OperationsError::Unreachable(text)) if text.contains("no socket")), "{refused:?}");
    assert!(trap.accept().is_err(), "nobody came");
    // The environment has harmed itself alone: it can be stopped, and starts anew.
    runner.stop(id).await.unwrap();
    runner.start(id, &RESOURCES).await.unwrap();
    assert_eq!(exec(&runner, id, "true").await.exit_code, 0);
    // A file in place of the socket; then the directory itself closed.
    exec(&runner, id, &format!("rm {socket}; mkdir -p {socket}/x; chmod 0 /run/latchkey")).await;
    assert!(matches!(try_exec(&runner, id, "true").await, Err(OperationsError::Unreachable(_))));
    runner.stop(id).await.unwrap();
    runner.start(id, &RESOURCES).await.unwrap();
    assert_eq!(run(&runner, id, command("true")).await.unwrap().exit_code, 0);
    runner.delete(id).await.unwrap();
}
