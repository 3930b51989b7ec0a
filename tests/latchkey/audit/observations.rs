//! What changes nothing and is logged all the same: refusals and reads.

use std::{
    net::Ipv4Addr,
    time::{Duration, SystemTime},
};

use latchkey::pb::{
    gitpod::v1::{
        CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest, GetAuthenticatedUserRequest,
        GetPersonalAccessTokenRequest, ListAuditLogsRequest,
    },
    supervisor::v1::ExecRequest,
};
use serde_json::{Value, json};
use tokio_postgres::Client;
use tonic::Code;
use uuid::{Uuid, Variant};

use super::{assert_says, logged, rows};
use crate::{
    support::{
        Api, TestDatabase, TestServer, eventually,
        keys::{forged, token_id},
        with_request_id,
    },
    web::requests::Session,
};

#[tokio::test]
async fn each_refusal_of_a_holder_is_an_entry() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let superuser = database.superuser().await;
    let expired = server.user(&database, "expired@example.com").await;
    let expire = format!(
        "SET session_replication_role = replica; UPDATE personal_access_tokens
         SET created_at = now() - interval '2 days', expires_at = now() - interval '1 day' WHERE id = '{}';
         RESET session_replication_role",
        token_id(&expired)
    );
    superuser.batch_execute(&expire).await.unwrap();
    let revoked = server.user(&database, "revoked@example.com").await;
    server.admin(&database, &["revoke-token", &token_id(&revoked)]).await.unwrap();
    let suspended = server.user(&database, "suspended@example.com").await;
    superuser
        .batch_execute("UPDATE principals SET status = 'suspended' WHERE email = 'suspended@example.com'")
        .await
        .unwrap();
    for (token, reason) in [(&expired, "expired"), (&revoked, "revoked"), (&suspended, "suspended")] {
        let mut api = server.api(token).await;
        let mut request_ids = Vec::new();
        for _ in 0..2 {
            let (refused, id) = with_request_id(api.users.get_authenticated_user(GetAuthenticatedUserRequest {}).await);
            assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
            request_ids.push(id);
        }
        let of_token = format!("token_id = '{}' AND outcome = 'denied'", token_id(token));
        let mut entries = logged(&superuser, &of_token, 2).await;
        entries.sort_by_key(|entry| request_ids.iter().position(|id| entry["request_id"] == json!(id)));
        for (entry, request_id) in entries.iter().zip(&request_ids) {
            let expected = json!({
                "action": "credential_refuse", "reason": reason, "actor_kind": "user", "request_id": request_id,
                "rpc": "gitpod.v1.UserService/GetAuthenticatedUser", "peer": "127.0.0.1", "count": 1, "subject_id": null,
            });
            assert_says(entry, &expected);
            assert!(entry["actor_id"].is_string() && entry["organization_id"].is_string(), "{entry:#}");
        }
    }
}

#[tokio::test]
async fn each_denial_is_an_entry() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let client = database.serving().await;
    server.user(&database, "dev@example.com").await;
    let token = server.token(&database, "dev@example.com", &["--read-only"]).await;
    let mut api = server.api(&token).await;
    let request = CreatePersonalAccessTokenRequest { description: "x".to_owned(), ..Default::default() };
    let (denied, create) = with_request_id(api.tokens.create_personal_access_token(request).await);
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&token) };
    let (denied, delete) = with_request_id(api.tokens.delete_personal_access_token(request).await);
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    let (denied, exec) = with_request_id(api.operations.exec(ExecRequest::default()).await);
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
    for (request_id, rpc, reason) in [
        (create, "gitpod.v1.TokenService/CreatePersonalAccessToken", "read-only"),
        (delete, "gitpod.v1.TokenService/DeletePersonalAccessToken", "read-only"),
        (exec, "supervisor.v1.EnvironmentOpsService/Exec", "environment token"),
    ] {
        let entry = &logged(&client, &format!("request_id = '{request_id}'"), 1).await[0];
        let expected = json!({
            "action": "permission_deny", "outcome": "denied", "rpc": rpc, "token_id": token_id(&token),
            "actor_kind": "user", "count": 1,
        });
        assert_says(entry, &expected);
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{entry:#}");
    }
    api.whoami().await.expect("the token is as good as before");
}

/// What was counted, once it is `total` in all: in minutes that are under way and in those that are sealed.
async fn counted(client: &Client, matching: &str, total: i64) -> Vec<Value> {
    eventually(&format!("{total} times {matching}"), async || {
        let mut found = rows(client, "audit_tallies", matching).await;
        found.extend(rows(client, "audit_logs", matching).await);
        let count: i64 = found.iter().map(|row| row["count"].as_i64().unwrap()).sum();
        assert!(count <= total, "{count} is more than {total}: {found:#?}");
        (count == total).then_some(found)
    })
    .await
}

/// One row for each minute, and not many minutes.
#[track_caller]
fn assert_aggregated(found: &[Value]) {
    let minute = |row: &Value| row.get("minute").or(row.get("created_at")).unwrap().as_str().unwrap().to_owned();
    let mut minutes: Vec<String> = found.iter().map(minute).collect();
    minutes.sort();
    minutes.dedup();
    assert!(minutes.len() == found.len() && found.len() <= 2, "one row a minute: {found:#?}");
}

