//! What environments fill of the disk, as their users see it.

use latchkey::pb::gitpod::v1::{Environment, EnvironmentPhase};

use super::limits::flags;
use crate::support::{
    LocalServer,
    environments::{assert_exhausted, from_nothing, of_class, status, stopped},
    eventually,
};

const MEBIBYTE: u64 = 1 << 20;

fn warning(environment: &Environment) -> String {
    status(environment).warning_message.join("\n")
}

#[tokio::test]
async fn what_fills_more_than_its_class_allows_is_stopped_and_runs_again_to_be_tidied_up() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let tiny = local.database.tiny_class().await;
    let id = api.create_running(of_class(from_nothing(), &tiny)).await;
    let always = warning(&api.get(&id).await.unwrap());
    api.said(&id, "head -c 15M /dev/zero > one; head -c 15M /dev/zero > two").await;
    let failure = api.until_failed(&id).await;
    assert!(failure.contains("fills 30.0 MiB of the disk, and its class allows 16 MiB"), "{failure}");
    local.is_at_rest(&id);

    api.start(&id).await.unwrap();
    let running = api.until(&id, EnvironmentPhase::Running).await;
    assert!(warning(&running).contains("files can be removed, and none can be written"), "{}", warning(&running));
    let ran = api.run(&id, "head -c 5 /dev/zero > more").await;
    assert!(ran.exit_code != 0 && ran.stderr.contains("File too large"), "{ran:?}");
    api.said(&id, "rm one").await;
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    api.start(&id).await.unwrap();
    assert_eq!(warning(&api.until(&id, EnvironmentPhase::Running).await), always);
    api.said(&id, "echo more > more").await;
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

#[tokio::test]
async fn what_is_filled_is_told_and_adds_up() {
    let local = LocalServer::start_with(flags(&["--disk-per-user", "8MiB"])).await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_nothing()).await;
    let other = api.create(stopped(from_nothing())).await.unwrap().id;
    let before = status(&api.get(&id).await.unwrap()).status_version;
    api.said(&id, "head -c 9M /dev/zero > zeros").await;
    let told = eventually("it is told", async || {
        let environment = api.get(&id).await.unwrap();
        Some(status(&environment).clone()).filter(|status| status.disk_bytes > 9 * MEBIBYTE)
    })
    .await;
    assert!(told.disk_bytes < 10 * MEBIBYTE, "{}", told.disk_bytes);
    assert_eq!(told.status_version, before, "it is no change of the status");

    let words = ["fill 9.0 MiB of the disk", "may fill 8 MiB", "delete one of them", "until it is gone"];
    for request in [from_nothing(), stopped(from_nothing())] {
        assert_exhausted(api.create(request).await, &words);
    }
    assert_exhausted(api.start(&other).await, &words);
    // What runs goes on, and others have their own.
    assert_eq!(api.said(&id, "ls").await, "zeros");
    let stranger = local.api_of_user("other@example.com").await;
    let theirs = stranger.create(stopped(from_nothing())).await.unwrap().id;

    // Counted once more at its stop.
    api.said(&id, "head -c 2M /dev/zero > more").await;
    api.stop(&id).await.unwrap();
    let at_rest = api.until(&id, EnvironmentPhase::Stopped).await;
    assert!(status(&at_rest).disk_bytes > 11 * MEBIBYTE);
    assert_exhausted(api.start(&id).await, &["fill 11.0 MiB"]);
    api.delete_whole(&id).await;
    api.start(&other).await.unwrap();
    api.until(&other, EnvironmentPhase::Running).await;
    api.delete_whole(&other).await;
    stranger.delete_whole(&theirs).await;
}
