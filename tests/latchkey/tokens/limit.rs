//! How many live tokens a user may have: exactly so many, however many are asked for at once.

use futures::future::join_all;
use latchkey::pb::gitpod::v1::CreatePersonalAccessTokenRequest;
use tonic::{Code, Status};

use super::{delete, list};
use crate::support::{Api, ServerOptions, TestDatabase, TestServer, details, token_text::token_id};

async fn create(api: &mut Api) -> Result<String, Status> {
    let request = CreatePersonalAccessTokenRequest { description: "one more".to_owned(), ..Default::default() };
    let created = api.tokens.create_personal_access_token(request).await?;
    Ok(created.into_inner().personal_access_token.unwrap().id)
}

/// Asks for 20 tokens at once, on as many connections; returns those that were made. The others were refused for the limit.
async fn create_many(server: &TestServer, token: &str) -> Vec<String> {
    let creates = (0..20).map(|_| async {
        let mut api = server.api(token).await;
        create(&mut api).await
    });
    let (made, refused): (Vec<_>, Vec<_>) = join_all(creates).await.into_iter().partition(Result::is_ok);
    for status in refused.into_iter().map(Result::unwrap_err) {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    }
    made.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn the_limit_is_exact() {
    let database = TestDatabase::create().await;
    let args = vec!["--tokens-per-user".to_owned(), "5".to_owned()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;

    let made = create_many(&server, &token).await;
    assert_eq!(made.len(), 4, "the one that the others were made with counts");
    assert_eq!(list(&mut api).await.len(), 5);

    let refused = create(&mut api).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(
        refused.message().contains("there are 5 tokens already") && refused.message().contains("revoke one"),
        "{refused}"
    );
    assert_eq!(details(&refused).error_info().unwrap().reason, "LIMIT_REACHED");

    // Expired ones do not count, nor do revoked ones.
    delete(&mut api, &made[0]).await.unwrap();
    database.expire(&made[1]).await;
    database.expire(&made[2]).await;
    delete(&mut api, &made[2]).await.unwrap();
    assert_eq!(create_many(&server, &token).await.len(), 3);
    assert_eq!(create(&mut api).await.unwrap_err().code(), Code::ResourceExhausted);

    // Another user has room of their own.
    let other = server.user(&database, "other@example.com").await;
    assert_eq!(create_many(&server, &other).await.len(), 4);
    assert!(list(&mut api).await.iter().any(|listed| listed.id == token_id(&token)), "nothing was pushed out");
}

#[tokio::test]
async fn two_servers_keep_to_one_limit() {
    let database = TestDatabase::create().await;
    let options = |keys: Option<String>| ServerOptions {
        args: vec!["--tokens-per-user".to_owned(), "3".to_owned()],
        signing_keys: keys,
        ..ServerOptions::default()
    };
    let one = TestServer::start_with(&database, options(None)).await;
    let keys = std::fs::read_to_string(one.data_dir().join("signing-keys")).unwrap();
    let two = TestServer::start_with(&database, options(Some(keys))).await;
    let token = one.user(&database, "dev@example.com").await;
    let (by_one, by_two) = tokio::join!(create_many(&one, &token), create_many(&two, &token));
    assert_eq!(by_one.len() + by_two.len(), 2);
}