#[tokio::test]
async fn reads_are_counted_by_token_rpc_and_peer() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let client = database.serving().await;
    let one = server.user(&database, "dev@example.com").await;
    let other = server.token(&database, "dev@example.com", &[]).await;
    let elsewhere = Ipv4Addr::new(127, 0, 0, 2).into();
    let (mut here, mut there) = (server.api(&one).await, Api::connect_from(elsewhere, &server.url(), &one).await);
    let mut with_other = server.api(&other).await;
    for _ in 0..20 {
        here.whoami().await.unwrap();
        here.users.get_authenticated_user(GetAuthenticatedUserRequest {}).await.unwrap();
        there.whoami().await.unwrap();
        with_other.whoami().await.unwrap();
    }
    let identity = "gitpod.v1.IdentityService/GetAuthenticatedIdentity";
    for (token, rpc, peer) in [
        (&one, identity, "127.0.0.1"),
        (&one, "gitpod.v1.UserService/GetAuthenticatedUser", "127.0.0.1"),
        (&one, identity, "127.0.0.2"),
        (&other, identity, "127.0.0.1"),
    ] {
        let matching = format!("token_id = '{}' AND rpc = '{rpc}' AND peer = '{peer}'", token_id(token));
        let found = counted(&client, &matching, 20).await;
        assert_aggregated(&found);
        let expected = json!({"action": "read", "outcome": "succeeded", "actor_kind": "user", "reason": ""});
        assert_says(&found[0], &expected);
    }
}

#[tokio::test]
async fn a_read_that_found_nothing_is_no_success() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let client = database.serving().await;
    let token = server.user(&database, "dev@example.com").await;
    let others = token_id(&server.user(&database, "other@example.com").await);
    let mut api = server.api(&token).await;
    let get = |id: &str| GetPersonalAccessTokenRequest { personal_access_token_id: id.to_owned() };
    for _ in 0..3 {
        let error = api.tokens.get_personal_access_token(get(&others)).await.unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        assert_eq!(api.tokens.get_personal_access_token(get("x")).await.unwrap_err().code(), Code::InvalidArgument);
    }
    api.tokens.get_personal_access_token(get(&token_id(&token))).await.unwrap();
    let of_rpc = format!("token_id = '{}' AND rpc = 'gitpod.v1.TokenService/GetPersonalAccessToken'", token_id(&token));
    let denied = counted(&client, &format!("{of_rpc} AND outcome = 'denied'"), 3).await;
    assert_says(&denied[0], &json!({"action": "read", "reason": "not found", "actor_kind": "user"}));
    counted(&client, &format!("{of_rpc} AND outcome = 'succeeded'"), 1).await;
}

#[tokio::test]
async fn what_strangers_try_is_counted_by_peer_and_sealed_after_its_minute() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let superuser = database.superuser().await;
    let forged = forged();
    let genuine = server.user(&database, "dev@example.com").await;
    // Genuine in all but its secret: the row of its ID is found, and it is not its.
    let other_secret = crate::support::keys::mint_with_id(&server.keys(), 1, token_id(&genuine).parse().unwrap()).1;
    for text in [&forged, other_secret.text.expose(), &forged] {
        let mut api = server.api(text).await;
        assert_eq!(api.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    }
    for text in ["nonsense", &forged[1..], &forged.to_uppercase()] {
        let mut api = server.api(text).await;
        assert_eq!(api.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    }
    let mut nobody = server.anonymous().await;
    assert_eq!(nobody.whoami().await.unwrap_err().code(), Code::Unauthenticated);
    // One entry a peer and minute, whatever is tried.
    let found = counted(&superuser, "reason = 'malformed or forged'", 6).await;
    assert_aggregated(&found);
    let organization = superuser.query_one("SELECT id::text FROM organizations", &[]).await.unwrap();
    let organization: String = organization.get(0);
    let expected = json!({
        "action": "credential_refuse", "outcome": "denied", "actor_kind": "stranger", "actor_id": null, "token_id": null,
        "organization_id": organization, "peer": "127.0.0.1", "rpc": "",
    });
    assert_says(&found[0], &expected);
    // Their minute is over.
    superuser.batch_execute("UPDATE audit_tallies SET minute = minute - interval '5 minutes'").await.unwrap();
    eventually("the tallies are sealed", async || {
        rows(&superuser, "audit_tallies", "actor_kind = 'stranger'").await.is_empty().then_some(())
    })
    .await;
    let sealed = rows(&superuser, "audit_logs", "reason = 'malformed or forged'").await;
    assert_eq!(sealed.iter().map(|row| row["count"].as_i64().unwrap()).sum::<i64>(), 6, "{sealed:#?}");
    assert!(sealed.iter().all(|row| row["request_id"].is_null()), "it names no single request: {sealed:#?}");
    assert!(sealed.iter().all(|row| row["created_at"].as_str().unwrap().contains(":00+00:00")), "{sealed:#?}");
    // Admins are to see that somebody tries.
    let mut admin = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let seen = admin.events.list_audit_logs(ListAuditLogsRequest::default()).await.unwrap().into_inner().entries;
    assert!(seen.iter().any(|entry| entry.action == "credential_refuse" && entry.actor_id.is_empty()), "{seen:#?}");
    let unauthenticated = "actor_kind = 'stranger' AND reason <> 'malformed or forged'";
    assert!(rows(&superuser, "audit_logs", unauthenticated).await.is_empty(), "no credential, no entry");
}

#[tokio::test]
async fn reads_in_a_session_are_counted_and_one_that_has_ended_is_refused() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.user(&database, "dev@example.com").await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let superuser = database.superuser().await;
    let id = database.text("SELECT id::text FROM sessions", &[]).await;
    for _ in 0..3 {
        assert_eq!(session.get("/settings/sessions").await.status, 200);
    }
    let matching = "rpc = 'settings/sessions'";
    let counted = async |table: &str| {
        let found = rows(&superuser, table, matching).await;
        found.iter().map(|row| row["count"].as_i64().unwrap()).sum::<i64>()
    };
    eventually("the reads are counted", async || (counted("audit_session_tallies").await == 3).then_some(())).await;
    // Their minute is over.
    superuser.batch_execute("UPDATE audit_session_tallies SET minute = minute - interval '5 minutes'").await.unwrap();
    eventually("they are sealed", async || (counted("audit_logs").await == 3).then_some(())).await;
    assert_eq!(counted("audit_session_tallies").await, 0);
    for entry in rows(&superuser, "audit_logs", matching).await {
        let expected = json!({
            "action": "read", "outcome": "succeeded", "actor_kind": "user", "session_id": id, "token_id": null,
            "peer": "127.0.0.1",
        });
        assert_says(&entry, &expected);
    }

    assert_eq!(session.post("/sign-out", &[]).await.status, 303);
    assert_eq!(session.get("/settings/sessions").await.status, 303, "to where people sign in");
    let refused = &logged(&superuser, &format!("action = 'credential_refuse' AND {matching}"), 1).await[0];
    assert_says(refused, &json!({ "outcome": "denied", "reason": "revoked", "session_id": id, "token_id": null }));
}

