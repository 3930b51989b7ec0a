//! Codes to which something is said once more, or too late: nobody has guessed them.

use futures::future::join_all;
use latchkey::service::ServiceError;

use super::{Begun, Person, begin, token_of, tokens};
use crate::{
    support::{TestDatabase, TestServer},
    web::requests::Session,
};

/// How often the log has an action.
async fn logged(database: &TestDatabase, action: &str) -> i64 {
    database.number("SELECT count(*) FROM audit_logs WHERE action = $1", &[&action]).await
}

#[tokio::test]
async fn the_same_word_once_more_is_answered_as_the_first_time_and_does_nothing() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let rows = "SELECT string_agg(concat_ws(' ', state, decided_at, approver_id, session_id, token_id), ',' ORDER BY id) FROM login_requests";
    for (approves, action) in [(true, "login_approve"), (false, "login_deny")] {
        let begun = begin(&server, "").await;
        // A double click.
        let first = person.find(&begun.user_code).await.unwrap();
        for said in join_all((0..3).map(|_| person.say(&begun.user_code, approves))).await {
            assert_eq!(said.as_ref(), Ok(&first), "{approves}");
        }
        if approves {
            assert_eq!(person.say(&begun.user_code, true).await.as_ref(), Ok(&first));
            token_of(&begun.redeem(&server).await);
        }
        // A form that is sent once more when the program has its answer.
        let before = database.text(rows, &[]).await;
        for _ in 0..6 {
            assert_eq!(person.say(&begun.user_code, approves).await.as_ref(), Ok(&first), "{approves}");
        }
        assert_eq!(database.text(rows, &[]).await, before, "what was said stays as it was");
        assert_eq!(logged(&database, action).await, 1);
    }
    assert_eq!((tokens(&database).await, logged(&database, "login_code_refuse").await), (1, 0));
}

#[tokio::test]
async fn a_code_that_is_over_is_told_so_and_is_no_wrong_one() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let other = Person::new(&database, &server, "other@example.com").await;
    let [expired, accepted, refused, of_other] =
        [begin(&server, "").await, begin(&server, "").await, begin(&server, "").await, begin(&server, "").await];
    person.say(&accepted.user_code, true).await.unwrap();
    person.say(&refused.user_code, false).await.unwrap();
    other.say(&of_other.user_code, true).await.unwrap();
    let mut superuser = database.superuser().await;
    let transaction = superuser.transaction().await.unwrap();
    let past = "SET LOCAL session_replication_role = replica;
                UPDATE login_requests SET created_at = created_at - interval '5 minutes', expires_at = expires_at - interval '5 minutes'
                WHERE state = 'pending'";
    transaction.batch_execute(past).await.unwrap();
    transaction.commit().await.unwrap();

    // Whose it was, and what was said, is told nobody.
    let over = ServiceError::invalid(
        "user_code",
        "is over: it has its answer, or there was none for five minutes; run `gitpod login` again if it still waits",
    );
    let said = async |begun: &Begun, approves| person.say(&begun.user_code, approves).await.unwrap_err();
    for (begun, word) in [
        (&expired, true),
        (&expired, false),
        (&accepted, false),
        (&refused, true),
        (&of_other, true),
        (&of_other, false),
    ] {
        assert_eq!(said(begun, word).await, over, "{word}");
    }
    for begun in [&expired, &accepted, &refused, &of_other] {
        assert_eq!(person.find(&begun.user_code).await, Err(over.clone()));
    }
    assert_eq!(logged(&database, "login_code_refuse").await, 0);
    let waits = begin(&server, "").await;
    person.say(&waits.user_code, true).await.expect("nothing wrong was typed");
    token_of(&of_other.redeem(&server).await);
    refused.redeem(&server).await.assert_error(400, "access_denied", "said no");
}

#[tokio::test]
async fn a_form_that_is_sent_twice_leads_to_the_same_page() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    server.admin(&database, &["create-user", "--email", "dev@example.com"]).await.unwrap();
    let session = Session::open(&server, &database, "dev@example.com").await;
    for (word, leads) in [("approve", "/device?notice=yes"), ("deny", "/device?notice=no")] {
        let begun = begin(&server, "").await;
        let send = async || session.post("/device/answer", &[("user_code", &begun.user_code), ("answer", word)]).await;
        let (one, other) = tokio::join!(send(), send());
        for answer in [one, other, send().await] {
            assert_eq!((answer.status, answer.header("location").as_str()), (303, leads), "{answer:?}");
        }
        let page = session.post("/device", &[("user_code", &begun.user_code)]).await;
        assert!(page.status == 400 && page.body.contains("That is over"), "{page:?}");
    }
    assert_eq!(logged(&database, "login_code_refuse").await, 0);
}
