//! A client of OAuth that others have written, and that knows nothing of ours.

use std::{fs, os::unix::fs::symlink, path::Path};

use tokio::process::Command;

use super::asking::{holder, service};
use crate::support::{
    SOON, TestDatabase, TestServer,
    keys::{forged, token_id},
};

#[tokio::test]
async fn a_resource_server_finds_asks_and_revokes_by_what_the_standards_say() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let token = server.user(&database, "dev@example.com").await;
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/node_modules");
    assert!(modules.join("oauth4webapi").exists(), "oauth4webapi is missing: run 'make tools'");
    let directory = tempfile::tempdir().unwrap();
    symlink(modules, directory.path().join("node_modules")).unwrap();
    fs::write(directory.path().join("client.mjs"), include_str!("client.mjs")).unwrap();
    let mut command = Command::new("node");
    command.arg("client.mjs").current_dir(directory.path()).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("ISSUER", server.url()).env("ASKING", &asking).env("ASKING_ID", holder(&database, &asking).await);
    command.env("TOKEN", &token).env("TOKEN_ID", token_id(&token)).env("FORGED", forged()).kill_on_drop(true);
    let output = tokio::time::timeout(SOON, command.output()).await.expect("it ends in time").unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("ends well"), "{said}");
}
