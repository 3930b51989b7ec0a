//! Forms that are sent twice, or hold what cannot be.

use latchkey::domain::ids::RequestId;

use super::{
    requests::{Session, send, token_on},
    signed_in,
};
use crate::{
    oidc,
    support::{ServerOptions, TestDatabase, TestServer},
};

const LIST: &str = "/settings/personal-access-tokens";

#[tokio::test]
async fn a_form_makes_one_token_however_often_it_is_sent() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.user(&database, "dev@example.com").await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let key = RequestId::generate().to_string();
    let fields = [("description", "once"), ("days", "30"), ("access", "read-only"), ("idempotency_key", key.as_str())];
    let answers = futures::future::join_all((0..4).map(|_| session.post(LIST, &fields))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409]);
    let refused = answers.iter().find(|answer| answer.status == 409).unwrap();
    assert!(refused.body.contains("made its token already") && !refused.body.contains("gitpod_pat_"));
    // Whoever has not seen the answer that showed it can find it, and revoke it.
    let made = database.owner().await;
    let made = made.query_one("SELECT id::text FROM personal_access_tokens WHERE description = 'once'", &[]).await;
    let id: String = made.unwrap().get(0);
    let revoke = format!("href=\"/settings/personal-access-tokens/{id}/revoke\"");
    assert!(refused.body.contains(&revoke), "{}", refused.body);
    assert_eq!(
        database
            .number("SELECT count(*) FROM personal_access_tokens WHERE description = 'once' AND read_only", &[])
            .await,
        1
    );
    // What makes no sense is said beside the field, with what was written still there.
    for (name, value, told) in [
        ("description", " ", "The description must not be empty."),
        ("days", "31", "Choose how long the token is good for."),
    ] {
        let mut fields = fields;
        fields.iter_mut().find(|(field, _)| *field == name).unwrap().1 = value;
        let answer = session.post(LIST, &fields).await;
        assert!(answer.status == 400 && answer.body.contains(told), "{answer:?}");
        assert!(answer.body.contains(&key) && answer.body.contains("value=\"read-only\" checked"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_second_click_sends_nothing_and_no_form_forgets_what_was_in_it() {
    let database = TestDatabase::create().await;
    let args = vec!["--tokens-per-user".to_owned(), "2".to_owned()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    server.admin_user(&database, "ada@example.com").await;
    let mut browser = signed_in(&server, &database, "ada@example.com").await;
    browser.follow("New Token").await;
    browser.fill("Description", "Clicked twice").await;
    // What a form is sent by, without its being sent: the first one passes, the second one does not.
    let sent = "(() => {
        const form = document.querySelector('main form');
        const send = () => form.dispatchEvent(new SubmitEvent('submit', { bubbles: true, cancelable: true }));
        const sent = [send(), send()];
        delete form.dataset.sent;
        return sent;
    })()";
    assert_eq!(browser.evaluate(sent).await, serde_json::json!([true, false]));
    browser.press("Create").await;
    browser.shows("Copy the new token").await;

    let session = Session::open(&server, &database, "ada@example.com").await;
    let key = RequestId::generate().to_string();
    let fields =
        [("description", "one too many"), ("days", "60"), ("access", "read-only"), ("idempotency_key", key.as_str())];
    let answer = session.post(LIST, &fields).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    for kept in
        ["value=\"one too many\"", "value=\"60\" checked", "value=\"read-only\" checked", "There are 2 tokens already"]
    {
        assert!(answer.body.contains(kept), "{kept}: {}", answer.body);
    }
    let answer = session.post("/admin/service-accounts", &[("name", " "), ("asks", "true")]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("name=\"asks\" value=\"true\" checked"), "{}", answer.body);
}

#[tokio::test]
async fn who_is_invited_by_which_provider_stays_in_the_form() {
    let database = TestDatabase::create().await;
    let (options, _known) = oidc::known(&[("acme", "Acme"), ("harbour", "Harbour Works")]).await;
    let first = TestServer::without_memory(&database).await;
    first.admin_user(&database, "ada@example.com").await;
    let server = TestServer::start_with(&database, ServerOptions { signing_keys: Some(first.keys()), ..options }).await;
    let session =
        Session::with(server.address(), Session::open(&first, &database, "ada@example.com").await.cookie).await;
    let answer = session.post("/admin/invitations", &[("email", "nobody"), ("provider", "harbour")]).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    for kept in ["value=\"nobody\"", "<option value=\"harbour\" selected>"] {
        assert!(answer.body.contains(kept), "{kept}: {}", answer.body);
    }
    // What an address says of a user is told as far as it is so.
    let id = database.text("SELECT id::text FROM principals WHERE email = 'ada@example.com'", &[]).await;
    let page = session.get(&format!("/admin/users/{id}?notice=suspended")).await.body;
    assert!(page.contains("ada@example.com") && !page.contains("nothing is done in their name"), "{page}");
}

#[tokio::test]
async fn what_was_done_is_told_by_our_own_forms_alone() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "ada@example.com").await;
    let session = Session::open(&server, &database, "ada@example.com").await;
    let cookies = session.cookies();
    for (path, told) in [
        ("/settings/personal-access-tokens?notice=revoked", "The token is revoked."),
        ("/settings/sessions?notice=ended", "The session has ended."),
        ("/environments?notice=deleted", "is being deleted"),
        ("/admin/invitations?notice=withdrawn", "The invitation is taken back."),
        ("/device?notice=yes", "The program is signed in."),
    ] {
        for (from, is_told) in [("same-origin", true), ("same-site", false), ("cross-site", false), ("none", false)] {
            let headers = [
                ("host", server.address()),
                ("cookie", cookies.as_str()),
                ("sec-fetch-site", from),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ];
            let page = send(server.address(), "GET", path, &headers, "").await;
            assert_eq!((page.status, page.body.contains(told)), (200, is_told), "{path} from {from}: {}", page.body);
        }
    }
}

