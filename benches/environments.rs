//! Environments: how long it takes to create one beyond what `git clone` takes by itself, to start a stopped one, and to
//! run a command in one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

#[path = "../tests/support/git_server.rs"]
mod git_server;
mod ground;
#[path = "../tests/support/machine.rs"]
mod machine;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use clap::Parser;
use git_server::GitServer;
use ground::{
    Postgres, Server,
    figures::Times,
    server::{LATCHKEY, bearer, with_token},
    tokens::Dice,
};
use latchkey::pb::{
    gitpod::v1::{
        ContextUrlInitializer, CreateEnvironmentAccessTokenRequest, CreateEnvironmentRequest, DeleteEnvironmentRequest,
        Environment, EnvironmentInitializer, EnvironmentPhase, EnvironmentSpec, GetEnvironmentRequest,
        StartEnvironmentRequest, StopEnvironmentRequest,
        environment_initializer::{Spec, spec},
        environment_service_client::EnvironmentServiceClient,
        environment_spec,
    },
    supervisor::v1::{ExecRequest, environment_ops_service_client::EnvironmentOpsServiceClient},
};
use tokio::process::Command;
use tonic::{
    Code,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

/// Between two looks at an environment; its time is known as exactly as this.
const LOOK: Duration = Duration::from_millis(2);

#[derive(Parser)]
struct Options {
    /// Environments that are created, each after a clone without Latchkey
    #[arg(long, default_value_t = 25)]
    creates: usize,
    /// Starts of a stopped environment
    #[arg(long, default_value_t = 25)]
    starts: usize,
    /// Commands in a running one
    #[arg(long, default_value_t = 500)]
    commands: usize,
    /// Files in the repository, of 4 KiB on the average
    #[arg(long, default_value_t = 300)]
    files: usize,
    /// What cargo passes on
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    ground::run(async {
        measure(&Options::parse()).await;
    });
}

async fn measure(options: &Options) {
    let git = GitServer::start().await;
    add_repository(&git, options.files);
    let postgres = Postgres::start().await;
    let config = postgres.directory().join("gitconfig");
    fs::write(&config, git.rewriting("https://github.com/")).unwrap();
    let data = postgres.directory().join("server");
    let _sandboxes = Sandboxes(data.join("environments"));
    let args = ["--local-runner", "--data-dir", data.to_str().unwrap(), "--git-config", config.to_str().unwrap()];
    let server = Server::start(Path::new(LATCHKEY), &postgres, &args).await;
    let token = bearer(&server.user("dev@bench.example").await);
    let mut api = Api { environments: EnvironmentServiceClient::new(server.connect().await), token };

    let environment = create(&mut api, &config, &postgres, options).await;
    start(&mut api, &environment, options.starts).await;
    exec(&mut api, &server, &environment, options.commands).await;
    api.delete(&environment).await;
    server.stop().await;
}

/// Ends what still runs in a directory of environments: sandboxes outlive the server, and so a benchmark that broke off.
struct Sandboxes(PathBuf);

impl Drop for Sandboxes {
    fn drop(&mut self) {
        let Ok(entries) = fs::read_dir(&self.0) else { return };
        for process in entries.flatten().filter_map(|entry| machine::sandbox(&entry.path())) {
            // Gone between the two looks is as good.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
}

/// Creates environments in turn with clones by themselves. Leaves one.
async fn create(api: &mut Api, config: &Path, postgres: &Postgres, options: &Options) -> String {
    let (mut clones, mut creates, mut beyond) = (Times::default(), Times::default(), Times::default());
    let (mut until_files, mut until_running) = (Times::default(), Times::default());
    let mut kept = None;
    for round in 0..=options.creates {
        let directory = postgres.directory().join("clone");
        let clone = clone_alone(config, &directory).await;
        fs::remove_dir_all(&directory).unwrap();
        let (id, files, running) = api.create().await;
        if let Some(before) = kept.replace(id) {
            api.delete(&before).await;
        }
        // The first time is for caches to fill.
        if round > 0 {
            clones.push(clone);
            creates.push(running);
            beyond.push(running.saturating_sub(clone));
            until_files.push(files);
            until_running.push(running.saturating_sub(files));
        }
    }
    println!("git clone alone: {}", clones.summary());
    println!("create to running: {}", creates.summary());
    println!("create to running, beyond the clone before it: {} (bar: p50 < 150 ms)", beyond.summary());
    println!("  of create to running: until its files are there: {}", until_files.summary());
    println!("  of create to running: from then on: {}", until_running.summary());
    kept.expect("at least one was created")
}

async fn start(api: &mut Api, environment: &str, starts: usize) {
    let (mut times, mut stops) = (Times::default(), Times::default());
    for _ in 0..starts {
        let environment_id = environment.to_owned();
        let began = Instant::now();
        let request = with_token(&api.token, StopEnvironmentRequest { environment_id: environment_id.clone() });
        api.environments.stop_environment(request).await.unwrap();
        api.reach(environment, EnvironmentPhase::Stopped).await;
        stops.push(began.elapsed());
        let began = Instant::now();
        let request = with_token(&api.token, StartEnvironmentRequest { environment_id });
        api.environments.start_environment(request).await.unwrap();
        api.reach(environment, EnvironmentPhase::Running).await;
        times.push(began.elapsed());
    }
    println!("stop to stopped: {}", stops.summary());
    println!("start to running: {} (bar: p50 < 100 ms)", times.summary());
}

async fn exec(api: &mut Api, server: &Server, environment: &str, commands: usize) {
    let request = CreateEnvironmentAccessTokenRequest { environment_id: environment.to_owned() };
    let request = with_token(&api.token, request);
    let token = api.environments.create_environment_access_token(request).await.unwrap().into_inner().access_token;
    let token = bearer(&token);
    // As the environment's status says, and as clients do: the same server, at a path of its own.
    let origin = format!("{}/environments/{environment}/ops", server.url()).parse().unwrap();
    let channel = Endpoint::from_shared(server.url()).unwrap().connect().await.unwrap();
    let mut operations = EnvironmentOpsServiceClient::with_origin(channel, origin);
    let mut times = Times::default();
    for round in 0..commands + 10 {
        let request = with_token(&token, ExecRequest { command: "true".to_owned(), ..Default::default() });
        let began = Instant::now();
        let answer = operations.exec(request).await.unwrap().into_inner();
        if round >= 10 {
            times.push(began.elapsed());
        }
        assert_eq!(answer.exit_code, 0);
    }
    println!("exec of `true`: {} (bar: p50 < 15 ms)", times.summary());
}

/// What a person would do without Latchkey, on the same repository and through the same rewrite.
async fn clone_alone(config: &Path, directory: &Path) -> Duration {
    let began = Instant::now();
    let status = Command::new("git")
        .args(["clone", "--quiet", REPOSITORY])
        .arg(directory)
        .env("GIT_CONFIG_GLOBAL", config)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    began.elapsed()
}

const REPOSITORY: &str = "https://github.com/owner/name";

/// Files of 0 to 8 KiB that do not compress well, as programs' text does: to about a half.
fn add_repository(git: &GitServer, files: usize) {
    let mut dice = Dice(3);
    let files: Vec<(String, String)> = (0..files)
        .map(|number| {
            let text = (0..dice.below(512)).map(|_| format!("{:016x}", dice.roll())).collect();
            (format!("directory-{}/file-{number}.txt", number % 20), text)
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    git.add_repository("owner/name", &files);
}

struct Api {
    environments: EnvironmentServiceClient<Channel>,
    token: MetadataValue<Ascii>,
}

impl Api {
    /// Creates an environment; how long until its files were there, and until it ran.
    async fn create(&mut self) -> (String, Duration, Duration) {
        let url = ContextUrlInitializer { url: REPOSITORY.to_owned() };
        let initializer = EnvironmentInitializer { specs: vec![Spec { spec: Some(spec::Spec::ContextUrl(url)) }] };
        let content = environment_spec::Content { initializer: Some(initializer), ..Default::default() };
        let spec = EnvironmentSpec {
            desired_phase: EnvironmentPhase::Running.into(),
            content: Some(content),
            ..Default::default()
        };
        let request = with_token(&self.token, CreateEnvironmentRequest { spec: Some(spec), ..Default::default() });
        let began = Instant::now();
        let answer = self.environments.create_environment(request).await.unwrap().into_inner();
        let id = answer.environment.unwrap().id;
        self.reach(&id, EnvironmentPhase::Starting).await;
        let files = began.elapsed();
        self.reach(&id, EnvironmentPhase::Running).await;
        (id, files, began.elapsed())
    }

    /// Waits until an environment is in a phase, or beyond it.
    async fn reach(&mut self, id: &str, wanted: EnvironmentPhase) {
        loop {
            let found = self.get(id).await.expect("it is there");
            let status = found.status.unwrap();
            assert_eq!(status.failure_message, Vec::<String>::new(), "it fails");
            if status.phase() == wanted
                || (wanted, status.phase()) == (EnvironmentPhase::Starting, EnvironmentPhase::Running)
            {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn delete(&mut self, id: &str) {
        let request = DeleteEnvironmentRequest { environment_id: id.to_owned(), ..Default::default() };
        self.environments.delete_environment(with_token(&self.token, request)).await.unwrap();
        while self.get(id).await.is_some() {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn get(&mut self, id: &str) -> Option<Environment> {
        let request = with_token(&self.token, GetEnvironmentRequest { environment_id: id.to_owned() });
        match self.environments.get_environment(request).await {
            Ok(answer) => answer.into_inner().environment,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("{status}"),
        }
    }
}
