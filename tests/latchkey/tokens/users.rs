//! Users, and the RPCs of tokens under the names of `UserService`.

use latchkey::pb::gitpod::v1::{
    CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest, GetAuthenticatedUserRequest,
    GetPersonalAccessTokenRequest, GetUserRequest, ListPersonalAccessTokensRequest, UserStatus,
};
use tonic::Code;

use super::assert_invalid;
use crate::support::{TestDatabase, TestServer};

#[tokio::test]
async fn user_service_makes_the_tokens_that_token_service_knows() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let request = CreatePersonalAccessTokenRequest { description: "ci".to_owned(), ..Default::default() };
    let created = api.users.create_personal_access_token(request).await.unwrap().into_inner();
    let token = created.personal_access_token.unwrap();
    server.api(&created.token).await.whoami().await.unwrap();

    let request = GetPersonalAccessTokenRequest { personal_access_token_id: token.id.clone() };
    let by_user = api.users.get_personal_access_token(request.clone()).await.unwrap().into_inner();
    assert_eq!(by_user, api.tokens.get_personal_access_token(request).await.unwrap().into_inner());
    let request = ListPersonalAccessTokensRequest::default();
    let by_user = api.users.list_personal_access_tokens(request.clone()).await.unwrap().into_inner();
    assert_eq!(by_user.personal_access_tokens.len(), 2);
    assert_eq!(by_user, api.tokens.list_personal_access_tokens(request).await.unwrap().into_inner());

    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token.id.clone() };
    api.users.delete_personal_access_token(request).await.unwrap();
    assert_eq!(server.api(&created.token).await.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    // The log has the name that was called.
    let rpcs = database.superuser().await;
    let query = "SELECT rpc FROM audit_logs WHERE subject_id = $1::text::uuid ORDER BY created_at";
    let rpcs: Vec<String> = rpcs.query(query, &[&token.id]).await.unwrap().iter().map(|row| row.get(0)).collect();
    for rpc in ["CreatePersonalAccessToken", "DeletePersonalAccessToken"] {
        assert!(rpcs.contains(&format!("gitpod.v1.UserService/{rpc}")), "{rpcs:?}");
    }

    let read_only =
        CreatePersonalAccessTokenRequest { description: "reads".to_owned(), read_only: true, ..Default::default() };
    let read_only = api.users.create_personal_access_token(read_only).await.unwrap().into_inner().token;
    let request = CreatePersonalAccessTokenRequest { description: "more".to_owned(), ..Default::default() };
    let denied = server.api(&read_only).await.users.create_personal_access_token(request).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
}

#[tokio::test]
async fn users_of_an_organization_know_each_other_and_nobody_else() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let second = server.user(&database, "other@example.com").await;
    let (mut api, mut other) = (server.api(&first).await, server.api(&second).await);
    let own = |user| GetUserRequest { user_id: user };
    let id = other.whoami().await.unwrap();
    let found = api.users.get_user(own(id.clone())).await.unwrap().into_inner().user.unwrap();
    assert_eq!((found.id.as_str(), found.email.as_str()), (id.as_str(), "other@example.com"));
    assert_eq!(found.status(), UserStatus::Active);
    let told = other.users.get_authenticated_user(GetAuthenticatedUserRequest {}).await.unwrap().into_inner();
    assert_eq!(told.user.unwrap(), found);

    for unknown in ["0199c0de-0000-7000-8000-000000000000".to_owned(), found.organization_id] {
        let missing = api.users.get_user(own(unknown)).await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound, "{missing}");
    }
    for text in ["", "me", "00000000-0000-0000-0000-00000000000"] {
        assert_invalid(&api.users.get_user(own(text.to_owned())).await.unwrap_err(), "user_id");
    }
}
