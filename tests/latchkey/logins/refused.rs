//! Codes that come to nothing: each is in the log once, in the name of who said yes, and in no session.

use futures::future::join_all;
use latchkey::pb::gitpod::v1::{AuditLogOutcome, ListAuditLogsRequest};

use super::{
    Person, begin, post,
    redirect::{CHALLENGE, REDIRECT, VERIFIER, form, redeem},
    token_of,
};
use crate::{
    oauth::asking::Answer,
    support::{ServerOptions, TestDatabase, TestServer, token_text::token_id},
    web::requests::Session,
};

/// What the log has of codes that were refused, and of tokens that were taken back, by whoever brought the codes.
async fn refused(database: &TestDatabase, person: &Person) -> Vec<String> {
    let query = "
        SELECT concat_ws(' ', action, outcome, nullif(reason, ''), actor_kind, rpc, subject_type, host(peer), user_agent, session_id, token_id, count)
        FROM audit_logs WHERE actor_id = $1::text::uuid AND rpc = 'oauth2/token' AND (outcome = 'denied' OR action = 'token_revoke')
        ORDER BY created_at, action";
    let id = person.actor.principal_id.to_string();
    let rows = database.owner().await.query(query, &[&id]).await.unwrap();
    rows.into_iter().map(|row| row.get(0)).collect()
}

fn entry(reason: &str) -> String {
    format!("login_redeem denied {reason} user oauth2/token login_request 127.0.0.1 gitpod/test 1")
}

#[tokio::test]
async fn a_code_without_its_proof_is_in_the_log_once() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let other_place = "http://127.0.0.1:8086/login/callback";
    for (redirect, verifier) in [(REDIRECT, CHALLENGE), (other_place, VERIFIER)] {
        let before = refused(&database, &person).await;
        let code = person.authorize(REDIRECT, CHALLENGE).await;
        for _ in 0..3 {
            let answer = post(&server, super::TOKEN, &form(&code, redirect, verifier)).await;
            assert_eq!(answer.status, 400, "{answer:?}");
        }
        redeem(&server, &code).await.assert_error(400, "invalid_grant", "");
        assert_eq!(refused(&database, &person).await[before.len()..], [entry("no proof")]);
    }
}

#[tokio::test]
async fn a_yes_that_counts_no_more_is_in_the_log_once() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let suspend = "UPDATE principals SET status = 'suspended' WHERE id = (SELECT principal_id FROM sessions WHERE id = $1::text::uuid)";
    let sign_out = "UPDATE sessions SET revoked_at = now() WHERE id = $1::text::uuid";
    for (email, end, reason) in
        [("suspended@example.com", suspend, "suspended"), ("out@example.com", sign_out, "session ended")]
    {
        let person = Person::new(&database, &server, email).await;
        let begun = begin(&server, "").await;
        person.say(&begun.user_code, true).await.unwrap();
        let code = person.authorize(REDIRECT, CHALLENGE).await;
        assert_eq!(database.owner().await.execute(end, &[&person.session()]).await.unwrap(), 1);
        for _ in 0..3 {
            begun.redeem(&server).await.assert_error(400, "access_denied", "");
        }
        assert_eq!(refused(&database, &person).await, [entry(reason)], "of a device");
        // Without its proof as well: it is used up already.
        for verifier in [VERIFIER, CHALLENGE, VERIFIER] {
            let answer = post(&server, super::TOKEN, &form(&code, REDIRECT, verifier)).await;
            answer.assert_error(400, "invalid_grant", "");
        }
        assert_eq!(refused(&database, &person).await, [entry(reason), entry(reason)], "of a browser");
    }
}

