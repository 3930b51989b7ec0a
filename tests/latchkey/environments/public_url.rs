//! What clients write to reach the server, when that is not the address it listens on: a proxy is in front of it.

use std::sync::{Arc, Mutex, OnceLock};

use axum::{Router, body::Body, extract::State};
use http::{Request, Response, Uri};
use latchkey::pb::supervisor::v1::ExecRequest;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;

use crate::support::{
    Gitpod, LocalServer, ServerOptions,
    environments::{from_nothing, status, with_url},
};

#[tokio::test]
async fn the_url_of_operations_begins_with_what_clients_write() {
    let flag = |url: &str| vec!["--public-url".to_owned(), url.to_owned()];
    let variable = |url: &str| vec![("LATCHKEY_PUBLIC_URL".to_owned(), url.to_owned())];
    for (args, env, begins) in [
        (flag("https://latchkey.example"), vec![], "https://latchkey.example"),
        (vec![], variable("https://latchkey.example:8443/"), "https://latchkey.example:8443"),
        (flag("https://latchkey.example/base/of/it/"), vec![], "https://latchkey.example/base/of/it"),
        (vec![], variable("https://latchkey.example/base"), "https://latchkey.example/base"),
        (flag("http://one.example"), variable("http://other.example"), "http://one.example"),
    ] {
        let local = LocalServer::start_with(ServerOptions { args, env, ..ServerOptions::default() }).await;
        let token = local.user("dev@example.com").await;
        let api = local.api(&token).await;
        let id = api.create_running(from_nothing()).await;
        let environment = api.get(&id).await.unwrap();
        let ops = &status(&environment).environment_urls.as_ref().unwrap().ops;
        assert_eq!(*ops, format!("{begins}/environments/{id}/ops"));

        // The proxy takes the base off the path and leaves the name; the server minds neither name nor scheme.
        let origin: Uri = begins.parse().unwrap();
        let url = ops.replacen(origin.path().trim_end_matches('/'), "", usize::from(origin.path() != "/"));
        let channel = Endpoint::from_shared(local.server().url()).unwrap().connect().await.unwrap();
        let mut operations = with_url(channel, &url, &api.environment_token(&id).await.unwrap());
        let request = ExecRequest { command: "echo here".to_owned(), ..Default::default() };
        assert_eq!(operations.exec(request).await.unwrap().into_inner().stdout, "here\n", "{url}");
        api.delete_whole(&id).await;
    }
}

/// A proxy in front of a server, that serves it below a path.
struct Proxy {
    url: String,
    behind: Arc<Behind>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Behind {
    server: OnceLock<Channel>,
    paths: Mutex<Vec<String>>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{BASE}", listener.local_addr().unwrap());
        let behind = Arc::new(Behind::default());
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&behind));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, behind, task }
    }

    /// The paths that were asked for.
    fn paths(&self) -> Vec<String> {
        self.behind.paths.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const BASE: &str = "/latchkey";

async fn pass_on(State(behind): State<Arc<Behind>>, mut request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    behind.paths.lock().unwrap().push(path.clone());
    let Some(path) = path.strip_prefix(BASE) else {
        return Response::builder().status(404).body(Body::empty()).unwrap();
    };
    *request.uri_mut() = path.parse().unwrap();
    let server = behind.server.get().expect("it is there before it is asked").clone();
    server.oneshot(request.map(tonic::body::Body::new)).await.unwrap().map(Body::new)
}

#[tokio::test]
async fn the_client_works_through_a_proxy_that_serves_the_server_below_a_path() {
    let proxy = Proxy::start().await;
    let env = vec![("LATCHKEY_PUBLIC_URL".to_owned(), format!("{}/", proxy.url))];
    let local = LocalServer::start_with(ServerOptions { env, ..ServerOptions::default() }).await;
    let server = Endpoint::from_shared(local.server().url()).unwrap().connect().await.unwrap();
    proxy.behind.server.set(server).unwrap();
    local.git.add_repository("owner/name", &[("file", "what is in it\n")]);

    let gitpod = Gitpod::new(&proxy.url);
    gitpod.run(&["login", "--token", &local.user("dev@example.com").await]).await.ended(0);
    let id = gitpod.good(&["environment", "create", "https://github.com/owner/name"]).await.trim().to_owned();
    let shown = gitpod.json(&["environment", "get", &id, "-o", "json"]).await;
    let ops = format!("{}/environments/{id}/ops", proxy.url);
    assert_eq!(shown["status"]["environmentUrls"]["ops"], ops);
    let said = gitpod.good(&["environment", "exec", &id, "--", "cat", "file"]).await;
    assert_eq!(said, "what is in it\n");
    let exec = format!("{BASE}/environments/{id}/ops/supervisor.v1.EnvironmentOpsService/Exec");
    assert!(proxy.paths().contains(&exec), "it went through the proxy: {:?}", proxy.paths());
    gitpod.good(&["environment", "delete", &id]).await;
}
