//! Git servers that do not answer, or answer what nobody asked for.

use std::{net::TcpListener, time::Duration};

use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
};
use latchkey::domain::{environment::FAILURE_MESSAGE_LIMIT, text::is_unprintable};

use super::{
    noise,
    protocol::{
        advertisement, answer, before_a_pack, endless, failure_of, file_without_an_end, first, is_first, line, packing,
        part, stored, words,
    },
};
use crate::{
    environments::limits::flags,
    support::{LocalServer, git_server::Manners},
};

#[tokio::test]
async fn what_wants_a_password_is_said_and_nobody_is_asked_for_one() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let refusing =
        |status: StatusCode, header: (&'static str, &'static str)| move |_: &Request<Body>| answer(status, header);
    let (unauthorized, proxy) = (StatusCode::UNAUTHORIZED, StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    local.git.answer_by("owner/basic", refusing(unauthorized, ("www-authenticate", "Basic realm=\"x\"")));
    local.git.answer_by("owner/bearer", refusing(unauthorized, ("www-authenticate", "Bearer")));
    local.git.answer_by("owner/negotiate", refusing(unauthorized, ("www-authenticate", "Negotiate")));
    local.git.answer_by("owner/nothing", refusing(unauthorized, ("x", "y")));
    local.git.answer_by("owner/proxy", refusing(proxy, ("proxy-authenticate", "Basic realm=\"x\"")));
    local.git.answer_by("owner/late", |request| match is_first(request) {
        true => first([advertisement(b""), b"0000".to_vec()].concat()),
        false => answer(StatusCode::UNAUTHORIZED, ("www-authenticate", "Basic realm=\"x\"")),
    });
    let user = "asks for a user name and a password: it is private, or does not exist";
    for (name, says) in [
        ("basic", user),
        ("bearer", user),
        ("negotiate", user),
        ("nothing", user),
        ("late", user),
        ("proxy", "asks for a user name and a password as a proxy does (407)"),
    ] {
        let url = format!("https://github.com/owner/{name}");
        let failure = failure_of(&local, &api, &url).await;
        assert!(failure.starts_with(&format!("{url} {says}")), "{failure}");
    }
    let with_password = local.git.headers().into_iter().filter(|headers| headers.contains_key("authorization"));
    assert_eq!(with_password.count(), 0);
}

#[tokio::test]
async fn an_operators_proxy_that_wants_a_password_is_named() {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    // Ends with the test's process; each connection is one request's.
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in proxy.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut local = LocalServer::start().await;
    let config = local.git_config();
    std::fs::write(&config, format!("[http]\n\tproxy = http://{address}\n")).unwrap();
    local.stop().await;
    local.start_again().await;
    let api = local.api_of_user("dev@example.com").await;
    let failure = failure_of(&local, &api, "https://git.invalid/owner/name").await;
    assert_eq!(
        failure,
        "no connection to git.invalid:443: the operator's proxy answered 407 Proxy Authentication Required"
    );
}

#[tokio::test]
async fn a_host_that_says_nothing_is_given_up() {
    // It takes connections, as the system does for who listens, and reads nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut local = LocalServer::start_with(flags(&["--clone-silence", "1s"])).await;
    let rewrite = format!("[url \"http://{}/\"]\n\tinsteadOf = https://mute.example/\n", mute.local_addr().unwrap());
    let config = local.git_config();
    std::fs::write(&config, std::fs::read_to_string(&config).unwrap() + &rewrite).unwrap();
    local.stop().await;
    local.start_again().await;
    let api = local.api_of_user("dev@example.com").await;
    local.git.set_manners("owner/silent", Manners::Silent);
    local.git.answer_by("owner/half", packing(|| endless(before_a_pack(), Vec::new(), Duration::from_secs(3600))));
    let urls = ["https://mute.example/a/b", "https://github.com/owner/silent", "https://github.com/owner/half"];
    for (failure, url) in
        futures::future::join_all(urls.map(|url| failure_of(&local, &api, url))).await.iter().zip(urls)
    {
        let says = format!("the host of {url} sends nothing, or too slowly; try again later");
        assert!(failure.starts_with(&says), "{failure}");
    }
}

