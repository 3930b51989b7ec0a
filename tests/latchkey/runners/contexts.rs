//! Context URLs and hosts, read before anything is made.

use latchkey::pb::gitpod::v1::{
    CheckAuthenticationForHostRequest, ParseContextUrlRequest, parse_context_url_response::GitContext,
};
use tonic::Code;

use super::somewhere;
use crate::support::{
    details,
    environments::{from_url, status, stopped},
};

#[tokio::test]
async fn a_context_url_means_what_it_means_when_an_environment_is_made_from_it() {
    let (_database, _server, mut api) = somewhere().await;
    for (url, host, owner, repo, branch) in [
        ("https://github.com/owner/name", "github.com", "owner", "name", ""),
        ("https://github.com/owner/name/", "github.com", "owner", "name", ""),
        ("HTTPS://GitHub.com/owner/name.git", "github.com", "owner", "name", ""),
        ("https://github.com:443/owner/name", "github.com", "owner", "name", ""),
        ("https://git.example:8443/a/b/c/d", "git.example:8443", "a/b/c", "d", ""),
        ("https://[2001:db8::1]:8443/owner/name", "[2001:db8::1]:8443", "owner", "name", ""),
        ("https://github.com/name", "github.com", "", "name", ""),
        ("https://github.com/owner/name/tree/main", "github.com", "owner", "name", "main"),
        ("https://github.com/owner/name/tree/feature/x%23y", "github.com", "owner", "name", "feature/x#y"),
        ("https://gitlab.com/group/sub/name/-/tree/main", "gitlab.com", "group/sub", "name", "main"),
    ] {
        let request = ParseContextUrlRequest { context_url: url.to_owned(), ..Default::default() };
        let parsed = api.runners.parse_context_url(request).await.expect(url).into_inner();
        let made = api.create(stopped(from_url(url))).await.expect(url);
        let clone_url = status(&made).content.as_ref().unwrap().git.as_ref().unwrap().clone_url.clone();
        let expected = GitContext {
            clone_url,
            host: host.to_owned(),
            owner: owner.to_owned(),
            repo: repo.to_owned(),
            branch: branch.to_owned(),
            ..Default::default()
        };
        assert_eq!(parsed.git, Some(expected), "{url}");
        assert_eq!(parsed.original_context_url, url);
        assert_eq!(made.metadata.unwrap().name, repo, "{url}");
    }
}

#[tokio::test]
async fn a_context_url_is_refused_for_the_reason_for_which_no_environment_is_made_from_it() {
    let (_database, _server, mut api) = somewhere().await;
    let long = format!("https://github.com/{}", "x".repeat(2048));
    // As long as it may be, but for what is percent-encoded in it.
    let encoded = format!("https://github.com/{}", "é".repeat(900));
    for url in [
        "",
        " https://github.com/owner/name",
        "github.com/owner/name",
        "https://",
        "https:github.com/owner/name",
        "--upload-pack=touch /tmp/x",
        "https://github.com/a\nb",
        "file:///etc/passwd",
        "http://github.com/owner/name",
        "ssh://git@github.com/owner/name",
        "git@github.com:owner/name.git",
        "ext::sh -c id",
        "https://me:secret@github.com/owner/name",
        "https://@github.com/owner/name",
        "https://github.com",
        "https://github.com//",
        "https://github.com/owner/name?a=b",
        "https://github.com/owner/name#a",
        "https://github.com/owner/name/tree/--upload-pack=x",
        "https://github.com/owner/name/tree/a..b",
        "https://github.com/owner/name/tree/%ff",
        &long,
        &encoded,
    ] {
        let request = ParseContextUrlRequest { context_url: url.to_owned(), ..Default::default() };
        let refused = api.runners.parse_context_url(request).await.expect_err(url);
        assert_eq!(refused.code(), Code::InvalidArgument, "{url}: {refused}");
        let violations = details(&refused).bad_request().unwrap().field_violations.clone();
        assert_eq!(violations.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), ["context_url"], "{url}");
        assert!(!refused.message().contains("secret"), "{refused}");
        let not_made = api.create(stopped(from_url(url))).await.expect_err(url);
        let reason = details(&not_made).bad_request().unwrap().field_violations[0].description.clone();
        assert_eq!(violations[0].description, reason, "{url}");
    }
}

#[tokio::test]
async fn nobody_has_to_sign_in_anywhere_and_what_is_no_host_is_refused() {
    let (database, _server, mut api) = somewhere().await;
    let runner_id = database.text("SELECT id::text FROM runners", &[]).await;
    let request = |runner_id: &str, host: &str| CheckAuthenticationForHostRequest {
        runner_id: runner_id.to_owned(),
        host: host.to_owned(),
    };
    // As the Python client takes them from context URLs.
    for host in ["github.com", "GitHub.com", "github.com:", "git.example:8443", "192.0.2.1", "[2001:db8::1]:8443"] {
        for runner_id in ["", &runner_id] {
            let answer = api.runners.check_authentication_for_host(request(runner_id, host)).await.expect(host);
            assert!(answer.into_inner().authenticated, "{host}");
        }
    }
    let long = "x".repeat(2048);
    for host in [
        "",
        "/",
        "https://github.com",
        "github.com/owner",
        "me@github.com",
        "me:secret@github.com",
        "github.com?a",
        "github.com#a",
        "github.com\\a",
        "git hub.com",
        "github.com\n",
        ":443",
        "github.com:0x1",
        "github.com:65536",
        "[::1",
        "%",
        &long,
    ] {
        let refused = api.runners.check_authentication_for_host(request(&runner_id, host)).await.expect_err(host);
        assert_eq!(refused.code(), Code::InvalidArgument, "{host}: {refused}");
        assert_eq!(details(&refused).bad_request().unwrap().field_violations[0].field, "host", "{host}");
    }
}
