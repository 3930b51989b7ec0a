//! docs/interceptors.md, as it is printed: services of others that are called with Latchkey's tokens.

mod foreign;

use latchkey::pb::gitpod::v1::DeletePersonalAccessTokenRequest;
use tonic::Code;

use crate::support::{
    ServerOptions, TestDatabase, TestServer, eventually,
    keys::{forged, token_id},
};
use foreign::{Foreign, Language};

async fn asking_token(server: &TestServer, database: &TestDatabase) -> String {
    let account = server.admin(database, &["create-service-account", "--name", "greeter", "--service"]).await.unwrap();
    let create = ["create-token", "--service-account", account.trim(), "--description", "asks", "--read-only"];
    server.admin(database, &create).await.unwrap().trim().to_owned()
}

/// How often Latchkey was asked.
fn asked(server: &TestServer) -> usize {
    server
        .log()
        .lines()
        .filter(|line| line.contains("TokenService/IntrospectToken") && line.contains("answered"))
        .count()
}

/// What callers of a service with good and bad tokens are told, also when Latchkey cannot say what they are.
async fn is_protected(language: Language, port: u16) {
    let database = TestDatabase::create_private().await;
    let server = TestServer::start(&database).await;
    let asking = asking_token(&server, &database).await;
    let token = server.user(&database, "dev@example.com").await;
    let holder = server.api(&token).await.whoami().await.unwrap();
    let more = async || server.token(&database, "dev@example.com", &[]).await;
    let (revoked, kept, fresh, last) = (more().await, more().await, more().await, more().await);
    let foreign = Foreign::start(language, port, &server, &asking).await;

    for authorization in [format!("Bearer {token}"), format!("bearer  {token}"), format!("Bearer {revoked}")] {
        for _ in 0..2 {
            assert_eq!(foreign.who_am_i(&[&authorization]).await.unwrap(), holder);
        }
    }
    let refused = [
        vec![],
        vec![token.clone()],
        vec![format!("Basic {token}")],
        vec!["Bearer ".to_owned()],
        vec!["Bearer nonsense".to_owned()],
        vec![format!("Bearer {}", forged())],
        vec![format!("Bearer {token}x")],
        vec![format!("Bearer {token} {token}")],
        vec![format!("Bearer {}", forged()), format!("Bearer {token}")],
    ];
    for values in &refused {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let status = foreign.who_am_i(&values).await.expect_err(&format!("{values:?}"));
        assert_eq!(status.code(), Code::Unauthenticated, "{values:?}: {status:?}");
    }
    match (language, foreign.who_am_i(&[&format!("Bearer {token}"), &format!("Bearer {}", forged())]).await) {
        // Node.js shows nobody but the first.
        (Language::TypeScript, answer) => assert_eq!(answer.unwrap(), holder),
        (Language::Python | Language::PythonOfEveryKind, answer) => {
            assert_eq!(answer.unwrap_err().code(), Code::Unauthenticated);
        }
    }
    let delete = |token: &str| DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(token) };
    let mut api = server.api(&token).await;
    api.tokens.delete_personal_access_token(delete(&revoked)).await.unwrap();
    let becomes = async |token: &str, code: Code| {
        eventually("it is refused", async || {
            foreign.with_token(token).await.err().inspect(|status| assert_eq!(status.code(), code, "{status:?}"))
        })
        .await
    };
    becomes(&revoked, Code::Unauthenticated).await;

    // What may be kept is not asked about again; before Latchkey's first heartbeat nothing may be.
    eventually("it is kept", async || {
        foreign.with_token(&kept).await.unwrap();
        let before = asked(&server);
        foreign.with_token(&kept).await.unwrap();
        (asked(&server) == before).then_some(())
    })
    .await;

    // Latchkey cannot tell.
    assert_eq!(foreign.with_token(&kept).await.unwrap(), holder);
    database.cluster().stop().await;
    assert_eq!(foreign.with_token(&fresh).await.unwrap_err().code(), Code::Unavailable);
    becomes(&kept, Code::Unavailable).await;
    database.cluster().start_again().await;
    eventually("it goes on", async || foreign.with_token(&kept).await.ok()).await;
    // Latchkey does not tell this service any more.
    server.admin(&database, &["revoke-token", &token_id(&asking)]).await.unwrap();
    server.api(&asking).await.becomes_refused().await;
    assert_eq!(foreign.with_token(&last).await.unwrap_err().code(), Code::Unavailable);
    becomes(&token, Code::Unavailable).await;
    // Latchkey is not there.
    drop(server);
    assert_eq!(foreign.with_token(&last).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_service_in_python_is_protected() {
    is_protected(Language::Python, 50051).await;
}

#[tokio::test]
async fn a_service_in_typescript_is_protected() {
    is_protected(Language::TypeScript, 50053).await;
}

/// A revoked token is refused as soon as Latchkey's own bound says: at once, where that is nothing, whatever may be kept.
async fn nothing_is_kept_beyond_the_bound(language: Language, port: u16) {
    let database = TestDatabase::create().await;
    let args = vec!["--revocation-bound=0".to_owned()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    let asking = asking_token(&server, &database).await;
    let foreign = Foreign::start(language, port, &server, &asking).await;
    let revoking = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&revoking).await;
    for _ in 0..3 {
        let token = server.token(&database, "dev@example.com", &[]).await;
        foreign.with_token(&token).await.unwrap();
        foreign.with_token(&token).await.unwrap();
        let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&token) };
        api.tokens.delete_personal_access_token(delete).await.unwrap();
        assert_eq!(foreign.with_token(&token).await.unwrap_err().code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn nothing_is_kept_in_python_beyond_the_bound() {
    nothing_is_kept_beyond_the_bound(Language::Python, 50054).await;
}

#[tokio::test]
async fn nothing_is_kept_in_typescript_beyond_the_bound() {
    nothing_is_kept_beyond_the_bound(Language::TypeScript, 50055).await;
}

/// Methods of every kind are behind the interceptor in Python, which has to make each anew.
#[tokio::test]
async fn every_kind_of_method_in_python_is_protected() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = asking_token(&server, &database).await;
    let token = server.user(&database, "dev@example.com").await;
    let holder = server.api(&token).await.whoami().await.unwrap();
    let foreign = Foreign::start(Language::PythonOfEveryKind, 50052, &server, &asking).await;
    for method in ["UnaryUnary", "UnaryStream", "StreamUnary", "StreamStream"] {
        let call = async |token: &str| foreign.call(method, &[&format!("Bearer {token}")]).await;
        assert_eq!(call(&token).await.unwrap(), holder, "{method}");
        assert_eq!(call(&forged()).await.unwrap_err().code(), Code::Unauthenticated, "{method}");
    }
    let unknown = foreign.call("Nothing", &[&format!("Bearer {token}")]).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}
