//! `examples/greeter`, as it is: a service of its own package, with the layer in front.

use std::{path::Path, process::Stdio};

use latchkey::pb::gitpod::v1::DeletePersonalAccessTokenRequest;
use prost::Message;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use crate::support::{
    TestDatabase, TestServer, details, eventually,
    keys::{forged, token_id},
};

/// A message with a text in its first field, or with nothing.
#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    text: String,
}

/// The example's program.
struct Greeter {
    _child: Child,
    url: String,
}

async fn start(latchkey: &str, token: &str) -> Greeter {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = root.join("examples/greeter");
    let target = root.join("target/examples");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--target-dir"])
        .arg(&target)
        // What this test was compiled with is no other package's.
        .env_remove("RUSTFLAGS")
        .current_dir(&package)
        .output()
        .await
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let mut child = Command::new(target.join("debug/greeter"))
        .env("LATCHKEY_URL", latchkey)
        .env("LATCHKEY_TOKEN", token)
        .env("GREETER_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().next_line().await.unwrap().unwrap();
    let url = said.strip_prefix("greeter listens on ").unwrap().to_owned();
    Greeter { _child: child, url }
}

impl Greeter {
    async fn call(&self, method: &str, text: &str, authorization: &[&str]) -> Result<String, Status> {
        let channel: Channel = Endpoint::from_shared(self.url.clone()).unwrap().connect().await.unwrap();
        let mut client = Grpc::new(channel);
        client.ready().await.unwrap();
        let mut request = Request::new(Text { text: text.to_owned() });
        for value in authorization {
            request.metadata_mut().append("authorization", value.parse().unwrap());
        }
        let path = format!("/greeter.v1.GreeterService/{method}").parse().unwrap();
        let answer = client.unary(request, path, ProstCodec::<Text, Text>::default()).await?;
        Ok(answer.into_inner().text)
    }

    async fn greet(&self, token: &str) -> Result<String, Status> {
        self.call("Greet", "", &[&format!("Bearer {token}")]).await
    }
}

#[tokio::test]
async fn a_service_that_knows_nothing_of_tokens_is_protected() {
    let database = TestDatabase::create().await;
    let mut server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let read_only = server.token(&database, "dev@example.com", &["--read-only"]).await;
    let greeter = start(&server.url(), &server.service_account(&database, &["--service"]).await).await;

    let holder = "SELECT principal_id::text FROM personal_access_tokens WHERE id = $1::text::uuid";
    let holder = database.text(holder, &[&token_id(&token)]).await;
    for token in [&token, &read_only] {
        assert_eq!(greeter.greet(token).await.unwrap(), format!("Hello, {holder}"));
    }
    // Who may but read, reads.
    let bearer = format!("Bearer {token}");
    let refused = greeter.call("SetGreeting", "Nobody", &[&format!("Bearer {read_only}")]).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    assert_eq!(greeter.greet(&token).await.unwrap(), format!("Hello, {holder}"));
    greeter.call("SetGreeting", "Good evening", &[&bearer]).await.unwrap();
    assert_eq!(greeter.greet(&token).await.unwrap(), format!("Good evening, {holder}"));

    // Whatever is wrong is the same to a stranger.
    let (_, _, elsewhere) = server.stranger(&database, "admin").await;
    let wrong =
        [format!("Bearer {}", forged()), format!("Bearer {elsewhere}"), "Bearer x".to_owned(), "Basic x".to_owned()];
    let mut refusals = vec![greeter.call("Greet", "", &[]).await, greeter.call("Greet", "", &[&bearer, &bearer]).await];
    for one in &wrong {
        refusals.push(greeter.call("Greet", "", &[one]).await);
    }
    // What is not there is not told apart either.
    refusals.push(greeter.call("Nothing", "", &[]).await);
    for refused in refusals {
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message().contains("a valid token is needed")),
            (Code::Unauthenticated, true)
        );
    }

    let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&token) };
    server.api(&token).await.tokens.delete_personal_access_token(delete).await.unwrap();
    eventually("the revoked token is refused", async || {
        greeter.greet(&token).await.err().filter(|refused| refused.code() == Code::Unauthenticated)
    })
    .await;

    // Without Latchkey nobody is let in, and nobody is called a stranger.
    server.kill().await;
    let unknown = eventually("Latchkey's end is noticed", async || {
        greeter.greet(&read_only).await.err().filter(|refused| refused.code() != Code::Unauthenticated)
    })
    .await;
    assert_eq!(unknown.code(), Code::Unavailable, "{unknown}");
    assert!(details(&unknown).retry_info().is_some());
}
