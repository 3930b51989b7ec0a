//! Verifications a second, against PostgreSQL with many tokens, as a share of what pgbench selects by key from the same
//! table; and how long one takes at a moderate load.
//!
//! `cargo bench --bench verify -- --other PATH` measures another server's program in turn with this one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

mod ground;

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;
use ground::{
    Postgres, Server,
    figures::median,
    load::{Load, Outcome, Question},
    server::LATCHKEY,
    tokens::{self, KEYS_A_ROW},
    usage::Usage,
};
use latchkey::embedded::Role;
use tokio::process::Command;

#[derive(Parser)]
struct Options {
    /// Rows in the table of tokens
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// Tokens that are used, at random
    #[arg(long, default_value_t = 100_000)]
    tokens: u32,
    /// Connections: of pgbench to PostgreSQL, and of the client to the server
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Requests under way on each connection of the client
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Rounds, each of which measures everything once
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Requests a second of the moderate load
    #[arg(long, default_value_t = 2000)]
    moderate: u32,
    /// Another server's program, to be measured in turn with this one
    #[arg(long)]
    other: Option<PathBuf>,
    /// What cargo passes on
    #[arg(long, hide = true)]
    bench: bool,
}

struct Candidate {
    name: String,
    server: Server,
    load: Load,
    rates: Vec<f64>,
    shares: Vec<f64>,
    /// The same with one request under way on each connection, as pgbench has one select.
    single: Vec<f64>,
    health: Vec<f64>,
    costs: Vec<[f64; 3]>,
}

fn main() {
    ground::run(async {
        let options = Options::parse();
        measure(&options).await;
    });
}

async fn measure(options: &Options) {
    let postgres = Postgres::start().await;
    let asks: &[&str] = &["--revocation-bound=0"];
    let mut programs = vec![
        ("this server".to_owned(), PathBuf::from(LATCHKEY), [].as_slice()),
        ("this server, which remembers nothing".to_owned(), PathBuf::from(LATCHKEY), asks),
    ];
    programs.extend(options.other.iter().map(|path| (path.display().to_string(), path.clone(), [].as_slice())));
    let mut servers = Vec::new();
    for (name, program, args) in programs {
        servers.push((name, Server::start(&program, &postgres, args).await));
    }
    println!("filling the table: {} tokens", options.rows);
    let tokens = tokens::fill(&postgres, options.rows, options.tokens).await;
    let pgbench = Pgbench::new(&postgres, tokens::keys_for_pgbench(&postgres, &tokens).await, options);
    let mut candidates = Vec::new();
    for (name, server) in servers {
        let load = Load::connect(&server, options.connections, &tokens.headers).await;
        load.saturate(Question::Identity, options.in_flight, Duration::from_secs(2)).await;
        let [rates, shares, single, health] = [const { Vec::new() }; 4];
        candidates.push(Candidate { name, server, load, rates, shares, single, health, costs: Vec::new() });
    }
    pgbench.run(1).await;

    let mut selects = Vec::new();
    for round in 1..=options.rounds {
        let before = Usage::now(candidates[0].server.pid(), &postgres);
        let rate = pgbench.run(options.seconds).await;
        let foreign = (Usage::now(candidates[0].server.pid(), &postgres) - before).foreign_share();
        println!(
            "round {round}: pgbench {rate:.0} selects/s (others' processes: {:.0}% of the busy time)",
            foreign * 100.0
        );
        selects.push(rate);
        // Who comes first takes turns.
        let first = round % candidates.len();
        candidates.rotate_left(first);
        for candidate in &mut candidates {
            candidate.measure(round, rate, options, &postgres).await;
        }
        candidates.rotate_right(first);
    }

    println!("pgbench -M prepared, {} connections: {:.0} selects/s", options.connections, median(selects));
    for candidate in candidates {
        candidate.report(options).await;
        candidate.server.stop().await;
    }
}

impl Candidate {
    async fn measure(&mut self, round: usize, selects: f64, options: &Options, postgres: &Postgres) {
        let duration = Duration::from_secs(options.seconds);
        let before = Usage::now(self.server.pid(), postgres);
        let Outcome { count, rate } = self.load.saturate(Question::Identity, options.in_flight, duration).await;
        let used = Usage::now(self.server.pid(), postgres) - before;
        let cost = [used.server, used.postgres, used.client].map(|seconds| seconds / count * 1e6);
        let single = self.load.saturate(Question::Identity, 1, duration).await.rate;
        let health = self.load.saturate(Question::Health, options.in_flight, duration / 2).await.rate;
        println!(
            "round {round}: {}: {rate:.0} verified requests/s, {:.2} of pgbench ({:.2} with one request at once on each connection); CPU µs a request: server {:.1}, PostgreSQL \
             {:.1}, client {:.1} (others: {:.0}% of the busy time); health checks {health:.0}/s",
            self.name,
            rate / selects,
            single / selects,
            cost[0],
            cost[1],
            cost[2],
            used.foreign_share() * 100.0,
        );
        self.rates.push(rate);
        self.shares.push(rate / selects);
        self.single.push(single / selects);
        self.health.push(health);
        self.costs.push(cost);
    }

    async fn report(&self, options: &Options) {
        let cost = |which: usize| median(self.costs.iter().map(|cost| cost[which]));
        println!(
            "{}: {:.0} verified requests/s, {:.2} of pgbench (median of {} rounds; {} connections with {} requests under way \
             each), {:.2} with one request under way on each; health checks without verification: {:.0}/s",
            self.name,
            median(self.rates.iter().copied()),
            median(self.shares.iter().copied()),
            options.rounds,
            options.connections,
            options.in_flight,
            median(self.single.iter().copied()),
            median(self.health.iter().copied()),
        );
        println!(
            "{}: CPU µs a verified request: server {:.1}, PostgreSQL {:.1}, client {:.1}",
            self.name,
            cost(0),
            cost(1),
            cost(2)
        );
        let times = self.load.at_rate(options.moderate, Duration::from_secs(options.seconds * 3)).await;
        println!("{}: at {} requests/s: {}", self.name, options.moderate, times.summary());
    }
}

/// Prepared selects of one row by its key.
struct Pgbench {
    program: PathBuf,
    script: PathBuf,
    url: String,
    connections: String,
}

impl Pgbench {
    /// The keys come from a table in rows of fifty: pgbench can draw numbers only. That select counts as one of the
    /// selects, since it is one too.
    fn new(postgres: &Postgres, rows: usize, options: &Options) -> Self {
        let mut text = format!("\\set row random(1, {rows})\nSELECT * FROM benchmark_keys WHERE row = :row \\gset\n");
        for key in 1..=KEYS_A_ROW {
            text.push_str(&format!("SELECT digest FROM personal_access_tokens WHERE id = :k{key};\n"));
        }
        let script = postgres.directory().join("select-by-key.sql");
        fs::write(&script, text).unwrap();
        Self {
            program: postgres.program("pgbench"),
            script,
            url: postgres.url(Role::Serving),
            connections: options.connections.to_string(),
        }
    }

    /// Selects a second.
    async fn run(&self, seconds: u64) -> f64 {
        let output = Command::new(&self.program)
            .args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--client", &self.connections])
            .args(["--time", &seconds.to_string(), "--file"])
            .arg(&self.script)
            .arg(&self.url)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find_map(|line| line.strip_prefix("tps = ")).expect("pgbench tells its rate");
        let scripts: f64 = line.split(' ').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "it is fifty")]
        let selects = (KEYS_A_ROW + 1) as f64;
        scripts * selects
    }
}
