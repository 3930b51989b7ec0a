//! When it cannot be asked whose a token is, nothing passes.

use tonic::Code;

use super::{
    client::{bearer, send, send_all},
    house::House,
};
use crate::support::{ServerOptions, TestDatabase, TestServer, details, eventually, keys::token_id};

#[tokio::test]
async fn while_latchkey_is_away_nothing_passes_and_afterwards_all_goes_on() {
    let mut house = House::start().await;
    let token = house.latchkey.user(&house.database, "dev@example.com").await;
    let (envoy, authorization) = (house.envoy.address(), bearer(&token));
    let grpc = house.envoy.grpc().await;
    assert_eq!(send(envoy, "GET", "/page", &[&authorization]).await.status, 200);
    house.web.take();
    let (keys, address) = (house.latchkey.keys(), house.latchkey.address().to_owned());
    house.latchkey.kill_server().await;
    for headers in [&[authorization.as_str()][..], &[]] {
        let answer = send(envoy, "GET", "/page", headers).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    }
    let refused = grpc.call_with_token("/shop.v1.Orders/GetOrder", &token).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    house.assert_nothing_reached();
    assert_eq!(send(envoy, "GET", "/public/page", &[]).await.status, 200, "where it is not asked all goes on");
    house.web.take();

    let options = ServerOptions { signing_keys: Some(keys), listen: Some(address), ..ServerOptions::default() };
    let _latchkey = TestServer::start_with(&house.database, options).await;
    eventually("it is asked again", async || {
        (send(envoy, "GET", "/page", &[&authorization]).await.status == 200).then_some(())
    })
    .await;
    grpc.call_with_token("/shop.v1.Orders/GetOrder", &token).await.unwrap();
}

#[tokio::test]
async fn while_postgresql_is_away_latchkey_says_so_of_what_it_does_not_remember() {
    let database = TestDatabase::create_private().await;
    let latchkey = TestServer::start(&database).await;
    let token = latchkey.user(&database, "dev@example.com").await;
    let other = latchkey.token(&database, "dev@example.com", &[]).await;
    let house = House::with(database, latchkey).await;
    let (envoy, grpc) = (house.envoy.address(), house.envoy.grpc().await);
    assert_eq!(send(envoy, "GET", "/page", &[&bearer(&token)]).await.status, 200);
    house.web.take();
    house.database.cluster().stop().await;
    // Envoy's own token is remembered for the bound: so long, Latchkey answers; then it is Envoy who cannot ask.
    let answer = send(envoy, "GET", "/page", &[&bearer(&other)]).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(answer.body.contains("tokens cannot be verified right now"), "{answer:?}");
    eventually("nothing is remembered any more", async || {
        (send(envoy, "GET", "/page", &[&bearer(&token)]).await.status == 503).then_some(())
    })
    .await;
    let refused = grpc.call_with_token("/shop.v1.Orders/GetOrder", &token).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "never that the token is wrong: {refused}");
    assert!(details(&refused).error_info().is_none_or(|info| info.reason == "UNAVAILABLE"));
    house.web.take();
    house.assert_nothing_reached();
    house.database.cluster().start_again().await;
    eventually("all goes on", async || {
        (send(envoy, "GET", "/page", &[&bearer(&other)]).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_a_token_that_may_not_ask_nothing_passes_until_it_is_replaced() {
    let house = House::start().await;
    let (database, latchkey) = (&house.database, &house.latchkey);
    let token = latchkey.user(database, "dev@example.com").await;
    let admin = latchkey.admin_user(database, "admin@example.com").await;
    let revoked = super::house::asking_token(latchkey, database).await;
    latchkey.admin(database, &["revoke-token", &token_id(&revoked)]).await.unwrap();
    latchkey.api(&revoked).await.becomes_refused().await;
    let (envoy, grpc) = (house.envoy.address(), house.envoy.grpc().await);
    let asks = async || send(envoy, "GET", "/page", &[&bearer(&token)]).await.status;
    assert_eq!(asks().await, 200);
    // Nonsense; nothing; of a user, and an admin, who may not ask; revoked.
    for bad in ["nonsense", "", &token, &admin, &revoked] {
        house.envoy.replace_token(bad);
        eventually("Envoy has read it", async || (asks().await == 503).then_some(())).await;
        house.web.take();
        assert_eq!(asks().await, 503);
        let refused = grpc.call_with_token("/shop.v1.Orders/GetOrder", &token).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        let of_asker = send(envoy, "GET", "/page", &[&bearer(&house.asking)]).await;
        assert_eq!(of_asker.status, 503, "{of_asker:?}");
        house.assert_nothing_reached();
        // Read at once, without a restart.
        house.envoy.replace_token(&house.asking);
        eventually("Envoy has read it", async || (asks().await == 200).then_some(())).await;
    }
    assert!(!house.envoy.log().contains(&house.asking), "{}", house.envoy.log());
}

/// More of them than Envoy asks about at once by default.
#[tokio::test]
async fn lookups_that_wait_keep_nobody_out_who_is_remembered() {
    let house = House::start().await;
    let remembered = house.latchkey.user(&house.database, "dev@example.com").await;
    let waiting = house.latchkey.token(&house.database, "dev@example.com", &["--read-only"]).await;
    let envoy = house.envoy.address();
    let blocking = house.database.superuser().await;
    eventually("it is remembered", async || {
        assert_eq!(send(envoy, "GET", "/page", &[&bearer(&remembered)]).await.status, 200);
        blocking.batch_execute("BEGIN; LOCK TABLE personal_access_tokens IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let answer = send(envoy, "GET", "/page", &[&bearer(&remembered)]).await;
        if answer.status != 200 {
            blocking.batch_execute("ROLLBACK").await.unwrap();
        }
        (answer.status == 200).then_some(())
    })
    .await;
    // Envoy takes what comes on a connection in its order: once the last of it is answered, the others wait.
    let mut answered = Vec::new();
    for _ in 0..15 {
        let requests = [vec![("POST", waiting.as_str()); 100], vec![("GET", remembered.as_str())]].concat();
        let mut answers = send_all(envoy, "/page", &requests).await;
        let (status, body) = answers.pop().unwrap().await;
        assert_eq!(status, 200, "{body}");
        answered.extend(answers);
    }
    blocking.batch_execute("ROLLBACK").await.unwrap();
    for answer in answered {
        let (status, body) = answer.await;
        // It may be, on a slow machine, that Latchkey has given up waiting; never that Envoy did not ask.
        assert!(status == 403 || body.contains("tokens cannot be verified right now"), "{status}: {body}");
    }
}
