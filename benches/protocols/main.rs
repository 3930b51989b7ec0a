//! What each protocol costs: requests a second and the 99th percentile of gRPC, Connect (Protobuf and JSON) and gRPC-Web, each as a
//! share of gRPC straight into tonic, without the layer that speaks the others. The same handlers, the same verification of the
//! token, and one PostgreSQL; server and client in this process, on the same cores.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

#[path = "../ground/mod.rs"]
mod ground;
mod stack;
mod way;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use clap::Parser;
use ground::{
    Postgres, Server,
    figures::{Times, median},
    server::LATCHKEY,
};
use latchkey::pb::gitpod::v1::{GetAuthenticatedIdentityRequest, ListEnvironmentsRequest, PaginationRequest};
use prost::Message;
use stack::Stack;
use tokio::task::JoinSet;
use way::{Connection, WAYS, Way};

#[derive(Parser)]
struct Options {
    /// Connections of the client, for each protocol
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Requests under way on each connection
    #[arg(long, default_value_t = 4)]
    in_flight: usize,
    /// Rounds, each of which measures every protocol once
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Remember the verified token, as a server does that is told nothing else, instead of looking it up for each request
    #[arg(long)]
    cached: bool,
    /// What cargo passes on
    #[arg(long, hide = true)]
    bench: bool,
}

/// 100 environments of one creator, stopped.
const FILL: &str = "
    INSERT INTO environments
        (id, organization_id, creator_id, created_by_token_id, runner_id, class_id, name, context_url, remote_url, target,
         desired_phase, phase, content_ready, branch, commit, created_at)
    SELECT gen_random_uuid(), runner.organization_id, token.principal_id, token.id, runner.id, class.id, 'name',
           'https://github.com/owner/name-' || number, 'https://github.com/owner/name-' || number, 'remote_head',
           'stopped', 'stopped', true, 'main', encode(sha256(number::text::bytea), 'hex'), now() - number * interval '1 second'
    FROM generate_series(1, 100) AS number CROSS JOIN runners AS runner CROSS JOIN environment_classes AS class
    CROSS JOIN personal_access_tokens AS token";

/// A call, as each codec writes it.
struct Call {
    name: &'static str,
    path: &'static str,
    protobuf: Vec<u8>,
    json: &'static str,
    is_list: bool,
    /// How long an answer is at the least: one that is shorter is not the one that was asked for.
    at_least: usize,
}

fn main() {
    ground::run(async {
        let options = Options::parse();
        let postgres = Postgres::start().await;
        // The real program makes the tables, the user and the token.
        let server = Server::start(Path::new(LATCHKEY), &postgres, &[]).await;
        let token = server.user("dev@bench.example").await;
        server.stop().await;
        let sql = postgres.superuser().await;
        sql.batch_execute("SET session_replication_role = replica").await.unwrap();
        postgres.add_runner_elsewhere().await;
        sql.batch_execute(FILL).await.unwrap();
        postgres.settle(&["environments", "personal_access_tokens"]).await;
        let stack = Stack::start(&postgres, options.cached).await;

        let pagination = Some(PaginationRequest { page_size: 100, token: String::new() });
        for call in [
            Call {
                name: "GetAuthenticatedIdentity",
                path: "/gitpod.v1.IdentityService/GetAuthenticatedIdentity",
                protobuf: GetAuthenticatedIdentityRequest {}.encode_to_vec(),
                json: "{}",
                is_list: false,
                at_least: 36,
            },
            Call {
                name: "ListEnvironments of 100",
                path: "/gitpod.v1.EnvironmentService/ListEnvironments",
                protobuf: ListEnvironmentsRequest { pagination, ..Default::default() }.encode_to_vec(),
                json: r#"{"pagination":{"pageSize":100}}"#,
                is_list: true,
                at_least: 100 * 200,
            },
        ] {
            measure(&call, &stack, &token, &options).await;
        }
    });
}

/// What came of one protocol, round by round.
#[derive(Default)]
struct Figures {
    rates: Vec<f64>,
    shares: Vec<f64>,
    times: Times,
    bytes: usize,
}

async fn measure(call: &Call, stack: &Stack, token: &str, options: &Options) {
    let mut connections = Vec::new();
    for way in WAYS {
        let mut of_way = Vec::new();
        for _ in 0..options.connections {
            of_way.push(Connection::open(stack, way, token).await);
        }
        saturate(call, &of_way, options, Duration::from_secs(1)).await;
        connections.push((way, of_way, Figures::default()));
    }
    for _ in 0..options.rounds {
        // Who comes first takes turns.
        connections.rotate_left(1);
        for (_, of_way, figures) in &mut connections {
            let (rate, times, bytes) = saturate(call, of_way, options, Duration::from_secs(options.seconds)).await;
            figures.rates.push(rate);
            figures.times.append(times);
            figures.bytes = bytes;
        }
        let base = connections.iter().find(|(way, ..)| *way == Way::Tonic).unwrap().2.rates.last().copied().unwrap();
        for (_, _, figures) in &mut connections {
            figures.shares.push(figures.rates.last().unwrap() / base);
        }
    }
    connections.sort_by_key(|(way, ..)| WAYS.iter().position(|one| one == way));
    for (way, _, Figures { rates, shares, times, bytes }) in connections {
        let share = median(shares);
        let bar = way.bar(call.is_list).map_or_else(String::new, |bar| {
            format!(", {} the bar of {bar}", if share < bar { "BELOW" } else { "at or over" })
        });
        println!(
            "{}: {way:?}: {:.0}/s, {share:.3} of gRPC straight into tonic (median of {} rounds){bar}, p99 {:.2} ms, {bytes} bytes an answer",
            call.name,
            median(rates),
            options.rounds,
            times.quantile(0.99),
        );
    }
}

/// Keeps requests under way for a while: answers a second, how long each took, and how long an answer is.
async fn saturate(
    call: &Call,
    connections: &[Connection],
    options: &Options,
    duration: Duration,
) -> (f64, Times, usize) {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in connections.iter().flat_map(|one| std::iter::repeat_n(one, options.in_flight)) {
        let request = connection.request(call.path, &call.protobuf, call.json);
        let (mut connection, at_least) = (connection.clone(), call.at_least);
        tasks.spawn(async move {
            let (mut times, mut bytes) = (Times::default(), 0);
            while began.elapsed() < duration {
                let sent = Instant::now();
                bytes = connection.ask(request.clone()).await;
                times.push(sent.elapsed());
                assert!(bytes >= at_least, "{bytes} bytes");
            }
            (times, bytes)
        });
    }
    let (mut times, mut bytes) = (Times::default(), 0);
    for (one, length) in tasks.join_all().await {
        times.append(one);
        bytes = length;
    }
    #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^52 things")]
    let count = times.len() as f64;
    (count / began.elapsed().as_secs_f64(), times, bytes)
}
