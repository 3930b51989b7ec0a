//! Git servers that send a clone elsewhere.

use axum::http::StatusCode;

use super::protocol::{advertisement, answer, failure_of, first, is_first};
use crate::support::{Api, LocalServer, environments::from_url, git_server::GitServer};

/// `https://github.com/` is one host, and `https://other.example/` another: both may be reached.
async fn two_hosts() -> (LocalServer, GitServer, Api) {
    let mut local = LocalServer::start().await;
    let other = GitServer::start().await;
    let credentials = "[http]\n\textraHeader = \"Authorization: Bearer hunter2\"\n\textraHeader = \"X-Secret: hunter2\"\n\
                       \tcookieFile = /etc/hostname\n\tsaveCookies = true\n\temptyAuth = true\n[http \"https://github.com/\"]\n\
                       \textraHeader = \"Cookie: hunter2\"\n[credential]\n\thelper = \"!echo username=a; echo \
                       password=hunter2\"\n\tusername = hunter2\n[core]\n\taskPass = \"echo hunter2\"\n";
    let rewrites = local.git.rewriting("https://github.com/") + &other.rewriting("https://other.example/");
    std::fs::write(local.git_config(), rewrites + credentials).unwrap();
    local.stop().await;
    local.start_again().await;
    let api = local.api_of_user("dev@example.com").await;
    (local, other, api)
}

/// Sends every request for a repository to the same path below another place.
fn sends(from: &GitServer, name: &str, to: String) {
    from.answer_by(name, move |request| {
        let to = format!("{to}{}", request.uri().path_and_query().unwrap());
        let mut answer = answer(StatusCode::FOUND, ("location", &to));
        answer.headers_mut().insert("set-cookie", "session=hunter2".parse().unwrap());
        answer
    });
}

#[tokio::test]
async fn a_redirect_to_another_host_is_followed_with_nothing_that_proves_anything() {
    let (local, other, api) = two_hosts().await;
    other.add_repository("owner/name", &[("which", "the other\n")]);
    sends(&local.git, "owner/name", other.url());
    let id = api.create_running(from_url("https://github.com/owner/name")).await;
    assert_eq!(
        api.said(&id, "cat which; git config remote.origin.url").await,
        "the other\nhttps://github.com/owner/name"
    );
    // Nor has what runs inside anything to send.
    api.said(&id, "git ls-remote --quiet 2>/dev/null; git ls-remote https://other.example/owner/name.git | wc -l")
        .await;
    // Not even when it is asked for.
    sends(&local.git, "owner/private", other.url());
    other.answer_by("owner/private", |_| answer(StatusCode::UNAUTHORIZED, ("www-authenticate", "Basic realm=\"x\"")));
    let failure = failure_of(&local, &api, "https://github.com/owner/private").await;
    assert!(failure.contains("asks for a user name and a password"), "{failure}");
    for (host, headers) in [("the first", local.git.headers()), ("the other", other.headers())] {
        assert!(headers.len() > 2, "{host} was asked");
        let sent = format!("{headers:?}");
        for name in ["authorization", "cookie", "x-secret", "hunter2"] {
            assert!(!sent.contains(name), "{host} was sent {name}: {sent}");
        }
    }
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn a_redirect_from_one_host_to_the_next_does_not_lead_out_of_the_rules() {
    let (local, other, api) = two_hosts().await;
    for (number, (to, says)) in [
        ("https://169.254.169.254", "the address 169.254.169.254 of host 169.254.169.254 is a cloud metadata service"),
        ("https://10.0.0.1:8443", "the address 10.0.0.1 of host 10.0.0.1 is private"),
        ("https://[::ffff:127.0.0.1]", "is loopback"),
        ("https://localhost:8080", "of host localhost is loopback"),
        ("http://169.254.169.254", "the host 169.254.169.254 was asked for over http; only https is allowed"),
        ("file:///etc", "git could not clone"),
        ("ftp://1.1.1.1", "git could not clone"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("owner/name-{number}");
        sends(&local.git, &name, other.url());
        sends(&other, &name, to.to_owned());
        let failure = failure_of(&local, &api, &format!("https://github.com/{name}")).await;
        assert!(failure.contains(says), "{to}: {failure}");
        assert!(other.requests().iter().any(|request| request.contains(&name)), "the second host was asked");
    }
    // Round and round.
    sends(&local.git, "owner/round", other.url());
    sends(&other, "owner/round", local.git.url());
    let failure = failure_of(&local, &api, "https://github.com/owner/round").await;
    assert!(failure.contains("redirects followed"), "{failure}");
}

#[tokio::test]
async fn what_is_sent_is_sent_to_nobody_else() {
    let (local, other, api) = two_hosts().await;
    let to = format!("{}/owner/name/git-upload-pack", other.url());
    local.git.answer_by("owner/name", move |request| match is_first(request) {
        true => first([advertisement(b""), b"0000".to_vec()].concat()),
        false => answer(StatusCode::TEMPORARY_REDIRECT, ("location", &to)),
    });
    let failure = failure_of(&local, &api, "https://github.com/owner/name").await;
    assert!(failure.contains("307"), "{failure}");
    assert_eq!(other.requests(), Vec::<String>::new());
}
