//! A server that an ordinary account starts: one process, whose sandboxes run as that account too.

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use latchkey::pb::gitpod::v1::EnvironmentPhase;

use nix::unistd::User;
use tempfile::TempDir;

use crate::support::{
    LATCHKEY, ServerOptions, TestServer,
    environments::{from_nothing, from_url, status},
    git_server::GitServer,
    long_sleep, processes_with, sandbox,
};

/// An ordinary account that is there where root runs the tests.
fn account() -> User {
    User::from_name("latchkey").unwrap().expect("the account is there")
}

/// A server with everything by default, and where its files are.
struct Ordinary {
    server: Option<TestServer>,
    git: GitServer,
    directory: TempDir,
}

impl Ordinary {
    async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-ordinary-").tempdir().unwrap();
        // Where the account can read it, and may run it.
        let program = directory.path().join("latchkey");
        fs::copy(LATCHKEY, &program).unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        let git = GitServer::start().await;
        fs::write(directory.path().join("gitconfig"), git.rewriting("https://github.com/")).unwrap();
        if nix::unistd::geteuid().is_root() {
            for path in [directory.path().to_owned(), directory.path().join("data")] {
                std::os::unix::fs::chown(path, Some(account().uid.as_raw()), Some(account().gid.as_raw())).unwrap();
            }
        }
        let mut ordinary = Self { server: None, git, directory };
        ordinary.start_again().await;
        ordinary
    }

    /// What a program is started by, to be an ordinary account's.
    fn wrapper(&self) -> Vec<String> {
        // `$1` is the program that is to be run; its copy is where the account can read it.
        let program = self.directory.path().join("latchkey").display().to_string();
        let line = if nix::unistd::geteuid().is_root() {
            let User { uid, gid, .. } = account();
            format!(r#"shift; exec setpriv --reuid={uid} --regid={gid} --clear-groups "$0" "$@""#)
        } else {
            r#"shift; exec "$0" "$@""#.to_owned()
        };
        vec!["sh".to_owned(), "-c".to_owned(), line, program]
    }

    async fn start_again(&mut self) {
        let git_config = self.directory.path().join("gitconfig").display().to_string();
        let options = ServerOptions {
            wrapper: self.wrapper(),
            data_dir: Some(self.directory.path().join("data")),
            env: vec![("LATCHKEY_GIT_CONFIG".to_owned(), git_config)],
            ..ServerOptions::default()
        };
        self.server = None;
        self.server = Some(TestServer::launch(options).await.unwrap());
    }

    fn server(&mut self) -> &mut TestServer {
        self.server.as_mut().expect("it runs")
    }

    /// Runs `latchkey admin` as the same account.
    fn admin(&self, args: &[&str]) -> String {
        let (words, data) = (self.wrapper(), self.directory.path().join("data"));
        let mut command = std::process::Command::new(&words[0]);
        command.args(&words[1..]).arg(LATCHKEY).arg("admin").args(args).arg("--data-dir").arg(data);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn directory_of(&self, environment: &str) -> PathBuf {
        self.directory.path().join("data/environments").join(environment)
    }
}

#[tokio::test]
async fn an_ordinary_account_serves_environments_that_are_kept_apart_all_the_same() {
    let mut local = Ordinary::start().await;
    local.git.add_repository("owner/name", &[("README.md", "hello\n")]);
    local.admin(&["create-user", "--email", "dev@example.com"]);
    let token = local.admin(&["create-token", "--user", "dev@example.com", "--description", "test"]);
    let api = local.server().api(&token).await;
    let id = api.create_running(from_url("https://github.com/owner/name")).await;
    let other = api.create_running(from_nothing()).await;
    let account = fs::metadata(local.directory_of(&id)).unwrap().uid();
    assert_ne!(account, 0);
    for place in ["ws", "home", "run", "state.json"] {
        assert_eq!(fs::metadata(local.directory_of(&id).join(place)).unwrap().uid(), account, "{place}");
    }
    assert_eq!(api.said(&id, "cat README.md; id -u").await, "hello\n1000");

    // The files and processes of the server belong to the same account; the namespaces hold all the same.
    let data = local.directory.path().join("data").display().to_string();
    assert_eq!(api.said(&id, &format!("ls {data} {data}/signing-keys /proc/1/root{data} 2>/dev/null; true")).await, "");
    let sleep = long_sleep(&other);
    api.said(&other, &format!("{sleep} >/dev/null 2>&1 & true")).await;
    api.run(&id, "kill -KILL -1").await;
    assert!(processes_with(&sleep).iter().any(|line| line.contains(": sleep")), "a neighbour's process was killed");
    for refused in ["unshare -Urm true", "mount -t tmpfs none /tmp", "touch /usr/a", "su -c true"] {
        assert_ne!(api.run(&id, refused).await.exit_code, 0, "{refused}");
    }
    let listens = format!(
        "perl -MSocket -e 'socket($s, PF_INET, SOCK_STREAM, 0); exit !connect($s, pack_sockaddr_in({}, INADDR_LOOPBACK))'",
        local.server().address().rsplit_once(':').unwrap().1
    );
    assert_ne!(api.run(&id, &listens).await.exit_code, 0, "the server is reached");

    // What nothing limits is said, and processes are counted.
    let warning = status(&api.get(&id).await.unwrap()).warning_message.join("\n");
    let bomb = "i=0; while [ $i -lt 3000 ]; do sleep 5 & i=$((i+1)); done 2>/dev/null; ps -e | grep -c sleep";
    let ran = api.run(&other, bomb).await.stdout;
    assert!(ran.trim().parse::<u32>().unwrap_or(0) < 3000, "{ran}");
    if control_groups_are_closed(account) {
        assert!(warning.contains("memory") && warning.contains("processor time"), "{warning:?}");
    }

    // They outlive the server, and nothing outlives them.
    let first = sandbox(&local.directory_of(&id)).expect("it runs");
    local.server().kill().await;
    local.start_again().await;
    let api = local.server().api(&token).await;
    assert_eq!(sandbox(&local.directory_of(&id)), Some(first));
    assert_eq!(api.said(&id, "cat README.md").await, "hello");
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    for id in [id, other] {
        api.delete_whole(&id).await;
        assert!(!local.directory_of(&id).exists());
        assert_eq!(processes_with(&id), Vec::<String>::new());
    }
    // Its PostgreSQL ends with it when it ends in good order.
    assert!(local.server().stop().await);
}

/// Whether no control group can be made by an account; systemd delegates some to people who are logged in.
fn control_groups_are_closed(account: u32) -> bool {
    let own = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    !own.filter_map(|entry| entry.metadata().ok()).any(|found| found.uid() == account)
}
