//! Tokens that are remembered, forged ones, and good callers beside those.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use http::HeaderValue;
use latchkey::{
    domain::token::{CredentialKind, Generation},
    pb::gitpod::v1::GetAuthenticatedIdentityRequest,
};

use super::{
    Options,
    client::{Call, Client, Requests},
    ground::{Postgres, Server, figures::median, server::LATCHKEY, tokens, usage::time_of},
    handler::Handler,
    pace::Paces,
    pin, queries,
    table::{Bar, Table},
    turns::in_turns,
};

/// Tokens in use.
const TOKENS: u32 = 1000;
/// Turns of each side in a round.
const SLICES: u32 = 15;
/// Forged requests a second that good callers are not to notice.
const FLOOD: f64 = 20_000.0;
/// Good ones beside them.
const GOOD: f64 = 1_000.0;

const OK: &[u8] = &[0];
/// UNAUTHENTICATED, or RESOURCE_EXHAUSTED beyond some tries.
const REFUSED: &[u8] = &[16, 8];

pub(super) fn identity() -> Call {
    Call::new("/gitpod.v1.IdentityService/GetAuthenticatedIdentity", &GetAuthenticatedIdentityRequest {})
}

/// Tokens as headers of this client's kind.
pub(super) fn headers(tokens: &tokens::Tokens) -> Vec<HeaderValue> {
    tokens.headers.iter().map(|value| HeaderValue::from_bytes(value.as_encoded_bytes()).unwrap()).collect()
}

/// Texts that are written as tokens are, of each kind by turns, and have another server's tag.
fn forged() -> Vec<HeaderValue> {
    use latchkey::domain::token::SigningKeys;
    let keys = SigningKeys::generate_line(Generation::FIRST).unwrap();
    let keys = SigningKeys::parse(keys.expose()).unwrap();
    let mut dice = tokens::Dice(3);
    let kinds = CredentialKind::ALL.iter().cycle();
    kinds
        .take(1000)
        .map(|kind| {
            let id = uuid::Builder::from_unix_timestamp_millis(dice.below(1 << 40), &[7; 10]).into_uuid();
            let minted = keys.mint(*kind, Generation::FIRST, id).unwrap().unwrap();
            HeaderValue::from_str(&format!("Bearer {}", minted.text.expose())).unwrap()
        })
        .collect()
}

pub(super) async fn measure(options: &Options, table: &mut Table) {
    if !["cached", "forged", "flood"].iter().any(|row| options.wants(row)) {
        return;
    }
    let postgres = Postgres::start().await;
    let server = pin::starting(Server::start(Path::new(LATCHKEY), &postgres, &[])).await;
    let tokens = headers(&tokens::fill(&postgres, 10_000, TOKENS).await);
    pin::postgres(&postgres);
    let client = Client::connect(server.address(), options.connections).await;
    let warm = Duration::from_secs(2);
    let good = client.requests(&[identity()], &tokens);
    client.saturate(&good, OK, options.in_flight, warm).await;
    if options.wants("cached") {
        cached(options, table, &postgres, &tokens).await;
    }
    if options.wants("forged") {
        refused(options, table, &postgres, &server, &client, &good).await;
    }
    if options.wants("flood") {
        flood(options, table, &server, &client, &good).await;
    }
    server.stop().await;
}

async fn cached(options: &Options, table: &mut Table, postgres: &Postgres, tokens: &[HeaderValue]) {
    let organization = postgres
        .superuser()
        .await
        .query_one("SELECT id::text FROM organizations", &[])
        .await
        .unwrap()
        .get::<_, String>(0);
    let handler = Handler::start(postgres, organization.parse().unwrap()).await;
    let authenticated = Client::connect(&handler.authenticated, options.connections).await;
    let open = Client::connect(&handler.open, options.connections).await;
    let duration = Duration::from_secs(options.seconds);
    let requests = |client: &Client| client.requests(&[identity()], tokens);
    let (to_authenticated, to_open) = (requests(&authenticated), requests(&open));
    authenticated.saturate(&to_authenticated, OK, options.in_flight, Duration::from_secs(2)).await;
    open.saturate(&to_open, OK, options.in_flight, Duration::from_secs(1)).await;
    let (mut shares, mut rates, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let (mut with, mut without) = (Slices::default(), Slices::default());
        for slice in 0..SLICES {
            let of = async |client: &Client, requests| {
                let (used, began) = (handler.used(), Instant::now());
                let answers = client.saturate(requests, OK, options.in_flight, duration / SLICES).await.1.len();
                (answers, began.elapsed(), handler.used() - used)
            };
            let turn = usize::try_from(slice).unwrap();
            let (one, other) = in_turns(turn, of(&authenticated, &to_authenticated), of(&open, &to_open)).await;
            with.add(one);
            without.add(other);
        }
        let (share, by_time) = (with.rate() / without.rate(), without.cost() / with.cost());
        println!(
            "authenticated {:.0}/s, the same handler without {:.0}/s: {share:.3}; {:.2} µs of the server's core each against {:.2} µs: {by_time:.3}",
            with.rate(),
            without.rate(),
            with.cost(),
            without.cost()
        );
        shares.push(share);
        rates.push(with.rate());
        times.push((with.cost(), without.cost()));
    }
    let (costs, bare): (Vec<f64>, Vec<f64>) = times.into_iter().unzip();
    let (cost, bare) = (median(costs), median(bare));
    let details = format!(
        "{:.0} requests/s, {} connections with {} each; {cost:.2} µs of the server's core a request against {bare:.2} µs, a share of {:.2}",
        median(rates),
        options.connections,
        options.in_flight,
        bare / cost
    );
    let what = "authenticated unary, token cached, against the same handler without auth";
    table.row(what, Bar::AtLeast(0.95), median(shares), "", &details);
}

