//! A disk that runs full: environments end before it is, tokens are verified and revoked all the same, and what fills it can
//! be deleted.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use latchkey::pb::gitpod::v1::{DeletePersonalAccessTokenRequest, EnvironmentPhase, ListEnvironmentsRequest};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use tempfile::TempDir;
use tokio::process::Command;
use tonic::Code;

use crate::support::{
    Api, LATCHKEY, LocalServer, ServerOptions, TestServer,
    environments::{from_nothing, from_url, status},
    eventually, left_out, small_disk,
};

const MEBIBYTE: u64 = 1 << 20;
const FULL: &str = "the disk of the server is nearly full";

/// Makes a token, uses it, lists environments with it, revokes it, and sees it refused; each as soon as it can be done.
async fn tokens_live_and_die(server: &TestServer, api: &Api) {
    let mut api = api.clone();
    let (token, id) = eventually("a token is made", async || {
        let request = latchkey::pb::gitpod::v1::CreatePersonalAccessTokenRequest {
            description: "made on a full disk".to_owned(),
            ..Default::default()
        };
        match api.tokens.clone().create_personal_access_token(request).await {
            Ok(made) => {
                let made = made.into_inner();
                Some((made.token, made.personal_access_token.unwrap().id))
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                None
            }
        }
    })
    .await;
    let mut holder = server.api(&token).await;
    holder.whoami().await.unwrap();
    holder.environments.list_environments(ListEnvironmentsRequest::default()).await.unwrap();
    let request = DeletePersonalAccessTokenRequest { personal_access_token_id: id };
    api.tokens.delete_personal_access_token(request).await.unwrap();
    assert_eq!(holder.whoami().await.unwrap_err().code(), Code::Unauthenticated);
}

/// Waits until an environment was ended, and says why.
async fn ended(api: &Api, id: &str) -> String {
    eventually("it is ended", async || {
        // As long as the disk is full to the last byte, PostgreSQL may not answer.
        let environment = api.get(id).await.ok()?;
        Some(status(&environment).failure_message.join("\n")).filter(|failure| !failure.is_empty())
    })
    .await
}

#[tokio::test]
async fn below_the_reserve_who_writes_ends_nothing_begins_and_tokens_live_and_die() {
    if let Some(reason) = small_disk::missing() {
        left_out(reason);
        return;
    }
    let local = LocalServer::start_on_small_disk(160 * MEBIBYTE, &["--free-space-reserve", "32MiB"]).await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    local.add_stalling_repository("owner/slow");
    let api = local.api_of_user("dev@example.com").await;
    let bystander = api.create_running(from_nothing()).await;
    let hog = api.create_running(from_nothing()).await;
    let cloning = api.create(from_url("https://github.com/owner/slow")).await.unwrap().id;
    local.stalls("owner/slow").await;

    let fill = "(i=0; while :; do i=$((i+1)); head -c 2M /dev/zero > $i; sleep 0.1; done) >/dev/null 2>&1 &";
    api.said(&hog, fill).await;
    let failure = api.until_failed(&hog).await;
    assert!(failure.contains(FULL) && failure.contains("it was writing and was stopped"), "{failure}");
    // Somebody else takes more of what is left, which may be little on a busy machine: nobody here is to blame for that, and there is not so
    // little then that everything is stopped.
    let environments = small_disk::seen_by(local.server().pid(), &local.data_dir().join("environments"));
    let (filler, left) = (environments.join("filler"), statvfs(&environments).unwrap());
    let more = (left.f_bavail * left.f_frsize).saturating_sub(16 * MEBIBYTE).min(12 * MEBIBYTE);
    fs::write(&filler, vec![1; usize::try_from(more).unwrap()]).unwrap();
    let failure = api.until_failed(&cloning).await;
    assert!(failure.contains(FULL) && failure.contains("32 MiB are kept for the server itself"), "{failure}");

    api.start(&hog).await.unwrap();
    let another = api.create(from_nothing()).await.unwrap().id;
    let clone = api.create(from_url("https://github.com/owner/name")).await.unwrap().id;
    for id in [&hog, &another, &clone] {
        let failure = api.until_failed(id).await;
        assert!(failure.contains(FULL) && failure.contains("delete environments that nobody needs"), "{failure}");
    }
    // It was not even begun.
    assert!(!local.git.requests().iter().any(|request| request.contains("/owner/name")));
    tokens_live_and_die(local.server(), &api).await;
    assert_eq!(status(&api.get(&bystander).await.unwrap()).phase(), EnvironmentPhase::Running);
    assert_eq!(api.said(&bystander, "echo here > file; cat file").await, "here");

    // What is deleted makes room.
    fs::remove_file(filler).unwrap();
    api.delete_whole(&hog).await;
    for id in [&another, &clone] {
        api.start(id).await.unwrap();
        api.until(id, EnvironmentPhase::Running).await;
    }
    for id in [bystander, cloning, another, clone] {
        api.delete_whole(&id).await;
    }
}

