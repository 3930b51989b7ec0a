//! A standby that is promoted, whatever the old primary goes on saying: what has ended on the new one is refused by every server
//! within the bound, and nobody has to start a server again.

use std::time::Duration;

use latchkey::domain::clock::boot_time;
use nix::sys::signal::Signal;
use tonic::Code;

use super::bound::{BOUND, assert_refused_within_bound};
use crate::support::{Api, ServerOptions, TestDatabase, TestServer, eventually, keys::token_id};

/// Two servers, and two tokens that both remember.
struct Scene {
    database: TestDatabase,
    servers: [TestServer; 2],
    /// Revoked on the new primary.
    revoked: String,
    /// Good for ever.
    good: String,
}

impl Scene {
    async fn start() -> Self {
        let mut database = TestDatabase::create_replicated().await;
        let args = vec![format!("--revocation-bound={}s", BOUND.as_secs())];
        let options = ServerOptions { args, ..ServerOptions::default() };
        let first = TestServer::start_with(&database, options.clone()).await;
        let options = ServerOptions { signing_keys: Some(first.keys()), ..options };
        let second = TestServer::start_with(&database, options).await;
        let good = first.user(&database, "dev@example.com").await;
        let revoked = first.token(&database, "dev@example.com", &[]).await;
        database.replication().in_step().await;
        let scene = Self { database, servers: [first, second], revoked, good };
        for api in [scene.apis(&scene.good).await, scene.apis(&scene.revoked).await].iter_mut().flatten() {
            for _ in 0..3 {
                api.whoami().await.unwrap();
            }
        }
        scene
    }

    async fn apis(&self, token: &str) -> [Api; 2] {
        [self.servers[0].api(token).await, self.servers[1].api(token).await]
    }

    /// Revokes the token on the second PostgreSQL alone; when that was acknowledged.
    async fn revoke(&mut self) -> Duration {
        let sql = self.database.replication().nodes[1].sql().await;
        let revoke = "UPDATE personal_access_tokens SET revoked_at = now() WHERE id = $1::text::uuid";
        assert_eq!(sql.execute(revoke, &[&token_id(&self.revoked)]).await.unwrap(), 1);
        boot_time()
    }

    /// Every server refuses it within the bound.
    async fn assert_refused(&self, revoked: Duration) {
        let [mut first, mut second] = self.apis(&self.revoked).await;
        tokio::join!(
            assert_refused_within_bound(&mut first, revoked),
            assert_refused_within_bound(&mut second, revoked)
        );
    }

    /// Every server verifies by the new primary, and writes there.
    async fn assert_served(&mut self) {
        let (mut good, mut revoked) = (self.apis(&self.good).await, self.apis(&self.revoked).await);
        for at in 0..2 {
            eventually("the good token is good again, without a restart", async || {
                good[at].clone().whoami().await.ok()
            })
            .await;
            assert_eq!(revoked[at].whoami().await.unwrap_err().code(), Code::Unauthenticated);
            let made = eventually("tokens are made", async || {
                let request = latchkey::pb::gitpod::v1::CreatePersonalAccessTokenRequest {
                    description: format!("made by {at}"),
                    ..Default::default()
                };
                good[at].clone().tokens.create_personal_access_token(request).await.ok()
            })
            .await
            .into_inner();
            let sql = self.database.replication().nodes[1].sql().await;
            let there = "SELECT 1 FROM personal_access_tokens WHERE id = $1::text::uuid";
            assert_eq!(sql.query(there, &[&token_id(&made.token)]).await.unwrap().len(), 1, "on the new primary");
            let mut made = self.servers[at].api(&made.token).await;
            for _ in 0..3 {
                made.whoami().await.unwrap();
            }
        }
        good[0].whoami().await.unwrap();
    }
}

#[tokio::test]
async fn the_old_primary_is_gone() {
    let mut scene = Scene::start().await;
    scene.database.replication().nodes[0].end();
    scene.database.replication().promote().await;
    let revoked = scene.revoke().await;
    scene.assert_refused(revoked).await;
    scene.assert_served().await;
}

#[tokio::test]
async fn the_old_primary_goes_on_as_if_nothing_had_happened() {
    let mut scene = Scene::start().await;
    scene.database.replication().promote().await;
    let revoked = scene.revoke().await;
    scene.assert_refused(revoked).await;
    scene.assert_served().await;
    // Nor does it count when nobody else is left.
    scene.database.replication().nodes[1].end();
    for mut api in scene.apis(&scene.revoked).await {
        for _ in 0..20 {
            let status = api.whoami().await.unwrap_err();
            assert!([Code::Unauthenticated, Code::Unavailable].contains(&status.code()), "{status}");
        }
    }
}

#[tokio::test]
async fn the_old_primary_stands_still_and_goes_on_later() {
    let mut scene = Scene::start().await;
    scene.database.replication().nodes[0].signal(Signal::SIGSTOP);
    scene.database.replication().promote().await;
    let revoked = scene.revoke().await;
    let mut apis = scene.apis(&scene.revoked).await;
    // Asked while it stands still, and answered when it goes on.
    let asked = apis.each_mut().map(|api| {
        let mut api = api.clone();
        tokio::spawn(async move { (boot_time(), api.whoami().await) })
    });
    scene.assert_refused(revoked).await;
    scene.database.replication().nodes[0].signal(Signal::SIGCONT);
    for asked in asked {
        let (began, answer) = asked.await.unwrap();
        assert!(answer.is_err() || began < revoked + BOUND, "{answer:?}");
    }
    for _ in 0..50 {
        for api in &mut apis {
            let status = api.whoami().await.unwrap_err();
            assert!([Code::Unauthenticated, Code::Unavailable].contains(&status.code()), "{status}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    scene.assert_served().await;
}
