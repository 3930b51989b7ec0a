//! Every act makes one entry, which says who did what, to what, with which token, from where.

use latchkey::pb::gitpod::v1::{
    ArchiveEnvironmentRequest, CreateEnvironmentAccessTokenRequest, CreateEnvironmentRequest,
    CreatePersonalAccessTokenRequest, DeleteEnvironmentRequest, DeletePersonalAccessTokenRequest,
    StartEnvironmentRequest, StopEnvironmentRequest, UnarchiveEnvironmentRequest, UpdateEnvironmentRequest,
    UpdatePersonalAccessTokenRequest, update_environment_request::Metadata,
};
use serde_json::json;
use tonic::Code;

use super::{assert_says, logged, rows, runner_of_nobody};
use crate::support::{
    ServerOptions, TestDatabase, TestServer,
    keys::{key_line, token_id},
    with_request_id,
};

#[tokio::test]
async fn each_act_of_a_caller_is_one_entry() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    runner_of_nobody(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let actor = api.whoami().await.unwrap();
    let client = database.serving().await;
    let mut acts: Vec<(&str, &str, &str, String, String)> = Vec::new();

    let request = CreatePersonalAccessTokenRequest { description: "ci".to_owned(), ..Default::default() };
    let (made, id) = with_request_id(api.tokens.create_personal_access_token(request).await);
    let made = made.unwrap().personal_access_token.unwrap().id;
    let kind = "personal_access_token";
    acts.push(("token_create", "gitpod.v1.TokenService/CreatePersonalAccessToken", kind, made.clone(), id));
    let request = UpdatePersonalAccessTokenRequest {
        personal_access_token_id: made.clone(),
        description: Some("nightly".to_owned()),
    };
    let (done, id) = with_request_id(api.tokens.update_personal_access_token(request.clone()).await);
    done.unwrap();
    acts.push(("token_update", "gitpod.v1.TokenService/UpdatePersonalAccessToken", kind, made.clone(), id));
    let (again, id) = with_request_id(api.tokens.update_personal_access_token(request).await);
    again.expect("it has that description");
    let mut silent = vec![id];
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: made.clone() };
    let (done, id) = with_request_id(api.tokens.delete_personal_access_token(request.clone()).await);
    done.unwrap();
    acts.push(("token_revoke", "gitpod.v1.TokenService/DeletePersonalAccessToken", kind, made, id));
    let (again, id) = with_request_id(api.tokens.delete_personal_access_token(request).await);
    again.expect("a second time is no error");
    silent.push(id);

    let (made, id) = with_request_id(api.environments.create_environment(CreateEnvironmentRequest::default()).await);
    let environment_id = made.unwrap().environment.unwrap().id;
    let mut act = |action, method: &'static str, id| {
        acts.push((action, method, "environment", environment_id.clone(), id));
    };
    act("environment_create", "gitpod.v1.EnvironmentService/CreateEnvironment", id);
    let request = CreateEnvironmentAccessTokenRequest { environment_id: environment_id.clone() };
    let (made, id) = with_request_id(api.environments.create_environment_access_token(request).await);
    made.unwrap();
    act("environment_token_create", "gitpod.v1.EnvironmentService/CreateEnvironmentAccessToken", id);
    let start = StartEnvironmentRequest { environment_id: environment_id.clone() };
    let (done, id) = with_request_id(api.environments.start_environment(start.clone()).await);
    done.expect("it is to run already");
    silent.push(id);
    let request = StopEnvironmentRequest { environment_id: environment_id.clone() };
    let (done, id) = with_request_id(api.environments.stop_environment(request).await);
    done.unwrap();
    act("environment_stop", "gitpod.v1.EnvironmentService/StopEnvironment", id);
    let metadata = Some(Metadata { name: Some("another".to_owned()), lockdown_at: None });
    let request = UpdateEnvironmentRequest { environment_id: environment_id.clone(), metadata, spec: None };
    let (done, id) = with_request_id(api.environments.update_environment(request.clone()).await);
    done.unwrap();
    act("environment_update", "gitpod.v1.EnvironmentService/UpdateEnvironment", id);
    let (done, id) = with_request_id(api.environments.update_environment(request).await);
    done.expect("it is called that already");
    silent.push(id);
    let request = ArchiveEnvironmentRequest { environment_id: environment_id.clone() };
    let (done, id) = with_request_id(api.environments.archive_environment(request.clone()).await);
    done.unwrap();
    act("environment_archive", "gitpod.v1.EnvironmentService/ArchiveEnvironment", id);
    let (done, id) = with_request_id(api.environments.archive_environment(request).await);
    done.expect("a second time is no error");
    silent.push(id);
    let (refused, id) = with_request_id(api.environments.start_environment(start.clone()).await);
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    silent.push(id);
    let request = UnarchiveEnvironmentRequest { environment_id: environment_id.clone() };
    let (done, id) = with_request_id(api.environments.unarchive_environment(request).await);
    done.unwrap();
    act("environment_unarchive", "gitpod.v1.EnvironmentService/UnarchiveEnvironment", id);
    let (done, id) = with_request_id(api.environments.start_environment(start.clone()).await);
    done.unwrap();
    act("environment_start", "gitpod.v1.EnvironmentService/StartEnvironment", id);
    let request = DeleteEnvironmentRequest { environment_id: environment_id.clone(), ..Default::default() };
    let (done, id) = with_request_id(api.environments.delete_environment(request.clone()).await);
    done.unwrap();
    act("environment_delete", "gitpod.v1.EnvironmentService/DeleteEnvironment", id);
    let (done, id) = with_request_id(api.environments.delete_environment(request).await);
    done.expect("a second time is no error");
    silent.push(id);
    let (refused, id) = with_request_id(api.environments.start_environment(start).await);
    assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
    silent.push(id);

    for (action, rpc, subject_type, subject_id, request_id) in &acts {
        let entry = &logged(&client, &format!("request_id = '{request_id}'"), 1).await[0];
        let expected = json!({
            "action": action, "rpc": rpc, "subject_type": subject_type, "subject_id": subject_id, "outcome": "succeeded",
            "reason": "", "actor_id": actor, "actor_kind": "user", "token_id": token_id(&token), "peer": "127.0.0.1",
            "count": 1,
        });
        assert_says(entry, &expected);
        assert!(entry["user_agent"].as_str().unwrap().starts_with("tonic/"), "{entry:#}");
        assert!(entry["organization_id"].is_string() && entry["xid"].is_string() | entry["xid"].is_number());
    }
    let of_caller = format!("actor_id = '{actor}' AND outcome = 'succeeded' AND request_id IS NOT NULL");
    assert_eq!(rows(&client, "audit_logs", &of_caller).await.len(), acts.len(), "nothing else was logged of them");
    for id in silent {
        assert_eq!(rows(&client, "audit_logs", &format!("request_id = '{id}'")).await, Vec::<serde_json::Value>::new());
    }
}

