//! Revocations that meet a lookup at each of its steps: a source that stands still wherever a test wants it to.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use futures::FutureExt;
use time::{OffsetDateTime, macros::datetime};
use tokio::sync::{Mutex, mpsc, oneshot};
use uuid::Uuid;

use super::{
    cache::Cache,
    verifier::{CredentialSource, Verifier, VerifyError},
};
use crate::{
    domain::{
        clock::boot_time,
        credential::StoredCredential,
        ids::{OrganizationId, PrincipalId, TokenId},
        principal::{Credential, PrincipalKind, PrincipalStatus, Role},
        token::{CredentialKind, Generation, SigningKeys},
    },
    lookups::SourceUnavailable,
};

const NOW: OffsetDateTime = datetime!(2026-01-01 00:00:00 UTC);
const BOUND: Duration = Duration::from_secs(3600);
/// Only a broken test waits that long.
const SOON: Duration = Duration::from_secs(10);

type Answer = Result<Vec<(Uuid, StoredCredential)>, SourceUnavailable>;
type Verified = Result<StoredCredential, VerifyError>;
type Verifying<'a> = Pin<Box<dyn Future<Output = Verified> + 'a>>;

/// A query that is under way, until the test answers it: by what was stored when it was sent, or by what is now.
struct Query {
    ids: Vec<Uuid>,
    answer: oneshot::Sender<Answer>,
}

impl Query {
    fn finds(self, found: &[StoredCredential]) {
        let found = found.iter().map(|stored| (stored.credential.key().1, stored.clone())).collect();
        assert!(self.answer.send(Ok(found)).is_ok(), "somebody waits for it");
    }
}

struct Source(mpsc::UnboundedSender<Query>);

impl CredentialSource for Source {
    async fn find(&self, _kind: CredentialKind, ids: Vec<Uuid>) -> Answer {
        let (answer, answered) = oneshot::channel();
        assert!(self.0.send(Query { ids, answer }).is_ok(), "the test looks on");
        answered.await.unwrap_or(Err(SourceUnavailable))
    }

    async fn knows(&self, _generation: Generation) -> Result<bool, SourceUnavailable> {
        Ok(false)
    }
}

/// A token, and what is stored of it before and after its revocation.
struct Token {
    id: Uuid,
    principal_id: PrincipalId,
    text: String,
    good: StoredCredential,
    revoked: StoredCredential,
}

struct Scene {
    keys: Arc<SigningKeys>,
    cache: Arc<Cache>,
    verifier: Verifier<Source>,
    queries: Mutex<mpsc::UnboundedReceiver<Query>>,
}

/// How a server hears of a revocation, or makes it.
type Forget = fn(&Cache, &Token);
const EACH_WAY: [(&str, Forget); 3] = [
    ("the token", |cache, token| cache.forget_token(token.id)),
    ("its principal", |cache, token| cache.forget_principal(token.principal_id)),
    ("everything", |cache, _| cache.clear()),
];

impl Scene {
    fn new() -> Self {
        Self::with_bound(BOUND)
    }

    fn with_bound(bound: Duration) -> Self {
        let line = SigningKeys::generate_line(Generation::FIRST).unwrap();
        let keys = Arc::new(SigningKeys::parse(line.expose()).unwrap());
        let cache = Arc::new(Cache::new(bound, 100));
        cache.heard(boot_time(), NOW);
        let (ask, queries) = mpsc::unbounded_channel();
        let verifier = Verifier::start(Arc::clone(&keys), Arc::new(Source(ask)), Arc::clone(&cache));
        Self { keys, cache, verifier, queries: Mutex::new(queries) }
    }

    fn token(&self) -> Token {
        let (id, principal_id) = (TokenId::generate(), PrincipalId::generate());
        let minted = self.keys.mint(CredentialKind::PersonalAccessToken, Generation::FIRST, id.uuid()).unwrap();
        let minted = minted.expect("the key is there");
        let good = StoredCredential {
            credential: Credential::PersonalAccessToken { id, read_only: false },
            digest: minted.digest,
            expires_at: NOW + time::Duration::days(30),
            revoked_at: None,
            organization_id: OrganizationId::generate(),
            principal_id,
            kind: PrincipalKind::User,
            role: Role::Member,
            status: PrincipalStatus::Active,
            read_at: NOW,
            known_at: boot_time(),
        };
        let revoked = StoredCredential { revoked_at: Some(NOW), ..good.clone() };
        Token { id: id.uuid(), principal_id, text: minted.text.expose().to_owned(), good, revoked }
    }

