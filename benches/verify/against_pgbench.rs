//! Each token looked up: against what PostgreSQL does by itself, and in tables of different sizes.

use std::{path::Path, time::Duration};

use super::{
    Options,
    client::{Client, Requests},
    ground::{Postgres, Server, figures::median, server::LATCHKEY, tokens, usage::Usage},
    pgbench::Pgbench,
    pin,
    remembered::{headers, identity},
    table::{Bar, Table},
    turns::in_turns,
};

/// Tokens that are used, at random.
const USED: u32 = 100_000;
const SMALL: u32 = 10_000;

/// A server that remembers nothing, in front of a table.
struct Asking {
    postgres: Postgres,
    server: Server,
    client: Client,
    requests: Requests,
    /// With as many tokens as there are in the small table.
    few: Requests,
    keys: usize,
}

impl Asking {
    async fn start(rows: u32, options: &Options) -> Self {
        assert!(options.connections > 0);
        let postgres = Postgres::start().await;
        let server = pin::starting(Server::start(Path::new(LATCHKEY), &postgres, &["--revocation-bound=0"])).await;
        println!("filling a table: {rows} tokens");
        // The smaller of the two does not have as many.
        let filled = tokens::fill(&postgres, rows, if rows > USED * 2 { USED } else { SMALL }).await;
        let keys = tokens::keys_for_pgbench(&postgres, &filled).await;
        pin::postgres(&postgres);
        let client = Client::connect(server.address(), options.connections).await;
        let headers = headers(&filled);
        let requests = client.requests(&[identity()], &headers);
        let few = client.requests(&[identity()], &headers[..headers.len().min(usize::try_from(SMALL).unwrap())]);
        let asking = Self { postgres, server, client, requests, few, keys };
        asking.rate(&asking.requests, options.in_flight, Duration::from_secs(2)).await;
        asking
    }

    async fn rate(&self, requests: &Requests, in_flight: usize, duration: Duration) -> f64 {
        self.client.saturate(requests, &[0], in_flight, duration).await.0
    }

    /// Who used the processors meanwhile: the client, be it this process or pgbench, is one of them.
    async fn used_by<T>(&self, something: impl Future<Output = T>) -> (T, Usage) {
        let before = Usage::now(self.server.pid(), &self.postgres);
        let outcome = something.await;
        (outcome, Usage::now(self.server.pid(), &self.postgres) - before)
    }
}

pub(super) async fn measure(options: &Options, table: &mut Table) {
    let duration = Duration::from_secs(options.seconds);
    if options.wants("uncached") {
        let asking = Asking::start(options.tokens, options).await;
        let pgbench = Pgbench::new(&asking.postgres, asking.keys, options.connections);
        pgbench.run(1).await;
        let (mut shares, mut single, mut rates, mut selects) = (vec![], vec![], vec![], vec![]);
        let (mut used_by_pgbench, mut used_by_us) = (vec![], vec![]);
        for round in 0..options.rounds {
            let selecting = asking.used_by(pgbench.run(options.seconds));
            let verifying = async {
                let measured = asking.used_by(asking.rate(&asking.requests, options.in_flight, duration)).await;
                (measured, asking.rate(&asking.requests, 1, duration).await)
            };
            let ((select, by_pgbench), ((rate, by_us), one)) = in_turns(round, selecting, verifying).await;
            println!(
                "pgbench {select:.0} selects/s, {rate:.0} requests/s: {:.3}; one under way on each: {:.3}",
                rate / select,
                one / select
            );
            shares.push(rate / select);
            single.push(one / select);
            rates.push(rate);
            selects.push(select);
            println!(
                "processor time: pgbench {:.2} s, PostgreSQL {:.2} s; client {:.2} s, server {:.2} s, PostgreSQL {:.2} s",
                by_pgbench.client, by_pgbench.postgres, by_us.client, by_us.server, by_us.postgres
            );
            used_by_pgbench.push(by_pgbench);
            used_by_us.push(by_us);
        }
        let of = |used: &[Usage], part: fn(&Usage) -> f64| median(used.iter().map(part));
        let a_request = 1e6 / (median(rates.clone()) * duration.as_secs_f64());
        let (server, postgres) = (of(&used_by_us, |used| used.server), of(&used_by_us, |used| used.postgres));
        let details = format!(
            "{:.0} requests/s against {:.0} selects/s, {} connections with {} requests each; with 1 each {:.2}; server {:.1} µs, PostgreSQL {:.1} µs a request; \
             processor time in {} s: pgbench {:.2} s of its core and PostgreSQL {:.2} s of the other; client {:.2} s of its core, server {server:.2} s and PostgreSQL {postgres:.2} s of the other",
            median(rates),
            median(selects),
            options.connections,
            options.in_flight,
            median(single),
            server * a_request,
            postgres * a_request,
            options.seconds,
            of(&used_by_pgbench, |used| used.client),
            of(&used_by_pgbench, |used| used.postgres),
            of(&used_by_us, |used| used.client),
        );
        let what = "authenticated unary, uncached, against pgbench's prepared select-by-key with as many connections";
        table.row(what, Bar::AtLeast(1.0), median(shares), "", &details);
        asking.server.stop().await;
    }
    if options.wants("large") {
        // The large one first: servers let go of connections on which nothing happens while it is filled.
        let large = Asking::start(options.large, options).await;
        let small = Asking::start(SMALL, options).await;
        let (mut shares, mut rates, mut of_all) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..options.rounds {
            // As many tokens in use in both, so that as much is written of them: the table alone is larger.
            let of_large = async {
                let few = large.rate(&large.few, options.in_flight, duration).await;
                (few, large.rate(&large.requests, options.in_flight, duration).await)
            };
            let of_small = small.rate(&small.requests, options.in_flight, duration);
            let (of_small, (of_large, all)) = in_turns(round, of_small, of_large).await;
            println!(
                "{of_small:.0}/s of the small table, {of_large:.0}/s of as many tokens of the large one: {:.3}; {all:.0}/s of {USED} tokens: {:.3}",
                of_large / of_small,
                all / of_small
            );
            shares.push(of_large / of_small);
            rates.push(of_large);
            of_all.push(all / of_small);
        }
        let details = format!(
            "{:.0} requests/s; {} against {SMALL} tokens, {SMALL} in use in both; with {USED} in use in the large table {:.2}",
            median(rates),
            options.large,
            median(of_all)
        );
        table.row(
            "throughput with 10M tokens in the table, uncached, against 10k",
            Bar::AtLeast(0.9),
            median(shares),
            "",
            &details,
        );
        small.server.stop().await;
        large.server.stop().await;
    }
}
