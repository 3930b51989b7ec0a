//! Commands by `gitpod environment exec`.

use crate::support::{
    Gitpod, LocalServer,
    environments::{from_nothing, from_url},
    eventually, processes_with,
};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn the_client_passes_on_words_output_and_exit_code() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("a b", "spaces\n")]);
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_url("https://github.com/owner/name")).await;
    let gitpod = Gitpod::with_token(&local.server().url(), &token);
    let exec = async |words: &[&str]| gitpod.run(&[&["environment", "exec", &id, "--"], words].concat()).await;

    let ran = exec(&["sh", "-c", "echo out; echo err >&2; exit 42"]).await.ended(42);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("out\n", "err\n"), "and nothing besides");
    exec(&["true"]).await.ended(0);
    exec(&["false"]).await.ended(1);
    exec(&["sh", "-c", "kill -KILL $$"]).await.ended(137);
    exec(&["no-such-command"]).await.ended(127).saying("no-such-command");
    assert_eq!(exec(&["cat", "a b"]).await.ended(0).stdout, "spaces\n");
    assert_eq!(exec(&["pwd"]).await.ended(0).stdout, "/workspace/name\n");
    // By another name than the server has for itself.
    let url = local.server().url().replace("127.0.0.1", "localhost");
    let ran = Gitpod::with_token(&url, &token).run(&["environment", "exec", &id, "--", "pwd"]).await.ended(0);
    assert_eq!(ran.stdout, "/workspace/name\n");

    // Each word arrives as it was written.
    let words = [
        "a b",
        "",
        "'",
        "\"",
        "it's \"so\"",
        "$HOME",
        "${x}",
        "`id`",
        "$(id)",
        "a\nb\n",
        "\t",
        "*",
        "~",
        "\\",
        "-n",
        "--",
        "#x",
        "!x",
        ";",
        "&",
        "|",
        ">",
        "{a,b}",
        "a=b",
        "ä€😀",
        " ",
        "%s",
        "\\n",
    ];
    let ran = exec(&[&["printf", "%s\\0"], words.as_slice()].concat()).await.ended(0);
    let expected: String = words.iter().map(|word| format!("{word}\0")).collect();
    assert_eq!(ran.stdout, expected);

    let ran = gitpod.run(&["environment", "exec", "--workdir", "/tmp", &id, "--", "pwd"]).await.ended(0);
    assert_eq!(ran.stdout, "/tmp\n");
    gitpod
        .run(&["environment", "exec", "--workdir", "/missing", &id, "--", "pwd"])
        .await
        .ended(1)
        .saying("working_directory");

    let ran = exec(&["sh", "-c", "head -c 9000000 /dev/zero | tr '\\0' x; printf '\\377' >&2"]).await.ended(0);
    assert!(ran.stdout.ends_with("\n[latchkey: cut off here, after 8 MiB]\n"));
    assert_eq!(ran.stdout.bytes().take_while(|byte| *byte == b'x').count(), 8 * 1024 * 1024);
    assert!(ran.stderr.contains("bytes that are not UTF-8 were replaced"), "{}", ran.stderr);
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn the_client_ends_what_it_began() {
    let local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    let gitpod = Gitpod::with_token(&local.server().url(), &token);
    let marker = |number: u32| format!("31536{number}.{}", id.replace(|letter: char| !letter.is_ascii_digit(), ""));
    let sleeping = async |marker: &str| {
        let sleep = format!(": sleep {marker}");
        eventually("it sleeps", async || processes_with(marker).iter().any(|line| line.contains(&sleep)).then_some(()))
            .await;
    };

    // Its time is over.
    let late = marker(7);
    let script = format!("sleep {late} & sleep {late}; true");
    gitpod
        .run(&["environment", "exec", "--timeout", "1s", &id, "--", "sh", "-c", &script])
        .await
        .ended(1)
        .saying("took longer than 1 s");
    assert_eq!(processes_with(&late), Vec::<String>::new());

    // Ctrl-C, and a client that is killed.
    for (number, signal, code) in [
        (8, nix::sys::signal::Signal::SIGINT, Some(130)),
        (9, nix::sys::signal::Signal::SIGTERM, Some(143)),
        (6, nix::sys::signal::Signal::SIGKILL, None),
    ] {
        let marker = marker(number);
        let script = format!("sleep {marker} & sleep {marker}; true");
        let mut command = gitpod.command(crate::support::GITPOD);
        let mut client = command.args(["environment", "exec", &id, "--", "sh", "-c", &script]).spawn().unwrap();
        sleeping(&marker).await;
        let process = nix::unistd::Pid::from_raw(client.id().unwrap().cast_signed());
        nix::sys::signal::kill(process, signal).unwrap();
        let ended = tokio::time::timeout(crate::support::SOON, client.wait()).await.expect("it ends in time").unwrap();
        assert_eq!(ended.code(), code, "{signal}");
        let mut said = String::new();
        client.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "");
        eventually("nothing is left", async || {
            let left = processes_with(&marker);
            left.iter().all(|line| !line.contains(": sleep ")).then_some(())
        })
        .await;
    }
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn the_client_says_why_a_command_did_not_run() {
    let local = LocalServer::start().await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    let gitpod = Gitpod::with_token(&local.server().url(), &token);
    let reader = local.server().token(&local.database, "dev@example.com", &["--read-only"]).await;
    let reader = Gitpod::with_token(&local.server().url(), &reader);
    let other = Gitpod::with_token(&local.server().url(), &local.user("other@example.com").await);

    reader.run(&["environment", "exec", &id, "--", "true"]).await.ended(3).saying("read-only");
    other.run(&["environment", "exec", &id, "--", "true"]).await.ended(4).saying("no environment with ID");
    gitpod.run(&["environment", "exec", "not-an-id", "--", "true"]).await.ended(2);
    gitpod.run(&["environment", "exec", &id]).await.ended(2);
    gitpod.good(&["environment", "stop", &id]).await;
    gitpod
        .run(&["environment", "exec", &id, "--", "true"])
        .await
        .ended(1)
        .saying("start it with `gitpod environment start");
    gitpod.good(&["environment", "start", &id]).await;
    gitpod.run(&["environment", "exec", &id, "--", "true"]).await.ended(0);
    gitpod.good(&["environment", "delete", &id]).await;
    gitpod.run(&["environment", "exec", &id, "--", "true"]).await.ended(4);
}