    /// Begins to verify, and goes as far as it goes without an answer: its mark is taken, and it waits to be sent.
    fn begin<'a>(&'a self, token: &'a Token) -> Verifying<'a> {
        let mut verifying: Verifying<'a> = Box::pin(self.verifier.verify(&token.text));
        assert!(verifying.as_mut().now_or_never().is_none(), "it is not remembered");
        verifying
    }

    /// The next query that is sent.
    async fn sent(&self) -> Query {
        let mut queries = self.queries.lock().await;
        let sent = tokio::time::timeout(SOON, queries.recv()).await.expect("a query is sent");
        sent.expect("the verifier is there")
    }

    /// Has one of the two workers wait for an answer, to something else.
    async fn keep_busy<'a>(&'a self, other: &'a Token) -> (Verifying<'a>, Query) {
        let verifying = self.begin(other);
        (verifying, self.sent().await)
    }

    /// Whoever comes now is refused: by a query that is sent from now on, or by what one found that was.
    async fn assert_refused(&self, token: &Token, what: &str) {
        let mut verifying = Box::pin(self.verifier.verify(&token.text));
        let verified = match verifying.as_mut().now_or_never() {
            Some(verified) => verified,
            None => {
                self.sent().await.finds(std::slice::from_ref(&token.revoked));
                verifying.await
            }
        };
        assert!(matches!(verified, Err(VerifyError::Ended(..))), "{what}: {verified:?}");
    }
}

#[tokio::test]
async fn one_that_comes_before_a_lookup_begins_or_after_it_was_remembered() {
    for (what, forget) in EACH_WAY {
        let scene = Scene::new();
        let token = scene.token();
        let before = Box::pin(scene.verifier.verify(&token.text));
        let first = scene.begin(&token);
        scene.sent().await.finds(std::slice::from_ref(&token.good));
        first.await.unwrap();
        let remembered = scene.verifier.verify(&token.text).now_or_never().expect("it is remembered");
        remembered.unwrap();
        forget(&scene.cache, &token);
        // What was only spoken of until now has no mark yet.
        let answering = async { scene.sent().await.finds(std::slice::from_ref(&token.revoked)) };
        let (verified, ()) = futures::join!(before, answering);
        assert!(matches!(verified, Err(VerifyError::Ended(..))), "{what}: {verified:?}");
        scene.assert_refused(&token, what).await;
    }
}

#[tokio::test]
async fn one_that_comes_while_a_lookup_waits_to_be_sent() {
    for (what, forget) in EACH_WAY {
        let scene = Scene::new();
        let (token, others) = (scene.token(), [scene.token(), scene.token()]);
        let (one, under_way) = scene.keep_busy(&others[0]).await;
        let (other, under_way_too) = scene.keep_busy(&others[1]).await;
        let waiting = scene.begin(&token);
        forget(&scene.cache, &token);
        under_way.finds(&[]);
        let query = scene.sent().await;
        assert_eq!(query.ids, [token.id]);
        query.finds(std::slice::from_ref(&token.revoked));
        let verified = waiting.await;
        assert!(matches!(verified, Err(VerifyError::Ended(..))), "{what}: {verified:?}");
        under_way_too.finds(&[]);
        let _ = (one.await, other.await);
        scene.assert_refused(&token, what).await;
    }
}

#[tokio::test]
async fn one_that_comes_while_a_query_is_under_way() {
    for (what, forget) in EACH_WAY {
        for is_old_answered_first in [true, false] {
            let scene = Scene::new();
            let token = scene.token();
            let first = scene.begin(&token);
            let old = scene.sent().await;
            forget(&scene.cache, &token);
            // Whoever comes after it gets a query of their own, which sees it.
            let second = scene.begin(&token);
            let new = scene.sent().await;
            assert_eq!(new.ids, [token.id]);
            let verified = if is_old_answered_first {
                old.finds(std::slice::from_ref(&token.good));
                first.await.expect("it came before");
                new.finds(std::slice::from_ref(&token.revoked));
                second.await
            } else {
                new.finds(std::slice::from_ref(&token.revoked));
                let verified = second.await;
                old.finds(std::slice::from_ref(&token.good));
                first.await.expect("it came before");
                verified
            };
            assert!(matches!(verified, Err(VerifyError::Ended(..))), "{what}: {verified:?}");
            scene.assert_refused(&token, what).await;
        }
    }
}