#[tokio::test]
async fn a_token_that_an_admin_makes_for_a_service_account_is_the_accounts() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "ada@example.com").await;
    let session = Session::open(&server, &database, "ada@example.com").await;
    let made = session.post("/admin/service-accounts", &[("name", "gateway")]).await;
    let page = made.header("location");
    let account = page.strip_prefix("/admin/service-accounts/").unwrap_or_else(|| panic!("{made:?}"));
    let key = RequestId::generate().to_string();
    let fields = [
        ("description", "In front of the shop"),
        ("days", "90"),
        ("access", "read-only"),
        ("idempotency_key", key.as_str()),
    ];
    let shown = session.post(&format!("{page}/tokens"), &fields).await;
    assert_eq!(shown.status, 200, "{shown:?}");
    let mut api = server.api(&token_on(&shown.body)).await;
    assert_eq!(api.whoami().await.unwrap(), account);
    let stored = "SELECT concat_ws(' ', description, read_only, expires_at - created_at, creator_id <> principal_id)
                  FROM personal_access_tokens WHERE principal_id = $1::text::uuid";
    assert_eq!(database.text(stored, &[&account]).await, "In front of the shop t 90 days t");
    assert!(session.get(&page).await.body.contains("In front of the shop"));
    let own = session.get("/settings/personal-access-tokens").await.body;
    assert!(!own.contains("In front of the shop"), "{own}");
}

#[tokio::test]
async fn a_form_that_has_made_the_last_token_that_there_may_be_is_known_again() {
    let database = TestDatabase::create().await;
    let args = vec!["--tokens-per-user=2".to_owned()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    server.user(&database, "dev@example.com").await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    let send = async |key: &str| {
        let fields = [("description", "the last"), ("days", "30"), ("access", "read-only"), ("idempotency_key", key)];
        session.post(LIST, &fields).await
    };
    let (key, other) = (RequestId::generate().to_string(), RequestId::generate().to_string());
    assert_eq!(send(&key).await.status, 200);
    let again = send(&key).await;
    assert!(again.status == 409 && again.body.contains("Made already"), "{again:?}");
    assert_eq!(send(&other).await.status, 429, "another one");
    // One that has made nothing makes it once there is room.
    let owner = database.owner().await;
    owner
        .batch_execute("UPDATE personal_access_tokens SET revoked_at = now() WHERE description = 'test'")
        .await
        .unwrap();
    assert_eq!(send(&other).await.status, 200);
}
