//! Who a token says that its holder is.

use latchkey::pb::gitpod::v1::{
    CreatePersonalAccessTokenRequest, GetAuthenticatedIdentityRequest, GetAuthenticatedUserRequest, Principal,
};
use tonic::Code;

use crate::support::{TestDatabase, TestServer, token_text::token_id};

#[tokio::test]
async fn users_service_accounts_and_environments_are_told_apart() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let organization = database.text("SELECT id::text FROM organizations", &[]).await;
    let member = server.user(&database, "member@example.com").await;
    let mut admin = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let service_id = database.service_account("Bot").await;
    let request = CreatePersonalAccessTokenRequest {
        user_id: service_id.clone(),
        description: "bot".to_owned(),
        ..Default::default()
    };
    let service = admin.tokens.create_personal_access_token(request).await.unwrap().into_inner().token;
    let (their_organization, their_id, theirs) = server.stranger(&database, "member").await;
    let member_id = database.text("SELECT id::text FROM principals WHERE email = 'member@example.com'", &[]).await;

    for (token, id, principal, organization) in [
        (&member, &member_id, Principal::User, &organization),
        (&service, &service_id, Principal::ServiceAccount, &organization),
        (&theirs, &their_id, Principal::User, &their_organization),
    ] {
        let mut api = server.api(token).await;
        let answer = api.identity.get_authenticated_identity(GetAuthenticatedIdentityRequest {}).await.unwrap();
        let answer = answer.into_inner();
        let subject = answer.subject.as_ref().unwrap();
        assert_eq!((&subject.id, subject.principal()), (id, principal));
        assert_eq!((&answer.organization_id, answer.organization_tier.as_str()), (organization, ""));
        let user = api.users.get_authenticated_user(GetAuthenticatedUserRequest {}).await;
        if principal == Principal::User {
            assert_eq!(&user.unwrap().into_inner().user.unwrap().id, id);
        } else {
            let refused = user.unwrap_err();
            assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
            assert!(refused.message().contains("GetAuthenticatedIdentity"), "{refused}");
        }
    }
    // A token of an environment stands for nobody outside of it.
    let environment = database.environment_of(&token_id(&member)).await;
    let token = server.api(&member).await.environment_token(&environment).await.unwrap();
    let refused = server.api(&token).await.whoami().await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert!(refused.message().contains("use a personal access token"), "{refused}");
}
