//! Who is let in for the first time, and who is known afterwards.

use serde_json::{Value, json};

use super::{
    Browser, Configuration, Provider, World, assert_in, assert_out, authenticate, begin, person, sessions, sign_in,
};
use crate::{
    support::{ServerOptions, TestDatabase, TestServer},
    web::requests::{Session, words},
};

#[tokio::test]
async fn an_invitation_lets_one_account_in_once_which_is_known_by_its_subject_from_then_on() {
    let accounts =
        json!({ "ann-1": person("ann@acme.example", "Ann Lee"), "ann-2": person("ann@acme.example", "Another Ann") });
    let world = World::real(accounts, json!({})).await;
    let (browser, page) = world.sign_in("ann-1").await;
    assert_out(&page, &browser, 403, "Ask an admin of your organization for an invitation");
    assert_eq!(world.number_of("principals").await, 0);

    let said = world
        .server
        .admin(&world.database, &["invite", "--email", "ANN@acme.example", "--provider", "acme", "--admin"])
        .await;
    assert!(said.unwrap().starts_with("ANN@acme.example may sign in by acme until 20"));
    let (browser, page) = world.sign_in("ann-1").await;
    assert_in(&page, &browser);
    let words = sessions(&browser, &world.server).await.unwrap().words();
    assert!(words.contains("ANN@acme.example Admin") && words.contains("signed in by acme"), "{words}");

    // The same address is not the same account.
    let (other, page) = world.sign_in("ann-2").await;
    assert_out(&page, &other, 403, "for an invitation");
    // And the same account is the same, whatever its address.
    world
        .acme
        .tell("accounts", json!({ "ann-1": { "email": "lee@elsewhere.example", "email_verified": false } }))
        .await;
    let (browser, page) = world.sign_in("ann-1").await;
    assert_in(&page, &browser);
    assert_eq!((world.number_of("principals").await, world.number_of("identities").await), (1, 1));
    let expected =
        ["invitation_redeem succeeded user", "session_create succeeded user", "session_create succeeded user"];
    assert_eq!(world.audit().await, expected);
    let by_operator = "SELECT string_agg(action, ' ' ORDER BY id) FROM audit_logs WHERE rpc = 'latchkey admin invite'";
    assert_eq!(world.database.text(by_operator, &[]).await, "user_create invitation_create");
}

#[tokio::test]
async fn of_many_who_redeem_one_invitation_at_once_one_is_let_in() {
    let mut accounts = json!({});
    let subjects: Vec<String> = (0..6).map(|number| format!("ann-{number}")).collect();
    for subject in &subjects {
        accounts[subject] = person("ann@acme.example", "Ann");
    }
    let world = World::real(accounts, json!({})).await;
    let second = world.beside().await;
    let redirects = world.configuration.redirects(&[&world.server, &second]);
    world.acme.serve(&redirects, json!({})).await;
    world.invite("ann@acme.example").await;
    let mut ways = Vec::new();
    for (number, subject) in subjects.iter().enumerate() {
        let (browser, server) = (Browser::new(), if number % 2 == 0 { &world.server } else { &second });
        let url = begin(&browser, server, "acme", "/settings/sessions").await.unwrap();
        let back = authenticate(&browser, &url, subject).await;
        ways.push((browser, back));
    }
    let pages = futures::future::join_all(ways.iter().map(|(browser, back)| browser.open(back.as_str()))).await;
    let statuses: Vec<u16> = pages.iter().map(|page| page.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 303).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 403).count(), 5, "{statuses:?}");
    assert_eq!((world.number_of("identities").await, world.number_of("sessions").await), (1, 1));
}

#[tokio::test]
async fn an_account_that_comes_many_times_at_once_is_one_user() {
    let world = World::real(
        json!({ "ann": person("ann@acme.example", "Ann") }),
        json!({ "allowed_domains": ["acme.example"] }),
    )
    .await;
    let mut ways = Vec::new();
    for _ in 0..4 {
        let browser = Browser::new();
        let url = begin(&browser, &world.server, "acme", "/settings/sessions").await.unwrap();
        let back = authenticate(&browser, &url, "ann").await;
        ways.push((browser, back));
    }
    let pages = futures::future::join_all(ways.iter().map(|(browser, back)| browser.open(back.as_str()))).await;
    for ((browser, _), page) in ways.iter().zip(&pages) {
        assert_in(page, browser);
    }
    assert_eq!((world.number_of("principals").await, world.number_of("sessions").await), (1, 4));
}

#[tokio::test]
async fn an_address_that_is_not_verified_lets_nobody_in() {
    let unverified = json!({ "email": "ann@acme.example", "email_verified": false, "name": "Ann" });
    let unsaid = json!({ "email": "ann@acme.example", "name": "Ann" });
    let accounts = json!({ "unverified": unverified, "unsaid": unsaid, "without": { "name": "Ann" } });
    let world = World::real(accounts, json!({ "allowed_domains": ["acme.example"] })).await;
    world.invite("ann@acme.example").await;
    for subject in ["unverified", "unsaid", "without"] {
        let (browser, page) = world.sign_in(subject).await;
        assert_out(&page, &browser, 403, "does not say that its e-mail address is verified");
    }
    assert_eq!((world.number_of("identities").await, world.number_of("sessions").await), (0, 0));
}

