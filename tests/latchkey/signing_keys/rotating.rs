//! A new key comes in two steps: first every server has it, then tokens are made with it.

use latchkey::{
    pb::gitpod::v1::{BatchIntrospectTokensRequest, IntrospectTokenRequest},
    remote::{RemoteVerifier, VerifyError},
};
use tonic::Code;

use super::{becomes, generation, with_keys};
use crate::support::{
    TestDatabase, TestServer, details, eventually,
    keys::{forged, key_line, mint},
};

#[tokio::test]
async fn a_new_key_is_brought_to_every_server_and_then_activated() {
    let database = TestDatabase::create().await;
    let (first, second) = (key_line(1), key_line(2));
    let both = first.clone() + &second;
    let mut a = TestServer::start_with(&database, with_keys(&first)).await;
    let b_before = TestServer::start_with(&database, with_keys(&first)).await;
    let old = a.user(&database, "dev@example.com").await;
    assert_eq!(generation(&old), 1);

    // The first step, on one server: it verifies with the new key, and nothing is made with it.
    assert!(a.stop().await);
    let a = TestServer::start_with(&database, with_keys(&both)).await;
    becomes(&a, 200, "ready").await;
    assert_eq!(generation(&a.api(&old).await.create_token("x").await.token), 1);
    // The other one has nothing to fear of it yet.
    becomes(&b_before, 200, "ready").await;
    b_before.api(&old).await.whoami().await.expect("what it can verify, it verifies");

    // On the other one too.
    let b = TestServer::start_with(&database, with_keys(&both)).await;
    becomes(&b, 200, "ready").await;
    // The second step.
    a.admin(&database, &["activate-generation", "2"]).await.unwrap();
    for (maker, other) in [(&a, &b), (&b, &a)] {
        let new = maker.api(&old).await.create_token("x").await.token;
        assert_eq!(generation(&new), 2);
        for server in [maker, other] {
            server.api(&new).await.whoami().await.expect("new tokens work everywhere");
            server.api(&old).await.whoami().await.expect("and so do old ones");
        }
    }
    becomes(&a, 200, "ready").await;

    // A server that was forgotten says that it will not do: what it cannot tell, it does not call forged.
    becomes(&b_before, 503, "this server lacks the signing keys of generation 2").await;
    let new = a.api(&old).await.create_token("x").await.token;
    let unknown = b_before.api(&new).await.whoami().await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable, "{unknown:?}");
    assert!(details(&unknown).retry_info().is_some());
    let request = latchkey::pb::gitpod::v1::CreatePersonalAccessTokenRequest {
        description: "x".to_owned(),
        ..Default::default()
    };
    let not_here = b_before.api(&old).await.tokens.create_personal_access_token(request).await.unwrap_err();
    assert_eq!(not_here.code(), Code::Unavailable, "{not_here:?}");
    let made_up = mint(&key_line(3), 3).1;
    let forged = b_before.api(made_up.text.expose()).await.whoami().await.unwrap_err();
    assert_eq!(forged.code(), Code::Unauthenticated, "nobody has a key of that number");

    // Whoever still has the old key alone does not start as if nothing were.
    let c = TestServer::start_with(&database, with_keys(&first)).await;
    becomes(&c, 503, "generation 2").await;
}

#[tokio::test]
async fn what_is_made_while_a_key_is_activated_is_made_with_it() {
    let database = TestDatabase::create().await;
    let server = TestServer::start_with(&database, with_keys(&(1..=3).map(key_line).collect::<String>())).await;
    // Its own key is none of the two, so that it does not wait for them before.
    let token = server.user(&database, "dev@example.com").await;
    server.admin(&database, &["activate-generation", "2"]).await.unwrap();
    let owner = database.owner().await;
    // As the command does it, and not yet at its end.
    let activate = "BEGIN;
        UPDATE signing_keys SET state = 'verifying' WHERE state = 'active';
        UPDATE signing_keys SET state = 'active', activated_at = now() WHERE generation = 3";
    owner.batch_execute(activate).await.unwrap();
    let mut api = server.api(&token).await;
    let made = tokio::spawn(async move { api.create_token("made meanwhile").await.token });
    let superuser = database.superuser().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    eventually("the maker waits", async || {
        (superuser.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1).then_some(())
    })
    .await;
    owner.batch_execute("COMMIT").await.unwrap();
    assert_eq!(generation(&made.await.unwrap()), 3);
}

