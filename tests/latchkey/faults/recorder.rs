//! What is seen while it cannot be written: kept up to a bound, and beyond it nobody is let through unseen.

use latchkey::{
    auth::{QueueFull, Recorder},
    domain::{
        audit::{Action, Observation, Outcome},
        ids::{OrganizationId, PrincipalId, RequestId, TokenId},
        principal::PrincipalKind,
        session::SessionLimits,
    },
    service::QueuedRecorder,
    store::{Store, StoreConfig},
};
use tokio_util::sync::CancellationToken;

use crate::support::{TestDatabase, eventually};

/// A read of a caller's, unlike those of every other number.
fn read(number: u32) -> Observation {
    Observation {
        organization_id: None,
        principal: Some((PrincipalId::generate(), PrincipalKind::User)),
        token_id: Some(TokenId::generate()),
        session_id: None,
        action: Action::Read,
        rpc: "test",
        outcome: Outcome::Succeeded,
        reason: "",
        peer: Some(std::net::Ipv4Addr::from(number).into()),
        user_agent: None,
        request_id: RequestId::generate(),
    }
}

fn forgery(number: u32) -> Observation {
    Observation {
        principal: None,
        token_id: None,
        action: Action::CredentialRefuse,
        outcome: Outcome::Denied,
        reason: "malformed or forged",
        ..read(number)
    }
}

#[tokio::test]
async fn a_full_queue_lets_nobody_through_until_there_is_room() {
    let database = TestDatabase::create().await;
    let store = Store::new(StoreConfig::parse(&database.serving_url()).unwrap()).unwrap();
    let recorder = QueuedRecorder::new(store, OrganizationId::generate(), SessionLimits::default().idle);
    // Whoever can send a million forgeries keeps nobody else out.
    for number in 0..50_000 {
        recorder.observe(forgery(number));
    }
    assert_eq!(recorder.room().await, Ok(()));
    let mut taken = 0;
    while recorder.room().await == Ok(()) {
        recorder.observe(read(taken));
        taken += 1;
        assert!(taken < 1_000_000, "there is no bound");
    }
    assert_eq!(recorder.room().await, Err(QueueFull), "still");
    // Whoever waits when room is made, is let through.
    let waiting = recorder.room();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let (recorder, stop) = (recorder.clone(), stop.clone());
        async move { recorder.run(stop).await }
    });
    assert_eq!(waiting.await, Ok(()));
    let client = database.serving().await;
    eventually("everything that was taken down is written", async || {
        let counted = client
            .query_one(
                "SELECT coalesce(sum(count), 0)::bigint FROM (
                    SELECT action, count FROM audit_tallies UNION ALL SELECT action, count FROM audit_logs) AS seen
                 WHERE action = 'read'",
                &[],
            )
            .await
            .unwrap();
        (counted.get::<_, i64>(0) == i64::from(taken)).then_some(())
    })
    .await;
    let strangers = "
        SELECT count(*), sum(count)::bigint FROM (
            SELECT actor_kind, count FROM audit_tallies UNION ALL SELECT actor_kind, count FROM audit_logs) AS seen
        WHERE actor_kind = 'stranger'";
    let strangers = client.query_one(strangers, &[]).await.unwrap();
    // Two minutes may have passed, each with a row for those that are not told apart.
    let (rows, tries) = (strangers.get::<_, i64>(0), strangers.get::<_, i64>(1));
    assert!(rows <= 2 * 5001 && tries == 50_000, "{rows} rows of {tries} tries");
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn one_token_called_from_everywhere_takes_no_others_room() {
    let database = TestDatabase::create().await;
    let store = Store::new(StoreConfig::parse(&database.serving_url()).unwrap()).unwrap();
    let recorder = QueuedRecorder::new(store, OrganizationId::generate(), SessionLimits::default().idle);
    let one = read(0);
    for number in 0..50_000 {
        recorder.observe(Observation { peer: read(number).peer, ..one.clone() });
    }
    assert!(recorder.has_room());
    let stop = CancellationToken::new();
    stop.cancel();
    recorder.run(stop).await;
    let client = database.serving().await;
    let seen = "SELECT count(*), sum(count)::bigint, count(*) FILTER (WHERE peer IS NULL) FROM (
                    SELECT action, peer, count FROM audit_tallies UNION ALL SELECT action, peer, count FROM audit_logs) AS seen
                WHERE action = 'read'";
    let row = client.query_one(seen, &[]).await.unwrap();
    let (rows, reads, without) = (row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2));
    // Each read counts; from where is known of the first ones.
    assert_eq!((rows, reads, without), (257, 50_000, 1));
}
