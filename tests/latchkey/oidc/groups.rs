//! Groups say who is an admin, at each sign-in, and everywhere at once.

use latchkey::pb::gitpod::v1::{ListPersonalAccessTokensRequest, list_personal_access_tokens_request::Filter};
use serde_json::{Value, json};
use tonic::Code;

use super::{World, assert_in, assert_out, person, sessions};
use crate::support::{Api, ServerOptions, TestServer, eventually};

fn ann(groups: Value) -> Value {
    let mut ann = person("ann@acme.example", "Ann");
    ann["groups"] = groups;
    json!({ "ann": ann })
}

/// Whether a token is an admin's: it lists the tokens of somebody else.
async fn is_admin(api: &Api, other: &str) -> bool {
    let filter = Filter { user_ids: vec![other.to_owned()] };
    let request = ListPersonalAccessTokensRequest { filter: Some(filter), ..Default::default() };
    match api.tokens.clone().list_personal_access_tokens(request).await {
        Ok(_) => true,
        Err(refused) => {
            assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
            false
        }
    }
}

#[tokio::test]
async fn the_role_follows_the_groups_for_every_token_and_session_on_every_server() {
    let world = World::real(ann(json!(["dev"])), json!({ "admin_groups": ["ops", "root"] })).await;
    let second = world.beside().await;
    world.invite("ann@acme.example").await;
    world.server.user(&world.database, "other@acme.example").await;
    let other = world.database.text("SELECT id::text FROM principals WHERE email = 'other@acme.example'", &[]).await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
    let token = world.server.token(&world.database, "ann@acme.example", &[]).await;
    let (here, there) = (world.server.api(&token).await, second.api(&token).await);
    assert!(!is_admin(&here, &other).await && !is_admin(&there, &other).await);
    let badge = |words: &str| words.contains("Admin");

    world.acme.tell("accounts", ann(json!(["dev", "ops"]))).await;
    let (_, page) = world.sign_in("ann").await;
    assert_eq!(page.status, 303, "{}", page.words());
    assert!(is_admin(&here, &other).await, "the token that there was");
    assert!(badge(&sessions(&browser, &world.server).await.unwrap().words()), "the session that there was");
    eventually("the other server hears of it", async || is_admin(&there, &other).await.then_some(())).await;

    // The other one has looked it up just now, and forgets it.
    world.acme.tell("accounts", ann(json!(["dev", "ops2"]))).await;
    let (_, page) = world.sign_in("ann").await;
    assert_eq!(page.status, 303, "{}", page.words());
    assert!(!is_admin(&here, &other).await, "the token that there was");
    assert!(!badge(&sessions(&browser, &world.server).await.unwrap().words()), "the session that there was");
    eventually("the other server hears of it", async || (!is_admin(&there, &other).await).then_some(())).await;
    let changes: Vec<String> = world.audit().await.into_iter().filter(|entry| entry.starts_with("user_role")).collect();
    assert_eq!(changes, ["user_role_change succeeded user"; 2]);

    // Whoever has none has none of these.
    world.acme.tell("accounts", ann(json!("root"))).await;
    world.sign_in("ann").await;
    assert!(is_admin(&here, &other).await);
    world.acme.tell("accounts", ann(Value::Null)).await;
    world.sign_in("ann").await;
    assert!(!is_admin(&here, &other).await);

    // Also of whoever is refused for another reason, and may act again one day.
    world.acme.tell("accounts", ann(json!("root"))).await;
    world.sign_in("ann").await;
    let owner = world.database.owner().await;
    owner.batch_execute("UPDATE principals SET status = 'suspended' WHERE email = 'ann@acme.example'").await.unwrap();
    world.acme.tell("accounts", ann(Value::Null)).await;
    let (_, page) = world.sign_in("ann").await;
    assert_eq!(page.status, 403, "{}", page.words());
    let role = world.database.text("SELECT role FROM principals WHERE email = 'ann@acme.example'", &[]).await;
    assert_eq!(role, "member");
    // In no session, since none was opened; each of the others is one that there is, or was.
    let sessions = "SELECT string_agg(coalesce((session_id IN (SELECT id FROM sessions))::text, 'none'), ' ' ORDER BY created_at, id)
                    FROM audit_logs WHERE action = 'user_role_change'";
    assert_eq!(world.database.text(sessions, &[]).await, "true true true true true none");
}

