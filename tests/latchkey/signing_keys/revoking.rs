//! A key that has got into wrong hands takes its tokens with it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use latchkey::pb::gitpod::v1::CreatePersonalAccessTokenRequest;
use tempfile::TempDir;
use tonic::Code;

use super::{becomes, generation, with_keys};
use crate::support::{ServerOptions, TestDatabase, TestServer, keys::key_line, server::admin};

#[tokio::test]
async fn every_token_of_a_revoked_key_is_refused_at_once_everywhere() {
    let database = TestDatabase::create().await;
    let (first, second) = (key_line(1), key_line(2));
    let both = with_keys(&(first.clone() + &second));
    let a = TestServer::start_with(&database, both).await;
    let b = TestServer::start_beside(&a, &database).await;
    let old = a.user(&database, "dev@example.com").await;
    let older = a.api(&old).await.create_token("x").await.token;
    a.admin(&database, &["activate-generation", "2"]).await.unwrap();
    let new = a.token(&database, "dev@example.com", &[]).await;
    assert_eq!((generation(&old), generation(&new)), (1, 2));

    // By a machine without any key.
    let place = TempDir::new().unwrap();
    let said = admin(&database, place.path(), &["revoke-generation", "1"]).await.unwrap();
    assert_eq!(said, "revoked generation 1 and 2 tokens made with it\n");
    for server in [&a, &b] {
        for token in [&old, &older] {
            let refused = server.api(token).await.becomes_refused().await;
            assert_eq!(refused.code(), Code::Unauthenticated);
            assert!(refused.message().starts_with("token revoked on "), "{refused:?}");
        }
        server.api(&new).await.whoami().await.expect("tokens of other keys are as good as before");
    }
    let again = a.admin(&database, &["revoke-generation", "1"]).await.unwrap();
    assert_eq!(again, "revoked generation 1 and 0 tokens made with it\n");
    a.admin(&database, &["revoke-generation", "3"]).await.expect_err("there is none");
    // Nobody needs the key any more, and whoever still shows a token of it is a stranger there.
    let c = TestServer::start_with(&database, with_keys(&second)).await;
    becomes(&c, 200, "ready").await;
    assert_eq!(c.api(&old).await.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    c.api(&new).await.whoami().await.unwrap();
    // Bringing it back does not bring it back to life.
    let d = TestServer::start_with(&database, with_keys(&(first + &second))).await;
    assert_eq!(d.api(&old).await.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(generation(&d.api(&new).await.create_token("x").await.token), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_that_is_being_made_survives_its_key() {
    let database = TestDatabase::create().await;
    let many = vec!["--tokens-per-user".to_owned(), "100000".to_owned()];
    let keys = Some(key_line(1) + &key_line(2));
    let a = TestServer::start_with(
        &database,
        ServerOptions { args: many.clone(), signing_keys: keys, ..Default::default() },
    )
    .await;
    let options = ServerOptions { args: many, signing_keys: Some(a.keys()), ..Default::default() };
    let b = TestServer::start_with(&database, options).await;
    let mut makers = tokio::task::JoinSet::new();
    let begun = Arc::new(AtomicBool::new(false));
    for number in 0..8 {
        let maker = a.user(&database, &format!("dev{number}@example.com")).await;
        let mut api = if number % 2 == 0 { a.api(&maker).await } else { b.api(&maker).await };
        let begun = Arc::clone(&begun);
        makers.spawn(async move {
            let mut made = vec![maker];
            let request = CreatePersonalAccessTokenRequest { description: "x".to_owned(), ..Default::default() };
            loop {
                match api.tokens.create_personal_access_token(request.clone()).await {
                    Ok(created) => made.push(created.into_inner().token),
                    Err(refused) => {
                        let wanted = [Code::Unauthenticated, Code::Unavailable];
                        assert!(wanted.contains(&refused.code()), "{refused:?}");
                        return made;
                    }
                }
                begun.store(made.len() > 5, Ordering::Relaxed);
            }
        });
    }
    while !begun.load(Ordering::Relaxed) {
        tokio::task::yield_now().await;
    }
    a.admin(&database, &["revoke-generation", "1"]).await.unwrap();
    // The moment that is answered, nothing made with the key is good.
    let live = "SELECT count(*) FROM personal_access_tokens WHERE key_generation = 1 AND revoked_at IS NULL";
    let owner = database.owner().await;
    assert_eq!(owner.query_one(live, &[]).await.unwrap().get::<_, i64>(0), 0);
    let made = makers.join_all().await;
    assert_eq!(owner.query_one(live, &[]).await.unwrap().get::<_, i64>(0), 0, "nor later");
    for tokens in made {
        assert!(tokens.len() > 1, "it was at work");
        for token in [tokens.first().unwrap(), tokens.last().unwrap()] {
            for server in [&a, &b] {
                assert_eq!(server.api(token).await.becomes_refused().await.code(), Code::Unauthenticated);
            }
        }
    }
    // No key is active, so none is made, by nobody.
    let create = ["create-token", "--user", "dev0@example.com", "--description", "x"];
    let said = a.admin(&database, &create).await.unwrap_err();
    assert!(said.contains("no signing key is active"), "{said}");
    a.admin(&database, &["activate-generation", "2"]).await.unwrap();
    let new = a.token(&database, "dev0@example.com", &[]).await;
    assert_eq!(generation(&new), 2);
    assert_eq!(generation(&b.api(&new).await.create_token("x").await.token), 2);
}