#[tokio::test]
async fn minutes_are_sealed_once_by_however_many_servers() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    let second = TestServer::start_beside(&first, &database).await;
    let superuser = database.superuser().await;
    let fill = "
        INSERT INTO audit_tallies (minute, actor_kind, action, rpc, outcome, reason, count)
        SELECT '2001-01-01Z'::timestamptz + make_interval(mins => n), 'stranger', 'credential_refuse', 'test', 'denied', 'forged', n
        FROM generate_series(1, 12000) AS n";
    superuser.batch_execute(fill).await.unwrap();
    eventually("all is sealed", async || {
        let left = superuser.query_one("SELECT count(*) FROM audit_tallies", &[]).await.unwrap();
        (left.get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    let sealed = superuser
        .query_one("SELECT count(*), sum(count)::bigint FROM audit_logs WHERE rpc = 'test'", &[])
        .await
        .unwrap();
    assert_eq!((sealed.get::<_, i64>(0), sealed.get::<_, i64>(1)), (12_000, 12_000 * 12_001 / 2));
    for row in superuser.query("SELECT id::text, created_at FROM audit_logs WHERE rpc = 'test'", &[]).await.unwrap() {
        let (id, minute): (Uuid, SystemTime) = (row.get::<_, &str>(0).parse().unwrap(), row.get(1));
        let (seconds, nanoseconds) = id.get_timestamp().expect("it is of version 7").to_unix();
        let made_at = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        assert_eq!((id.get_version_num(), id.get_variant(), made_at), (7, Variant::RFC4122, minute), "{id}");
    }
    drop((first, second));
}

#[tokio::test]
async fn the_last_use_of_a_token_is_known() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let client = database.serving().await;
    let token = server.user(&database, "dev@example.com").await;
    let uses = format!(
        "SELECT host(peer), user_agent, last_used_at > now() - interval '1 minute', last_used_at::text
         FROM token_last_used WHERE token_id = '{}'",
        token_id(&token)
    );
    assert!(client.query_opt(&uses, &[]).await.unwrap().is_none(), "never used");
    server.api(&token).await.whoami().await.unwrap();
    let first = eventually("its first use", async || client.query_opt(&uses, &[]).await.unwrap()).await;
    assert_eq!(first.get::<_, &str>(0), "127.0.0.1");
    assert!(first.get::<_, &str>(1).starts_with("tonic/") && first.get::<_, bool>(2));
    let elsewhere = Ipv4Addr::new(127, 0, 0, 3).into();
    Api::connect_from(elsewhere, &server.url(), &token).await.whoami().await.unwrap();
    let last = eventually("its last use", async || {
        client.query_opt(&uses, &[]).await.unwrap().filter(|row| row.get::<_, &str>(0) == "127.0.0.3")
    })
    .await;
    assert!(last.get::<_, &str>(3) > first.get::<_, &str>(3), "later than the first");
}