#[tokio::test]
async fn one_that_comes_while_a_query_is_under_way_that_nobody_else_waits_for() {
    for (what, forget) in EACH_WAY {
        let scene = Scene::new();
        let token = scene.token();
        let first = scene.begin(&token);
        let old = scene.sent().await;
        forget(&scene.cache, &token);
        old.finds(std::slice::from_ref(&token.good));
        first.await.expect("it came before");
        // Nothing was remembered of it.
        let second = scene.begin(&token);
        scene.sent().await.finds(std::slice::from_ref(&token.revoked));
        let verified = second.await;
        assert!(matches!(verified, Err(VerifyError::Ended(..))), "{what}: {verified:?}");
    }
}

#[tokio::test]
async fn one_that_comes_when_a_query_is_answered_and_its_answer_not_remembered_yet() {
    for (what, forget) in EACH_WAY {
        let scene = Scene::new();
        let (token, others) = (scene.token(), [scene.token(), scene.token()]);
        let (aside, under_way) = scene.keep_busy(&others[0]).await;
        let mut first = scene.begin(&token);
        scene.sent().await.finds(std::slice::from_ref(&token.good));
        // The one worker that is left asks again: so it has passed the answer on.
        let (next, asked) = scene.keep_busy(&others[1]).await;
        forget(&scene.cache, &token);
        first.as_mut().now_or_never().expect("it is answered").expect("it came before");
        under_way.finds(&[]);
        asked.finds(&[]);
        let _ = (aside.await, next.await);
        let second = scene.begin(&token);
        scene.sent().await.finds(std::slice::from_ref(&token.revoked));
        let verified = second.await;
        assert!(matches!(verified, Err(VerifyError::Ended(..))), "{what}: {verified:?}");
    }
}

#[tokio::test]
async fn one_that_nobody_tells_of_counts_when_the_bound_is_over() {
    let scene = Scene::new();
    let token = scene.token();
    let first = scene.begin(&token);
    scene.sent().await.finds(std::slice::from_ref(&token.good));
    first.await.unwrap();
    let just_within = boot_time().saturating_sub(BOUND) + Duration::from_secs(60);
    for (heard, is_remembered) in [(just_within, true), (boot_time().saturating_sub(BOUND), false)] {
        scene.cache.heard(heard, NOW);
        let remembered = scene.verifier.verify(&token.text).now_or_never();
        assert_eq!(remembered.is_some(), is_remembered);
    }
    // Nor does what is looked up from now on count longer than it was sent for.
    for _ in 0..2 {
        let second = scene.begin(&token);
        // The one that was begun above, and given up, is not sent.
        let query = scene.sent().await;
        assert_eq!(query.ids, [token.id]);
        query.finds(std::slice::from_ref(&token.revoked));
        assert!(matches!(second.await, Err(VerifyError::Ended(..))));
    }
}

#[tokio::test]
async fn lookups_join_what_waits_and_never_what_is_sent() {
    let scene = Scene::new();
    let (token, other) = (scene.token(), scene.token());
    let first = scene.begin(&token);
    let query = scene.sent().await;
    let (busy, under_way) = scene.keep_busy(&other).await;
    // Both wait for the next one: it is asked once for both.
    let (second, third) = (scene.begin(&token), scene.begin(&token));
    query.finds(std::slice::from_ref(&token.good));
    first.await.unwrap();
    let next = scene.sent().await;
    assert_eq!(next.ids, [token.id]);
    next.finds(std::slice::from_ref(&token.revoked));
    for verifying in [second, third] {
        let verified = verifying.await;
        assert!(matches!(verified, Err(VerifyError::Ended(..))), "{verified:?}");
    }
    under_way.finds(&[]);
    assert!(matches!(busy.await, Err(VerifyError::Forged)));
}

