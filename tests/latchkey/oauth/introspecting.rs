//! What is said of a token (RFC 7662).

use latchkey::{domain::ids::TokenId, pb::gitpod::v1::CreateEnvironmentAccessTokenRequest};
use serde_json::json;

use super::asking::{INTROSPECT, basic, bearer, holder, introspect, post, revoke, service};
use crate::support::{
    TestDatabase, TestServer, eventually,
    keys::{forged, token_id},
};

#[tokio::test]
async fn a_good_token_is_active_and_nothing_else_is_said_of_any_other() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &["--read-only"]).await;
    let token = server.user(&database, "dev@example.com").await;
    let read_only = server.token(&database, "dev@example.com", &["--read-only"]).await;
    for (token, kind, scope) in [
        (&token, "user", "read write"),
        (&read_only, "user", "read"),
        // Its own as well.
        (&asking, "service_account", "read"),
    ] {
        let stored = "SELECT json_build_object('sub', principal_id, 'jti', id, 'organization_id', organization_id, 'read_only', read_only,
                          'exp', extract(epoch FROM date_trunc('second', expires_at))::bigint)::text
                      FROM personal_access_tokens WHERE id = $1::text::uuid";
        let mut expected: serde_json::Value =
            serde_json::from_str(&database.text(stored, &[&token_id(token)]).await).unwrap();
        expected["active"] = json!(true);
        expected["iss"] = json!(server.url());
        expected["token_type"] = json!("Bearer");
        expected["scope"] = json!(scope);
        expected["principal_kind"] = json!(kind);
        expected["iat"] = json!(token_id(token).parse::<TokenId>().unwrap().made_at());
        let made = "SELECT count(*) FROM personal_access_tokens WHERE id = $1::text::uuid
                    AND abs(extract(epoch FROM created_at) - $2::text::bigint) < 60";
        assert_eq!(database.number(made, &[&token_id(token), &expected["iat"].to_string()]).await, 1);
        let by_principal = basic(&holder(&database, &asking).await, &asking);
        let by_token = basic(&token_id(&asking), &asking);
        for authorization in [bearer(&asking), by_principal, by_token] {
            for more in ["", "&token_type_hint=access_token", "&token_type_hint=nonsense&client_id=me"] {
                for path in [INTROSPECT, "/api/oauth2/introspect", "//oauth2/introspect"] {
                    let said = post(&server, path, &authorization, &format!("token={token}{more}")).await;
                    said.assert_kept_by_nobody();
                    assert_eq!((said.status, said.json()), (200, expected.clone()), "{authorization} {more}");
                }
            }
        }
    }

    let revoked = server.token(&database, "dev@example.com", &[]).await;
    let expired = server.token(&database, "dev@example.com", &[]).await;
    let suspended = server.user(&database, "suspended@example.com").await;
    let (_, _, elsewhere) = server.stranger(&database, "admin").await;
    let environment_id = database.environment_of(&token_id(&token)).await;
    let request = CreateEnvironmentAccessTokenRequest { environment_id };
    let mut holder = server.api(&token).await;
    let of_environment =
        holder.environments.create_environment_access_token(request).await.unwrap().into_inner().access_token;
    revoke(&server, &token, &revoked).await.assert_done();
    database.expire(&token_id(&expired)).await;
    database.suspend("suspended@example.com", true).await;
    server.api(&suspended).await.becomes_refused().await;
    let long = "x".repeat(60_000);
    for token in
        [revoked, expired, suspended, elsewhere, of_environment, forged(), "x".to_owned(), long, "%ff".to_owned()]
    {
        introspect(&server, &asking, &token).await.assert_inactive();
    }
}

#[tokio::test]
async fn introspection_is_no_act_and_is_counted_as_any_read() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &["--read-only"]).await;
    let token = server.user(&database, "dev@example.com").await;
    for _ in 0..3 {
        assert_eq!(introspect(&server, &asking, &token).await.status, 200);
    }
    assert!(server.stop().await);
    let seen = "SELECT coalesce(string_agg(action || ' ' || outcome || ' ' || sum, ', '), '') FROM (
                    SELECT action, outcome, sum(count) FROM (
                        SELECT rpc, action, outcome, count, token_id FROM audit_tallies
                        UNION ALL SELECT rpc, action, outcome, count, token_id FROM audit_logs) AS every
                    WHERE rpc = 'oauth2/introspect' AND token_id = $1::text::uuid GROUP BY action, outcome) AS sums";
    assert_eq!(database.text(seen, &[&token_id(&asking)]).await, "read succeeded 3");
    let of_the_token = "SELECT count(*) FROM audit_logs WHERE subject_id = $1::text::uuid AND action <> 'token_create'";
    assert_eq!(database.number(of_the_token, &[&token_id(&token)]).await, 0);
}

#[tokio::test]
async fn an_outage_is_never_an_inactive_token() {
    let database = TestDatabase::create_private().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let token = server.user(&database, "dev@example.com").await;
    let other = server.token(&database, "dev@example.com", &[]).await;
    assert_eq!(introspect(&server, &asking, &token).await.json()["active"], true);
    database.cluster().stop().await;
    // Who asks is remembered for a while, and then not even that can be told.
    for answer in [introspect(&server, &asking, &other).await, revoke(&server, &asking, &other).await] {
        answer.assert_error(503, "temporarily_unavailable", "try again");
        assert_eq!(answer.all("retry-after"), ["1"], "{answer:?}");
    }
    eventually("nothing is remembered any more", async || {
        let answer = introspect(&server, &asking, &token).await;
        assert!(!answer.body.contains(r#""active":false"#), "{answer:?}");
        (answer.status == 503).then_some(())
    })
    .await;
    let answer = introspect(&server, &asking, &token).await;
    answer.assert_error(503, "temporarily_unavailable", "tokens cannot be verified right now");
    assert_eq!(answer.all("retry-after"), ["1"], "{answer:?}");
    database.cluster().start_again().await;
    eventually("it goes on", async || (introspect(&server, &asking, &token).await.status == 200).then_some(())).await;
    revoke(&server, &asking, &other).await.assert_done();
}
