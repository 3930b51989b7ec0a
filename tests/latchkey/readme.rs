//! README.md, run as it is pasted, and ARCHITECTURE.md, held against the tree.

pub(crate) mod blocks;
mod examples;
mod place;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use latchkey::embedded::Role;

use crate::support::{LATCHKEY, PrivateCluster, connect};
use blocks::{Block, assert_shows, blocks};
use place::{Place, Shell};

const README: &str = include_str!("../../README.md");
const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");
const MANIFEST: &str = include_str!("../../Cargo.toml");

/// Runs the blocks that `choose` wants, in their order.
fn run(place: &mut Place, shell: &mut Shell, choose: impl Fn(&Block) -> bool) {
    let chosen: Vec<Block> = blocks(README, "sh").into_iter().filter(choose).collect();
    let serve = chosen.iter().find(|block| block.is("serves")).expect("a block starts the server").text.clone();
    for block in &chosen {
        let shown = Block { output: place.localize(&block.output), ..Block { line: block.line, ..Block::default() } };
        if block.is("serves") {
            let last = shown.output.lines().last().expect("what the server prints is shown").trim().to_owned();
            let output = place.serve(&as_tested(&block.text), &last);
            assert_shows(&shown, &place.localize(&output));
        } else if !block.is("skipped") && !block.is("replaced") {
            let output = shell.paste(&place.localize(&block.text));
            assert_shows(&shown, &output);
        }
        if block.is("restarts the server afterwards") {
            place.stop();
            place.serve(&as_tested(&serve), "latchkey serves");
        }
    }
    place.stop();
}

/// `make run` builds the released binary, and then starts it like this.
fn as_tested(command: &str) -> String {
    command.trim().replace("make run", "target/release/latchkey serve")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_readme_works() {
    let mut place = Place::new(1).await;
    let mut shell = place.shell();
    tokio::task::block_in_place(|| run(&mut place, &mut shell, |block| !block.is("external")));
}

/// A PostgreSQL of the operator's own: without Latchkey's roles and database until README.md's SQL has made them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_readme_leads_to_a_server_on_a_postgresql_of_ones_own() {
    let cluster = PrivateCluster::start().await;
    let superuser = connect(&cluster.url_of(Role::Superuser, "postgres")).await;
    for sql in ["DROP DATABASE latchkey", "DROP ROLE latchkey_owner", "DROP ROLE latchkey_serving"] {
        superuser.batch_execute(sql).await.unwrap();
    }
    let [sql] = &blocks(README, "sql")[..] else { panic!("README.md shows one block of SQL") };
    // `CREATE DATABASE` is no part of a transaction, as several statements at once would be.
    for statement in sql.text.split_inclusive(";\n") {
        superuser.batch_execute(statement).await.unwrap();
    }
    let mut place = Place::new(2).await;
    place.set("LATCHKEY_DATA_DIR", None);
    place.set("LATCHKEY_DATABASE_URL", Some(cluster.url(Role::Serving)));
    place.set("LATCHKEY_OWNER_DATABASE_URL", Some(cluster.url(Role::Owner)));
    let search = std::env::var("PATH").unwrap();
    place.set("PATH", Some(format!("{}:{search}", place.checkout().join("target/release").display())));
    // What a block exports is known to the server too, which is started in the same terminal.
    place.set("LATCHKEY_SIGNING_KEYS", Some(place.checkout().join("signing-keys").display().to_string()));
    let mut shell = place.shell();
    tokio::task::block_in_place(|| run(&mut place, &mut shell, |block| block.is("external")));
}

#[test]
fn what_is_not_run_has_a_reason() {
    let blocks = blocks(README, "sh");
    let left_out: Vec<&Block> = blocks.iter().filter(|block| block.is("skipped") || block.is("replaced")).collect();
    for block in &left_out {
        let reason = block.note.split_once("skipped,").or_else(|| block.note.split_once("replaced:"));
        let reason = reason.map(|(_, reason)| reason.trim()).unwrap_or_default();
        assert!(
            reason.len() > 20,
            "README.md:{} is not run, and its comment does not say why: {}",
            block.line,
            block.note
        );
    }
    assert!(left_out.len() <= 3 && blocks.len() >= 15, "{} of {} blocks are not run", left_out.len(), blocks.len());
    let fences = README.lines().filter(|line| line.starts_with("```sh")).count();
    assert_eq!(fences, blocks.len(), "a block is written in another way than this test reads");
}

