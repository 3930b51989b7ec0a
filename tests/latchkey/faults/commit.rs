//! PostgreSQL that goes away while it is to commit: nobody knows then whether it did.

use latchkey::pb::gitpod::v1::{CreatePersonalAccessTokenRequest, ListPersonalAccessTokensRequest};
use tonic::Code;

use crate::support::{TestDatabase, TestServer, details};

#[tokio::test]
async fn what_may_have_been_done_says_so_and_not_to_try_again() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let superuser = database.superuser().await;
    database.gone_at_commit("INSERT ON personal_access_tokens").await;

    let request = CreatePersonalAccessTokenRequest { description: "x".to_owned(), ..Default::default() };
    let status = api.tokens.create_personal_access_token(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(details(&status).error_info().unwrap().reason, "IN_DOUBT", "{status}");
    assert!(details(&status).retry_info().is_none(), "who tries again may do it twice");

    // Before the commit there is no doubt: nothing was written.
    let before = "DROP TRIGGER gone ON personal_access_tokens;
                  CREATE TRIGGER gone AFTER INSERT ON personal_access_tokens FOR EACH ROW EXECUTE FUNCTION gone()";
    superuser.batch_execute(before).await.unwrap();
    let status = api.tokens.create_personal_access_token(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(details(&status).error_info().unwrap().reason, "UNAVAILABLE", "{status}");
    assert!(details(&status).retry_info().is_some());

    superuser.batch_execute("DROP TRIGGER gone ON personal_access_tokens").await.unwrap();
    api.tokens.create_personal_access_token(request).await.unwrap();
    let listed = api.tokens.list_personal_access_tokens(ListPersonalAccessTokensRequest::default()).await.unwrap();
    assert_eq!(listed.into_inner().personal_access_tokens.len(), 2, "the first one and the last");
}
