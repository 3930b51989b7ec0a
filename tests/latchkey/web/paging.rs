//! Lists that are longer than a page: a page at a time, each entry once, to the end and back to the beginning.

use std::collections::BTreeSet;

use super::requests::Session;
use crate::support::{TestDatabase, TestServer};

/// How many entries a page has at the most.
const SIZE: usize = 25;
const SESSIONS: &str = "/settings/sessions";
const INVITATIONS: &str = "/admin/invitations";

async fn place() -> (TestDatabase, TestServer, Session) {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "dev@example.com").await;
    let session = Session::open(&server, &database, "dev@example.com").await;
    (database, server, session)
}

/// One page of a list: what is on it, and where the link to the next page leads.
pub(super) struct Page {
    pub(super) entries: Vec<String>,
    pub(super) next: Option<String>,
    is_first: bool,
}

impl Page {
    /// Reads one, on which each entry stands between these texts.
    pub(super) async fn read(session: &Session, path: &str, (before, after): (&str, &str)) -> Self {
        let page = session.get(path).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        let until = |text: &str, end: &str| text.split(end).next().unwrap().to_owned();
        let entries: Vec<String> = page.body.split(before).skip(1).map(|rest| until(rest, after)).collect();
        assert!(entries.len() <= SIZE, "{}", entries.len());
        let next = page.body.split("rel=\"next\" href=\"").nth(1).map(|rest| until(rest, "\"").replace("&#38;", "&"));
        Self { entries, next, is_first: !page.body.contains(">First page</a>") }
    }
}

/// Goes through a whole list from its first page: every entry, each once, in its order.
pub(super) async fn walk(session: &Session, list: &str, between: (&str, &str)) -> Vec<String> {
    let (mut entries, mut next) = (Vec::new(), Some(list.to_owned()));
    while let Some(path) = next {
        let page = Page::read(session, &path, between).await;
        assert_eq!(page.is_first, path == list, "{path}");
        assert!(page.entries.len() == SIZE || page.next.is_none(), "{path} is full, or the last");
        entries.extend(page.entries);
        next = page.next;
    }
    assert_eq!(entries.iter().collect::<BTreeSet<_>>().len(), entries.len(), "each once");
    entries
}

#[tokio::test]
async fn sessions_are_a_page_at_a_time_and_the_last_of_them_can_be_ended() {
    let (database, _server, session) = place().await;
    // All of one moment, so that the IDs alone tell them apart.
    let more = "
        INSERT INTO sessions (id, organization_id, principal_id, key_generation, digest, signed_in_by, created_at, expires_at, idle_expires_at, revoked_at)
        SELECT gen_random_uuid(), organization_id, principal_id, key_generation, digest, signed_in_by, date_trunc('second', created_at) - interval '1 hour',
            expires_at, CASE WHEN n % 10 = 0 THEN now() ELSE idle_expires_at END, CASE WHEN n % 10 = 1 THEN now() END
        FROM sessions, generate_series(1, 150) AS n";
    database.owner().await.execute(more, &[]).await.unwrap();
    let between = ("class=\"id mono\">", "<");
    let all = walk(&session, SESSIONS, between).await;
    assert_eq!(all.len(), 121, "those that are good");
    assert!(session.get(SESSIONS).await.body.contains("This one"), "the newest is on the first page");

    // One that is used meanwhile stays where it is.
    let first = Page::read(&session, SESSIONS, between).await;
    let used = "UPDATE sessions SET last_used_at = now() + interval '1 minute' WHERE id = $1::text::uuid";
    database.owner().await.execute(used, &[&all[SIZE + 3]]).await.unwrap();
    let second = Page::read(&session, &first.next.unwrap(), between).await;
    assert_eq!(second.entries, all[SIZE..2 * SIZE]);

    let last = all.last().unwrap();
    assert_eq!(session.post(&format!("{SESSIONS}/{last}/revoke"), &[]).await.status, 303);
    assert_eq!(walk(&session, SESSIONS, between).await, all[..120]);
    // Behind the end there is a page that says so, and the way back.
    let nonsense = Page::read(&session, &format!("{SESSIONS}?page_token=nonsense"), between).await;
    assert!(nonsense.is_first && nonsense.entries == all[..SIZE]);
    let end = format!("{SESSIONS}?page_token={:048x}", 0);
    let end = session.get(&end).await.body;
    assert!(end.contains("There are no more sessions.") && end.contains(">First page</a>"), "{end}");
}

#[tokio::test]
async fn invitations_are_a_page_at_a_time_and_the_last_of_them_can_be_taken_back() {
    let (database, _server, session) = place().await;
    let more = "
        INSERT INTO invitations (id, organization_id, principal_id, provider, email, created_at, expires_at, withdrawn_at)
        SELECT gen_random_uuid(), organization_id, id, 'acme', 'person-' || n || '@example.com', date_trunc('second', now()) - interval '1 hour',
            CASE WHEN n % 10 = 0 THEN now() ELSE now() + interval '1 day' END, CASE WHEN n % 10 = 1 THEN now() END
        FROM principals, generate_series(1, 150) AS n";
    database.owner().await.execute(more, &[]).await.unwrap();
    let between = ("<th scope=\"row\">", "<");
    let all = walk(&session, INVITATIONS, between).await;
    assert_eq!(all.len(), 120, "those that are open");
    let last = all.last().unwrap();
    let fields = [("email", last.as_str()), ("provider", "acme")];
    assert_eq!(session.post("/admin/invitations/withdraw", &fields).await.status, 303);
    assert_eq!(walk(&session, INVITATIONS, between).await, all[..119]);
    let end = session.get(&format!("{INVITATIONS}?page_token={:048x}", 0)).await.body;
    assert!(end.contains("There are no more invitations.") && end.contains(">First page</a>"), "{end}");
}

#[tokio::test]
async fn a_list_that_is_asked_for_in_part_stays_so_on_its_pages() {
    let (database, _server, session) = place().await;
    let more = "
        INSERT INTO audit_logs (id, organization_id, actor_id, actor_kind, action, rpc, subject_type, subject_id, outcome)
        SELECT gen_random_uuid(), organization_id, id, 'user', 'environment_start', 'gitpod.v1.EnvironmentService/StartEnvironment', 'environment',
            gen_random_uuid(), 'succeeded'
        FROM principals, generate_series(1, 60)";
    database.owner().await.execute(more, &[]).await.unwrap();
    let list = "/audit-logs?subject_type=environment";
    let all = walk(&session, list, ("id=\"entry-", "\"")).await;
    assert_eq!(all.len(), 60);
    let second = Page::read(&session, list, ("id=\"entry-", "\"")).await.next.unwrap();
    let second = session.get(&second).await.body;
    assert!(second.contains(&format!("href=\"{list}\">First page</a>")), "{second}");
}
