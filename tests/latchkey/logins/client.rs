//! `gitpod login` without a token, against the real server.

use std::{os::unix::fs::PermissionsExt, path::Path};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr},
};
use url::Url;

use super::{Person, tokens};
use crate::support::{GITPOD, Gitpod, SOON, TestDatabase, TestServer, eventually, http1, token_text::token_id};

/// A `gitpod login` under way.
pub(super) struct Login {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
}

impl Login {
    pub(super) fn start(gitpod: &Gitpod, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = gitpod.command(GITPOD);
        command.arg("login").args(arguments).envs(variables.iter().copied());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines, said: Vec::new() }
    }

    /// Reads on until there is a line that says what is looked for.
    async fn until<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> T {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                let found = find(line.trim());
                self.said.push(line);
                if let Some(found) = found {
                    return found;
                }
            }
            panic!("it ended: {:#?}", self.said);
        };
        tokio::time::timeout(SOON, reading).await.expect("it is said in time")
    }

    /// The code to be typed, and the address where.
    pub(super) async fn code(&mut self) -> (String, String) {
        let address = self.until(|line| line.ends_with("/device").then(|| line.to_owned())).await;
        let is_code = |line: &str| line.len() == 9 && line.as_bytes()[4] == b'-';
        (self.until(|line| is_code(line).then(|| line.to_owned())).await, address)
    }

    /// The end: its exit code, and all that it said.
    pub(super) async fn ended(mut self, code: i32) -> String {
        let reading = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push(line);
            }
            self.child.wait().await.unwrap()
        };
        let status = tokio::time::timeout(SOON, reading).await.expect("it ends in time");
        let said = self.said.join("\n");
        assert_eq!(status.code(), Some(code), "{said}");
        said
    }
}

/// A browser that writes down what it is to open, and opens nothing.
pub(super) fn browser(gitpod: &Gitpod) -> (String, std::path::PathBuf) {
    let (program, opened) = (gitpod.home().join("browser"), gitpod.home().join("opened"));
    let script = format!("#!/bin/sh\nprintf %s \"$1\" > {0}.new && mv {0}.new {0}\n", opened.display());
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    (program.to_str().unwrap().to_owned(), opened)
}

pub(super) async fn opened(path: &Path) -> Url {
    let text = eventually("the browser is started", async || std::fs::read_to_string(path).ok()).await;
    text.parse().unwrap()
}

pub(super) fn parameter(url: &Url, name: &str) -> String {
    let mut values = url.query_pairs().filter(|(known, _)| known == name);
    let value = values.next().unwrap_or_else(|| panic!("no {name} in {url}")).1.into_owned();
    assert!(values.next().is_none());
    value
}

