//! By a code that a person types on another machine (RFC 8628).

use futures::future::join_all;
use serde_json::json;

use super::{BEGIN, Begun, CLIENT, DEVICE, Person, TOKEN, begin, post, token_of, tokens};
use crate::{
    oauth::asking::{FORM, send},
    support::{TestDatabase, TestServer, token_text::token_id},
};

#[tokio::test]
async fn a_program_that_somebody_says_yes_to_gets_a_token_of_theirs_once() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let answer = post(&server, BEGIN, &format!("{CLIENT}&host_name=build-7.example&lifetime=7200&scope=x")).await;
    answer.assert_kept_by_nobody();
    let mut said = answer.json();
    let text = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    let begun = Begun { device_code: text(said["device_code"].take()), user_code: text(said["user_code"].take()) };
    let rest = json!({
        "device_code": null, "user_code": null, "verification_uri": format!("{}/device", server.url()),
        "expires_in": 300, "interval": 5,
    });
    assert_eq!(said, rest, "and no address with the code in it");
    begun.redeem(&server).await.assert_error(400, "authorization_pending", "nobody");

    let pending = person.find(&begun.user_code.to_lowercase().replace('-', " ")).await.unwrap();
    assert_eq!(pending.asked.host_name().as_str(), "build-7.example");
    assert_eq!(pending.asked.lifetime().whole_seconds(), 7200);
    assert_eq!(pending.peer.unwrap().to_string(), "127.0.0.1");
    assert_eq!(pending.user_agent.as_deref(), Some("gitpod/test"));
    begun.redeem_later(&server, &database).await.assert_error(400, "authorization_pending", "nobody");
    person.say(&begun.user_code, true).await.unwrap();

    // Soon after the last time: what there is, is told at once.
    let answer = begun.redeem(&server).await;
    let token = token_of(&answer);
    assert_eq!(answer.json()["expires_in"], 7200);
    let mut api = server.api(&token).await;
    assert_eq!(api.whoami().await.unwrap(), person.actor.principal_id.to_string());
    api.create_token("it may write").await;
    begun.redeem(&server).await.assert_error(400, "invalid_grant", "brought before");
    api.whoami().await.expect("the token is good still");

    let known = "SELECT description || ' ' || read_only || ' ' || (creator_id = principal_id) || ' ' || (expires_at - created_at)
                 FROM personal_access_tokens WHERE id = $1::text::uuid";
    assert_eq!(database.text(known, &[&token_id(&token)]).await, "gitpod on build-7.example false true 02:00:00");
    let log = "
        SELECT string_agg(concat_ws(' ', action, outcome, rpc, subject_type, session_id = $1::text::uuid, token_id, host(peer), user_agent), E'\\n'
            ORDER BY created_at, action)
        FROM audit_logs WHERE actor_id = $2::text::uuid AND session_id IS NOT NULL";
    let log = database.text(log, &[&person.session(), &person.actor.principal_id.to_string()]).await;
    assert_eq!(
        log,
        "login_approve succeeded device login_request t 192.0.2.9 a browser\n\
         login_redeem succeeded oauth2/token login_request t 127.0.0.1 gitpod/test\n\
         token_create succeeded oauth2/token personal_access_token t 127.0.0.1 gitpod/test"
    );
    for secret in [&begun.device_code, &begun.user_code, &begun.user_code.replace('-', "")] {
        assert!(!database.dump().await.contains(secret.as_str()) && !server.log().contains(secret.as_str()));
    }
}

#[tokio::test]
async fn a_no_is_told_and_nothing_is_made() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let begun = begin(&server, "host_name=laptop").await;
    person.say(&begun.user_code, false).await.unwrap();
    begun.redeem(&server).await.assert_error(400, "access_denied", "said no");
    begun.redeem(&server).await.assert_error(400, "access_denied", "said no");
    assert!(person.say(&begun.user_code, true).await.is_err(), "what is said is said");
    begun.redeem(&server).await.assert_error(400, "access_denied", "said no");
    assert_eq!(tokens(&database).await, 0);
    let denied = "SELECT count(*) FROM audit_logs WHERE action = 'login_deny' AND session_id = $1::text::uuid";
    assert_eq!(database.number(denied, &[&person.session()]).await, 1);
}

#[tokio::test]
async fn who_asks_too_often_is_told_to_slow_down() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let begun = begin(&server, "").await;
    begun.redeem(&server).await.assert_error(400, "authorization_pending", "");
    let interval = "SELECT poll_seconds::bigint FROM login_requests";
    for slower in [10, 15] {
        begun.redeem(&server).await.assert_error(400, "slow_down", "more seldom");
        assert_eq!(database.number(interval, &[]).await, slower);
    }
    begun.redeem_later(&server, &database).await.assert_error(400, "authorization_pending", "");
    assert_eq!(database.number(interval, &[]).await, 15, "for good");
}

