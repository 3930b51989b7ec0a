//! Revoking what is presented (RFC 7009).

use latchkey::pb::gitpod::v1::CreateEnvironmentAccessTokenRequest;
use tonic::Code;

use super::asking::{REVOKE, basic, bearer, holder, introspect, post, revoke, service};
use crate::support::{
    TestDatabase, TestServer, eventually,
    keys::{forged, token_id},
};

/// How the log has revocations of a token: with which token, by which way, and what came of it.
async fn log(database: &TestDatabase, token: &str) -> String {
    let query = "SELECT coalesce(string_agg(concat_ws(' ', action, outcome, token_id, rpc), ', '), '') FROM audit_logs
                 WHERE subject_id = $1::text::uuid AND action <> 'token_create'";
    database.text(query, &[&token_id(token)]).await
}

async fn is_revoked(database: &TestDatabase, token: &str) -> bool {
    let query = "SELECT count(*) FROM personal_access_tokens WHERE id = $1::text::uuid AND revoked_at IS NOT NULL";
    database.number(query, &[&token_id(token)]).await == 1
}

#[tokio::test]
async fn holders_admins_and_services_revoke_at_once_and_it_is_in_the_log() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let other_server = TestServer::start_beside(&server, &database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let scanner = service(&server, &database, "scanner", &[]).await;
    let holder_token = server.user(&database, "dev@example.com").await;
    let admin = server.admin_user(&database, "admin@example.com").await;
    let made = async || server.token(&database, "dev@example.com", &[]).await;
    let own = made().await;
    for (actor, token) in [
        (&holder_token, made().await),
        (&admin, made().await),
        (&scanner, made().await),
        // With itself.
        (&own, own.clone()),
    ] {
        assert_eq!(introspect(&server, &asking, &token).await.json()["active"], true);
        assert_eq!(introspect(&other_server, &asking, &token).await.json()["active"], true);
        let authorization = basic(&holder(&database, actor).await, actor);
        post(&server, REVOKE, &authorization, &format!("token={token}&token_type_hint=refresh_token"))
            .await
            .assert_done();
        introspect(&server, &asking, &token).await.assert_inactive();
        assert_eq!(server.api(&token).await.whoami().await.unwrap_err().code(), Code::Unauthenticated);
        eventually("it is refused elsewhere", async || {
            (!introspect(&other_server, &asking, &token).await.body.contains("true")).then_some(())
        })
        .await;
        let expected = format!("token_revoke succeeded {} oauth2/revoke", token_id(actor));
        assert_eq!(log(&database, &token).await, expected);
        // Once more changes nothing, and is not told apart.
        revoke(&server, &admin, &token).await.assert_done();
        assert_eq!(log(&database, &token).await, expected);
    }
    let answer = revoke(&server, &own, &own).await;
    answer.assert_error(401, "invalid_token", "token revoked on");
}

#[tokio::test]
async fn what_is_not_the_callers_is_answered_alike_and_stays() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let member = server.user(&database, "other@example.com").await;
    let account = database.service_account("robot").await;
    let create = ["create-token", "--service-account", &account, "--description", "robot"];
    let robot = server.admin(&database, &create).await.unwrap().trim().to_owned();
    let (_, _, elsewhere) = server.stranger(&database, "admin").await;
    for actor in [&member, &robot, &elsewhere] {
        revoke(&server, actor, &token).await.assert_done();
        for none in [forged(), "nonsense".to_owned(), "x".repeat(60_000)] {
            revoke(&server, actor, &none).await.assert_done();
        }
    }
    let admin = server.admin_user(&database, "admin@example.com").await;
    revoke(&server, &admin, &elsewhere).await.assert_done();
    for token in [&token, &elsewhere] {
        server.api(token).await.whoami().await.unwrap();
        assert!(!is_revoked(&database, token).await);
        assert_eq!(log(&database, token).await, "");
    }
    // Whoever had somebody else's token is seen; what was no token is not.
    assert!(server.stop().await);
    let seen = "SELECT string_agg(concat_ws(' ', action, outcome, count), ', ') FROM (
                    SELECT action, outcome, rpc, token_id, count FROM audit_tallies
                    UNION ALL SELECT action, outcome, rpc, token_id, count FROM audit_logs) AS every
                WHERE token_id = $1::text::uuid AND rpc = 'oauth2/revoke'";
    for actor in [&member, &robot, &elsewhere, &admin] {
        assert_eq!(database.text(seen, &[&token_id(actor)]).await, "permission_deny denied 1");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_for_now_is_revoked_for_good() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let scanner = service(&server, &database, "scanner", &[]).await;
    let token = server.user(&database, "dev@example.com").await;
    database.suspend("dev@example.com", true).await;
    server.api(&token).await.becomes_refused().await;
    revoke(&server, &scanner, &token).await.assert_done();
    assert!(is_revoked(&database, &token).await);
    database.suspend("dev@example.com", false).await;
    let refused = eventually("it is told of", async || {
        server.api(&token).await.whoami().await.err().filter(|status| !status.message().contains("suspended"))
    });
    assert!(refused.await.message().starts_with("token revoked on"));
}

#[tokio::test]
async fn tokens_that_only_read_and_those_of_environments_revoke_nothing() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let reader = server.token(&database, "dev@example.com", &["--read-only"]).await;
    let asking = service(&server, &database, "gateway", &["--read-only"]).await;
    let environment_id = database.environment_of(&token_id(&token)).await;
    let request = CreateEnvironmentAccessTokenRequest { environment_id };
    let mut api = server.api(&token).await;
    let of_environment = api.environments.create_environment_access_token(request).await.unwrap();
    let of_environment = of_environment.into_inner().access_token;

    for actor in [&reader, &asking] {
        for presented in [&token, actor] {
            let answer = revoke(&server, actor, presented).await;
            answer.assert_error(403, "insufficient_scope", "this token is read-only");
            let challenge = answer.all("www-authenticate");
            assert!(challenge[0].starts_with("Bearer realm=\"latchkey\", error=\"insufficient_scope\""), "{answer:?}");
        }
    }
    for actor in [bearer(&of_environment), basic(&token_id(&of_environment), &of_environment)] {
        let answer = post(&server, REVOKE, &actor, &format!("token={token}")).await;
        answer.assert_error(403, "insufficient_scope", "an environment token is good for the operations");
    }
    // It has no end of its own, whoever asks.
    let answer = revoke(&server, &token, &of_environment).await;
    answer.assert_error(400, "unsupported_token_type", "revoke the personal access token that it was made with");
    for token in [&token, &reader, &asking] {
        assert!(!is_revoked(&database, token).await);
    }
}