#[tokio::test]
async fn a_provider_without_admin_groups_changes_no_role() {
    let world = World::real(ann(json!(["ops"])), json!({})).await;
    let invite = ["invite", "--email", "ann@acme.example", "--provider", "acme", "--admin"];
    world.server.admin(&world.database, &invite).await.unwrap();
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
    assert!(sessions(&browser, &world.server).await.unwrap().words().contains("Admin"));
    let (browser, _) = world.sign_in("ann").await;
    assert!(sessions(&browser, &world.server).await.unwrap().words().contains("Admin"));
}

#[tokio::test]
async fn groups_that_cannot_be_read_let_nobody_in_and_take_nothing_away() {
    let world = World::crooked(json!({ "admin_groups": ["ops"], "groups_claim": "roles" })).await;
    world.invite("ann@acme.example").await;
    world.acme.wrong(json!({ "claims": { "roles": ["ops"] } })).await;
    let (first, page) = world.sign_in("ann").await;
    assert_in(&page, &first);
    for (wrong, status, words) in [
        (json!({ "claims": { "roles": { "ops": true } } }), 502, "does not prove"),
        (json!({ "claims": { "_claim_names": { "roles": "elsewhere" } } }), 502, "does not prove"),
        (json!({ "userinfo": { "sub": "bob", "roles": ["ops"] } }), 502, "does not prove"),
        (json!({ "behave": { "/userinfo": "huge" } }), 503, "cannot be reached"),
    ] {
        world.acme.wrong(wrong.clone()).await;
        let (browser, page) = world.sign_in("ann").await;
        assert_out(&page, &browser, status, words);
        assert!(sessions(&first, &world.server).await.unwrap().words().contains("Admin"), "{wrong}");
    }
}

/// The connection to PostgreSQL breaks while somebody is let in: their role may be another one.
#[tokio::test]
async fn a_role_that_may_have_changed_is_remembered_no_more() {
    let mut world = World::real(ann(json!(["ops"])), json!({ "admin_groups": ["ops"] })).await;
    let mut options = ServerOptions { signing_keys: Some(world.server.keys()), ..world.configuration.options() };
    options.args.push("--revocation-bound=1h".to_owned());
    world.server = TestServer::start_with(&world.database, options).await;
    world.serve(json!({})).await;
    world.invite("ann@acme.example").await;
    let (browser, page) = world.sign_in("ann").await;
    assert_in(&page, &browser);
    let anns = world.server.api(&world.server.token(&world.database, "ann@acme.example", &[]).await).await;
    let bobs = world.server.api(&world.server.admin_user(&world.database, "bob@acme.example").await).await;
    let (ann, bob) = (anns.clone().whoami().await.unwrap(), bobs.clone().whoami().await.unwrap());
    // Of what happens now the server does not hear.
    let deaf = "ALTER TABLE principals DISABLE TRIGGER principals_tell_update; UPDATE principals SET role = 'member'";
    world.database.owner().await.batch_execute(deaf).await.unwrap();
    assert!(is_admin(&anns, &bob).await && is_admin(&bobs, &ann).await, "it is remembered");
    world.database.gone_at_commit("INSERT ON sessions").await;
    let (browser, page) = world.sign_in("ann").await;
    assert_out(&page, &browser, 500, "It may have been done or not");
    assert!(!is_admin(&anns, &bob).await, "it is looked up");
    assert!(is_admin(&bobs, &ann).await, "nothing else is");
}
