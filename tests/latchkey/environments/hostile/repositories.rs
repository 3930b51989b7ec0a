//! Repositories whose files are meant to be run, or to lead elsewhere, as soon as they are checked out.

use std::io::Write;

use latchkey::pb::gitpod::v1::EnvironmentPhase;

use crate::support::{
    LocalServer,
    environments::{from_url, status},
};

/// Whatever is run leaves a file of this name.
const MARK: &str = "touch /workspace/mark /home/dev/mark /tmp/mark";

/// A repository's only commit, as `git fast-import` reads it.
struct Commit(Vec<u8>);

impl Commit {
    fn new() -> Self {
        Self(b"commit refs/heads/main\ncommitter A <a@localhost> 0 +0000\ndata 1\nx\n".to_vec())
    }

    /// Adds a file of a mode; the path may be of any bytes.
    fn add(&mut self, mode: &str, path: &[u8], content: &[u8]) {
        let quoted: String = path.iter().map(|byte| format!("\\{byte:03o}")).collect();
        write!(self.0, "M {mode} inline \"{quoted}\"\ndata {}\n", content.len()).unwrap();
        self.0.extend_from_slice(content);
        self.0.push(b'\n');
    }

    /// Adds a submodule at a path.
    fn add_submodule(&mut self, path: &str) {
        writeln!(self.0, "M 160000 {} {path}", "1".repeat(40)).unwrap();
    }
}

#[tokio::test]
async fn nothing_of_a_repository_is_run_or_followed_by_its_clone() {
    let local = LocalServer::start().await;
    let mut commit = Commit::new();
    let mut modules = String::new();
    for (number, url) in [
        "file:///workspace/other/.git",
        "--upload-pack=touch /workspace/mark",
        "-u./run",
        "ext::sh -c touch% /workspace/mark",
        "ssh://-oProxyCommand=touch%20mark/x",
        "../../../etc",
        "https://github.com/owner/other",
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("module-{number}");
        modules.push_str(&format!(
            "[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n\tupdate = !{MARK}\n\tbranch = main\n"
        ));
        commit.add_submodule(&path);
    }
    modules.push_str("[submodule \"../../hooks\"]\n\tpath = module-0\n\turl = https://github.com/owner/other\n");
    commit.add("100644", b".gitmodules", modules.as_bytes());
    let script = format!("#!/bin/sh\n{MARK}\n");
    for hook in ["hooks/post-checkout", ".githooks/post-checkout", "git/hooks/post-checkout", "run"] {
        commit.add("100755", hook.as_bytes(), script.as_bytes());
    }
    let config = format!(
        "[core]\n\thooksPath = .githooks\n\tfsmonitor = \"{MARK}\"\n\tsshCommand = \"{MARK}\"\n[filter \"evil\"]\n\tsmudge = \
         \"{MARK}\"\n\tprocess = \"{MARK}\"\n\trequired = true\n[include]\n\tpath = ../.gitconfig\n"
    );
    for name in [".gitconfig", "config", ".config/git/config"] {
        commit.add("100644", name.as_bytes(), config.as_bytes());
    }
    let attributes =
        "*.evil filter=evil diff=evil merge=evil\n*.bin filter=lfs diff=lfs merge=lfs -text\n*.txt ident\n";
    commit.add("100644", b".gitattributes", attributes.as_bytes());
    commit.add("100644", b"a.evil", b"as it is\n");
    let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12345\n", "0".repeat(64));
    commit.add("100644", b"large.bin", pointer.as_bytes());
    commit.add("100644", b".lfsconfig", b"[lfs]\n\turl = https://github.com/owner/lfs\n");
    let outside = local.data_dir().join("canary");
    std::fs::write(&outside, "the server's\n").unwrap();
    let outside = outside.to_str().unwrap();
    for (name, target) in [
        ("root", "/"),
        ("up", "../../../../../../../.."),
        ("canary", outside),
        ("proxy", "/run/egress/proxy.sock"),
        ("itself", "itself"),
    ] {
        commit.add("120000", name.as_bytes(), target.as_bytes());
    }
    local.git.import("owner/name", |script| script.write_all(&commit.0).unwrap());
    local.git.add_repository("owner/other", &[("mark", "")]);

    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_url("https://github.com/owner/name")).await;
    assert_eq!(api.said(&id, "find / -xdev -name 'mark*' 2>/dev/null; true").await, "", "nothing was run");
    assert_eq!(api.said(&id, "find /workspace /home/dev /tmp -name 'mark*'").await, "", "nothing was run");
    assert_eq!(api.said(&id, "cat a.evil large.bin").await, format!("as it is\n{}", pointer.trim_end()));
    assert_eq!(api.said(&id, "ls -A module-* | grep -v : | sort -u").await, "", "no submodule was fetched");
    assert!(local.git.requests().iter().all(|request| request.contains("/owner/name/")), "{:?}", local.git.requests());
    let made =
        "ls -A .git | grep -E 'hooks|modules'; git config --list --local | grep -E 'mark|filter|submodule'; true";
    assert_eq!(api.said(&id, made).await, "");
    // Links are what they are, and lead to what the sandbox has.
    assert_eq!(api.said(&id, "readlink root canary").await, format!("/\n{outside}"));
    let ran = api.run(&id, "cat canary root/etc/shadow up/var/lib/latchkey/x; echo x > root/x").await;
    assert_eq!(ran.stdout, "");
    assert_ne!(ran.exit_code, 0);
    // Counted, stopped and removed without any of them being followed.
    assert!(status(&api.get(&id).await.unwrap()).disk_bytes < 2 << 20);
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
    assert_eq!(std::fs::read_to_string(outside).unwrap(), "the server's\n");
}

