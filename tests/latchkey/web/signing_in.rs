//! Signing in by a link, and what becomes of a session.

use super::{
    requests::{Session, send, use_link},
    sign_in_link,
};
use crate::support::{TestDatabase, TestServer};

async fn place() -> (TestDatabase, TestServer) {
    let database = TestDatabase::create().await;
    let server = TestServer::without_memory(&database).await;
    server.admin_user(&database, "admin@example.com").await;
    (database, server)
}

#[tokio::test]
async fn a_link_signs_in_once_and_only_by_its_button() {
    let (database, server) = place().await;
    let link = sign_in_link(&server, &database, None).await;
    assert!(link.starts_with(&format!("{}/sign-in/link?code=gitpod_lnk_", server.url())), "{link}");
    let path = &link[server.url().len()..];
    for _ in 0..3 {
        let opened = send(server.address(), "GET", path, &[("host", server.address())], "").await;
        assert_eq!(opened.status, 303, "looking into it signs nobody in, and does not use it up");
        assert_eq!(opened.cookie(&Session::cookie_name(server.address())), None);
    }
    let first = use_link(server.address(), &link, &[]).await;
    let cookie = first.cookie(&Session::cookie_name(server.address())).unwrap();
    assert!(first.header("set-cookie").contains("; Path=/; HttpOnly; SameSite=Lax; Max-Age=604800"), "{first:?}");
    let session = Session::with(server.address(), cookie).await;
    assert!(session.get("/settings/sessions").await.body.contains("This one"));
    let second = use_link(server.address(), &link, &[]).await;
    assert_eq!((second.status, second.cookie(&Session::cookie_name(server.address()))), (403, None));
}