#[tokio::test]
async fn a_host_that_says_no_more_than_that_it_is_busy_is_waited_for() {
    let local = LocalServer::start_with(flags(&["--clone-silence", "1s"])).await;
    let api = local.api_of_user("dev@example.com").await;
    local.git.answer_by(
        "owner/busy",
        packing(|| {
            // Some hundred bytes a second, for three times as long as it may be silent.
            let busy = words(b"Counting objects: 1\r");
            let parts = [vec![before_a_pack()], vec![busy; 15], vec![line(b"\x03enough of this\n")]].concat();
            Body::from_stream(futures::stream::unfold(parts.into_iter(), async |mut parts| {
                let part = parts.next()?;
                tokio::time::sleep(Duration::from_millis(200)).await;
                Some((Ok::<_, std::io::Error>(part), parts))
            }))
        }),
    );
    let failure = failure_of(&local, &api, "https://github.com/owner/busy").await;
    assert!(failure.contains("the host says: enough of this"), "{failure}");
}

#[tokio::test]
async fn a_host_that_never_comes_to_an_end_is_given_up() {
    let local = LocalServer::start_with(flags(&["--clone-timeout", "2s"])).await;
    let api = local.api_of_user("dev@example.com").await;
    let often = Duration::from_millis(10);
    let counting = words(b"Counting objects: 1\r");
    let before = [before_a_pack(), counting.clone()].concat();
    local.git.answer_by("owner/counting", packing(move || endless(before.clone(), counting.clone(), often)));
    let reference = format!("{} refs/heads/other\n", "1".repeat(40));
    local
        .git
        .answer_by("owner/branches", move |_| first(endless(advertisement(b""), line(reference.as_bytes()), often)));
    // A file of which there is a little more all the while.
    let block = part(&stored(&noise(100)));
    local.git.answer_by(
        "owner/pack",
        packing(move || endless([before_a_pack(), part(&file_without_an_end())].concat(), block.clone(), often)),
    );
    let urls = ["counting", "branches", "pack"].map(|name| format!("https://github.com/owner/{name}"));
    for failure in futures::future::join_all(urls.each_ref().map(|url| failure_of(&local, &api, url))).await {
        assert_eq!(failure, "the clone took longer than 2 s");
    }
}

#[tokio::test]
async fn what_a_host_says_is_told_as_its_own_words_in_one_short_line() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    // As if Git itself had said that the disk is full, with what clears a screen, turns text around and ends a text.
    let lie = "lie \u{1b}[2J\u{1b}]0;x\u{7}\u{202e}\nfatal: write error: No space left on device\n\0lie\n";
    local.git.answer_by("owner/error", move |_| {
        let error = line(format!("ERR {lie}").as_bytes());
        first([line(b"# service=git-upload-pack\n"), b"0000".to_vec(), error].concat())
    });
    local.git.answer_by(
        "owner/talk",
        packing(move || Body::from([before_a_pack(), words(lie.repeat(500).as_bytes()).repeat(100)].concat())),
    );
    local.git.answer_by(
        "owner/died",
        packing(move || Body::from([before_a_pack(), line(format!("\x03{lie}").as_bytes())].concat())),
    );
    local.git.answer_by("owner/page", move |_| {
        let page = Response::builder().status(500).header("content-type", "text/plain");
        page.body(Body::from(lie.repeat(10_000))).unwrap()
    });
    for (name, says) in [
        ("error", "(fatal: remote error: "),
        ("talk", "; the host says: "),
        ("died", "; the host says: "),
        ("page", "The requested URL returned error: 500; the host says: "),
    ] {
        let url = format!("https://github.com/owner/{name}");
        let failure = failure_of(&local, &api, &url).await;
        // Of the last words before it breaks off, Git marks the first line alone as the host's.
        assert!(name == "died" || failure.starts_with(&format!("git could not clone {url} (")), "{failure}");
        assert!(failure.contains(says) && failure.contains("lie"), "{failure}");
        assert!(failure.chars().count() < FAILURE_MESSAGE_LIMIT && !failure.contains(is_unprintable), "{failure:?}");
    }
}