/// What was measured of one side, by turns with the other: machines change their mind from one second to the next.
#[derive(Default)]
struct Slices {
    answers: usize,
    took: Duration,
    used: Duration,
}

impl Slices {
    fn add(&mut self, (answers, took, used): (usize, Duration, Duration)) {
        self.answers += answers;
        self.took += took;
        self.used += used;
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^52 things")]
    fn rate(&self) -> f64 {
        self.answers as f64 / self.took.as_secs_f64()
    }

    /// Microseconds of the server's core an answer.
    #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^52 things")]
    fn cost(&self) -> f64 {
        self.used.as_secs_f64() * 1e6 / self.answers as f64
    }
}

async fn refused(
    options: &Options,
    table: &mut Table,
    postgres: &Postgres,
    server: &Server,
    client: &Client,
    good: &Requests,
) {
    let duration = Duration::from_secs(options.seconds);
    let forged = client.requests(&[identity()], &forged());
    let (mut shares, mut rates, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    let flood = async || client.saturate(&forged, REFUSED, options.in_flight, duration).await.0;
    for round in 0..options.rounds {
        let good = async { client.saturate(good, OK, options.in_flight, duration).await.0 };
        let refused = async {
            let used = time_of(server.pid());
            let rate = flood().await;
            (rate, (time_of(server.pid()) - used) / (rate * duration.as_secs_f64()) * 1e6)
        };
        let (good, (bad, cost)) = in_turns(round, good, refused).await;
        println!("good {good:.0}/s, forged {bad:.0}/s: {:.2}", bad / good);
        shares.push(bad / good);
        rates.push(bad);
        costs.push(cost);
    }
    // What the servers do by themselves, heartbeats above all, goes on beside: so it is counted by itself.
    let sql = postgres.superuser().await;
    queries::settle().await;
    let ((), idle) = queries::during(&sql, tokio::time::sleep(duration)).await;
    let (rate, flooded) = queries::during(&sql, flood()).await;
    let refusals = rate * duration.as_secs_f64();
    let details = format!(
        "{:.0} refusals/s, {:.1} µs of the server each; {} lookups of personal access tokens and {} transactions in PostgreSQL during {refusals:.0} refusals, {} and {} in as long without a request",
        median(rates),
        median(costs),
        flooded.lookups,
        flooded.transactions,
        idle.lookups,
        idle.transactions,
    );
    let what = "forged tokens refused a second, against authenticated cached requests, and queries for them";
    table.row(what, Bar::AtLeast(1.0), median(shares), "", &details);
    assert_eq!(flooded.lookups, 0, "forged tokens are looked up");
    // If those of one kind were looked up, all that are under way at once in one query, it would be as many at the least; half of
    // that is more than what goes on beside ever differs by.
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2^52 things")]
    let (more, under_way) =
        ((flooded.transactions - idle.transactions) as f64, (options.connections * options.in_flight) as f64);
    assert!(more < refusals / 2.0 / under_way / 2.0, "forged tokens make {more} transactions");
}

async fn flood(options: &Options, table: &mut Table, server: &Server, client: &Client, good: &Requests) {
    let duration = Duration::from_secs(options.seconds * 2);
    let floods = Client::connect(server.address(), options.connections).await;
    let forged = floods.requests(&[identity()], &forged());
    let mut shares = Vec::new();
    let (mut alone, mut beside, mut flood) =
        (Paces::of("good ones alone"), Paces::of("beside"), Paces::of("forged ones"));
    for round in 0..options.rounds {
        let paced = async || client.at_rate(good, OK, GOOD, duration).await;
        let flooded = async { tokio::join!(paced(), floods.at_rate(&forged, REFUSED, FLOOD, duration)) };
        let (without, (with, bad)) = in_turns(round, paced(), flooded).await;
        let (p99_without, p99_with) = (without.times.quantile(0.99), with.times.quantile(0.99));
        println!("p99 {p99_without:.2} ms alone, {p99_with:.2} ms beside forged requests");
        shares.push(p99_with / p99_without);
        alone.push(without);
        beside.push(with);
        flood.push(bad);
    }
    let details = format!(
        "p99 {:.2} ms against {:.2} ms; the forged ones come from the same address and the same core as the good ones",
        beside.quantile(0.99),
        alone.quantile(0.99),
    );
    let what = "p99 of good callers while 20,000 forged requests/s arrive from one address, against without";
    table.paced_row(what, Bar::Below(2.0), median(shares), " x", &details, &[&alone, &beside, &flood]);
}
