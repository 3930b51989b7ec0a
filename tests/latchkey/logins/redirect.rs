//! By the browser of the program's own machine (RFC 6749, section 4.1; RFC 7636; RFC 8252).

use futures::future::join_all;

use super::{CLIENT, Person, TOKEN, begin, post, token_of, tokens};
use crate::{
    oauth::asking::Answer,
    support::{TestDatabase, TestServer, token_text::token_id},
};

pub(super) const REDIRECT: &str = "http://127.0.0.1:8085/login/callback";
/// RFC 7636, appendix B.
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(super) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

pub(super) fn form(code: &str, redirect: &str, verifier: &str) -> String {
    format!("grant_type=authorization_code&{CLIENT}&code={code}&redirect_uri={redirect}&code_verifier={verifier}")
}

pub(super) async fn redeem(server: &TestServer, code: &str) -> Answer {
    post(server, TOKEN, &form(code, REDIRECT, VERIFIER)).await
}

#[tokio::test]
async fn who_asked_gets_the_token_and_a_code_that_comes_again_takes_it_back() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let code = person.authorize(REDIRECT, CHALLENGE).await;
    let token = token_of(&redeem(&server, &code).await);
    let api = server.api(&token).await;
    assert_eq!(api.clone().whoami().await.unwrap(), person.actor.principal_id.to_string());
    let known =
        "SELECT description || ' ' || (expires_at - created_at) FROM personal_access_tokens WHERE id = $1::text::uuid";
    assert_eq!(database.text(known, &[&token_id(&token)]).await, "gitpod on laptop 01:00:00");

    // Whoever it is: one of the two is a thief. Also without the proof.
    post(&server, TOKEN, &form(&code, REDIRECT, &VERIFIER.replace('d', "e"))).await.assert_error(
        400,
        "invalid_grant",
        "brought before",
    );
    let refused = api.clone().whoami().await.unwrap_err();
    assert!(refused.message().starts_with("token revoked on "), "from the answer on: {refused}");
    redeem(&server, &code).await.assert_error(400, "invalid_grant", "brought before");
    let revoked = "SELECT count(*) FROM audit_logs WHERE action = 'token_revoke' AND rpc = 'oauth2/token'
                   AND subject_id = $1::text::uuid AND session_id IS NULL";
    assert_eq!(database.number(revoked, &[&token_id(&token)]).await, 1);
}

#[tokio::test]
async fn a_code_without_its_proof_is_used_up() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    for (redirect, verifier) in [
        (REDIRECT, "eBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
        (REDIRECT, CHALLENGE),
        ("http://127.0.0.1:8086/login/callback", VERIFIER),
        ("http://127.0.0.1:8085/login/other", VERIFIER),
        ("http://localhost:8085/login/callback", VERIFIER),
    ] {
        let code = person.authorize(REDIRECT, CHALLENGE).await;
        post(&server, TOKEN, &form(&code, redirect, verifier)).await.assert_error(
            400,
            "invalid_grant",
            "not to this client",
        );
        redeem(&server, &code).await.assert_error(400, "invalid_grant", "");
    }
    // What nobody can take for a try uses nothing up.
    let code = person.authorize(REDIRECT, CHALLENGE).await;
    for (bad, error) in [
        (form(&code, REDIRECT, "short"), "invalid_request"),
        (form(&code, REDIRECT, ""), "invalid_request"),
        (form(&code, "", VERIFIER), "invalid_request"),
        (form("", REDIRECT, VERIFIER), "invalid_request"),
        (form(&code, REDIRECT, VERIFIER).replace("gitpod-cli", "another"), "invalid_client"),
    ] {
        post(&server, TOKEN, &bad).await.assert_error(400, error, "");
    }
    assert_eq!(tokens(&database).await, 0);
    token_of(&redeem(&server, &code).await);
}

#[tokio::test]
async fn a_code_is_good_for_a_minute() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let code = person.authorize(REDIRECT, CHALLENGE).await;
    let life = "SELECT extract(epoch FROM expires_at - created_at)::bigint FROM login_requests";
    assert_eq!(database.number(life, &[]).await, 60);
    let mut superuser = database.superuser().await;
    let transaction = superuser.transaction().await.unwrap();
    let past = "UPDATE login_requests SET created_at = created_at - interval '1 minute', expires_at = expires_at - interval '1 minute'";
    transaction.batch_execute(&format!("SET LOCAL session_replication_role = replica; {past}")).await.unwrap();
    transaction.commit().await.unwrap();
    redeem(&server, &code).await.assert_error(400, "invalid_grant", "too long");
    assert_eq!(tokens(&database).await, 0);
}

#[tokio::test]
async fn codes_of_one_way_are_none_on_the_other() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let begun = begin(&server, "").await;
    person.say(&begun.user_code, true).await.unwrap();
    redeem(&server, &begun.device_code).await.assert_error(400, "invalid_grant", "");
    let code = person.authorize(REDIRECT, CHALLENGE).await;
    let device = super::Begun { device_code: code.clone(), user_code: String::new() };
    device.redeem(&server).await.assert_error(400, "invalid_grant", "");
    // A token is no code either, and a code no token.
    let token = token_of(&redeem(&server, &code).await);
    redeem(&server, &token).await.assert_error(400, "invalid_grant", "no code");
    assert_eq!(server.api(&begun.device_code).await.whoami().await.unwrap_err().code(), tonic::Code::Unauthenticated);
    token_of(&begun.redeem(&server).await);
}

#[tokio::test]
async fn of_two_servers_one_takes_the_code_and_whoever_is_late_takes_the_token_back() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    let second = TestServer::start_beside(&first, &database).await;
    let person = Person::new(&database, &first, "dev@example.com").await;
    let code = person.authorize(REDIRECT, CHALLENGE).await;
    let answers = join_all([&first, &second].map(|server| redeem(server, &code))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{answers:?}");
    assert_eq!(tokens(&database).await, 0, "the code came twice");
}
