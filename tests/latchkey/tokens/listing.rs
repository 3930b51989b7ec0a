//! Lists: their order, their pages, what they show.

use latchkey::pb::gitpod::v1::{ListPersonalAccessTokensRequest, ListPersonalAccessTokensResponse, PaginationRequest};
use tonic::Status;

use super::{assert_invalid, delete, get, list};
use crate::support::{Api, ServerOptions, TestDatabase, TestServer, eventually, token_text::token_id};

async fn page(api: &mut Api, page_size: i32, token: &str) -> Result<ListPersonalAccessTokensResponse, Status> {
    let pagination = Some(PaginationRequest { page_size, token: token.to_owned() });
    let request = ListPersonalAccessTokensRequest { pagination, ..Default::default() };
    api.tokens.list_personal_access_tokens(request).await.map(tonic::Response::into_inner)
}

/// The IDs of every page, one after the other; each but the last is full, the last not empty.
async fn all_pages(api: &mut Api, page_size: i32) -> Vec<String> {
    let (mut ids, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(api, page_size, &token).await.unwrap();
        let on_page = page.personal_access_tokens.len();
        ids.extend(page.personal_access_tokens.into_iter().map(|token| token.id));
        token = page.pagination.unwrap().next_token;
        if token.is_empty() {
            assert!(on_page > 0, "no page is empty");
            return ids;
        }
        assert_eq!(i32::try_from(on_page).unwrap(), page_size, "a page that another follows is full");
    }
}

#[tokio::test]
async fn every_page_newest_first_and_nothing_twice() {
    let database = TestDatabase::create().await;
    let args = vec!["--tokens-per-user".to_owned(), "1000".to_owned()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    let first = server.user(&database, "dev@example.com").await;
    let stranger = server.user(&database, "other@example.com").await;
    let mut api = server.api(&first).await;
    let mut made = vec![token_id(&first)];
    for number in 0..4 {
        made.push(api.create_token(&format!("token {number}")).await.personal_access_token.unwrap().id);
    }
    made.reverse();
    // Many of one moment: the ID decides between them, so that none is passed over at the end of a page.
    database.add_tokens(&token_id(&first), 125).await;

    let all = all_pages(&mut api, 100).await;
    assert_eq!(all[..5], made, "newest first");
    assert_eq!(all.len(), 130);
    let mut different = all.clone();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 130, "nothing twice");
    assert!(!all.contains(&token_id(&stranger)), "nobody else's");
    for page_size in [1, 7, 26, 65] {
        assert_eq!(all_pages(&mut api, page_size).await, all, "pages of {page_size}");
    }

    for (asked, given) in [(0, 25), (25, 25), (100, 100), (101, 100), (1_000_000_000, 100), (i32::MAX, 100)] {
        let page = page(&mut api, asked, "").await.unwrap();
        assert_eq!(page.personal_access_tokens.len(), given, "page_size {asked}");
    }
    assert_eq!(list(&mut api).await.len(), 25, "no pagination at all");

    // What is made meanwhile moves no page, and what goes meanwhile takes nothing else along.
    let one = page(&mut api, 3, "").await.unwrap();
    api.create_token("meanwhile").await;
    delete(&mut api, &all[2]).await.unwrap();
    let two = page(&mut api, 3, &one.pagination.unwrap().next_token).await.unwrap();
    let ids: Vec<String> = two.personal_access_tokens.into_iter().map(|token| token.id).collect();
    assert_eq!(ids, all[3..6]);
}

#[tokio::test]
async fn sizes_and_page_tokens_that_make_no_sense() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    api.create_token("second").await;

    for negative in [-1, -25, i32::MIN] {
        assert_invalid(&page(&mut api, negative, "").await.unwrap_err(), "pagination.page_size");
    }
    let good = page(&mut api, 1, "").await.unwrap().pagination.unwrap().next_token;
    page(&mut api, 1, &good).await.expect("the token itself is good");
    let beyond_time = format!("7{}", &"f".repeat(good.len() - 1));
    for bad in [
        "x",
        " ",
        "1",
        "0",
        "-1",
        "null",
        "'; SELECT 1",
        "%00",
        &good[1..],
        &format!("{good}0"),
        &format!("{good} "),
        &good.replace(|character: char| character.is_ascii_digit(), "G"),
        &token_id(&first),
        &"ü".repeat(good.len() / 2),
        &beyond_time,
        &"f".repeat(100_000),
    ] {
        let status = page(&mut api, 1, bad).await.expect_err(bad);
        assert_invalid(&status, "pagination.token");
        assert!(status.message().len() < 200, "what is refused is not repeated");
    }
}

#[tokio::test]
async fn expired_tokens_are_shown_and_deleted_ones_are_not() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let mut made = Vec::new();
    for description in ["expired", "deleted", "expired and deleted", "live"] {
        made.push(api.create_token(description).await.personal_access_token.unwrap().id);
    }
    database.expire(&made[0]).await;
    database.expire(&made[2]).await;
    for id in [&made[1], &made[2]] {
        delete(&mut api, id).await.unwrap();
    }

    let shown = list(&mut api).await;
    let described: Vec<&str> = shown.iter().map(|token| token.description.as_str()).collect();
    assert_eq!(described, ["live", "test", "expired"]);
    assert_eq!(get(&mut api, &made[0]).await.unwrap(), shown[2]);
    for id in [&made[1], &made[2]] {
        assert_eq!(get(&mut api, id).await.unwrap_err().code(), tonic::Code::NotFound);
    }
}

#[tokio::test]
async fn a_use_is_seen_soon_and_never_a_refusal() {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let created = api.create_token("used").await;
    let id = created.personal_access_token.unwrap().id;
    assert_eq!(get(&mut api, &id).await.unwrap().last_used, None);
    server.api(&created.token).await.whoami().await.unwrap();
    let last_used = || async {
        let mut api = api.clone();
        get(&mut api, &id).await.unwrap().last_used
    };
    let seen = eventually("the use is written", last_used).await;
    let between = "SELECT count(*) FROM personal_access_tokens t JOIN token_last_used u ON u.token_id = t.id
                   WHERE t.id = $1::text::uuid AND u.last_used_at BETWEEN t.created_at AND now()";
    assert_eq!(database.number(between, &[&id]).await, 1);

    // A refused use is none. The list's own use comes later than the refusal, so when it is written, that is decided.
    database.expire(&id).await;
    assert!(server.api(&created.token).await.whoami().await.is_err());
    let own = token_id(&first);
    let before = get(&mut api.clone(), &own).await.unwrap().last_used;
    eventually("a later use is written", || async {
        let mut api = api.clone();
        let now = get(&mut api, &own).await.unwrap().last_used;
        (now.is_some() && now != before).then_some(())
    })
    .await;
    assert_eq!(last_used().await, Some(seen));
}