#[tokio::test]
async fn who_takes_room_without_writing_is_not_mistaken_for_who_writes_the_same_again_and_again() {
    if let Some(reason) = small_disk::missing() {
        left_out(reason);
        return;
    }
    let local = LocalServer::start_on_small_disk(160 * MEBIBYTE, &["--free-space-reserve", "32MiB"]).await;
    let api = local.api_of_user("dev@example.com").await;
    let bystander = api.create_running(from_nothing()).await;
    let hog = api.create_running(from_nothing()).await;
    let same = "(while :; do head -c 600K /dev/zero > same; sync same; sleep 0.1; done) >/dev/null 2>&1 &";
    api.said(&bystander, same).await;
    // Where that is refused, it is written.
    let fill = "i=0; while :; do i=$((i+1)); fallocate --length 2M $i || head -c 2M /dev/zero > $i; sleep 0.05; done";
    api.said(&hog, &format!("({fill}) >/dev/null 2>&1 &")).await;
    let failure = api.until_failed(&hog).await;
    assert!(failure.contains(FULL) && failure.contains("it was writing and was stopped"), "{failure}");
    assert_eq!(status(&api.get(&bystander).await.unwrap()).phase(), EnvironmentPhase::Running);
    api.delete_whole(&hog).await;
    api.delete_whole(&bystander).await;
}

/// How a server is started with everything on a disk of 600 MiB, PostgreSQL too; and where that disk is.
fn on_small_disk() -> (TempDir, ServerOptions, PathBuf) {
    let directory = tempfile::Builder::new().prefix("latchkey-full-").tempdir().unwrap();
    let (image, data) = (directory.path().join("disk"), directory.path().join("data"));
    small_disk::make(&image, 600 * MEBIBYTE, 0);
    fs::create_dir(&data).unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let options = ServerOptions {
        args: ["--free-space-reserve", "128MiB"].map(str::to_owned).to_vec(),
        wrapper: small_disk::mounted(&image, &data),
        data_dir: Some(data),
        ..ServerOptions::default()
    };
    (directory, options, image)
}

async fn api_of_first_user(server: &TestServer) -> Api {
    let mut words = small_disk::beside(server.pid());
    words.extend(
        [LATCHKEY, "admin", "create-token", "--user", "admin@localhost", "--description", "test"].map(str::to_owned),
    );
    words.extend(["--data-dir".to_owned(), server.data_dir().display().to_string()]);
    let made = Command::new(&words[0]).args(&words[1..]).output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = String::from_utf8(made.stdout).unwrap();
    server.api(token.trim()).await
}

#[tokio::test]
async fn a_disk_that_is_filled_in_an_instant_with_postgresql_on_it_is_survived() {
    if let Some(reason) = small_disk::missing() {
        left_out(reason);
        return;
    }
    let (_directory, options, _) = on_small_disk();
    let server = TestServer::launch(options).await.unwrap();
    let api = api_of_first_user(&server).await;
    tokens_live_and_die(&server, &api).await;

    // First with empty files, as many as the disk has room for; then with bytes.
    let hog = api.create_running(from_nothing()).await;
    api.said(&hog, "(seq 1000000 | xargs touch) >/dev/null 2>&1 &").await;
    let failure = ended(&api, &hog).await;
    assert!(failure.contains(FULL) && failure.contains("more files"), "{failure}");
    tokens_live_and_die(&server, &api).await;
    api.delete_whole(&hog).await;

    let hog = api.create_running(from_nothing()).await;
    let data = small_disk::seen_by(server.pid(), server.data_dir());
    let filler = data.join("filler");
    let free = || {
        let disk = statvfs(&data).unwrap();
        disk.f_bavail * disk.f_frsize
    };
    // No environment is that quick. A quarter of what is to be kept free would be 32 MiB.
    fallocate(File::create(&filler).unwrap(), FallocateFlags::empty(), 0, free() - 8 * MEBIBYTE).unwrap();
    let failure = ended(&api, &hog).await;
    assert!(failure.contains(FULL) && failure.contains("everything that ran was stopped"), "{failure}");
    // What was written is there still; there is room because some was kept.
    assert!(free() > 16 * MEBIBYTE, "{}", free());
    tokens_live_and_die(&server, &api).await;
    api.delete_whole(&hog).await;
    fs::remove_file(filler).unwrap();
    let after = api.create_running(from_nothing()).await;
    api.delete_whole(&after).await;
}

