//! A service of somebody else's: made from the blocks of docs/interceptors.md, by the commands that stand there.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use latchkey::pb::gitpod::v1::Subject;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::{
    readme::blocks::blocks,
    support::{SOON, TestServer, eventually, network::own_address},
};

const DOCUMENT: &str = include_str!("../../../docs/interceptors.md");

#[derive(Clone, Copy)]
pub(super) enum Language {
    Python,
    /// The interceptor alone, in front of methods of the test's.
    PythonOfEveryKind,
    TypeScript,
}

/// A running service. Killed with this value.
pub(super) struct Foreign {
    channel: Channel,
    _child: Child,
    _directory: TempDir,
}

impl Foreign {
    /// Builds it beside a checkout, and waits until it serves, on a port that no other test has.
    pub(super) async fn start(language: Language, port: u16, latchkey: &TestServer, asking: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("latchkey-interceptor-").tempdir().unwrap();
        fs::create_dir(directory.path().join("latchkey")).unwrap();
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("proto"), directory.path().join("latchkey/proto")).unwrap();
        let here = directory.path().join("service");
        fs::create_dir(&here).unwrap();
        let address = format!("{}:{port}", own_address(0));
        let save = |name: &str, text: &str| {
            let text = text.replace("127.0.0.1:8080", latchkey.address()).replace("127.0.0.1:50051", &address);
            fs::write(here.join(name), text).unwrap();
        };
        let shown = |language: &str| {
            let blocks: Vec<String> = blocks(DOCUMENT, language).into_iter().map(|block| block.text).collect();
            assert!(DOCUMENT.matches(&format!("```{language}\n")).count() == blocks.len() && !blocks.is_empty());
            blocks
        };
        let [stubs, built] = &shown("sh")[..] else { panic!("two blocks of commands") };
        let [python, python_service] = &shown("python")[..] else { panic!("two blocks of Python") };
        let [typescript, typescript_service] = &shown("ts")[..] else { panic!("two blocks of TypeScript") };
        let start = match language {
            Language::Python | Language::PythonOfEveryKind => {
                save("latchkey_interceptor.py", python);
                match language {
                    Language::PythonOfEveryKind => save("greeter.py", include_str!("every_kind.py")),
                    Language::Python | Language::TypeScript => save("greeter.py", python_service),
                }
                run(&here, "bash", &["-euc", stubs]).await;
                ["python", "greeter.py"]
            }
            Language::TypeScript => {
                save("latchkey_interceptor.ts", typescript);
                save("greeter.ts", typescript_service);
                save("greeter.proto", &shown("proto")[0]);
                symlink(tool("node_modules"), here.join("node_modules")).unwrap();
                let (build, start) = built.trim_end().rsplit_once('\n').unwrap();
                assert_eq!(start, "node greeter.js");
                run(&here, "bash", &["-euc", build]).await;
                ["node", "greeter.js"]
            }
        };
        let child = command(&here, start[0], &start[1..]).env("SERVICE_TOKEN", asking).spawn().unwrap();
        eventually("the service serves", async || TcpStream::connect(&address).await.ok()).await;
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { channel, _child: child, _directory: directory }
    }

    /// Whom the service takes the caller for, by the ID of its subject.
    pub(super) async fn call(&self, method: &str, authorization: &[&str]) -> Result<String, Status> {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client.ready().await.unwrap();
        let mut request = Request::new(());
        for value in authorization {
            request.metadata_mut().append("authorization", MetadataValue::<Ascii>::try_from(*value).unwrap());
        }
        let path = format!("/demo.Greeter/{method}").parse().unwrap();
        let calling = client.server_streaming(request, path, ProstCodec::<(), Subject>::default());
        let answer = tokio::time::timeout(SOON, calling).await.expect("it answers in time")?;
        let subject = answer.into_inner().message().await?;
        Ok(subject.expect("there is one message").id)
    }

    pub(super) async fn who_am_i(&self, authorization: &[&str]) -> Result<String, Status> {
        self.call("WhoAmI", authorization).await
    }

    pub(super) async fn with_token(&self, token: &str) -> Result<String, Status> {
        self.who_am_i(&[&format!("Bearer {token}")]).await
    }
}

/// Something of the tests' tools.
fn tool(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools").join(path);
    assert!(path.exists(), "{} is missing: run 'make tools'", path.display());
    path
}

fn command(here: &Path, program: &str, arguments: &[&str]) -> Command {
    let search = std::env::var("PATH").unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(here).env_clear().env("HOME", here).kill_on_drop(true);
    command.env("PATH", format!("{}:{search}", tool("venv-grpc/bin").display())).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

async fn run(here: &Path, program: &str, arguments: &[&str]) {
    let ended = tokio::time::timeout(4 * SOON, command(here, program, arguments).output()).await;
    let output = ended.expect("it ends in time").expect("it starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {said}");
}
