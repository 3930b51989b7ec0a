//! Services ask about the tokens that they are called with: by the same verifier, and about their own organization alone.

use latchkey::pb::gitpod::v1::{
    BatchIntrospectTokensRequest, CreateEnvironmentAccessTokenRequest, DeletePersonalAccessTokenRequest,
    IntrospectTokenRequest, Principal, TokenIntrospection,
};
use tonic::{Code, Status};

use crate::support::{
    Api, TestDatabase, TestServer, details, eventually,
    keys::{forged, token_id},
};

async fn introspect(api: &mut Api, token: &str) -> Result<TokenIntrospection, Status> {
    let request = IntrospectTokenRequest { token: token.to_owned() };
    Ok(api.tokens.introspect_token(request).await?.into_inner().introspection.unwrap())
}

async fn introspect_all(api: &mut Api, tokens: &[String]) -> Result<Vec<TokenIntrospection>, Status> {
    let request = BatchIntrospectTokensRequest { tokens: tokens.to_vec() };
    Ok(api.tokens.batch_introspect_tokens(request).await?.into_inner().introspections)
}

/// A service that may ask.
async fn service(server: &TestServer, database: &TestDatabase, args: &[&str]) -> Api {
    server.api(&server.service_account(database, args).await).await
}

#[tokio::test]
async fn a_good_token_is_active_and_nothing_else_is_said_of_any_other() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let mut api = service(&server, &database, &["--service"]).await;
    let token = server.user(&database, "dev@example.com").await;
    let read_only = server.token(&database, "dev@example.com", &["--read-only"]).await;

    for (token, is_read_only) in [(&token, false), (&read_only, true)] {
        let said = introspect(&mut api, token).await.unwrap();
        let subject = said.subject.clone().unwrap();
        assert!(said.active);
        assert_eq!((said.token_id, said.read_only), (token_id(token), is_read_only));
        assert_eq!(subject.principal(), Principal::User);
        let holder = "SELECT principal_id || ' ' || organization_id || ' ' || extract(epoch FROM date_trunc('second', expires_at))::bigint
                      FROM personal_access_tokens WHERE id = $1::text::uuid";
        let stored = database.text(holder, &[&token_id(token)]).await;
        assert_eq!(stored, format!("{} {} {}", subject.id, said.organization_id, said.expires_at.unwrap().seconds));
    }

    let revoked = server.token(&database, "dev@example.com", &[]).await;
    let expired = server.token(&database, "dev@example.com", &[]).await;
    let suspended = server.user(&database, "suspended@example.com").await;
    let (_, _, elsewhere) = server.stranger(&database, "admin").await;
    let environment_id = database.environment_of(&token_id(&token)).await;
    let request = CreateEnvironmentAccessTokenRequest { environment_id };
    let mut holder = server.api(&token).await;
    let of_environment =
        holder.environments.create_environment_access_token(request).await.unwrap().into_inner().access_token;
    let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&revoked) };
    holder.tokens.delete_personal_access_token(delete).await.unwrap();
    database.expire(&token_id(&expired)).await;
    database.suspend("suspended@example.com", true).await;
    let nothing = TokenIntrospection::default();
    let bad = [revoked, expired, suspended, elsewhere, of_environment, forged(), "x".to_owned(), "x".repeat(100_000)];
    for token in &bad {
        assert_eq!(introspect(&mut api, token).await.unwrap(), nothing, "{token:.20}");
    }
    // The same, all at once, in order.
    let all: Vec<String> = bad.iter().chain([&token]).chain(&bad[..1]).chain([&read_only]).cloned().collect();
    let all: Vec<String> = all.into_iter().filter(|token| token.len() < 1000).collect();
    let said = introspect_all(&mut api, &all).await.unwrap();
    let ids: Vec<String> = said.iter().map(|one| one.token_id.clone()).collect();
    let expected: Vec<String> =
        all.iter().map(|one| if [&token, &read_only].contains(&one) { token_id(one) } else { String::new() }).collect();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn what_is_revoked_is_not_active_from_the_answer_on() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let mut api = service(&server, &database, &["--service"]).await;
    let token = server.user(&database, "dev@example.com").await;
    for _ in 0..3 {
        assert!(introspect(&mut api, &token).await.unwrap().active);
    }
    let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&token) };
    server.api(&token).await.tokens.delete_personal_access_token(delete).await.unwrap();
    assert!(!introspect(&mut api, &token).await.unwrap().active);
}

#[tokio::test]
async fn only_services_ask_and_only_about_so_many() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let admin = server.admin_user(&database, "admin@example.com").await;
    let mut others = vec![server.api(&token).await, server.api(&admin).await];
    others.push(service(&server, &database, &[]).await);
    for api in &mut others {
        for refused in [
            introspect(api, &token).await.map(|_| ()),
            introspect_all(api, std::slice::from_ref(&token)).await.map(|_| ()),
        ] {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
            assert!(refused.message().contains("only a service account"), "{refused}");
        }
    }
    let mut api = service(&server, &database, &["--service"]).await;
    let many = vec![token.clone(); 1000];
    assert!(introspect_all(&mut api, &many).await.unwrap().iter().all(|one| one.active));
    for (answer, field) in [
        (introspect(&mut api, "").await.map(|_| ()), "token"),
        (introspect_all(&mut api, &[]).await.map(|_| ()), "tokens"),
        (introspect_all(&mut api, &vec![token.clone(); 1001]).await.map(|_| ()), "tokens"),
    ] {
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert_eq!(details(&refused).bad_request().unwrap().field_violations[0].field, field);
    }
    // It may do nothing else that others may: it manages what is its own.
    let refused = api
        .tokens
        .delete_personal_access_token(DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&token) });
    assert_eq!(refused.await.unwrap_err().code(), Code::PermissionDenied, "its token is read-only");
}

#[tokio::test]
async fn while_postgresql_is_away_nothing_is_said_of_what_is_not_remembered() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::start(&database).await;
    let mut api = service(&server, &database, &["--service"]).await;
    let token = server.user(&database, "dev@example.com").await;
    let other = server.token(&database, "dev@example.com", &[]).await;
    assert!(introspect(&mut api, &token).await.unwrap().active);
    database.cluster().stop().await;
    let refused = introspect_all(&mut api, &[token.clone(), other]).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "never 'not active': {refused}");
    assert!(details(&refused).retry_info().is_some(), "{refused:?}");
    database.cluster().start_again().await;
    eventually("it goes on", async || introspect(&mut api.clone(), &token).await.ok().filter(|said| said.active)).await;
}