#[tokio::test]
async fn names_of_any_bytes_are_written_as_they_are() {
    let local = LocalServer::start().await;
    let names: [&[u8]; 14] = [
        b"case",
        b"CASE",
        b"Case",
        b"dir/x",
        b"DIR/x",
        b"\x1b[2J\x1b]0;title\x07",
        b"line\nbreak\r\ttab",
        b"\x01\x7f",
        "\u{202E}txt.exe\u{200B}".as_bytes(),
        b"\xff\xfe not UTF-8",
        b"--upload-pack=touch mark",
        b"$(touch mark)`touch mark`;touch mark",
        b" ",
        &[b'n'; 255],
    ];
    let mut commit = Commit::new();
    for name in names {
        commit.add("100644", name, b"");
    }
    local.git.import("owner/names", |script| script.write_all(&commit.0).unwrap());
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create_running(from_url("https://github.com/owner/names")).await;
    let mut expected: Vec<String> =
        names.iter().map(|name| name.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    expected.sort();
    let found =
        "git ls-files -z | xargs -0 -I {} sh -c 'printf %s \"$1\" | od -An -v -tx1 | tr -d \" \\n\"; echo' - {} | sort";
    assert_eq!(api.said(&id, found).await, expected.join("\n"));
    assert_eq!(api.said(&id, "find . -path ./.git -prune -o -type f -print0 | tr -dc '\\0' | wc -c").await, "14");
    assert_eq!(api.said(&id, "git status --short").await, "");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}

/// One entry of a tree object.
fn entry(mode: &str, name: &[u8], object: &str) -> Vec<u8> {
    let object = object.as_bytes().chunks(2).map(|digits| {
        let digits = std::str::from_utf8(digits).unwrap();
        u8::from_str_radix(digits, 16).unwrap()
    });
    [mode.as_bytes(), b" ", name, b"\0"].concat().into_iter().chain(object).collect()
}

#[tokio::test]
async fn names_that_lead_out_of_a_checkout_are_not_written() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    // None of these does Git itself put into a tree.
    for (number, name) in [
        "..",
        ".",
        ".git",
        ".GIT",
        ".Git",
        "git~1",
        "GIT~1",
        ".git ",
        ".git...",
        ".git::$INDEX_ALLOCATION",
        "../../up",
        "/abs",
    ]
    .into_iter()
    .enumerate()
    {
        let repository = format!("owner/name-{number}");
        local.git.add_empty_repository(&repository);
        let hook = local.git.add_object(&repository, "blob", format!("#!/bin/sh\n{MARK}\n").as_bytes());
        let hooks = local.git.add_object(&repository, "tree", &entry("100755", b"post-checkout", &hook));
        let inner = local.git.add_object(&repository, "tree", &entry("40000", b"hooks", &hooks));
        let top = local.git.add_object(&repository, "tree", &entry("40000", name.as_bytes(), &inner));
        local.git.commit_tree(&repository, &top);
        let id = api.create(from_url(&format!("https://github.com/{repository}"))).await.unwrap().id;
        let failure = api.until_failed(&id).await;
        assert!(failure.contains("a file whose name Git does not write"), "{name:?}: {failure}");
        assert!(failure.contains("invalid path"), "{name:?}: {failure}");
        local.is_at_rest(&id);
        let left = std::fs::read_dir(local.directory_of(&id).join("ws")).unwrap().count();
        assert_eq!(left, 0, "{name:?}");
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    }
}

#[tokio::test]
async fn a_name_that_is_a_link_and_a_directory_leads_nowhere() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    local.git.add_empty_repository("owner/twice");
    let target = local.git.add_object("owner/twice", "blob", b"/home/dev");
    let file = local.git.add_object("owner/twice", "blob", b"x");
    let inner = local.git.add_object("owner/twice", "tree", &entry("100644", b"mark", &file));
    let twice = [entry("120000", b"a", &target), entry("40000", b"a", &inner)].concat();
    let top = local.git.add_object("owner/twice", "tree", &twice);
    local.git.commit_tree("owner/twice", &top);
    let id = api.create(from_url("https://github.com/owner/twice")).await.unwrap().id;
    // One of the two is written, and nothing through the link.
    api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&id, "ls -A /home/dev; ls -A; cat a/mark").await, ".git\na\nx");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
}
