//! The life of a token: made, listed, used, revoked.

use latchkey::pb::gitpod::v1::{DeletePersonalAccessTokenRequest, ListPersonalAccessTokensRequest};
use tonic::Code;

use crate::support::{TestDatabase, TestServer};

#[tokio::test]
async fn a_token_works_until_it_is_revoked() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;

    let created = api.create_token("ci").await;
    let token = created.personal_access_token.unwrap();
    let mut with_new = server.api(&created.token).await;
    assert_eq!(with_new.whoami().await.unwrap(), api.whoami().await.unwrap());

    let list = |mut api: crate::support::Api| async move {
        let listed = api.tokens.list_personal_access_tokens(ListPersonalAccessTokensRequest::default()).await;
        listed.unwrap().into_inner().personal_access_tokens.into_iter().map(|token| token.id).collect::<Vec<_>>()
    };
    assert_eq!(list(api.clone()).await.first(), Some(&token.id), "newest first");

    let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: token.id.clone() };
    api.tokens.delete_personal_access_token(delete.clone()).await.unwrap();
    let refused = with_new.whoami().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().starts_with("token revoked on "), "its holder is told: {}", refused.message());
    assert!(!list(api.clone()).await.contains(&token.id));
    api.tokens.delete_personal_access_token(delete).await.expect("a second time is no error");
}
