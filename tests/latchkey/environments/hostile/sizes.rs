//! Repositories that are larger than anything, or say so.

use std::{path::Path, time::Duration};

use axum::body::Body;
use latchkey::pb::gitpod::v1::environment_status::content::Progress;

use super::{
    noise,
    progress::until_it_runs,
    protocol::{advertisement, before_a_pack, endless, file_without_an_end, first, line, pack, packing, part, stored},
};
use crate::support::{
    Api, LocalServer,
    environments::{from_nothing, from_url, of_class, status},
    eventually, left_out,
};

const MEBIBYTE: i64 = 1 << 20;
const NEVER: Duration = Duration::ZERO;

async fn failure_of(local: &LocalServer, api: &Api, name: &str, class: &str) -> String {
    let id = api.create(of_class(from_url(&format!("https://github.com/{name}")), class)).await.unwrap().id;
    let failure = api.until_failed(&id).await;
    local.is_at_rest(&id);
    assert!(status(&api.get(&id).await.unwrap()).disk_bytes < 1 << 20, "nothing of it is left");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
    failure
}

#[tokio::test]
async fn a_pack_that_never_ends_ends_at_the_disk_of_the_class() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let class = local.database.class_with(256 * MEBIBYTE, 16 * MEBIBYTE).await;
    local.git.answer_by(
        "owner/endless",
        packing(|| {
            let block = part(&stored(&noise(0x7fff)));
            endless([before_a_pack(), part(&file_without_an_end())].concat(), block, NEVER)
        }),
    );
    let failure = failure_of(&local, &api, "owner/endless", &class).await;
    assert!(failure.contains("the repository is too large") && failure.contains("a larger class"), "{failure}");
}

/// What is said of memory where nothing limits that of an environment.
async fn memory_is_not_limited(api: &Api) -> Option<String> {
    let id = api.create_running(from_nothing()).await;
    let warning = status(&api.get(&id).await.unwrap()).warning_message.join("\n");
    api.delete_whole(&id).await;
    warning.contains("memory").then_some(warning)
}

#[tokio::test]
async fn what_would_fill_the_memory_of_the_machine_ends_at_that_of_the_class() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    if let Some(warning) = memory_is_not_limited(&api).await {
        left_out(&warning);
        return;
    }
    let class = local.database.class_with(64 * MEBIBYTE, 256 * MEBIBYTE).await;
    let reference = format!("{} refs/heads/{}\n", "2".repeat(40), "x".repeat(900));
    let references = line(reference.as_bytes()).repeat(64);
    local.git.answer_by("owner/branches", move |_| first(endless(advertisement(b""), references.clone(), NEVER)));
    // Git makes room for as many objects as it is told of.
    local.git.answer_by("owner/many", packing(|| Body::from([before_a_pack(), part(&pack(i32::MAX as u32))].concat())));
    // Little to send, and whole in memory once it is there.
    local.git.add_empty_repository("owner/message");
    local.git.commit_message("owner/message", 200 << 20);
    for name in ["owner/branches", "owner/many", "owner/message"] {
        let failure = failure_of(&local, &api, name, &class).await;
        assert!(failure.starts_with("the clone needs more memory than the environment's class has"), "{failure}");
    }
}

#[tokio::test]
async fn a_file_larger_than_memory_is_cloned() {
    let seen = clone_large(128 * MEBIBYTE, 96 * MEBIBYTE).await;
    it_rises(&seen);
}

#[tokio::test]
#[ignore = "takes two minutes and 6 GiB of disk; the one above differs from it in numbers alone"]
async fn a_pack_of_two_gigabytes_is_cloned_in_little_memory() {
    let seen = clone_large(2048 * MEBIBYTE, 256 * MEBIBYTE).await;
    it_rises(&seen);
    let received: Vec<u64> = seen.iter().map(|progress| progress.bytes).filter(|bytes| *bytes > 0).collect();
    assert!(received.len() > 3 && received.is_sorted(), "{seen:?}");
}

/// Checks that a clone was seen to go on: step after step, and in each of them from less to more.
fn it_rises(seen: &[Progress]) {
    let places: Vec<_> = seen.iter().map(|progress| (progress.step, progress.done, progress.bytes)).collect();
    assert!(places.is_sorted() && places.first() < places.last(), "{seen:?}");
}

/// Clones a file of so many bytes, which its pack is not smaller than, in a class with so much memory. Gives what was shown
/// meanwhile.
async fn clone_large(size: i64, memory: i64) -> Vec<Progress> {
    let local = LocalServer::start().await;
    local.git.import("owner/large", |script| {
        let commit = "commit refs/heads/main\ncommitter A <a@localhost> 0 +0000\ndata 1\nx\nM 644 inline large\n";
        writeln!(script, "{commit}data {size}").unwrap();
        let noise = noise(1 << 20);
        for _ in 0..size / MEBIBYTE {
            script.write_all(&noise).unwrap();
        }
        writeln!(script).unwrap();
    });
    let api = local.api_of_user("dev@example.com").await;
    if let Some(warning) = memory_is_not_limited(&api).await {
        // It is cloned all the same, and with how much memory is nobody's to say.
        left_out(&warning);
    }
    let class = local.database.class_with(memory, 3 * size).await;
    let id = api.create(of_class(from_url("https://github.com/owner/large"), &class)).await.unwrap().id;
    let seen = until_it_runs(&api, &id).await;
    assert_eq!(api.said(&id, "stat --format %s large").await, size.to_string());
    let filled = status(&api.get(&id).await.unwrap()).disk_bytes;
    assert!(filled > 2 * size.unsigned_abs(), "the file, and the pack that it came in: {filled}");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
    seen
}

#[tokio::test]
async fn a_hundred_thousand_files_are_cloned_and_removed() {
    let local = LocalServer::start().await;
    local.git.import("owner/files", |script| {
        write!(script, "commit refs/heads/main\ncommitter A <a@localhost> 0 +0000\ndata 1\nx\n").unwrap();
        for number in 0..100_000 {
            write!(script, "M 644 inline {}/{number}\ndata 6\n{number:06}\n", number % 300).unwrap();
        }
    });
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(from_url("https://github.com/owner/files")).await.unwrap().id;
    until_it_runs(&api, &id).await;
    assert_eq!(
        api.said(&id, "git ls-files | wc -l; cat 99/99999; find . -path ./.git -prune -o -type f -print | wc -l").await,
        "100000\n099999100000"
    );
    api.delete(&id).await.unwrap();
    let mut left = files_below(&local.directory_of(&id));
    while left > 0 {
        // However long it takes, it is seen to go on.
        left = eventually("files are removed", async || {
            Some(files_below(&local.directory_of(&id))).filter(|now| *now < left)
        })
        .await;
    }
    api.until_gone(&id).await;
    local.is_gone(&id).await;
}

/// How many files there are in a directory and below it, as far as it can be seen while they are removed.
fn files_below(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let count = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(&entry.path()),
        Ok(_) => 1,
        Err(_) => 0,
    };
    entries.flatten().map(count).sum()
}
