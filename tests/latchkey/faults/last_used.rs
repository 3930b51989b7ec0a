//! When tokens were last used, written by two servers at once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use latchkey::{
    domain::ids::TokenId,
    store::{Store, StoreConfig, TokenUse},
};
use time::{Duration, OffsetDateTime};

use crate::support::{TestDatabase, TestServer, keys::token_id};

const TOKENS: i32 = 200;
/// How many batches are under way at once; every other one comes from the other store, in the other order.
const WRITERS: i64 = 8;
const ROUNDS: i64 = 25;

/// When a token was used, as a batch has it: later or earlier than the batches around it have it, from token to token.
fn second(writer: i64, round: i64, token: usize) -> i64 {
    let token = i64::try_from(token).unwrap();
    (writer * 71 + round * 29 + token * 13) % 997
}

fn agent(writer: i64, round: i64) -> String {
    format!("writer {writer}, round {round}")
}

fn batch(tokens: &[TokenId], writer: i64, round: i64) -> Vec<TokenUse> {
    let uses = tokens.iter().enumerate().map(|(number, token)| TokenUse {
        token_id: *token,
        at: OffsetDateTime::UNIX_EPOCH + Duration::seconds(second(writer, round, number)),
        peer: None,
        user_agent: Some(agent(writer, round)),
    });
    if writer % 2 == 0 { uses.collect() } else { uses.rev().collect() }
}

/// What is written now: seconds and who wrote them.
async fn written(client: &tokio_postgres::Client) -> BTreeMap<String, (i64, String)> {
    let query = "SELECT token_id::text, extract(epoch FROM last_used_at)::bigint, user_agent FROM token_last_used";
    let rows = client.query(query, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn overlapping_batches_wait_for_each_other_and_no_time_goes_back() {
    let database = TestDatabase::create().await;
    let like = {
        let server = TestServer::start(&database).await;
        token_id(&server.user(&database, "dev@example.com").await)
    };
    database.add_tokens(&like, TOKENS).await;
    let owner = database.owner().await;
    let query = "SELECT id::text FROM personal_access_tokens WHERE description = 'many' ORDER BY id";
    let rows = owner.query(query, &[]).await.unwrap();
    let tokens: Vec<TokenId> = rows.iter().map(|row| row.get::<_, String>(0).parse().unwrap()).collect();
    let stores = [0, 1].map(|_| Store::new(StoreConfig::parse(&database.serving_url()).unwrap()).unwrap());

    let done = AtomicBool::new(false);
    let write = async {
        let writers = (0..WRITERS).map(|writer| {
            let (store, tokens) = (stores[usize::from(writer % 2 == 1)].clone(), tokens.clone());
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    // A deadlock would be an error of one of the two.
                    store.last_used_write(batch(&tokens, writer, round)).await.unwrap();
                }
            })
        });
        let outcomes = futures::future::join_all(writers).await;
        done.store(true, Ordering::SeqCst);
        outcomes.into_iter().for_each(Result::unwrap);
    };
    let watch = async {
        let mut before = BTreeMap::new();
        while !done.load(Ordering::SeqCst) {
            let now = written(&owner).await;
            for (token, (second, _)) in &before {
                assert!(now[token].0 >= *second, "{token} went back from {second} to {:?}", now[token]);
            }
            before = now;
        }
    };
    tokio::join!(write, watch);

    let last = written(&owner).await;
    assert_eq!(last.len(), tokens.len());
    for (number, token) in tokens.iter().enumerate() {
        let all = (0..WRITERS).flat_map(|writer| (0..ROUNDS).map(move |round| (writer, round)));
        let latest = all.clone().map(|(writer, round)| second(writer, round, number)).max().unwrap();
        let (at, by) = &last[&token.to_string()];
        assert_eq!(*at, latest, "{token}");
        let wrote = all.filter(|(writer, round)| second(*writer, *round, number) == latest);
        let wrote: Vec<String> = wrote.map(|(writer, round)| agent(writer, round)).collect();
        assert!(wrote.contains(by), "the rest of the row is of that use: {by} is none of {wrote:?}");
    }
}