#[tokio::test]
async fn a_server_comes_up_on_a_disk_that_was_filled_while_there_was_none() {
    if let Some(reason) = small_disk::missing() {
        left_out(reason);
        return;
    }
    let (_directory, options, image) = on_small_disk();
    let mut server = TestServer::launch(options.clone()).await.unwrap();
    let api = api_of_first_user(&server).await;
    let id = api.create_running(from_nothing()).await;
    // Of what was committed nothing may be lost.
    server.kill().await;
    small_disk::fill(&image).await;

    let server = TestServer::launch(options).await.unwrap();
    let api = api_of_first_user(&server).await;
    tokens_live_and_die(&server, &api).await;
    api.until_failed(&id).await;
    api.start(&id).await.unwrap();
    let failure = api.until_failed(&id).await;
    assert!(failure.contains(FULL), "{failure}");
    api.delete_whole(&id).await;
}

/// Fills a disk to the last byte, and whatever gets free of it again, as long as it is not dropped.
struct Filler {
    is_over: Arc<AtomicBool>,
    filling: Option<std::thread::JoinHandle<()>>,
}

impl Filler {
    fn start(path: PathBuf) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_over);
        let filling = std::thread::spawn(move || {
            let mut file = File::create(path).unwrap();
            let mut bytes = 1 << 20;
            while !told.load(Ordering::Relaxed) {
                match file.write_all(&vec![1; bytes]) {
                    Ok(()) => bytes = 1 << 20,
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
                        bytes = (bytes / 2).max(1);
                    }
                }
            }
        });
        Self { is_over, filling: Some(filling) }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // It has said so if it panicked.
        let _ = self.filling.take().map(std::thread::JoinHandle::join);
    }
}

#[tokio::test]
async fn environments_are_deleted_from_a_disk_that_others_keep_full_to_the_last_byte() {
    if let Some(reason) = small_disk::missing() {
        left_out(reason);
        return;
    }
    let reserve = ["--free-space-reserve", "8MiB"];
    let local = LocalServer::start_on_small_disk_with_part_of_root(160 * MEBIBYTE, 5, &reserve).await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    let api = local.api_of_user("dev@example.com").await;
    let cloned = api.create_running(from_url("https://github.com/owner/name")).await;
    let stopped = api.create_running(from_nothing()).await;
    let running = api.create_running(from_nothing()).await;
    for id in [&stopped, &running] {
        // Directories within directories, more of them than one block of a directory has names.
        api.said(id, "seq 100 | xargs touch; seq 2000 | sed 's|.*|many/&/within|' | xargs mkdir -p").await;
    }
    api.stop(&stopped).await.unwrap();
    api.until(&stopped, EnvironmentPhase::Stopped).await;
    let environments = small_disk::seen_by(local.server().pid(), &local.data_dir().join("environments"));
    assert!(environments.join("ballast").exists());

    let _filler = Filler::start(environments.join("filler"));
    for id in [&cloned, &running] {
        let failure = api.until_failed(id).await;
        assert!(failure.contains(FULL), "{failure}");
    }
    let is_full = async || {
        let disk = statvfs(&environments).unwrap();
        // Root's part too, of 8 MiB: nothing of it is for anybody else. The file system keeps some for itself.
        let free = disk.f_bfree * disk.f_frsize;
        (disk.f_bavail == 0 && free < 4 * MEBIBYTE && !environments.join("ballast").exists()).then_some(())
    };
    eventually("there is nothing left", is_full).await;
    for id in [cloned, stopped, running] {
        api.delete_whole(&id).await;
        assert!(!environments.join(&id).exists());
    }
    tokens_live_and_die(local.server(), &api).await;
}
