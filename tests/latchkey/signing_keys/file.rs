//! The file of signing keys, and what is said of a wrong one.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

use super::with_keys;
use crate::support::{ServerOptions, TestDatabase, TestServer, keys::key_line, server::LATCHKEY};

/// What a server says that is to use this file, if it does not start.
async fn refused(database: &TestDatabase, file: &Path) -> Option<String> {
    let args = vec!["--signing-keys".to_owned(), file.display().to_string()];
    TestServer::try_start_with(database, ServerOptions { args, ..Default::default() }).await.err()
}

fn write(file: &Path, text: impl AsRef<[u8]>, mode: u32) {
    fs::write(file, text).unwrap();
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[tokio::test]
async fn another_key_of_the_same_number_is_refused() {
    let database = TestDatabase::create().await;
    let key = key_line(1);
    let mut server = TestServer::start_with(&database, with_keys(&key)).await;
    server.stop().await;
    let other = key_line(1);
    let said = TestServer::try_start_with(&database, with_keys(&other)).await.err().expect("it does not start");
    assert_says(
        &said,
        &["the signing key of generation 1 is not the one this database was used with", "put the right key"],
    );
    for line in [&key, &other] {
        assert!(!said.contains(line[2..].trim()), "a key is never shown");
    }
    // Also beside a right one.
    let said = TestServer::try_start_with(&database, with_keys(&(key_line(2) + &other))).await.err();
    assert_says(&said.expect("it does not start"), &["generation 1 is not the one"]);
    TestServer::start_with(&database, with_keys(&key)).await;
}

#[tokio::test]
async fn a_missing_file_is_not_made_up_for_and_the_advice_works() {
    let database = TestDatabase::create().await;
    let place = TempDir::new().unwrap();
    let serve = async |args: &[&str]| {
        let output = Command::new(LATCHKEY)
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--metrics-listen",
                "off",
                "--database-url",
                &database.serving_url(),
                "--owner-database-url",
                &database.owner_url(),
            ])
            .args(args)
            .env_remove("CREDENTIALS_DIRECTORY")
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_says(&serve(&[]).await, &["no file of signing keys", "generate-signing-key", "--signing-keys"]);
    let file = place.path().join("keys");
    let path = file.to_str().unwrap();
    let said = serve(&["--signing-keys", path]).await;
    assert_says(&said, &[path, "does not exist"]);
    assert!(!file.exists(), "it makes none by itself");
    // The advice, to the letter.
    let advice = said.split('\'').nth(1).unwrap().replace("latchkey ", &format!("{LATCHKEY} "));
    let made = Command::new("sh").args(["-c", &format!("umask 022; {advice}")]).status().await.unwrap();
    assert!(made.success(), "{advice}");
    assert_eq!(refused(&database, &file).await, None);
    fs::remove_file(&file).unwrap();
    let said = serve(&["--signing-keys", path]).await;
    assert_says(&said, &[path, "is missing, and without its signing keys no token can be verified", "backup"]);
}

#[tokio::test]
async fn the_embedded_database_gets_its_first_key_once() {
    let place = tempfile::Builder::new().prefix("latchkey-keys-").tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let latchkey = async |args: &[&str]| {
        let output =
            Command::new(LATCHKEY).args(args).arg("--data-dir").arg(place.path()).kill_on_drop(true).output().await;
        let output = output.unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said)
    };
    let create = ["admin", "create-token", "--user", "dev@example.com", "--description", "x"];
    assert!(latchkey(&["admin", "create-user", "--email", "dev@example.com"]).await.0);
    let (made, said) = latchkey(&create).await;
    assert!(made, "{said}");
    let file = place.path().join("signing-keys");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    fs::remove_file(&file).unwrap();
    let serve = ["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "off"];
    for command in [&create[..], &serve] {
        let (made, said) = latchkey(command).await;
        assert!(!made);
        assert_says(&said, &["signing-keys is missing", "backup", "another generation"]);
        assert!(!file.exists(), "another key would not verify the tokens there are");
    }
}

#[tokio::test]
async fn a_file_that_others_may_read_is_refused() {
    let database = TestDatabase::create().await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("keys");
    let line = key_line(1);
    for mode in [0o644, 0o640, 0o604, 0o620, 0o602] {
        write(&file, &line, mode);
        let said = refused(&database, &file).await.expect("it does not start");
        assert_says(&said, &[&format!("mode {mode:o}"), &format!("chmod 600 {}", file.display())]);
        assert!(!said.contains(line[2..].trim()), "a key is never shown");
    }
    if nix::unistd::Uid::effective().is_root() {
        write(&file, &line, 0o600);
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        assert!(refused(&database, &file).await.is_some(), "somebody else can change it");
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    }
    for mode in [0o600, 0o400] {
        write(&file, &line, mode);
        assert_eq!(refused(&database, &file).await, None, "{mode:o}");
    }
}

#[tokio::test]
async fn a_wrong_line_is_named_and_not_shown() {
    let database = TestDatabase::create().await;
    let place = TempDir::new().unwrap();
    let file = place.path().join("keys");
    let line = key_line(1);
    let digits = line[2..].trim();
    let short = &digits[1..];
    for (text, says) in [
        (format!("# ours\n\n{line}2 {short}\n"), "line 4 is not a generation"),
        (format!("0 {digits}\n"), "line 1 is not a generation"),
        (format!("{digits}\n"), "line 1 is not a generation"),
        (format!("{line}{line}"), "line 2 repeats generation 1"),
        ("# none\n".to_owned(), "there is no signing key in it"),
    ] {
        write(&file, &text, 0o600);
        let said = refused(&database, &file).await.expect("it does not start");
        assert_says(&said, &[&file.display().to_string(), says]);
        assert!(!said.contains(short), "a key is never shown: {said}");
    }
    write(&file, b"1 \xff\xfe\n", 0o600);
    assert_says(&refused(&database, &file).await.expect("it does not start"), &["keys: "]);
    let directory = place.path().join("directory");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    assert_says(&refused(&database, &directory).await.expect("it does not start"), &["directory: "]);
}
