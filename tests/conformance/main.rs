//! The ConnectRPC conformance suite against tonic's handlers behind `latchkey::connect`.
//!
//! The suite's program starts its server itself, and speaks with it over its standard input and output. That server is this
//! very program, told to run one of the two tests that are ignored otherwise.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that cannot go on says so by breaking off")]

mod metadata;
mod server;
mod service;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use latchkey::connect::NativeGrpc;

/// The generated code.
#[allow(
    dead_code,
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated code"
)]
mod pb {
    tonic::include_proto!("connectrpc.conformance.v1");
}

// How many cases there are of what the files ask for is held, too: a suite that lost its cases would pass as well.

#[test]
fn every_protocol_is_spoken_as_the_suite_wants_it() {
    run_suite("all-protocols.yaml", "serves_the_suite_with_everything_through_the_engine", 2842);
}

#[test]
fn plain_grpc_straight_to_tonic_is_spoken_as_the_suite_wants_it() {
    run_suite("grpc.yaml", "serves_the_suite_with_plain_grpc_straight_to_tonic", 688);
}

#[test]
#[ignore = "the server that the suite starts"]
fn serves_the_suite_with_everything_through_the_engine() {
    server::serve(NativeGrpc::Engine);
}

#[test]
#[ignore = "the server that the suite starts"]
fn serves_the_suite_with_plain_grpc_straight_to_tonic() {
    server::serve(NativeGrpc::Straight);
}

/// Runs the suite: all of this many cases pass.
fn run_suite(configuration: &str, server: &str, cases: usize) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program: PathBuf = root.join("target/tools/connectconformance");
    assert!(program.exists(), "{} is missing: run 'make tools'", program.display());
    let output = Command::new(program)
        .args(["--mode", "server", "--conf"])
        .arg(root.join("tests/conformance").join(configuration))
        // What the test harness prints is not for the suite: the server writes to another descriptor.
        .args(["--", "sh", "-c", r#"exec "$0" --exact "$1" --ignored --nocapture 3>&1 >/dev/null"#])
        .arg(std::env::current_exe().unwrap())
        .arg(server)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let end = said.lines().count().saturating_sub(100);
    let said: Vec<&str> = said.lines().skip(end).collect();
    let all_passed = said.iter().any(|line| *line == format!("{cases} passed, 0 failed"));
    assert!(output.status.success() && all_passed, "{}", said.join("\n"));
}
