//! Who may ask, and how they say who they are: by the headers alone, before anything else is looked at.

use tonic::Code;

use super::asking::{Answer, INTROSPECT, REVOKE, basic, bearer, holder, introspect, post, send, service};
use crate::support::{
    Caller, TestDatabase, TestServer, WHOAMI, eventually,
    keys::{forged, token_id},
};

const BASIC: &str = "Basic realm=\"latchkey\", charset=\"UTF-8\"";

#[track_caller]
fn assert_challenged(answer: &Answer, bearer: &str) {
    let challenges = answer.all("www-authenticate");
    assert_eq!(challenges.len(), 2, "{answer:?}");
    assert!(challenges[0].starts_with(bearer) && challenges[1] == BASIC, "{answer:?}");
    assert_eq!(challenges[0].contains("error"), bearer.contains("error"), "{answer:?}");
}

#[tokio::test]
async fn who_cannot_say_who_they_are_is_challenged_before_anything_is_read() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let id = holder(&database, &token).await;
    let nobody = "Bearer realm=\"latchkey\"";
    let refused = "Bearer realm=\"latchkey\", error=\"invalid_token\", error_description=\"a valid token is needed";
    for path in [INTROSPECT, REVOKE] {
        for line in [format!("POST {path}"), format!("GET {path}"), format!("DELETE {path}?token={token}")] {
            // What is asked for does not come into it.
            for body in ["token=x", "token=x&token=x", "{}"] {
                let answer = send(&server, &line, &["content-type: nonsense"], body).await;
                answer.assert_error(401, "invalid_client", "a valid token is needed");
                assert_challenged(&answer, nobody);
            }
        }
        let form = format!("token={token}");
        for wrong in [bearer(&forged()), bearer("nonsense"), bearer(""), bearer(&format!("{token}x"))] {
            let answer = post(&server, path, &wrong, &form).await;
            answer.assert_error(401, "invalid_token", "a valid token is needed");
            assert_challenged(&answer, refused);
        }
        for wrong in [
            basic(&id, &forged()),
            basic(&id, "nonsense"),
            basic(&id, ""),
            basic(&token, ""),
            "Basic nonsense".to_owned(),
            "Basic ".to_owned(),
            "Negotiate abc".to_owned(),
            token.clone(),
            format!("Bearer {token}\r\nauthorization: Bearer {token}"),
            format!("Bearer {token}\r\nauthorization: {}", basic(&id, &token)),
        ] {
            let answer = post(&server, path, &wrong, &form).await;
            answer.assert_error(401, "invalid_client", "a valid token is needed");
            assert_challenged(&answer, nobody);
        }
        let other = server.user(&database, &format!("{}@example.com", path.len())).await;
        for name in [
            String::new(),
            "dev@example.com".to_owned(),
            token_id(&other),
            holder(&database, &other).await,
            token.clone(),
        ] {
            let answer = post(&server, path, &basic(&name, &token), &form).await;
            answer.assert_error(401, "invalid_client", "the user name does not belong to the token");
            assert_challenged(&answer, nobody);
        }
    }
    server.api(&token).await.whoami().await.unwrap();
    let seen = "SELECT count(*) FROM audit_logs WHERE token_id = $1::text::uuid AND action = 'credential_refuse'
                AND reason = $2 AND rpc = $3";
    for rpc in ["oauth2/introspect", "oauth2/revoke"] {
        eventually("whoever held it is in the log", async || {
            let count = database.number(seen, &[&token_id(&token), &"another's user name", &rpc]).await;
            (count == 5).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_password_may_be_written_as_forms_are_and_counts_nowhere_else() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let form = format!("token={asking}");
    let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
    let authorization = basic(&encoded(&token_id(&asking)), &encoded(&asking));
    assert_eq!(post(&server, INTROSPECT, &authorization, &form).await.json()["active"], true);

    let caller = Caller::connect(&server.url()).await;
    let authorization = basic(&token_id(&asking), &asking);
    for path in [WHOAMI, "/gitpod.v1.TokenService/IntrospectToken"] {
        let refused = caller.call(path, &[authorization.as_bytes()]).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{path}: {refused}");
    }
}

#[tokio::test]
async fn only_services_ask_about_tokens() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let admin = server.admin_user(&database, "admin@example.com").await;
    for asking in [&token, &admin] {
        for authorization in [bearer(asking), basic(&token_id(asking), asking)] {
            let answer = post(&server, INTROSPECT, &authorization, &format!("token={token}")).await;
            answer.assert_error(403, "insufficient_scope", "only a service account");
            let challenges = answer.all("www-authenticate");
            assert!(challenges[0].starts_with("Bearer realm=\"latchkey\", error=\"insufficient_scope\""), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn who_goes_on_guessing_passwords_is_told_to_wait_and_holders_never_notice() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let expired = server.user(&database, "dev@example.com").await;
    database.expire(&token_id(&expired)).await;
    server.api(&expired).await.becomes_refused().await;
    let mut told = None;
    for number in 0..300 {
        let guess = forged();
        let guess = if number % 2 == 0 { basic(&token_id(&guess), &guess) } else { bearer(&guess) };
        let answer = post(&server, if number % 3 == 0 { INTROSPECT } else { REVOKE }, &guess, "token=x").await;
        if answer.status != 401 {
            told = Some(answer);
            break;
        }
    }
    let told = told.expect("guesses are counted");
    told.assert_error(429, "temporarily_unavailable", "come again later");
    assert_eq!(told.all("retry-after"), ["1"], "{told:?}");
    for _ in 0..20 {
        introspect(&server, &asking, "x").await.assert_inactive();
        let ended = post(&server, REVOKE, &basic(&token_id(&expired), &expired), "token=x").await;
        ended.assert_error(401, "invalid_client", "token expired on");
        // A good token under another's name is no guess either.
        post(&server, REVOKE, &basic("x", &asking), "token=x").await.assert_error(401, "invalid_client", "user name");
    }
}
