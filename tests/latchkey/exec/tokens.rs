//! The tokens that commands are run with: for one environment, for an hour at the most, and dead with their parent.

use latchkey::pb::{gitpod::v1::DeletePersonalAccessTokenRequest, supervisor::v1::ExecRequest};
use tonic::{Code, Status};

use crate::support::{
    LocalServer,
    environments::{from_nothing, operations, stopped},
    eventually,
};

/// Tries a token at the operations of an environment.
async fn try_token(local: &LocalServer, environment: &str, token: &str) -> Result<String, Status> {
    let url = format!("{}/environments/{environment}/ops", local.server().url());
    let request = ExecRequest { command: "echo here".to_owned(), ..Default::default() };
    Ok(operations(&url, token).await.exec(request).await?.into_inner().stdout)
}

#[tokio::test]
async fn a_token_is_good_for_one_environment_and_for_commands_there() {
    let local = LocalServer::start().await;
    let personal = local.user("dev@example.com").await;
    let api = local.api(&personal).await;
    let (one, other) = (api.create_running(from_nothing()).await, api.create_running(from_nothing()).await);
    let token = api.environment_token(&one).await.unwrap();
    assert!(token.starts_with("gitpod_env_"), "told apart at a glance");
    assert_eq!(try_token(&local, &one, &token).await.unwrap(), "here\n");

    let error = try_token(&local, &other, &token).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
    let error = try_token(&local, "01987654-3210-7abc-8def-0123456789ab", &token).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
    let error = try_token(&local, &one, &personal).await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied, "{error}");
    let forged = format!("{}{}", &token[..token.len() - 1], if token.ends_with('0') { "1" } else { "0" });
    assert_eq!(try_token(&local, &one, &forged).await.unwrap_err().code(), Code::Unauthenticated);

    // For nothing else.
    let with = local.api(&token).await;
    for error in [
        with.clone().whoami().await.map(drop),
        with.get(&one).await.map(drop),
        with.stop(&one).await,
        with.environment_token(&one).await.map(drop),
        with.create(from_nothing()).await.map(drop),
    ] {
        assert_eq!(error.unwrap_err().code(), Code::PermissionDenied);
    }
    api.delete_whole(&one).await;
    api.delete_whole(&other).await;
}

#[tokio::test]
async fn a_token_dies_with_its_parent_its_environment_and_its_user() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;

    let parent = api.clone().create_token("parent").await;
    let child = local.api(&parent.token).await.environment_token(&id).await.unwrap();
    let sibling = api.environment_token(&id).await.unwrap();
    assert_eq!(try_token(&local, &id, &child).await.unwrap(), "here\n");
    let parent_id = parent.personal_access_token.unwrap().id;
    let revoke = DeletePersonalAccessTokenRequest { personal_access_token_id: parent_id };
    api.tokens.clone().delete_personal_access_token(revoke).await.unwrap();
    let error = try_token(&local, &id, &child).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated, "{error}");
    assert!(error.message().contains("revoked"), "{error}");
    assert_eq!(try_token(&local, &id, &sibling).await.unwrap(), "here\n");

    let admin = local.database.owner().await;
    admin.execute("UPDATE principals SET status = 'suspended' WHERE email = 'dev@example.com'", &[]).await.unwrap();
    let error = eventually("it is refused", async || try_token(&local, &id, &sibling).await.err()).await;
    assert_eq!(error.code(), Code::Unauthenticated, "{error}");
    assert!(error.message().contains("suspended"), "{error}");
    admin.execute("UPDATE principals SET status = 'active' WHERE email = 'dev@example.com'", &[]).await.unwrap();
    let said = eventually("it is good again", async || try_token(&local, &id, &sibling).await.ok()).await;
    assert_eq!(said, "here\n");

    let expired = "UPDATE environment_tokens SET created_at = now() - interval '2 hours',
                          expires_at = now() - interval '1 hour'";
    let other = api.environment_token(&id).await.unwrap();
    admin.execute(expired, &[]).await.unwrap();
    let error = try_token(&local, &id, &other).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated, "{error}");
    assert!(error.message().contains("expired"), "{error}");

    let last = api.environment_token(&id).await.unwrap();
    assert_eq!(try_token(&local, &id, &last).await.unwrap(), "here\n");
    api.delete_whole(&id).await;
    assert_eq!(try_token(&local, &id, &last).await.unwrap_err().code(), Code::Unauthenticated);
    local.is_gone(&id).await;
}

#[tokio::test]
async fn a_token_lives_an_hour_and_no_longer_than_its_parent() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(stopped(from_nothing())).await.unwrap().id;
    let short = local.server().token(&local.database, "dev@example.com", &["--valid-for", "10m"]).await;
    api.environment_token(&id).await.unwrap();
    local.api(&short).await.environment_token(&id).await.unwrap();

    let rows = local.database.owner().await;
    let query = "SELECT extract(epoch FROM e.expires_at - e.created_at)::bigint,
                        extract(epoch FROM t.expires_at - t.created_at)::bigint,
                        e.expires_at <= t.expires_at, octet_length(e.digest)
                 FROM environment_tokens e JOIN personal_access_tokens t ON t.id = e.parent_token_id
                 WHERE e.environment_id = $1::text::uuid ORDER BY t.expires_at DESC";
    let rows = rows.query(query, &[&id]).await.unwrap();
    let lives = |row: usize| rows[row].get::<_, i64>(0);
    assert_eq!(rows.len(), 2);
    assert_eq!((lives(0), rows[0].get::<_, i64>(1)), (3600, 30 * 24 * 3600));
    assert!(lives(1) <= 600 && lives(1) > 0, "{}", lives(1));
    assert_eq!(rows[1].get::<_, i64>(1), 600);
    assert!(rows.iter().all(|row| row.get::<_, bool>(2) && row.get::<_, i32>(3) == 32));
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn making_a_token_is_a_write_of_the_creators() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(stopped(from_nothing())).await.unwrap().id;
    let reader = local.server().token(&local.database, "dev@example.com", &["--read-only"]).await;
    let reader = local.api(&reader).await;
    assert_eq!(reader.get(&id).await.unwrap().id, id);
    for error in [
        reader.environment_token(&id).await.map(drop),
        reader.create(from_nothing()).await.map(drop),
        reader.start(&id).await,
        reader.stop(&id).await,
        reader.delete(&id).await,
    ] {
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::PermissionDenied, "{error}");
        assert!(error.message().contains("read-only"), "{error}");
    }
    let other = local.api_of_user("other@example.com").await;
    assert_eq!(other.environment_token(&id).await.unwrap_err().code(), Code::NotFound);
    let admin = local.api(&local.server().admin_user(&local.database, "admin@example.com").await).await;
    assert_eq!(admin.environment_token(&id).await.unwrap_err().code(), Code::NotFound);
    let made: i64 =
        local.database.owner().await.query_one("SELECT count(*) FROM environment_tokens", &[]).await.unwrap().get(0);
    assert_eq!(made, 0);
    api.delete_whole(&id).await;
}