#[tokio::test]
async fn each_act_of_the_operator_is_one_entry() {
    let database = TestDatabase::create().await;
    let keys = key_line(1) + &key_line(2);
    let server =
        TestServer::start_with(&database, ServerOptions { signing_keys: Some(keys), ..Default::default() }).await;
    let client = database.serving().await;
    let admin = async |args: &[&str]| server.admin(&database, args).await.unwrap().trim().to_owned();
    let user = admin(&["create-user", "--email", "dev@example.com"]).await;
    server.admin(&database, &["create-user", "--email", "DEV@example.com"]).await.expect_err("there is one");
    let token = token_id(&server.token(&database, "dev@example.com", &[]).await);
    admin(&["revoke-token", &token]).await;
    admin(&["revoke-token", &token]).await;
    admin(&["activate-generation", "2"]).await;
    // It is so already: no second entry.
    admin(&["activate-generation", "2"]).await;
    admin(&["revoke-generation", "1"]).await;
    let organization: String = client.query_one("SELECT id::text FROM organizations", &[]).await.unwrap().get(0);
    let acts = [
        ("user_create", "latchkey admin create-user", "user", &user),
        ("token_create", "latchkey admin create-token", "personal_access_token", &token),
        ("token_revoke", "latchkey admin revoke-token", "personal_access_token", &token),
        ("generation_activate", "latchkey admin activate-generation 2", "organization", &organization),
        ("generation_revoke", "latchkey admin revoke-generation 1", "organization", &organization),
    ];
    let entries = rows(&client, "audit_logs", "actor_kind = 'operator'").await;
    assert_eq!(entries.len(), acts.len(), "{entries:#?}");
    for (entry, (action, rpc, subject_type, subject_id)) in entries.iter().zip(acts) {
        let expected = json!({
            "action": action, "rpc": rpc, "subject_type": subject_type, "subject_id": subject_id, "outcome": "succeeded",
            "organization_id": organization, "actor_id": null, "token_id": null, "peer": null, "user_agent": null,
        });
        assert_says(entry, &expected);
    }
}
