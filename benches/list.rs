//! ListEnvironments, pages of 100, where there are 100,000: for somebody who made (nearly) all of them, and for somebody
//! who made 100 that lie among the others'.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

mod ground;

use std::{path::Path, time::Instant};

use clap::Parser;
use ground::{
    Postgres, Server,
    figures::Times,
    server::{LATCHKEY, bearer, with_token},
};
use latchkey::pb::gitpod::v1::{
    ListEnvironmentsRequest, PaginationRequest, environment_service_client::EnvironmentServiceClient,
};
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

#[derive(Parser)]
struct Options {
    /// Environments of whom made the most
    #[arg(long, default_value_t = 99_900)]
    many: u32,
    /// Environments of whom made the fewest
    #[arg(long, default_value_t = 100)]
    few: u32,
    /// Calls of each kind
    #[arg(long, default_value_t = 2000)]
    calls: usize,
    /// What cargo passes on
    #[arg(long, hide = true)]
    bench: bool,
}

/// Stopped environments, so that no runner has to look after them; whoever has few has every so-manieth.
const FILL: &str = "
    WITH creators AS (
        SELECT token.principal_id AS id, token.id AS token_id, principal.email
        FROM personal_access_tokens AS token JOIN principals AS principal ON principal.id = token.principal_id
    ), numbers AS (
        SELECT number, number % (($1::bigint + $2::bigint) / $2::bigint) = 0 AS is_of_few
        FROM generate_series(1, $1::bigint + $2::bigint) AS number
    )
    INSERT INTO environments
        (id, organization_id, creator_id, created_by_token_id, runner_id, class_id, name, context_url, remote_url, target,
         desired_phase, phase, content_ready, branch, commit, created_at)
    SELECT (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - number * 1000), 12, '0') || '7'
               || substr(md5(number::text), 1, 3) || '8' || substr(md5(number::text), 4, 15))::uuid,
           runner.organization_id, creators.id, creators.token_id, runner.id, class.id, 'name', url, url, 'remote_head',
           'stopped', 'stopped', true, 'main', encode(sha256(number::text::bytea), 'hex'), now() - number * interval '1 second'
    FROM numbers CROSS JOIN runners AS runner CROSS JOIN environment_classes AS class
    JOIN creators ON creators.email = CASE WHEN is_of_few THEN 'few@bench.example' ELSE 'many@bench.example' END
    CROSS JOIN LATERAL (SELECT 'https://github.com/owner/name-' || number AS url) AS context";

fn main() {
    ground::run(async {
        let options = Options::parse();
        let postgres = Postgres::start().await;
        let server = Server::start(Path::new(LATCHKEY), &postgres, &[]).await;
        let many = bearer(&server.user("many@bench.example").await);
        let few = bearer(&server.user("few@bench.example").await);
        let sql = postgres.superuser().await;
        sql.batch_execute("SET session_replication_role = replica").await.unwrap();
        postgres.add_runner_elsewhere().await;
        sql.execute(FILL, &[&i64::from(options.many), &i64::from(options.few)]).await.unwrap();
        postgres.settle(&["environments"]).await;

        let mut lists = EnvironmentServiceClient::new(server.connect().await);
        for token in [&many, &few] {
            // So often that PostgreSQL has decided on a plan for good.
            first_pages(&mut lists, token, 50).await;
        }
        // In turn, so that what disturbs one disturbs the other.
        let (mut of_many, mut of_few) = (Times::default(), Times::default());
        for _ in 0..options.calls / 100 {
            of_many.append(first_pages(&mut lists, &many, 100).await);
            of_few.append(first_pages(&mut lists, &few, 100).await);
        }
        println!("first 100 of {} of one creator: {}", options.many, of_many.summary());
        println!("all 100 of a creator among {}: {}", options.many + options.few, of_few.summary());
        let (pages, times) = every_page(&mut lists, &many).await;
        println!("every page of {}, one after the other ({pages} pages): {}", options.many, times.summary());
        server.stop().await;
    });
}

async fn first_pages(
    lists: &mut EnvironmentServiceClient<Channel>,
    token: &MetadataValue<Ascii>,
    calls: usize,
) -> Times {
    let mut times = Times::default();
    for _ in 0..calls {
        let (_, time) = page(lists, token, String::new()).await;
        times.push(time);
    }
    times
}

async fn every_page(lists: &mut EnvironmentServiceClient<Channel>, token: &MetadataValue<Ascii>) -> (usize, Times) {
    let mut times = Times::default();
    let mut next = String::new();
    loop {
        let (following, time) = page(lists, token, next).await;
        times.push(time);
        next = following;
        if next.is_empty() {
            return (times.len(), times);
        }
    }
}

/// A page of 100; where the next one begins, and how long it took.
async fn page(
    lists: &mut EnvironmentServiceClient<Channel>,
    token: &MetadataValue<Ascii>,
    page: String,
) -> (String, std::time::Duration) {
    let pagination = Some(PaginationRequest { token: page, page_size: 100 });
    let request = with_token(token, ListEnvironmentsRequest { pagination, ..Default::default() });
    let began = Instant::now();
    let answer = lists.list_environments(request).await.unwrap().into_inner();
    let time = began.elapsed();
    assert_eq!(answer.environments.len(), 100, "a full page");
    (answer.pagination.unwrap_or_default().next_token, time)
}
