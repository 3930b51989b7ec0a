//! Logs for machines.

use latchkey::pb::gitpod::v1::{CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest};
use serde_json::Value;
use tonic::Code;

use crate::support::{ServerOptions, TestDatabase, TestServer, eventually, keys::token_id, with_request_id};

#[tokio::test]
async fn a_line_says_to_which_request_it_belongs_and_by_whose_token() {
    let database = TestDatabase::create().await;
    let env = [("LATCHKEY_LOG", "info"), ("LATCHKEY_LOG_FORMAT", "json")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let server = TestServer::start_with(&database, ServerOptions { env, ..ServerOptions::default() }).await;
    let token = server.user(&database, "dev@example.com").await;
    let read_only = server.token(&database, "dev@example.com", &["--read-only"]).await;
    let holder = "SELECT principal_id::text FROM personal_access_tokens WHERE id = $1::text::uuid";
    let holder = database.text(holder, &[&token_id(&token)]).await;

    let mut api = server.api(&read_only).await;
    let (refused, request_id) =
        with_request_id(api.tokens.create_personal_access_token(CreatePersonalAccessTokenRequest::default()).await);
    assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied);
    let line = eventually("the refusal is logged", async || {
        let log = server.log();
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        lines.find(|line| line["fields"]["message"] == "permission denied")
    })
    .await;
    let said = &line["span"];
    assert_eq!(said["request_id"], request_id, "{line}");
    assert_eq!(said["rpc"], "gitpod.v1.TokenService/CreatePersonalAccessToken");
    assert_eq!(said["principal"], holder);
    assert_eq!(said["token_id"], token_id(&read_only));
    // What is told of good calls is told to nobody who has not asked for it.
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&read_only) };
    server.api(&token).await.tokens.delete_personal_access_token(request).await.unwrap();
    let log = server.log();
    assert!(!log.contains(&token) && !log.contains(&read_only));
}