#[test]
fn make_run_starts_what_the_readme_says() {
    let dry_run = |arguments: &[&str]| {
        let mut make = Command::new("make");
        make.args(["-n", "run"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
        for variable in ["CARGO", "CARGO_TARGET_DIR", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS"] {
            make.env_remove(variable);
        }
        String::from_utf8(make.output().unwrap().stdout).unwrap()
    };
    let plain = dry_run(&[]);
    let lines: Vec<&str> = plain.lines().map(str::trim_end).collect();
    assert_eq!(
        lines,
        [".ci/install-packages run", "cargo build --release --locked", "exec target/release/latchkey serve"],
        "{plain}"
    );
    assert!(README.contains("make run ARGS=\"--listen 127.0.0.1:9000\""));
    assert!(dry_run(&["ARGS=--listen 127.0.0.1:9000"]).contains("latchkey serve --listen 127.0.0.1:9000"));
}

/// The words of a text that `is_wanted` wants.
fn words(text: &str, is_wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_".contains(c)))
        .filter(|word| is_wanted(word))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_flag_variable_and_command_is_in_the_readme() {
    let help = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let is_flag = |word: &str| word.len() > 3 && word.starts_with("--") && !["--help", "--version"].contains(&word);
    let mut wanted = words(&help(LATCHKEY, &["serve"]), |word| is_flag(word) || word.starts_with("LATCHKEY_"));
    wanted.extend(words(include_str!("../../src/telemetry/subscriber.rs"), |word| word.starts_with("LATCHKEY_")));
    let gitpod = env!("CARGO_BIN_EXE_gitpod");
    wanted.extend(words(&help(gitpod, &[]), |word| is_flag(word) || word.starts_with("GITPOD_")));
    for command in [["environment", "create"], ["environment", "exec"], ["environment", "stop"], ["token", "create"]] {
        wanted.extend(words(&help(gitpod, &command), is_flag));
    }
    for arguments in [&[][..], &["environment"], &["token"]] {
        let text = help(gitpod, arguments);
        let (_, commands) = text.split_once("Commands:\n").unwrap();
        let commands = commands.lines().take_while(|line| !line.is_empty());
        wanted.extend(
            commands
                .filter_map(|line| line.split_whitespace().next())
                .filter(|name| *name != "help")
                .map(str::to_owned),
        );
    }
    let known = words(README, |_| true);
    // `-o` is how README.md writes it.
    let missing: Vec<&String> = wanted.iter().filter(|word| !known.contains(*word) && *word != "--output").collect();
    assert!(missing.is_empty() && wanted.len() > 30, "README.md does not name {missing:?}");
}

#[test]
fn what_the_architecture_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let find = |name: &str| {
        ["", "src/", "src/environments/"].iter().map(|place| root.join(place).join(name)).find(|path| path.exists())
    };
    let (mut text, mut tests) = (String::new(), 0);
    for word in ARCHITECTURE.split('`').skip(1).step_by(2) {
        if word.ends_with(".rs") {
            let path = find(word).unwrap_or_else(|| panic!("ARCHITECTURE.md names {word}, which does not exist"));
            text = fs::read_to_string(path).unwrap();
        } else if word.matches('_').count() > 1
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            && is_test(word)
        {
            assert!(
                text.contains(&format!("fn {word}(")),
                "ARCHITECTURE.md names the test {word}, which is not where it says"
            );
            tests += 1;
        }
    }
    assert!(tests > 25, "{tests} tests are named");
}

/// Whether it is the name of a test where the invariants are listed.
fn is_test(word: &str) -> bool {
    let (_, invariants) = ARCHITECTURE.split_once("\n## Invariants\n").unwrap();
    let (invariants, _) = invariants.split_once("\n## ").unwrap();
    invariants.contains(&format!("`{word}`"))
}

#[test]
fn every_dependency_has_its_line() {
    let (_, table) = ARCHITECTURE.split_once("\n## Dependencies\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let mut is_dependencies = false;
    let mut count = 0;
    for line in MANIFEST.lines() {
        if line.starts_with('[') {
            is_dependencies = line.ends_with("dependencies]");
        } else if let Some((name, _)) =
            line.split_once(" = ").filter(|_| is_dependencies && !line.starts_with([' ', '#']))
        {
            assert!(table.contains(&format!("`{name}`")), "{name} has no line in ARCHITECTURE.md");
            count += 1;
        }
    }
    assert!(count > 40, "{count} dependencies are read");
}