#[tokio::test]
async fn a_code_that_comes_again_is_in_the_log_once_and_so_is_what_that_takes_back() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    let second = TestServer::start_beside(&first, &database).await;
    let person = Person::new(&database, &first, "dev@example.com").await;
    let begun = begin(&first, "").await;
    person.say(&begun.user_code, true).await.unwrap();
    token_of(&begun.redeem(&first).await);
    assert_eq!(refused(&database, &person).await, Vec::<String>::new());
    let again = |answers: Vec<Answer>| {
        for answer in answers {
            answer.assert_error(400, "invalid_grant", "brought before");
        }
    };
    again(join_all((0..6).map(|n| begun.redeem(if n % 2 == 0 { &first } else { &second }))).await);
    assert_eq!(refused(&database, &person).await, [entry("brought again")], "of a device");

    let code = person.authorize(REDIRECT, CHALLENGE).await;
    let token = token_of(&redeem(&first, &code).await);
    again(join_all((0..6).map(|n| redeem(if n % 2 == 0 { &first } else { &second }, &code))).await);
    let revoked = "token_revoke succeeded user oauth2/token personal_access_token 127.0.0.1 gitpod/test 1";
    let expected = [entry("brought again"), entry("brought again"), revoked.to_owned()];
    assert_eq!(refused(&database, &person).await, expected, "of a browser");
    let of = "SELECT count(*) FROM audit_logs WHERE action = 'token_revoke' AND subject_id = $1::text::uuid";
    assert_eq!(database.number(of, &[&token_id(&token)]).await, 1);

    // There is nothing to take back of what its holder has revoked; who brings the code is noticed all the same.
    let code = person.authorize(REDIRECT, CHALLENGE).await;
    let token = token_of(&redeem(&first, &code).await);
    first.admin(&database, &["revoke-token", &token_id(&token)]).await.unwrap();
    again(vec![redeem(&first, &code).await, redeem(&second, &code).await]);
    assert_eq!(refused(&database, &person).await[3..], [entry("brought again")]);
}

#[tokio::test]
async fn who_said_yes_and_admins_find_what_became_of_it() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "admin@example.com").await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let begun = begin(&server, "").await;
    person.say(&begun.user_code, true).await.unwrap();
    let token = token_of(&begun.redeem(&server).await);
    begun.redeem(&server).await.assert_error(400, "invalid_grant", "");
    let mut api = server.api(&token).await;
    let answer = api.events.list_audit_logs(ListAuditLogsRequest::default()).await.unwrap().into_inner();
    let entry = answer.entries.iter().find(|entry| entry.reason == "brought again").expect("an entry of one's own");
    assert_eq!((entry.action.as_str(), entry.outcome()), ("login_redeem", AuditLogOutcome::Denied));
    assert_eq!((&entry.actor_id, entry.session_id.as_str()), (&person.actor.principal_id.to_string(), ""));
    for email in ["admin@example.com", "dev@example.com"] {
        let page = Session::open(&server, &database, email).await.get("/audit-logs").await.body;
        assert!(page.contains("brought again") && page.contains("login_redeem"), "{email}: {page}");
    }
}

/// The connection to PostgreSQL breaks while the token is taken back: it may be revoked.
#[tokio::test]
async fn a_token_that_may_be_taken_back_is_remembered_no_more() {
    let database = TestDatabase::create().await;
    let args = vec!["--revocation-bound=1h".to_owned()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let code = person.authorize(REDIRECT, CHALLENGE).await;
    let token = server.api(&token_of(&redeem(&server, &code).await)).await;
    let other = server.api(&server.token(&database, "dev@example.com", &[]).await).await;
    for api in [&token, &other] {
        api.clone().whoami().await.unwrap();
    }
    // Of what happens now the server does not hear.
    let owner = database.superuser().await;
    let deaf = "ALTER TABLE personal_access_tokens DISABLE TRIGGER personal_access_tokens_tell_update";
    owner.batch_execute(deaf).await.unwrap();
    database.gone_at_commit("UPDATE ON personal_access_tokens").await;
    redeem(&server, &code).await.assert_error(503, "temporarily_unavailable", "did not say whether it was done");
    let revoke = "DROP TRIGGER gone ON personal_access_tokens; UPDATE personal_access_tokens SET revoked_at = now()";
    owner.batch_execute(revoke).await.unwrap();
    other.clone().whoami().await.expect("it is remembered, and the server has heard of nothing");
    let refused = token.clone().whoami().await.unwrap_err();
    assert!(refused.message().starts_with("token revoked on "), "{refused}");
}
