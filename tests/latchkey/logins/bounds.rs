//! What strangers, and people who guess, can do: so much, and then they wait.

use latchkey::service::ServiceError;

use super::{BEGIN, Begun, CLIENT, DEVICE, Person, TOKEN, begin, post, token_of};
use crate::{
    oauth::asking::{Answer, FORM, send},
    support::{ServerOptions, TestDatabase, TestServer},
};

fn assert_told_to_wait(answer: &Answer, words: &str) {
    answer.assert_error(429, "slow_down", words);
    let seconds: u64 = answer.all("retry-after")[0].parse().unwrap();
    assert!((1..=60).contains(&seconds), "{answer:?}");
}

#[tokio::test]
async fn of_one_peer_twenty_wait_and_of_all_ten_thousand() {
    let database = TestDatabase::create().await;
    let args = vec!["--trusted-proxy".to_owned(), "127.0.0.1".to_owned()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let from = async |peer: &str| {
        let header = format!("x-forwarded-for: {peer}");
        send(&server, &format!("POST {BEGIN}"), &[FORM, &header], CLIENT).await
    };
    let mut last = None;
    for number in 0..20 {
        let answer = from(&format!("2001:db8::{number}")).await;
        assert_eq!(answer.status, 200, "{number}: {answer:?}");
        last = Some(answer.json()["user_code"].as_str().unwrap().to_owned());
    }
    assert_told_to_wait(&from("2001:db8::ffff").await, "20 logins wait");
    assert_eq!(from("2001:db8:0:1::1").await.status, 200, "another network");
    assert_eq!(from("192.0.2.1").await.status, 200);
    // What has its answer waits no more.
    person.say(&last.unwrap(), false).await.unwrap();
    assert_eq!(from("2001:db8::ffff").await.status, 200);

    let many = "
        INSERT INTO login_requests (id, flow, key_generation, digest, user_code_digest, host_name, lifetime_seconds, network, expires_at, state)
        SELECT gen_random_uuid(), 'device', 1, digest, sha256(n::text::bytea), '', 60, inet '10.0.0.0' + n, expires_at, 'pending'
        FROM (SELECT * FROM login_requests LIMIT 1) AS one, generate_series(1, 10000) AS n";
    database.owner().await.batch_execute(many).await.unwrap();
    assert_told_to_wait(&from("192.0.2.2").await, "10000 logins wait");
}

#[tokio::test]
async fn who_goes_on_bringing_what_is_no_code_waits_and_who_has_one_never_notices() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let begun = begin(&server, "").await;
    let guess = Begun { device_code: "gitpod_cod_guess".to_owned(), user_code: String::new() };
    let mut answers = Vec::new();
    for _ in 0..150 {
        answers.push(guess.redeem(&server).await);
        if answers.last().unwrap().status == 429 {
            break;
        }
    }
    assert!(answers.len() > 100, "a hundred at once");
    assert_told_to_wait(answers.last().unwrap(), "no code");
    person.say(&begun.user_code, true).await.unwrap();
    token_of(&begun.redeem(&server).await);
    // A key of ours made it: nobody has guessed.
    begun.redeem(&server).await.assert_error(400, "invalid_grant", "");
    let code = format!("grant_type=authorization_code&{CLIENT}&code=x&redirect_uri=x&code_verifier={}", "a".repeat(43));
    let mut last = post(&server, TOKEN, &code).await;
    while last.status != 429 {
        last.assert_error(400, "invalid_grant", "no code");
        last = post(&server, TOKEN, &code).await;
    }
    assert_told_to_wait(&last, "no code");
    post(&server, TOKEN, DEVICE).await.assert_error(400, "invalid_request", "device_code");
}

#[tokio::test]
async fn who_types_five_codes_that_no_program_shows_waits_wherever_they_go_on() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let other = Person::new(&database, &server, "other@example.com").await;
    let begun = begin(&server, "").await;
    let wrong = if begun.user_code == "BCDF-GHJK" { "LMNP-QRST" } else { "BCDF-GHJK" };
    // What cannot be a code is a slip, and tells nobody anything.
    for _ in 0..10 {
        assert!(matches!(person.find("ABCD-EFGH").await, Err(ServiceError::Invalid { field: "user_code", .. })));
    }
    // At once: they are counted one after the other.
    let tries = futures::future::join_all((0..8).map(|_| person.find(wrong))).await;
    let invalid = tries.iter().filter(|tried| matches!(tried, Err(ServiceError::Invalid { .. }))).count();
    assert_eq!(invalid, 5);
    for code in [wrong, &begun.user_code] {
        assert!(matches!(person.find(code).await, Err(ServiceError::Exhausted(_))), "{code}");
        assert!(matches!(person.say(code, true).await, Err(ServiceError::Exhausted(_))), "{code}");
    }
    other.find(&begun.user_code).await.expect("somebody else has typed nothing wrong");
    let logged = "SELECT count(*) FROM audit_logs WHERE action = 'login_code_refuse' AND outcome = 'denied'
                  AND actor_id = $1::text::uuid AND session_id = $2::text::uuid AND rpc = 'device' AND host(peer) = '192.0.2.9'";
    let who = person.actor.principal_id.to_string();
    assert_eq!(database.number(logged, &[&who, &person.session()]).await, 5, "and no more");
    let past = "UPDATE audit_logs SET created_at = created_at - interval '11 minutes'";
    database.owner().await.batch_execute(past).await.unwrap();
    person.say(&begun.user_code, true).await.expect("after ten minutes they count no more");
}

#[tokio::test]
async fn what_nothing_can_come_of_any_more_is_cleared_away() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let [redeemed, denied, _waits] = [begin(&server, "").await, begin(&server, "").await, begin(&server, "").await];
    person.say(&redeemed.user_code, true).await.unwrap();
    token_of(&redeemed.redeem(&server).await);
    person.say(&denied.user_code, false).await.unwrap();
    let store =
        latchkey::store::Store::new(latchkey::store::StoreConfig::parse(&database.serving_url()).unwrap()).unwrap();
    let states = "SELECT coalesce(string_agg(state, ' ' ORDER BY state), '') FROM login_requests";
    let after = async |past: &str| {
        let mut superuser = database.superuser().await;
        let transaction = superuser.transaction().await.unwrap();
        let back = format!(
            "UPDATE login_requests SET created_at = created_at - interval '{past}', expires_at = expires_at - interval '{past}'"
        );
        transaction.batch_execute(&format!("SET LOCAL session_replication_role = replica; {back}")).await.unwrap();
        transaction.commit().await.unwrap();
        assert!(store.login_requests_clear().await.unwrap());
        database.text(states, &[]).await
    };
    assert_eq!(after("0 minutes").await, "denied pending redeemed");
    assert_eq!(after("1 hour").await, "redeemed", "so that the code is known when it comes again");
    assert_eq!(after("1 day").await, "");
}