#[tokio::test]
async fn an_answer_that_comes_later_than_the_bound_lets_nobody_in() {
    // With a bound of nothing as well: then nobody is sure of more than a second.
    for bound in [Duration::from_secs(20), Duration::ZERO] {
        let scene = Scene::with_bound(bound);
        let token = scene.token();
        let too_old = boot_time().saturating_sub(bound.max(Duration::from_secs(1)));
        let late = StoredCredential { known_at: too_old, ..token.good.clone() };
        // It is asked once more, and by that answer it is decided.
        let first = scene.begin(&token);
        let answering = async {
            scene.sent().await.finds(std::slice::from_ref(&late));
            scene.sent().await.finds(std::slice::from_ref(&token.revoked));
        };
        let (verified, ()) = futures::join!(first, answering);
        assert!(matches!(verified, Err(VerifyError::Ended(..))), "{bound:?}: {verified:?}");
        scene.cache.clear();
        // Two that come late are an outage.
        let second = scene.begin(&token);
        let answering = async {
            for _ in 0..2 {
                scene.sent().await.finds(std::slice::from_ref(&late));
            }
        };
        let (verified, ()) = futures::join!(second, answering);
        assert!(matches!(verified, Err(VerifyError::Unavailable)), "{bound:?}: {verified:?}");
        // Nothing was remembered of either.
        let third = scene.begin(&token);
        scene.sent().await.finds(std::slice::from_ref(&token.good));
        third.await.expect("it is good, by an answer in time");
    }
}

#[tokio::test]
async fn whoever_has_waited_is_looked_at_again() {
    let scene = Scene::new();
    let token = scene.token();
    let again = async |role, found: &StoredCredential| {
        scene.cache.clear();
        let mut looking = Box::pin(scene.verifier.verify_again(token.good.credential, role));
        assert!(looking.as_mut().now_or_never().is_none(), "it is not remembered");
        scene.sent().await.finds(std::slice::from_ref(found));
        looking.await
    };
    again(Role::Member, &token.good).await.unwrap();
    let remembered = scene.verifier.verify_again(token.good.credential, Role::Member).now_or_never();
    remembered.expect("it is remembered").unwrap();
    let revoked = again(Role::Member, &token.revoked).await;
    assert!(matches!(revoked, Err(VerifyError::Ended(..))), "{revoked:?}");
    let another_role = again(Role::Admin, &token.good).await;
    assert!(matches!(another_role, Err(VerifyError::Unknown)), "{another_role:?}");
    let short = Scene::with_bound(Duration::from_secs(20)).verifier;
    assert!(short.is_late(boot_time().saturating_sub(Duration::from_secs(20))) && !short.is_late(boot_time()));
}

#[tokio::test]
async fn two_queries_that_hang_keep_nobody_else_waiting() {
    let scene = Scene::new();
    let others = [scene.token(), scene.token(), scene.token(), scene.token()];
    let (one, hanging) = scene.keep_busy(&others[0]).await;
    let (other, hanging_too) = scene.keep_busy(&others[1]).await;
    for next in &others[2..] {
        let verifying = scene.begin(next);
        scene.sent().await.finds(std::slice::from_ref(&next.good));
        verifying.await.expect("it is good, and others hang");
    }
    // And what hung is answered in the end.
    for (verifying, query, token) in [(one, hanging, &others[0]), (other, hanging_too, &others[1])] {
        query.finds(std::slice::from_ref(&token.good));
        verifying.await.unwrap();
    }
}

#[tokio::test]
async fn an_environment_token_whose_row_is_gone_was_not_guessed() {
    let scene = Scene::new();
    let mint = |keys: &SigningKeys| {
        let minted = keys.mint(CredentialKind::EnvironmentToken, Generation::FIRST, Uuid::from_u128(7)).unwrap();
        minted.expect("the key is there").text
    };
    let (gone, forged) = (mint(&scene.keys), mint(&Scene::new().keys));
    let first: Verifying<'_> = Box::pin(scene.verifier.verify(gone.expose()));
    let answering = async { scene.sent().await.finds(&[]) };
    let (verified, ()) = futures::join!(first, answering);
    assert!(matches!(verified, Err(VerifyError::Unknown)), "{verified:?}");
    // What is remembered of its ID does not make a forged one genuine.
    for (text, is_forged) in [(&gone, false), (&forged, true)] {
        let verified = scene.verifier.verify(text.expose()).now_or_never().expect("it is remembered");
        assert_eq!(matches!(verified, Err(VerifyError::Forged)), is_forged, "{verified:?}");
        assert_eq!(matches!(verified, Err(VerifyError::Unknown)), !is_forged, "{verified:?}");
    }
}