#[tokio::test]
async fn an_unknown_or_revoked_key_is_not_activated() {
    let database = TestDatabase::create().await;
    let server = TestServer::start_with(&database, with_keys(&(key_line(1) + &key_line(2)))).await;
    let said = server.admin(&database, &["activate-generation", "3"]).await.unwrap_err();
    assert!(said.contains("generation 3 is not known, or is revoked"), "{said}");
    server.admin(&database, &["activate-generation", "1"]).await.expect("it is active already");
    server.admin(&database, &["revoke-generation", "2"]).await.unwrap();
    server.admin(&database, &["activate-generation", "2"]).await.unwrap_err();
    let token = server.user(&database, "dev@example.com").await;
    assert_eq!(generation(&token), 1, "the active key is still the first");
}

#[tokio::test]
async fn servers_that_bring_the_first_key_at_once_agree() {
    // The same key.
    let database = TestDatabase::create().await;
    let key = key_line(1);
    let start = || TestServer::try_start_with(&database, with_keys(&key));
    let (one, two, three) = tokio::join!(start(), start(), start());
    let token = one.as_ref().unwrap().user(&database, "dev@example.com").await;
    for server in [one, two, three] {
        let server = server.expect("each starts");
        becomes(&server, 200, "ready").await;
        server.api(&token).await.whoami().await.unwrap();
    }
    // Two keys of one number: one of them is the first, and the other's server does not start.
    let database = TestDatabase::create().await;
    let (one, other) = (with_keys(&key_line(1)), with_keys(&key_line(1)));
    let (one, other) =
        tokio::join!(TestServer::try_start_with(&database, one), TestServer::try_start_with(&database, other));
    let (started, refused): (Vec<_>, Vec<_>) = [one, other].into_iter().partition(Result::is_ok);
    assert_eq!((started.len(), refused.len()), (1, 1));
    let said = refused.into_iter().next().unwrap().err().unwrap();
    assert!(said.contains("generation 1 is not the one"), "{said}");
    // Two keys of two numbers: one is active, whichever.
    let database = TestDatabase::create().await;
    let (one, other) = (with_keys(&key_line(1)), with_keys(&key_line(2)));
    let _servers = tokio::join!(TestServer::start_with(&database, one), TestServer::start_with(&database, other));
    let states = "SELECT string_agg(state, ' ' ORDER BY state) FROM signing_keys";
    let states: String = database.owner().await.query_one(states, &[]).await.unwrap().get(0);
    assert_eq!(states, "active verifying");
}

#[tokio::test]
async fn a_token_whose_key_is_elsewhere_keeps_no_others_from_being_answered_about() {
    let database = TestDatabase::create().await;
    let first = key_line(1);
    let server = TestServer::start_with(&database, with_keys(&first)).await;
    let holder = server.user(&database, "dev@example.com").await;
    let own = server.service_account(&database, &["--service"]).await;
    let remote = RemoteVerifier::connect(&server.url(), &own).unwrap();
    // Another server has one more, and makes tokens with it.
    let other = TestServer::start_with(&database, with_keys(&(first + &key_line(2)))).await;
    other.admin(&database, &["activate-generation", "2"]).await.unwrap();
    let elsewhere = other.api(&holder).await.create_token("x").await.token;
    assert_eq!(generation(&elsewhere), 2);
    becomes(&server, 503, "this server lacks the signing keys of generation 2").await;

    let mut api = server.api(&own).await;
    let tokens = vec![holder.clone(), elsewhere.clone(), forged()];
    let said = api.tokens.batch_introspect_tokens(BatchIntrospectTokensRequest { tokens }).await.unwrap().into_inner();
    let said: Vec<_> = said.introspections.iter().map(|one| (one.active, one.undecided)).collect();
    assert_eq!(said, [(true, false), (false, true), (false, false)]);
    let alone = api.tokens.introspect_token(IntrospectTokenRequest { token: elsewhere.clone() }).await.unwrap_err();
    assert_eq!(alone.code(), Code::Unavailable, "{alone:?}");
    // Services with the layer call nobody a stranger for it, and go on with everybody else.
    let (unknown, known) = tokio::join!(remote.verify(&elsewhere), remote.verify(&holder));
    assert!(matches!(unknown, Err(VerifyError::Unavailable)), "{unknown:?}");
    known.unwrap();
    let again = remote.verify(&elsewhere).await;
    assert!(matches!(again, Err(VerifyError::Unavailable)), "it is not remembered as bad: {again:?}");
}
