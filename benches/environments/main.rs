//! Environments: how long it takes to create one beyond what `git clone` takes by itself, to start a stopped one, and to
//! run a command in one; then many at once, and what they cost when nobody uses them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

mod api;
mod crowd;
#[path = "../../tests/support/git_server.rs"]
mod git_server;
#[path = "../ground/mod.rs"]
mod ground;
#[path = "../../tests/support/machine.rs"]
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
        CreateEnvironmentAccessTokenRequest, EnvironmentPhase, StartEnvironmentRequest, StopEnvironmentRequest,
        environment_service_client::EnvironmentServiceClient,
    },
    supervisor::v1::{ExecRequest, environment_ops_service_client::EnvironmentOpsServiceClient},
};
use tokio::process::Command;
use tonic::transport::Endpoint;

use api::{Api, REPOSITORY};

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
    /// Environments that are created at once, of a repository with one file
    #[arg(long, default_value_t = 100)]
    crowd: usize,
    /// Seconds for which nobody uses them
    #[arg(long, default_value_t = 60)]
    idle: u64,
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
    git.add_repository("owner/small", &[("README.md", "small\n")]);
    let limits = ["--environments-per-user", "1000", "--running-per-user", "1000"];
    let args = ["--local-runner", "--data-dir", data.to_str().unwrap(), "--git-config", config.to_str().unwrap()];
    let server = Server::start(Path::new(LATCHKEY), &postgres, &[args.as_slice(), &limits].concat()).await;
    let token = bearer(&server.user("dev@bench.example").await);
    let mut api = Api { environments: EnvironmentServiceClient::new(server.connect().await), token };

    let environment = create(&mut api, &config, &postgres, options).await;
    start(&mut api, &environment, options.starts).await;
    exec(&mut api, &server, &environment, options.commands).await;
    api.delete(&environment).await;
    let environments = crowd::create(&mut api, options.crowd).await;
    crowd::idle(&server, &data, &environments, Duration::from_secs(options.idle)).await;
    crowd::delete(&mut api, &environments).await;
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
        let (id, files, running) = api.create(REPOSITORY).await;
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