/// Brings something to the port where the program waits, as a browser would.
async fn bring(redirect: &str, pairs: &[(&str, &str)]) -> String {
    let mut url: Url = redirect.parse().unwrap();
    url.query_pairs_mut().extend_pairs(pairs);
    let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let target = &url[url::Position::BeforePath..];
    http1::send(&address, format!("GET {target} HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await
}

#[tokio::test]
async fn without_a_browser_a_person_types_the_code_on_another_machine() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let gitpod = Gitpod::new(&server.url());
    // With a screen or without: it is told not to.
    let mut login = Login::start(&gitpod, &["--no-browser", "--lifetime", "12h"], &[("DISPLAY", ":0")]);
    let (code, address) = login.code().await;
    assert_eq!(address, format!("{}/device", server.url()));
    let pending = person.find(&code).await.unwrap();
    let node = rustix::system::uname();
    assert_eq!(pending.asked.host_name().as_str(), node.nodename().to_str().unwrap());
    assert!(pending.user_agent.unwrap().starts_with("gitpod/"));
    assert_eq!(pending.asked.lifetime().whole_hours(), 12);
    person.say(&code, true).await.unwrap();
    let said = login.ended(0).await;
    assert!(said.contains("Signed in to") && said.contains("dev@example.com"), "{said}");

    let stored = std::fs::read_to_string(gitpod.credentials()).unwrap();
    let token = stored.split('"').find(|text| text.starts_with("gitpod_pat_")).unwrap();
    assert!(!said.contains(token));
    assert_eq!(gitpod.credentials().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(gitpod.json(&["whoami", "-o", "json"]).await["tokenId"], token_id(token));
}

#[tokio::test]
async fn with_a_browser_the_code_comes_by_itself() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let gitpod = Gitpod::new(&server.url());
    let (program, file) = browser(&gitpod);
    let mut login = Login::start(&gitpod, &[], &[("BROWSER", &program)]);
    let url = opened(&file).await;
    let shown = login.until(|line| line.starts_with("http").then(|| line.to_owned())).await;
    assert_eq!(shown, url.as_str(), "for who has to open it by hand");
    assert!(url.as_str().starts_with(&format!("{}/oauth2/authorize?", server.url())), "{url}");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "gitpod-cli"),
        ("code_challenge_method", "S256"),
        ("lifetime", "2592000"),
    ] {
        assert_eq!(parameter(&url, name), value);
    }
    let (redirect, state) = (parameter(&url, "redirect_uri"), parameter(&url, "state"));
    let code = person.authorize(&redirect, &parameter(&url, "code_challenge")).await;
    let issuer = server.url();

    // What is not what was expected ends nothing, and is told nothing.
    for pairs in [
        &[("code", code.as_str()), ("state", "guess"), ("iss", &issuer)][..],
        &[("code", &code), ("state", &state), ("iss", "https://evil.example")],
        &[("code", &code), ("state", &state)],
        &[("code", "<script>"), ("iss", &issuer)],
        &[("error", "access_denied"), ("iss", &issuer)],
    ] {
        let answer = bring(&redirect, pairs).await;
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("script"), "{answer}");
    }
    let answer = bring(&redirect, &[("code", &code), ("state", &state), ("iss", &issuer)]).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("You can close this window"), "{answer}");
    assert!(!answer.contains(&code) && !answer.contains(&state) && answer.contains("referrer-policy: no-referrer"));
    let said = login.ended(0).await;
    assert!(said.contains("Signed in to") && !said.contains("gitpod_pat_") && !said.contains(&code), "{said}");
    gitpod.good(&["whoami"]).await;
    assert_eq!(tokens(&database).await, 1);
}

#[tokio::test]
async fn a_no_in_the_browser_or_on_another_machine_is_a_refusal() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let person = Person::new(&database, &server, "dev@example.com").await;
    let gitpod = Gitpod::new(&server.url());
    let (program, file) = browser(&gitpod);
    let login = Login::start(&gitpod, &[], &[("BROWSER", &program)]);
    let url = opened(&file).await;
    let (state, issuer) = (parameter(&url, "state"), server.url());
    let denied = [("error", "access_denied"), ("state", state.as_str()), ("iss", &issuer)];
    bring(&parameter(&url, "redirect_uri"), &denied).await;
    assert!(login.ended(3).await.contains("denied in the browser"));

    let mut login = Login::start(&gitpod, &["--no-browser"], &[]);
    let (code, _) = login.code().await;
    person.say(&code, false).await.unwrap();
    assert!(login.ended(3).await.contains("has said no"));
    assert!(!gitpod.credentials().exists());
}

#[tokio::test]
async fn ctrl_c_ends_it_and_nothing_is_stored() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let gitpod = Gitpod::new(&server.url());
    let (program, file) = browser(&gitpod);
    for (arguments, variables) in [(&["--no-browser"][..], &[][..]), (&[], &[("BROWSER", program.as_str())])] {
        let mut login = Login::start(&gitpod, arguments, variables);
        if variables.is_empty() {
            login.code().await;
        } else {
            opened(&file).await;
        }
        let pid = nix::unistd::Pid::from_raw(login.child.id().unwrap().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
        assert!(login.ended(130).await.contains("nothing was stored"));
    }
    assert!(!gitpod.credentials().exists());
}

#[tokio::test]
async fn what_the_command_line_says_is_checked_here_or_there() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let gitpod = Gitpod::new(&server.url());
    gitpod.run(&["login", "--token", "x", "--no-browser"]).await.ended(2);
    gitpod.run(&["login", "--token", "x", "--lifetime", "1h"]).await.ended(2);
    gitpod.run(&["login", "--no-browser", "--lifetime", "91d"]).await.ended(3).saying("90 days");
    gitpod.run(&["login", "--no-browser", "--lifetime", "soon"]).await.ended(2).saying("--lifetime");
    let nowhere = Gitpod::new("http://127.0.0.1:1");
    nowhere.run(&["login", "--no-browser"]).await.ended(1).saying("cannot reach http://127.0.0.1:1");
}
