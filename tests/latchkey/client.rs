//! `gitpod`, the client, against the real server.

use serde_json::Value;

use crate::support::{Gitpod, LocalServer, TestDatabase, TestServer, environments::from_nothing, token_text::token_id};

/// The ID of nothing.
const ID: &str = "01987654-3210-7abc-8def-0123456789ab";

#[tokio::test]
async fn a_login_is_tried_before_it_is_kept() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let gitpod = Gitpod::new(&server.url());
    gitpod.run(&["whoami"]).await.ended(3).saying("not signed in");
    gitpod.run(&["environment", "list"]).await.ended(3).saying("gitpod login");

    let ran = gitpod.run(&["login", "--token", &token]).await.ended(0).saying("dev@example.com");
    assert!(!ran.stderr.contains(&token) && ran.stdout.is_empty(), "{ran:#?}");
    let mode = std::os::unix::fs::MetadataExt::mode(&gitpod.credentials().metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let who = gitpod.json(&["whoami", "-o", "json"]).await;
    assert_eq!(who["user"]["email"], "dev@example.com");
    assert_eq!(who["subject"]["principal"], "PRINCIPAL_USER");
    let id = who["tokenId"].as_str().unwrap().to_owned();

    let left = gitpod.run(&["logout"]).await.ended(0).saying(&id);
    assert!(!left.stderr.contains(&token));
    gitpod.run(&["whoami"]).await.ended(3);
    // The token itself is as good as before.
    gitpod.run(&["login", "--token", &token]).await.ended(0);
    gitpod.good(&["token", "revoke", &id]).await;
    gitpod.run(&["whoami"]).await.ended(3).saying("revoked");

    // Revoked: refused, and not kept.
    let other = Gitpod::new(&server.url());
    other.run(&["login", "--token", &token]).await.ended(3).saying("revoked");
    assert!(!other.credentials().exists());
    other.run(&["whoami"]).await.ended(3).saying("not signed in");
}

#[tokio::test]
async fn a_mistyped_token_is_noticed_without_the_server() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let gitpod = Gitpod::new(&server.url());
    let mut mistyped = token.clone().into_bytes();
    let changed = if mistyped[30] == b'a' { b'b' } else { b'a' };
    mistyped[30] = changed;
    let before = connections(&server);
    for text in [String::from_utf8(mistyped).unwrap(), token[..token.len() - 1].to_owned(), format!("{token}x")] {
        let ran = gitpod.run(&["login", "--token", &text]).await.ended(3).saying("incomplete or mistyped");
        assert!(!ran.stderr.contains(&text));
    }
    assert_eq!(connections(&server), before, "nobody was asked");
    assert!(!gitpod.credentials().exists());
    // What looks like that does come: the count can change.
    gitpod.run(&["login", "--token", &token]).await.ended(0);
    assert!(connections(&server) > before);
}

/// How many requests the server has logged.
fn connections(server: &TestServer) -> usize {
    server.log().matches("GetAuthenticated").count()
}

