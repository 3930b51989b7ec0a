//! An act and its entry are one: what cannot be logged is not done, and what is not done is not logged.

use latchkey::pb::gitpod::v1::{
    ArchiveEnvironmentRequest, CreateEnvironmentAccessTokenRequest, CreateEnvironmentRequest,
    CreatePersonalAccessTokenRequest, DeleteEnvironmentRequest, DeletePersonalAccessTokenRequest, SetSuspendedRequest,
    StopEnvironmentRequest, UnarchiveEnvironmentRequest, UpdateEnvironmentRequest, UpdatePersonalAccessTokenRequest,
    update_environment_request::Metadata,
};
use tonic::{Code, Response, Status};

use super::{rows, runner_of_nobody};
use crate::support::{
    ServerOptions, TestDatabase, TestServer,
    environments::{from_nothing, stopped},
    keys::{key_line, token_id},
    with_request_id,
};

/// Makes the log refuse every entry, as a full disk would.
const REFUSE: &str = "
    CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no room'; END $$;
    CREATE TRIGGER no_room BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION no_room()";

/// All that acts change.
const STATE: &str = "
    SELECT concat_ws('; ',
        (SELECT string_agg(concat_ws(' ', id, email, status), ', ' ORDER BY id) FROM principals),
        (SELECT string_agg(concat_ws(' ', id, description, revoked_at), ', ' ORDER BY id) FROM personal_access_tokens),
        (SELECT string_agg(concat_ws(' ', id, name, desired_phase, epoch, archived_at), ', ' ORDER BY id) FROM environments),
        (SELECT string_agg(id::text, ', ' ORDER BY id) FROM environment_tokens),
        (SELECT string_agg(concat_ws(' ', generation, state), ', ' ORDER BY generation) FROM signing_keys))";

#[tokio::test]
async fn what_cannot_be_logged_is_not_done() {
    let database = TestDatabase::create().await;
    let keys = key_line(1) + &key_line(2);
    let server =
        TestServer::start_with(&database, ServerOptions { signing_keys: Some(keys), ..Default::default() }).await;
    runner_of_nobody(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let environment_id =
        api.environments.create_environment(CreateEnvironmentRequest::default()).await.unwrap().into_inner();
    let environment_id = environment_id.environment.unwrap().id;
    let put_aside = api.create(stopped(from_nothing())).await.unwrap().id;
    let archived = api.create(stopped(from_nothing())).await.unwrap().id;
    api.archive(&archived).await.unwrap();
    let mut admin = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let suspended = api.whoami().await.unwrap();
    let superuser = database.superuser().await;
    let state = async || superuser.query_one(STATE, &[]).await.unwrap().get::<_, String>(0);
    superuser.batch_execute(REFUSE).await.unwrap();
    let before = state().await;

    fn refused<T>(what: &str, answer: Result<Response<T>, Status>) {
        let status = answer.err().unwrap_or_else(|| panic!("{what} was done"));
        assert_eq!(status.code(), Code::Internal, "{what}: {status:?}");
        assert!(!status.message().contains("no room"), "{what}: what PostgreSQL says is for the log: {status:?}");
    }
    let create = CreatePersonalAccessTokenRequest { description: "ci".to_owned(), ..Default::default() };
    refused("token_create", api.tokens.create_personal_access_token(create.clone()).await);
    let describe = UpdatePersonalAccessTokenRequest {
        personal_access_token_id: token_id(&token),
        description: Some("another".to_owned()),
    };
    refused("token_update", api.tokens.update_personal_access_token(describe).await);
    let revoke = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&token) };
    refused("token_revoke", api.tokens.delete_personal_access_token(revoke.clone()).await);
    refused("environment_create", api.environments.create_environment(CreateEnvironmentRequest::default()).await);
    let mint = CreateEnvironmentAccessTokenRequest { environment_id: environment_id.clone() };
    refused("environment_token_create", api.environments.create_environment_access_token(mint).await);
    let metadata = Some(Metadata { name: Some("another".to_owned()), lockdown_at: None });
    let update = UpdateEnvironmentRequest { environment_id: environment_id.clone(), metadata, spec: None };
    refused("environment_update", api.environments.update_environment(update).await);
    let archive = ArchiveEnvironmentRequest { environment_id: put_aside.clone() };
    refused("environment_archive", api.environments.archive_environment(archive).await);
    let unarchive = UnarchiveEnvironmentRequest { environment_id: archived.clone() };
    refused("environment_unarchive", api.environments.unarchive_environment(unarchive).await);
    let suspend = SetSuspendedRequest { user_id: suspended, suspended: true };
    refused("user_suspend", admin.users.set_suspended(suspend).await);
    let stop = StopEnvironmentRequest { environment_id: environment_id.clone() };
    refused("environment_stop", api.environments.stop_environment(stop).await);
    let delete = DeleteEnvironmentRequest { environment_id, ..Default::default() };
    refused("environment_delete", api.environments.delete_environment(delete).await);
    let id = token_id(&token);
    for args in [
        &["create-user", "--email", "new@example.com"][..],
        &["create-token", "--user", "dev@example.com", "--description", "x"],
        &["revoke-token", &id],
        &["activate-generation", "2"],
        &["revoke-generation", "1"],
    ] {
        let said = server.admin(&database, args).await.expect_err("it is not done");
        assert!(said.contains("no room"), "{args:?}: {said}");
    }
    assert_eq!(state().await, before);

    superuser.batch_execute("DROP TRIGGER no_room ON audit_logs").await.unwrap();
    api.tokens.create_personal_access_token(create).await.unwrap();
    api.tokens.delete_personal_access_token(revoke).await.unwrap();
    assert_ne!(state().await, before);
}

#[tokio::test]
async fn what_is_not_done_is_not_logged_as_done() {
    let database = TestDatabase::create().await;
    let limit = ServerOptions { args: vec!["--tokens-per-user".to_owned(), "1".to_owned()], ..Default::default() };
    let server = TestServer::start_with(&database, limit).await;
    let mut api = server.api(&server.user(&database, "dev@example.com").await).await;
    let request = CreatePersonalAccessTokenRequest { description: "ci".to_owned(), ..Default::default() };
    let (refused, id) = with_request_id(api.tokens.create_personal_access_token(request).await);
    assert_eq!(refused.unwrap_err().code(), Code::ResourceExhausted);
    let client = database.serving().await;
    assert!(rows(&client, "audit_logs", &format!("request_id = '{id}'")).await.is_empty());
    assert_eq!(rows(&client, "audit_logs", "action = 'token_create'").await.len(), 1, "the operator's alone");
}
