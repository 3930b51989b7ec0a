//! Servers on machines whose clocks are wrong: what expires is judged by PostgreSQL's clock, remembered or not.

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use tonic::Code;

use crate::support::{ServerOptions, TestDatabase, TestServer, eventually, http, keys::token_id};

/// A server whose clock is off; and its directory.
async fn start(first: &TestServer, database: &TestDatabase, offset: &str, bound: &str) -> (TestServer, TempDir) {
    let directory = tempfile::Builder::new().prefix("latchkey-clock-").tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    let libraries = fs::read_dir("/usr/lib").unwrap().flatten();
    let library = libraries.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    let library: PathBuf = library.expect("libfaketime is there: .ci/install-packages test");
    let mut wrapper: Vec<String> = Vec::new();
    if nix::unistd::geteuid().is_root() {
        // What root starts clears its environment; so it is started by the account that the tests' PostgreSQL lets in as every role.
        // `$1` is the program, and `$0` its copy where that account can read it.
        let script = r#"cp "$1" "$0" && chown -R postgres: "${0%/*}" && shift &&
                        exec setpriv --reuid=postgres --regid=postgres --clear-groups env LD_PRELOAD="$LIBRARY" "$0" "$@""#;
        let program = directory.path().join("latchkey");
        wrapper.extend(["sh", "-c", script, program.to_str().unwrap()].map(str::to_owned));
    }
    // Not in root's shell: what the library shares among its processes would be root's.
    let preload = if wrapper.is_empty() { "LD_PRELOAD" } else { "LIBRARY" };
    let variables = [(preload, library.to_str().unwrap()), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let options = ServerOptions {
        args: vec![format!("--revocation-bound={bound}")],
        env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        data_dir: Some(data),
        signing_keys: Some(first.keys()),
        wrapper,
        ..ServerOptions::default()
    };
    (TestServer::start_with(database, options).await, directory)
}

#[tokio::test]
async fn what_expires_expires_by_postgresqls_clock_wherever_the_machines_stands() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    first.user(&database, "dev@example.com").await;
    let sql = database.superuser().await;
    sql.batch_execute("SET session_replication_role = replica").await.unwrap();
    // In so many seconds from now.
    let is_over = async |id: &str, in_seconds: f64| -> bool {
        let query = "SELECT clock_timestamp() + make_interval(secs => $2) >= expires_at FROM personal_access_tokens
                     WHERE id = $1::text::uuid";
        sql.query_one(query, &[&id, &in_seconds]).await.unwrap().get(0)
    };
    for offset in ["+300s", "-300s"] {
        // One that remembers for a minute, and one that asks PostgreSQL about each request.
        for bound in ["60s", "0"] {
            let (server, _directory) = start(&first, &database, offset, bound).await;
            let token = first.token(&database, "dev@example.com", &[]).await;
            let id = token_id(&token);
            // By the machine's clock it would have been over long ago, or would be good for minutes.
            // Nobody has used it yet: nobody has to be told. Otherwise an end is not changed.
            let soon = "UPDATE personal_access_tokens SET created_at = now() - interval '1h', expires_at = now() + interval '3s'
                        WHERE id = $1::text::uuid";
            assert_eq!(sql.execute(soon, &[&id]).await.unwrap(), 1);
            let mut api = server.api(&token).await;
            let mut accepted = 0;
            loop {
                let was_over = is_over(&id, 0.0).await;
                match api.whoami().await {
                    Ok(_) => {
                        accepted += 1;
                        assert!(!was_over, "{offset}, {bound}: accepted after its end");
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unauthenticated, "{status}");
                        // Earlier than that by as much as a heartbeat takes, and never later.
                        assert!(is_over(&id, 2.0).await, "{offset}, {bound}: refused before its end: {status}");
                        assert!(status.message().contains("expired"), "{status}");
                        break;
                    }
                }
            }
            assert!(accepted > 3, "{offset}, {bound}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_off_is_told_of_and_one_that_is_far_off_makes_the_server_not_ready() {
    let database = TestDatabase::create().await;
    let first = TestServer::start(&database).await;
    for (offset, problem) in [
        ("+5s", None),
        ("+300s", Some("this machine's clock is 300 s ahead of PostgreSQL's; set it right")),
        ("-300s", Some("this machine's clock is 300 s behind PostgreSQL's; set it right")),
    ] {
        let (server, _directory) = start(&first, &database, offset, "5s").await;
        eventually("the log tells of the clock", async || {
            server.log().contains("PostgreSQL's clock is ahead of this machine's by so much").then_some(())
        })
        .await;
        match problem {
            None => assert_eq!(http::get(server.address(), "/readyz").await.0, 200),
            Some(problem) => {
                eventually("the server says that it is not ready", async || {
                    let (code, body) = http::get(server.address(), "/readyz").await;
                    (code == 503 && body == format!("not ready: {problem}\n")).then_some(())
                })
                .await;
            }
        }
    }
    assert!(!first.log().contains("PostgreSQL's clock is ahead"), "a clock that is right is not told of");
}
