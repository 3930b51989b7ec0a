//! The life of a token: made, listed, used, revoked.

mod creating;
mod introspection;
mod limit;
mod listing;
mod revoking;
mod states;
mod updating;
mod users;

use latchkey::pb::gitpod::v1::{
    DeletePersonalAccessTokenRequest, GetPersonalAccessTokenRequest, ListPersonalAccessTokensRequest,
    PersonalAccessToken,
};
use tonic::{Code, Status};

use crate::support::{Api, TestDatabase, TestServer, details};

/// Asks for one token.
async fn get(api: &mut Api, id: &str) -> Result<PersonalAccessToken, Status> {
    let request = GetPersonalAccessTokenRequest { personal_access_token_id: id.to_owned() };
    Ok(api.tokens.get_personal_access_token(request).await?.into_inner().pat.unwrap())
}

/// Revokes one token.
async fn delete(api: &mut Api, id: &str) -> Result<(), Status> {
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: id.to_owned() };
    api.tokens.delete_personal_access_token(request).await.map(|_| ())
}

/// The first page of one's own tokens.
async fn list(api: &mut Api) -> Vec<PersonalAccessToken> {
    let listed = api.tokens.list_personal_access_tokens(ListPersonalAccessTokensRequest::default()).await.unwrap();
    listed.into_inner().personal_access_tokens
}

/// A request was refused because of one field, which the answer names for people and for programs.
fn assert_invalid(status: &Status, field: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().starts_with(&format!("{field}: ")), "{status}");
    let details = details(status);
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations.iter().map(|violation| violation.field.as_str()).collect::<Vec<_>>(), [field]);
}

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
    assert_eq!(list(&mut api).await.first().unwrap().id, token.id, "newest first");

    delete(&mut api, &token.id).await.unwrap();
    let refused = with_new.whoami().await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().starts_with("token revoked on "), "its holder is told: {}", refused.message());
    assert!(list(&mut api).await.iter().all(|listed| listed.id != token.id));
    api.whoami().await.expect("the token that revoked it is still good");
}
