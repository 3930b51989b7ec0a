//! The corpus of the fuzzer (`tests/fuzz/`) as an ordinary test: what once was found stays found.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by breaking off")]

#[path = "fuzz/front.rs"]
mod front;

use std::{fs, path::Path};

use front::Front;

/// The inputs, with their names.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/front");
    let mut inputs: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect();
    inputs.sort();
    assert!(inputs.len() > 20, "{} inputs", inputs.len());
    inputs
}

#[test]
fn every_input_of_the_corpus_is_answered_as_its_name_says() {
    let front = Front::new();
    let mut otherwise = Vec::new();
    for (name, input) in corpus() {
        // `invalid_argument-json-of-depth-10000`: the code, in Connect's words, and what it is.
        let expected = name.split('-').next().unwrap();
        let code = front.take(&input).unwrap_or_else(|| panic!("{name}: this is no request"));
        let code = match format!("{code:?}").as_str() {
            "InvalidArgument" => "invalid_argument",
            "ResourceExhausted" => "resource_exhausted",
            "Unimplemented" => "unimplemented",
            "DeadlineExceeded" => "deadline_exceeded",
            "NotFound" => "not_found",
            "PermissionDenied" => "permission_denied",
            "Unauthenticated" => "unauthenticated",
            "Internal" => "internal",
            "Unknown" => "unknown",
            "Ok" => "ok",
            other => panic!("{name}: {other}"),
        };
        if code != expected {
            otherwise.push(format!("{name}: {code}"));
        }
    }
    assert!(otherwise.is_empty(), "{otherwise:#?}");
}

#[test]
fn what_is_cut_off_anywhere_or_has_a_bit_wrong_is_answered() {
    let front = Front::new();
    for (name, input) in corpus() {
        let most = input.len().min(400);
        for length in 0..most {
            front.take(&input[..length]);
        }
        for place in (0..most).step_by(3) {
            let mut other = input.clone();
            other[place] ^= 1 << (place % 8);
            front.take(&other);
        }
        assert!(front.take(&input).is_some(), "{name}");
    }
}
