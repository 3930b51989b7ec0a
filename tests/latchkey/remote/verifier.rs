//! The verifier of other services: what it remembers, for how long, and what it does not.

use std::time::Duration;

use latchkey::{
    domain::clock::boot_time,
    pb::gitpod::v1::DeletePersonalAccessTokenRequest,
    remote::{RemoteVerifier, VerifyError},
};

use crate::support::{
    ServerOptions, TestDatabase, TestServer, eventually,
    keys::{forged, token_id},
};

const BOUND: Duration = Duration::from_secs(2);

struct Asking {
    database: TestDatabase,
    server: TestServer,
    verifier: RemoteVerifier,
    token: String,
}

impl Asking {
    async fn start(bound: Duration) -> Self {
        let database = TestDatabase::create().await;
        let unit = if bound.is_zero() { "" } else { "s" };
        let args = vec![format!("--revocation-bound={}{unit}", bound.as_secs())];
        let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
        let token = server.user(&database, "dev@example.com").await;
        let own = server.service_account(&database, &["--service"]).await;
        let verifier = RemoteVerifier::connect(&server.url(), &own).unwrap();
        Self { database, server, verifier, token }
    }

    /// Revokes it; when that was acknowledged.
    async fn revoke(&self) -> Duration {
        let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&self.token) };
        self.server.api(&self.token).await.tokens.delete_personal_access_token(request).await.unwrap();
        boot_time()
    }

    /// How often Latchkey was asked.
    fn asked(&self) -> usize {
        let log = self.server.log();
        log.lines().filter(|line| line.contains("BatchIntrospectTokens") && line.contains("answered")).count()
    }
}

#[tokio::test]
async fn what_is_remembered_is_not_asked_again_and_forgotten_within_the_bound() {
    let asking = Asking::start(BOUND).await;
    let (verifier, token) = (&asking.verifier, &asking.token);
    let caller = verifier.verify(token).await.unwrap();
    assert_eq!(caller.token_id().to_string(), token_id(token));
    assert!(!caller.read_only());
    // Latchkey may say to keep nothing at first, before its own first heartbeat: until then each time is asked.
    eventually("it is remembered", async || {
        let before = asking.asked();
        verifier.verify(token).await.unwrap();
        (asking.asked() == before).then_some(())
    })
    .await;

    let revoked = asking.revoke().await;
    let mut is_refused = false;
    while boot_time() < revoked + 2 * BOUND {
        let began = boot_time();
        match verifier.verify(token).await {
            Ok(_) => assert!(began < revoked + BOUND, "accepted {:?} after it was revoked", began - revoked),
            Err(error) => {
                assert_eq!(error, VerifyError::NotActive);
                is_refused = true;
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_refused);
}

#[tokio::test]
async fn with_a_bound_of_nothing_each_use_is_asked_about() {
    let asking = Asking::start(Duration::ZERO).await;
    for _ in 0..3 {
        asking.verifier.verify(&asking.token).await.unwrap();
    }
    asking.revoke().await;
    assert_eq!(asking.verifier.verify(&asking.token).await, Err(VerifyError::NotActive));
    assert_eq!(asking.asked(), 4);
}

#[tokio::test]
async fn what_waits_together_is_asked_together() {
    let asking = Asking::start(Duration::ZERO).await;
    asking.verifier.verify(&asking.token).await.unwrap();
    let before = asking.asked();
    let (good, bad) = (asking.token.clone(), forged());
    let verifications = (0..500).map(|number| {
        let (verifier, text) = (asking.verifier.clone(), if number % 2 == 0 { good.clone() } else { bad.clone() });
        async move { (number, verifier.verify(&text).await) }
    });
    for (number, verified) in futures::future::join_all(verifications).await {
        assert_eq!(verified.is_ok(), number % 2 == 0, "{number}: {verified:?}");
    }
    let asked = asking.asked() - before;
    // All were there before the first answer: a batch under way, and what queued up behind it.
    assert!((1..=4).contains(&asked), "{asked} questions about 500 requests");
}

#[tokio::test]
async fn what_no_token_is_written_like_is_not_asked_about() {
    let asking = Asking::start(Duration::ZERO).await;
    for text in ["", "x", "gitpod_pat_x", &asking.token[1..], &format!("{}x", asking.token)] {
        assert_eq!(asking.verifier.verify(text).await, Err(VerifyError::NotActive), "{text:.20}");
    }
    assert_eq!(asking.asked(), 0);
}

#[tokio::test]
async fn a_service_whose_own_token_is_refused_lets_nobody_in_and_calls_nobody_a_stranger() {
    let asking = Asking::start(BOUND).await;
    let own = asking.server.service_account(&asking.database, &["--service"]).await;
    let not_a_service = asking.server.service_account(&asking.database, &[]).await;
    for own in [forged(), not_a_service, asking.token.clone()] {
        let verifier = RemoteVerifier::connect(&asking.server.url(), &own).unwrap();
        for text in [&asking.token, &forged()] {
            assert_eq!(verifier.verify(text).await, Err(VerifyError::Unavailable));
        }
    }
    // Another one can be handed in while it runs.
    let verifier = RemoteVerifier::connect(&asking.server.url(), &forged()).unwrap();
    assert_eq!(verifier.verify(&asking.token).await, Err(VerifyError::Unavailable));
    assert!(verifier.replace_own_token("a\nb").is_err());
    verifier.replace_own_token(&own).unwrap();
    verifier.verify(&asking.token).await.unwrap();
}