#[tokio::test]
async fn after_five_minutes_nothing_comes_of_it() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let (waits, answered) = (begin(&server, "").await, begin(&server, "").await);
    person.say(&answered.user_code, true).await.unwrap();
    let mut superuser = database.superuser().await;
    let transaction = superuser.transaction().await.unwrap();
    let past = "UPDATE login_requests SET created_at = created_at - interval '5 minutes', expires_at = expires_at - interval '5 minutes'";
    transaction.batch_execute(&format!("SET LOCAL session_replication_role = replica; {past}")).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(person.say(&waits.user_code, true).await.is_err());
    for begun in [&waits, &answered] {
        begun.redeem(&server).await.assert_error(400, "expired_token", "too long");
    }
    assert_eq!(tokens(&database).await, 0);
}

#[tokio::test]
async fn of_many_who_bring_the_code_at_once_on_two_servers_one_gets_the_token() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    let second = TestServer::start_beside(&first, &database).await;
    let person = Person::new(&database, &first, "dev@example.com").await;
    for _ in 0..5 {
        let begun = begin(&first, "").await;
        person.say(&begun.user_code, true).await.unwrap();
        let before = tokens(&database).await;
        let answers = join_all((0..10).map(|n| begun.redeem(if n % 2 == 0 { &first } else { &second }))).await;
        let (got, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        assert_eq!((got.len(), tokens(&database).await - before), (1, 1));
        for answer in refused {
            answer.assert_error(400, "invalid_grant", "brought before");
        }
        second.api(&token_of(&got[0])).await.whoami().await.expect("nobody took it back");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_the_words_that_the_standards_have() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let code = begin(&server, "").await.device_code;
    let device = |rest: &str| format!("{DEVICE}&{rest}");
    for (path, form, error, words) in [
        (BEGIN, String::new(), "invalid_request", "client_id"),
        (BEGIN, "client_id=".to_owned(), "invalid_request", "client_id"),
        (BEGIN, "client_id=another".to_owned(), "invalid_client", "gitpod-cli"),
        (BEGIN, format!("{CLIENT}&{CLIENT}"), "invalid_request", "more than once"),
        (BEGIN, format!("{CLIENT}&client_secret=x"), "invalid_request", "client_secret"),
        (BEGIN, format!("{CLIENT}&lifetime=59"), "invalid_request", "lifetime"),
        (BEGIN, format!("{CLIENT}&lifetime=7776001"), "invalid_request", "lifetime"),
        (BEGIN, format!("{CLIENT}&lifetime=%2B60"), "invalid_request", "lifetime"),
        (BEGIN, format!("{CLIENT}&lifetime=99999999999"), "invalid_request", "lifetime"),
        (BEGIN, format!("{CLIENT}&lifetime=1h"), "invalid_request", "lifetime"),
        (TOKEN, CLIENT.to_owned(), "invalid_request", "grant_type"),
        (TOKEN, format!("{CLIENT}&grant_type=password&username=a&password=b"), "unsupported_grant_type", "device_code"),
        (TOKEN, device(""), "invalid_request", "device_code"),
        (TOKEN, format!("{}&device_code={code}", DEVICE.replace("gitpod-cli", "another")), "invalid_client", ""),
        (
            TOKEN,
            format!("{}&device_code={code}", DEVICE.replace("&client_id=gitpod-cli", "")),
            "invalid_request",
            "client_id",
        ),
        (TOKEN, device("device_code=x"), "invalid_grant", "no code"),
        (TOKEN, device(&format!("device_code={code}0")), "invalid_grant", "no code"),
    ] {
        post(&server, path, &form).await.assert_error(400, error, words);
    }
    for path in [BEGIN, TOKEN] {
        let get = send(&server, &format!("GET {path}"), &[], "").await;
        get.assert_error(405, "invalid_request", "another method");
        let query = send(&server, &format!("POST {path}?{CLIENT}"), &[FORM], "").await;
        query.assert_error(400, "invalid_request", "body alone");
        let json = send(&server, &format!("POST {path}"), &["content-type: application/json"], "{}").await;
        json.assert_error(415, "invalid_request", "form");
    }
    let waiting = "SELECT count(*) FROM login_requests";
    assert_eq!(database.number(waiting, &[]).await, 1, "nothing of this was taken down");
}
