//! When tokens were last used: written by two servers at once, late, and while PostgreSQL is away.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

use latchkey::{
    auth::Recorder,
    domain::{
        audit::{Action, Observation, Outcome},
        ids::{OrganizationId, RequestId, TokenId},
        principal::{Credential, Origin},
        session::SessionLimits,
    },
    service::QueuedRecorder,
    store::{Store, StoreConfig, TokenUse},
};
use time::{Duration, OffsetDateTime};
use tokio_util::sync::CancellationToken;

use crate::support::{TestDatabase, TestServer, eventually, keys::token_id};

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
        user_agent: Some(agent(writer, round).into()),
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

/// Uses of one token, as servers see them.
struct Scene {
    database: TestDatabase,
    token: TokenId,
    like: String,
}

impl Scene {
    async fn new(database: TestDatabase) -> Self {
        let server = TestServer::start(&database).await;
        let like = token_id(&server.user(&database, "dev@example.com").await);
        Self { database, token: like.parse().unwrap(), like }
    }

    const fn credential(&self) -> Credential {
        Credential::PersonalAccessToken { id: self.token, read_only: false }
    }

    /// A server's recorder, at work until the token is cancelled.
    fn recorder(&self) -> (QueuedRecorder, CancellationToken) {
        let store = Store::new(StoreConfig::parse(&self.database.serving_url()).unwrap()).unwrap();
        let (recorder, stop) = (
            QueuedRecorder::new(store, OrganizationId::generate(), SessionLimits::default().idle),
            CancellationToken::new(),
        );
        tokio::spawn({
            let (recorder, stop) = (recorder.clone(), stop.clone());
            async move { recorder.run(stop).await }
        });
        (recorder, stop)
    }

    /// What is written of the last use: its second, and the client.
    async fn last(&self) -> Option<(i64, String)> {
        written(&self.database.owner().await).await.remove(&self.like)
    }

    async fn becomes(&self, second: i64, agent: &str) {
        let expected = Some((second, agent.to_owned()));
        eventually(agent, async || (self.last().await == expected).then_some(())).await;
    }
}

fn at(second: i64) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::seconds(second)
}

fn by(agent: &str) -> Origin {
    Origin { peer: None, user_agent: Some(agent.into()), request_id: RequestId::generate() }
}

#[tokio::test]
async fn an_older_use_that_is_written_later_changes_nothing() {
    let scene = Scene::new(TestDatabase::create().await).await;
    let stores = [0, 1].map(|_| Store::new(StoreConfig::parse(&scene.database.serving_url()).unwrap()).unwrap());
    // The time, who wrote it, and what is known then.
    for (number, second, agent, known) in [
        (0, 100, "first", (100, "first")),
        (1, 99, "older", (100, "first")),
        (1, 100, "as old", (100, "first")),
        (1, 101, "newer", (101, "newer")),
        (0, 100, "older again", (101, "newer")),
    ] {
        let one = TokenUse { token_id: scene.token, at: at(second), peer: None, user_agent: Some(agent.into()) };
        stores[number].last_used_write(vec![one]).await.unwrap();
        assert_eq!(scene.last().await, Some((known.0, known.1.to_owned())), "{agent}");
    }
    // Nor does one that comes later to the same server, before it has written.
    let (recorder, stop) = scene.recorder();
    for (second, agent) in [(300, "late"), (200, "early")] {
        recorder.used(scene.credential(), at(second), &by(agent));
    }
    scene.becomes(300, "late").await;
    stop.cancel();
}

#[tokio::test]
async fn uses_wait_while_postgresql_is_away_and_the_last_of_them_is_written_then() {
    let scene = Scene::new(TestDatabase::create_private().await).await;
    let (recorder, stop) = scene.recorder();
    recorder.used(scene.credential(), at(100), &by("before"));
    scene.becomes(100, "before").await;
    scene.database.cluster().stop().await;
    recorder.used(scene.credential(), at(200), &by("meanwhile"));
    recorder.used(scene.credential(), at(150), &by("older"));
    scene.database.cluster().start_again().await;
    scene.becomes(200, "meanwhile").await;
    assert!(recorder.backlog().last_used_lag.is_zero(), "nothing waits any more");
    stop.cancel();
}

#[tokio::test]
async fn an_older_use_does_not_take_the_place_of_one_whose_writing_fails() {
    let scene = Scene::new(TestDatabase::create().await).await;
    let lock = scene.database.owner().await;
    lock.batch_execute("BEGIN; LOCK token_last_used IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (recorder, stop) = scene.recorder();
    recorder.used(scene.credential(), at(200), &by("later"));
    let superuser = scene.database.superuser().await;
    let writing = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                   AND query LIKE '%INTO token_last_used%'";
    let pid: i32 = eventually("it is being written", async || {
        superuser.query_opt(writing, &[]).await.unwrap().map(|row| row.get(0))
    })
    .await;
    recorder.used(scene.credential(), at(100), &by("earlier"));
    superuser.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    lock.batch_execute("ROLLBACK").await.unwrap();
    scene.becomes(200, "later").await;
    stop.cancel();
}

#[tokio::test]
async fn uses_are_written_while_observations_cannot_be() {
    let scene = Scene::new(TestDatabase::create().await).await;
    let lock = scene.database.owner().await;
    lock.batch_execute("BEGIN; LOCK audit_tallies, audit_logs IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let (recorder, stop) = scene.recorder();
    recorder.observe(Observation {
        organization_id: None,
        principal: None,
        token_id: None,
        session_id: None,
        action: Action::CredentialRefuse,
        rpc: "test",
        outcome: Outcome::Denied,
        reason: "malformed or forged",
        peer: None,
        user_agent: None,
        request_id: RequestId::generate(),
    });
    // One and the same statement waits all the while: whoever came after it would be written when that is given up.
    let superuser = scene.database.superuser().await;
    let waiting = "SELECT pid || ' ' || query_start FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INTO audit_tallies%'";
    let waits = async || superuser.query_opt(waiting, &[]).await.unwrap().map(|row| row.get::<_, String>(0));
    let last = AtomicI64::new(0);
    eventually("uses are written while that waits", async || {
        let before = waits().await?;
        let second = last.fetch_add(1, Ordering::SeqCst) + 1;
        recorder.used(scene.credential(), at(second), &by("meanwhile"));
        scene.becomes(second, "meanwhile").await;
        (waits().await? == before).then_some(())
    })
    .await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    stop.cancel();
}

#[tokio::test]
async fn a_token_whose_row_is_gone_takes_no_others_use_with_it() {
    let scene = Scene::new(TestDatabase::create().await).await;
    let store = Store::new(StoreConfig::parse(&scene.database.serving_url()).unwrap()).unwrap();
    let uses = [TokenId::generate(), scene.token, TokenId::generate()].map(|token_id| TokenUse {
        token_id,
        at: at(100),
        peer: None,
        user_agent: Some("with them".into()),
    });
    store.last_used_write(uses.to_vec()).await.unwrap();
    assert_eq!(scene.last().await, Some((100, "with them".to_owned())));
}