#[tokio::test]
async fn tokens_are_made_shown_and_revoked() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let gitpod = Gitpod::with_token(&server.url(), &token);

    let made = gitpod.run(&["token", "create", "--description", "laptop", "--valid-for", "90d"]).await.ended(0);
    let laptop = made.stdout.trim();
    assert!(laptop.starts_with("gitpod_pat_") && !made.stderr.contains(laptop), "{made:#?}");
    let whole = gitpod.json(&["token", "create", "--description", "reads", "--read-only", "-o", "json"]).await;
    assert_eq!(whole["personalAccessToken"]["readOnly"], true);
    let listed = gitpod.json(&["token", "list", "-o", "json"]).await;
    let descriptions: Vec<&str> =
        listed.as_array().unwrap().iter().map(|token| token["description"].as_str().unwrap()).collect();
    assert_eq!(descriptions, ["reads", "laptop", "test"], "newest first");
    let id = listed[1]["id"].as_str().unwrap();
    let shown = gitpod.json(&["token", "get", id, "-o", "json"]).await;
    assert_eq!((&shown["id"], &shown["description"]), (&listed[1]["id"], &listed[1]["description"]));
    let yaml = gitpod.good(&["token", "get", id, "-o", "yaml"]).await;
    assert!(yaml.contains("description: laptop"), "{yaml}");
    for said in [listed.to_string(), shown.to_string(), yaml, gitpod.good(&["token", "list"]).await] {
        assert!(!said.contains("gitpod_pat_"), "shown once: {said}");
    }

    let of_laptop = Gitpod::with_token(&server.url(), laptop);
    of_laptop.run(&["whoami"]).await.ended(0);
    let reads = Gitpod::with_token(&server.url(), whole["token"].as_str().unwrap());
    reads.run(&["token", "create", "--description", "more"]).await.ended(3).saying("read-only");
    gitpod.run(&["token", "revoke", id]).await.ended(0).saying(id);
    of_laptop.run(&["whoami"]).await.ended(3).saying("revoked");
    gitpod.run(&["token", "get", id]).await.ended(4);
    gitpod.run(&["token", "get", ID]).await.ended(4);
    gitpod.run(&["token", "get", "x"]).await.ended(2);
    gitpod.run(&["token", "create", "--description", ""]).await.ended(1).saying("description");
    gitpod.run(&["token", "create", "--description", "long", "--valid-for", "91d"]).await.ended(1).saying("valid_for");
}

#[tokio::test]
async fn a_token_that_has_expired_is_called_so() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let from_the_environment = Gitpod::with_token(&server.url(), &token);
    let signed_in = Gitpod::new(&server.url());
    signed_in.run(&["login", "--token", &token]).await.ended(0);
    for gitpod in [&from_the_environment, &signed_in] {
        gitpod.run(&["whoami"]).await.ended(0);
    }

    database.expire(&token_id(&token)).await;
    crate::support::Api::connect(&server.url(), Some(&token)).await.becomes_refused().await;
    let at = "SELECT to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') FROM personal_access_tokens
              WHERE id = $1::text::uuid";
    let expired = format!("token expired on {}", database.text(at, &[&token_id(&token)]).await);
    for gitpod in [&from_the_environment, &signed_in] {
        for command in [&["whoami"][..], &["token", "list"], &["environment", "list"], &["environment", "stop", ID]] {
            let ran = gitpod.run(command).await.ended(3).saying(&expired);
            assert!(ran.stdout.is_empty() && !ran.stderr.contains(&token), "{command:?}: {ran:#?}");
        }
    }
    // Nor is it kept by a login.
    let other = Gitpod::new(&server.url());
    other.run(&["login", "--token", &token]).await.ended(3).saying(&expired);
    assert!(!other.credentials().exists());
}

