//! What a good token is good for: the policy of each RPC is kept to.

use latchkey::{
    auth::policy::{Access, POLICIES, Policy, Who},
    pb::gitpod::v1::{CreateEnvironmentAccessTokenRequest, ListPersonalAccessTokensRequest},
};
use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::Code;

use crate::support::{Api, Caller, TestDatabase, TestServer, details, token_text::token_id, told};

const DENIED_TO_READERS: &str = "this token is read-only; use one that may write";

fn rpcs_for(who: Who) -> impl Iterator<Item = (&'static Policy, String)> {
    POLICIES.iter().filter(move |policy| policy.who == who).map(|policy| (policy, format!("/{}", policy.rpc)))
}

/// An environment of a token's holder, and a token for it.
async fn environment_token(database: &TestDatabase, api: &mut Api, token: &str) -> (String, String) {
    let environment_id = database.environment_of(&token_id(token)).await;
    let request = CreateEnvironmentAccessTokenRequest { environment_id: environment_id.clone() };
    let answer = api.environments.create_environment_access_token(request).await.unwrap();
    (environment_id, answer.into_inner().access_token)
}

#[tokio::test]
async fn every_rpc_of_the_contract_asks_for_a_token() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let caller = Caller::connect(&server.url()).await;
    let contract = FileDescriptorSet::decode(latchkey::pb::FILE_DESCRIPTOR_SET).unwrap();
    let mut asked = 0;
    for file in &contract.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                let status = caller.call(&path, &[]).await.expect_err(&path);
                assert_eq!(status.code(), Code::Unauthenticated, "{path}: {status}");
                asked += 1;
            }
        }
    }
    assert_eq!(asked, POLICIES.iter().filter(|policy| policy.who != Who::Public).count());
}

#[tokio::test]
async fn a_read_only_token_reads_and_no_more() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let writing = server.user(&database, "dev@example.com").await;
    let reading = server.token(&database, "dev@example.com", &["--read-only"]).await;
    let caller = Caller::connect(&server.url()).await;
    let changes = "SELECT count(*) FROM audit_logs WHERE outcome = 'succeeded' AND action <> 'read'";
    let before = database.number(changes, &[]).await;

    for (policy, path) in rpcs_for(Who::Caller) {
        let code = |answer: Result<_, tonic::Status>| answer.map_or_else(|status| status.code(), |_| Code::Ok);
        let answer = caller.call_with_token(&path, &reading).await;
        match policy.access {
            Access::Write => {
                let status = answer.expect_err(&path);
                assert_eq!((status.code(), status.message()), (Code::PermissionDenied, DENIED_TO_READERS), "{path}");
                assert_eq!(details(&status).error_info().unwrap().reason, "DENIED", "{path}");
            }
            // What is asked for is empty, so some ask back; but all do what they do for a token that may write.
            Access::Read => {
                let code_for_reader = code(answer);
                assert!(matches!(code_for_reader, Code::Ok | Code::InvalidArgument), "{path}: {code_for_reader:?}");
                assert_eq!(code_for_reader, code(caller.call_with_token(&path, &writing).await), "{path}");
            }
        }
    }
    assert_eq!(database.number(changes, &[]).await, before, "nothing was changed");

    // The token says of itself what it may do.
    let mut api = server.api(&reading).await;
    let list = api.tokens.list_personal_access_tokens(ListPersonalAccessTokensRequest::default()).await.unwrap();
    for token in list.into_inner().personal_access_tokens {
        assert_eq!(token.read_only, token.id == token_id(&reading));
    }
}

#[tokio::test]
async fn tokens_of_persons_and_of_environments_are_not_mixed_up() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let (own, own_token) = environment_token(&database, &mut api, &token).await;
    let caller = Caller::connect(&server.url()).await;

    for (_, path) in rpcs_for(Who::Caller) {
        let status = caller.call_with_token(&path, &own_token).await.expect_err(&path);
        assert_eq!(status.code(), Code::PermissionDenied, "{path}: {status}");
        assert!(status.message().contains("use a personal access token"), "{path}: {status}");
    }
    for (_, path) in rpcs_for(Who::EnvironmentHolder) {
        for path in [path.clone(), format!("/environments/{own}/ops{path}")] {
            let status = caller.call_with_token(&path, &token).await.expect_err(&path);
            assert_eq!(status.code(), Code::PermissionDenied, "{path}: {status}");
            assert!(status.message().contains("CreateEnvironmentAccessToken"), "{path}: {status}");
        }
    }
}

#[tokio::test]
async fn a_token_of_an_environment_is_good_for_that_environment_alone() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let (own, own_token) = environment_token(&database, &mut api, &token).await;
    let (other, _) = environment_token(&database, &mut api, &token).await;
    let caller = Caller::connect(&server.url()).await;

    for (_, path) in rpcs_for(Who::EnvironmentHolder) {
        for address in [path.clone(), format!("/environments/{own}/ops{path}")] {
            let status = caller.call_with_token(&address, &own_token).await.expect_err("no environment runs here");
            let let_in = !matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented);
            assert!(let_in, "{address}: {status}");
        }
        let address = format!("/environments/{other}/ops{path}");
        let status = caller.call_with_token(&address, &own_token).await.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::PermissionDenied, "this token is good for another environment")
        );
        let nobody = caller.call(&address, &[]).await.unwrap_err();
        assert_eq!(nobody.code(), Code::Unauthenticated, "{address}: {nobody}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_exactly_that_of_an_rpc_leads_nowhere() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let caller = Caller::connect(&server.url()).await;
    let unknown = told(&caller.call("/gitpod.v1.TokenService/NoSuchMethod", &[]).await.unwrap_err());
    assert_eq!((unknown.0, unknown.1.as_str()), (Code::Unimplemented, "there is no such RPC here"));
    for path in [
        "/",
        "/gitpod.v1.NoSuchService/GetAuthenticatedIdentity",
        "/gitpod.v1.IdentityService/GetAuthenticatedIdentity/",
        "/api/api/gitpod.v1.IdentityService/GetAuthenticatedIdentity",
        "/API/gitpod.v1.IdentityService/GetAuthenticatedIdentity",
        "/apigitpod.v1.IdentityService/GetAuthenticatedIdentity",
        "/gitpod.v1.IdentityService/api/GetAuthenticatedIdentity",
        "/gitpod.v1.identityservice/getauthenticatedidentity",
        "/gitpod.v1.IdentityService%2FGetAuthenticatedIdentity",
        "/gitpod.v1.IdentityService/Get%41uthenticatedIdentity",
        "/x/../gitpod.v1.IdentityService/GetAuthenticatedIdentity",
        "/environments/7/ops/supervisor.v1.EnvironmentOpsService/Exec",
        "/environments//ops/supervisor.v1.EnvironmentOpsService/Exec",
    ] {
        for authorization in [None, Some(format!("Bearer {token}"))] {
            let authorization: Vec<&[u8]> = authorization.iter().map(String::as_bytes).collect();
            assert_eq!(told(&caller.call(path, &authorization).await.unwrap_err()), unknown, "{path}");
        }
    }
}