#[tokio::test]
async fn an_invitation_ends_after_a_week_or_when_it_is_withdrawn() {
    let world = World::real(json!({ "ann": person("ann@acme.example", "Ann") }), json!({})).await;
    world.invite("ann@acme.example").await;
    let mut superuser = world.database.superuser().await;
    let transaction = superuser.transaction().await.unwrap();
    // Without the trigger that keeps invitations from being changed.
    transaction.batch_execute("SET LOCAL session_replication_role = replica").await.unwrap();
    let older = "UPDATE invitations SET created_at = created_at - interval '7 days', expires_at = expires_at - interval '7 days'";
    assert_eq!(transaction.execute(older, &[]).await.unwrap(), 1);
    transaction.commit().await.unwrap();
    let (browser, page) = world.sign_in("ann").await;
    assert_out(&page, &browser, 403, "for an invitation");

    world.invite("ann@acme.example").await;
    // One more takes its place.
    world.invite("ann@acme.example").await;
    let withdraw = ["withdraw-invitation", "--email", "Ann@Acme.example", "--provider", "acme"];
    world.server.admin(&world.database, &withdraw).await.unwrap();
    let again = world.server.admin(&world.database, &withdraw).await.unwrap_err();
    assert!(again.contains("there is no open invitation of Ann@Acme.example at acme"), "{again}");
    let (browser, page) = world.sign_in("ann").await;
    assert_out(&page, &browser, 403, "for an invitation");
    let withdrawn = "SELECT count(*) FROM audit_logs WHERE action = 'invitation_withdraw'";
    assert_eq!(world.database.number(withdrawn, &[]).await, 3);

    world.invite("ann@acme.example").await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
    for (email, provider, mistake) in [
        ("ann", "acme", "is not an e-mail address"),
        ("\u{e4}nn@acme.example", "acme", "is not an e-mail address"),
        ("ann@acme.example", "Acme", "lowercase"),
    ] {
        let said = world.server.admin(&world.database, &["invite", "--email", email, "--provider", provider]).await;
        let said = said.unwrap_err();
        assert!(said.contains(mistake), "{said}");
    }
}

#[tokio::test]
async fn people_of_an_allowed_domain_are_new_users_unless_somebody_has_their_address() {
    let accounts = json!({
        "ann": person("ann@ACME.example", " Ann\n\u{202E}<b>Lee</b> "),
        "bob": person("bob@acme.example", "Bob"),
        "eve": person("eve@acme.example.evil.example", "Eve"),
        "mallory": person("mallory@evil.example", "Mallory"),
    });
    let world = World::real(accounts, json!({ "allowed_domains": ["acme.example", "other.example"] })).await;
    world.server.user(&world.database, "Bob@acme.example").await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
    let row = "SELECT name || '|' || email || '|' || role FROM principals WHERE name LIKE 'Ann%'";
    assert_eq!(world.database.text(row, &[]).await, "Ann <b>Lee</b>|ann@ACME.example|member");
    let page = sessions(&browser, &world.server).await.unwrap();
    assert!(!page.text.contains("<b>Lee") && page.text.contains("&#60;b&#62;Lee"), "{}", page.text);
    assert_eq!(world.audit().await, ["user_create succeeded user", "session_create succeeded user"]);

    let (browser, page) = world.sign_in("bob").await;
    assert_out(&page, &browser, 403, "ask an admin of your organization for an invitation");
    for subject in ["eve", "mallory"] {
        let (browser, page) = world.sign_in(subject).await;
        assert_out(&page, &browser, 403, "Your account there is not known here");
    }
    assert_eq!((world.number_of("principals").await, world.number_of("identities").await), (2, 1));
    // By an invitation he is the user that he was.
    world.invite("bob@acme.example").await;
    let (browser, page) = world.sign_in("bob").await;
    assert_in(&page, &browser);
    assert_eq!((world.number_of("principals").await, world.number_of("identities").await), (2, 2));
}

#[tokio::test]
async fn two_providers_with_one_address_are_two_accounts() {
    let acme = Provider::real(json!({ "7": person("ann@acme.example", "Ann") })).await;
    let other = Provider::real(json!({ "7": person("ann@acme.example", "Ann") })).await;
    let configuration = Configuration::of(&[("acme", &acme, json!({})), ("other", &other, json!({}))]);
    let database = TestDatabase::create().await;
    let server = TestServer::start_with(&database, configuration.options()).await;
    for provider in [&acme, &other] {
        provider.serve(&configuration.redirects(&[&server]), json!({})).await;
    }
    server.admin(&database, &["invite", "--email", "ann@acme.example", "--provider", "acme"]).await.unwrap();
    let stranger = Browser::new();
    let page = sign_in(&stranger, &server, "other", "7").await;
    assert_out(&page, &stranger, 403, "for an invitation");
    let browser = Browser::new();
    let page = sign_in(&browser, &server, "acme", "7").await;
    assert_in(&page, &browser);
    // The same subject and the same address, and still somebody else.
    let page = sign_in(&stranger, &server, "other", "7").await;
    assert_out(&page, &stranger, 403, "for an invitation");
    // Until an admin says that it is not.
    server.admin(&database, &["invite", "--email", "ann@acme.example", "--provider", "other"]).await.unwrap();
    let page = sign_in(&stranger, &server, "other", "7").await;
    assert_in(&page, &stranger);
    let users = "SELECT count(DISTINCT principal_id) FROM identities";
    assert_eq!(database.number(users, &[]).await, 1);
}