#[tokio::test]
async fn environments_are_made_shown_and_told_where_to_be() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    let token = local.user("dev@example.com").await;
    let gitpod = Gitpod::with_token(&local.server().url(), &token);
    let listed = gitpod.json(&["environment", "list", "-o", "json"]).await;
    assert_eq!(listed, Value::Array(Vec::new()));
    let classes = gitpod.json(&["environment", "list-classes", "-o", "json"]).await;
    assert_eq!(classes.as_array().unwrap().len(), 3);
    assert!(gitpod.good(&["environment", "list-classes"]).await.contains("Regular"));

    let url = "https://github.com/owner/name";
    let id = gitpod.good(&["environment", "create", url, "--name", "mine", "--dont-wait"]).await.trim().to_owned();
    // Started again, which it is on the way to, and waited for.
    gitpod.good(&["environment", "start", &id]).await;
    let shown = gitpod.json(&["environment", "get", &id, "-o", "json"]).await;
    assert_eq!(shown["url"], format!("{}/details/{id}", local.server().url()));
    assert_eq!(shown["status"]["phase"], "ENVIRONMENT_PHASE_RUNNING");
    assert_eq!(shown["metadata"]["name"], "mine");
    let listed = gitpod.json(&["environment", "list", "-o", "json"]).await;
    assert_eq!(listed, Value::Array(vec![shown]));
    let yaml = gitpod.good(&["environment", "list", "-o", "yaml"]).await;
    assert!(yaml.starts_with("- ") && yaml.contains(&format!("id: {id}")) && yaml.contains("/details/"), "{yaml}");
    let table = gitpod.good(&["environment", "list"]).await;
    assert!(table.contains("PHASE") && table.contains("running") && table.contains(&id), "{table}");

    gitpod.good(&["environment", "stop", &id]).await;
    let phase = async || gitpod.json(&["environment", "get", &id, "-o", "json"]).await["status"]["phase"].clone();
    assert_eq!(phase().await, "ENVIRONMENT_PHASE_STOPPED");
    gitpod.good(&["environment", "start", &id]).await;
    assert_eq!(phase().await, "ENVIRONMENT_PHASE_RUNNING");
    gitpod.good(&["environment", "delete", &id]).await;
    for act in ["get", "start", "stop", "delete"] {
        gitpod.run(&["environment", act, &id]).await.ended(4).saying("no environment with ID");
        gitpod.run(&["environment", act, "not-an-id"]).await.ended(2);
    }

    // What fails says why, and which.
    let missing = "https://github.com/owner/missing";
    let failed = gitpod.run(&["environment", "create", missing]).await.ended(1).saying("no repository at");
    gitpod.good(&["environment", "delete", failed.stdout.trim()]).await;
    gitpod.run(&["environment", "create", "file:///etc/passwd"]).await.ended(1).saying("must begin with https://");
    gitpod.run(&["environment", "create", "--", "--upload-pack=x"]).await.ended(1).saying("not a URL");
    gitpod.run(&["environment", "create", url, "--class-id", "Small"]).await.ended(1).saying("spec.machine.class");
    let reader = local.server().token(&local.database, "dev@example.com", &["--read-only"]).await;
    let reader = Gitpod::with_token(&local.server().url(), &reader);
    reader.run(&["environment", "create", url]).await.ended(3).saying("read-only");
    reader.run(&["environment", "list"]).await.ended(0);
}

#[tokio::test]
async fn the_audit_log_names_the_token_of_each_act() {
    let local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let gitpod = Gitpod::with_token(&local.server().url(), &token);
    let id = api.create_running(from_nothing()).await;
    gitpod.good(&["environment", "exec", &id, "--", "true"]).await;
    gitpod.good(&["environment", "stop", &id]).await;
    gitpod.good(&["environment", "start", &id]).await;
    gitpod.good(&["environment", "delete", &id]).await;
    let token_id = gitpod.json(&["whoami", "-o", "json"]).await["tokenId"].clone();

    let log = gitpod.json(&["audit-logs", "-o", "json"]).await;
    let acts: Vec<&Value> = log.as_array().unwrap().iter().filter(|entry| entry["subjectId"] == id.as_str()).collect();
    let actions: Vec<&str> = acts.iter().rev().map(|entry| entry["action"].as_str().unwrap()).collect();
    let expected = [
        "environment_create",
        "environment_token_create",
        "environment_exec",
        "environment_stop",
        "environment_start",
        "environment_delete",
    ];
    assert_eq!(actions, expected, "{log:#}");
    for act in &acts {
        assert_eq!(act["tokenId"], token_id, "{act}");
    }
    let table = gitpod.good(&["audit-logs"]).await;
    assert!(table.contains(token_id.as_str().unwrap()) && table.contains("environment_delete"), "{table}");
    assert!(!table.contains("gitpod_pat_") && !log.to_string().contains("gitpod_pat_"));
}

#[tokio::test]
async fn completions_know_every_command_and_need_no_server() {
    let gitpod = Gitpod::new("http://127.0.0.1:1");
    for shell in ["bash", "zsh", "fish"] {
        let script = gitpod.good(&["completion", shell]).await;
        for word in ["environment", "audit-logs", "whoami", "list-classes", "dont-wait"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // A shell takes it.
    let script = gitpod.good(&["completion", "bash"]).await;
    std::fs::write(gitpod.home().join("completion"), script).unwrap();
    let mut bash = gitpod.command("bash");
    bash.args(["-c", ". ./completion && complete -p gitpod"]);
    crate::support::Ran::of(bash).await.ended(0);
    gitpod.run(&["completion", "cmd"]).await.ended(2);
}