#[tokio::test]
async fn an_admin_invites_by_the_page_for_one_provider_and_takes_that_back() {
    let (acme, other) = (Provider::crooked().await, Provider::crooked().await);
    let configuration = Configuration::of(&[("acme", &acme, json!({})), ("other", &other, json!({}))]);
    let database = TestDatabase::create().await;
    // By a link, which there is without providers alone.
    let first = TestServer::start(&database).await;
    first.admin_user(&database, "ada@acme.example").await;
    let cookie = Session::open(&first, &database, "ada@acme.example").await.cookie;
    let options = ServerOptions { signing_keys: Some(first.keys()), ..configuration.options() };
    let server = TestServer::start_with(&database, options).await;
    let session = Session::with(server.address(), cookie).await;
    let invited = [("email", "ann@acme.example"), ("provider", "other")];
    let answer = session.post("/admin/invitations", &invited).await;
    assert_eq!((answer.status, answer.header("location").as_str()), (303, "/admin/invitations?notice=invited"));
    let shown = words(&session.get("/admin/invitations").await.body);
    assert!(shown.contains("ann@acme.example other"), "{shown}");

    // Taken back, it lets nobody in; and there is nothing to take back twice.
    assert_eq!(session.post("/admin/invitations/withdraw", &invited).await.status, 303);
    let ann = Browser::new();
    assert_out(&sign_in(&ann, &server, "other", "ann").await, &ann, 403, "for an invitation");
    assert_eq!(session.post("/admin/invitations/withdraw", &invited).await.status, 404);

    assert_eq!(session.post("/admin/invitations", &invited).await.status, 303);
    assert_out(&sign_in(&ann, &server, "acme", "ann").await, &ann, 403, "for an invitation");
    assert_in(&sign_in(&ann, &server, "other", "ann").await, &ann);
    let said = "SELECT string_agg(concat_ws(' ', action, rpc), E'\\n' ORDER BY created_at, id) FROM audit_logs
                WHERE action LIKE 'invitation\\_%'";
    let done = "invitation_create admin/invitations\ninvitation_withdraw admin/invitations/withdraw\n\
                invitation_create admin/invitations\ninvitation_redeem sign-in/{}/callback";
    assert_eq!(database.text(said, &[]).await, done);
}

#[tokio::test]
async fn who_is_suspended_is_refused_and_that_is_logged() {
    let world =
        World::real(json!({ "ann": person("ann@acme.example", "Ann") }), json!({ "admin_groups": ["ops"] })).await;
    world.invite("ann@acme.example").await;
    let (first, page) = world.sign_in("ann").await;
    assert_in(&page, &first);
    world.database.suspend("ann@acme.example", true).await;
    let (browser, page) = world.sign_in("ann").await;
    assert_out(&page, &browser, 403, "Your account here is suspended");
    assert_eq!(world.audit().await.last().map(String::as_str), Some("sign_in denied user suspended"));
    assert_eq!(world.number_of("sessions").await, 1);
    world.database.suspend("ann@acme.example", false).await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);

    // Nor does an invitation let anybody in that is for somebody who is, and it stays what it was.
    let world = World::real(json!({ "bob": person("bob@acme.example", "Bob") }), json!({})).await;
    world.invite("bob@acme.example").await;
    world.database.suspend("bob@acme.example", true).await;
    let (browser, page) = world.sign_in("bob").await;
    assert_out(&page, &browser, 403, "Your account here is suspended");
    assert_eq!(world.audit().await, ["sign_in denied user suspended"]);
    world.database.suspend("bob@acme.example", false).await;
    let (browser, page) = world.sign_in("bob").await;
    assert_in(&page, &browser);
}

#[tokio::test]
async fn claims_are_taken_from_the_id_token_as_well() {
    let world = World::real(json!({ "ann": person("ann@acme.example", "Ann") }), json!({})).await;
    world.serve(json!({ "claimsInToken": true })).await;
    world.invite("ann@acme.example").await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);

    // An address of the one is not verified by the other.
    let world = World::crooked(json!({ "allowed_domains": ["acme.example"] })).await;
    world
        .acme
        .wrong(json!({
            "claims": { "email_verified": Value::Null },
            "userinfo": { "email": "mallory@evil.example", "email_verified": true },
        }))
        .await;
    let (browser, page) = world.sign_in("ann").await;
    assert_out(&page, &browser, 403, "Your account there is not known here");
}
