//! The tools that people explore an API with, grpcurl and buf curl: they learn all they need through reflection.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{SOON, TestDatabase, TestServer, token_text::token_id};

const SERVICES: [&str; 12] = [
    "envoy.service.auth.v3.Authorization",
    "gitpod.v1.EnvironmentService",
    "gitpod.v1.EventService",
    "gitpod.v1.IdentityService",
    "gitpod.v1.RunnerConfigurationService",
    "gitpod.v1.RunnerService",
    "gitpod.v1.TokenService",
    "gitpod.v1.UserService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "supervisor.v1.EnvironmentOpsService",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tool {
    Grpcurl,
    BufCurl {
        protocol: &'static str,
        /// What the base URL has after the host.
        base: &'static str,
    },
}

impl Tool {
    fn program(self) -> PathBuf {
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
        let program = match self {
            Self::Grpcurl => tools.join("venv/bin/grpcurl"),
            Self::BufCurl { .. } => tools.join("buf"),
        };
        assert!(program.exists(), "{} is missing: run 'make tools'", program.display());
        program
    }

    /// Runs the tool with a home of its own; returns what it printed, or what it complained of.
    async fn run(self, args: &[&str]) -> Result<String, String> {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(self.program());
        command.args(args).env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin").kill_on_drop(true);
        let output = tokio::time::timeout(SOON, command.output()).await.expect("the tool ends in time").unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }

    /// Lists the services.
    async fn services(self, server: &TestServer) -> Vec<String> {
        let listed = match self {
            Self::Grpcurl => self.run(&["-plaintext", server.address(), "list"]).await,
            // Its reflection goes over the protocol that it was told to speak.
            Self::BufCurl { protocol, base } => {
                let url = format!("{}{base}", server.url());
                let list = ["--http2-prior-knowledge", "--list-services", &url];
                self.run(&[&["curl", "--protocol", protocol][..], &list].concat()).await
            }
        };
        let mut services: Vec<String> = listed.unwrap().lines().map(str::to_owned).collect();
        services.sort();
        services
    }

    /// Calls an RPC; returns the answer in JSON, or what the tool complained of.
    async fn call(self, server: &TestServer, token: &str, rpc: &str, request: &Value) -> Result<Value, String> {
        let (header, request) = (format!("authorization: Bearer {token}"), request.to_string());
        let mut args = match self {
            Self::Grpcurl => vec!["-plaintext", "-d", &request],
            Self::BufCurl { protocol, .. } => {
                vec!["curl", "--protocol", protocol, "--http2-prior-knowledge", "-d", &request]
            }
        };
        if !token.is_empty() {
            args.extend(["-H", &header]);
        }
        let url = match self {
            Self::Grpcurl => None,
            Self::BufCurl { base, .. } => Some(format!("{}{base}/{rpc}", server.url())),
        };
        match &url {
            None => args.extend([server.address(), rpc]),
            Some(url) => args.push(url),
        }
        self.run(&args).await.map(|answer| serde_json::from_str(&answer).unwrap())
    }

    /// Whether a complaint tells of a status, each tool in its own words.
    fn complains_of(self, complaint: &str, grpcurl: &str, buf: &str) -> bool {
        match self {
            Self::Grpcurl => complaint.contains(&format!("Code: {grpcurl}")),
            Self::BufCurl { .. } => complaint.contains(&format!("\"code\": \"{buf}\"")),
        }
    }
}

/// What a newcomer tries.
async fn explore(tool: Tool) {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let call = async |token: &str, rpc: &str, request: Value| tool.call(&server, token, rpc, &request).await;

    assert_eq!(tool.services(&server).await, SERVICES);
    let health = call("", "grpc.health.v1.Health/Check", json!({})).await.unwrap();
    assert_eq!(health, json!({ "status": "SERVING" }));

    let identity = call(&token, "gitpod.v1.IdentityService/GetAuthenticatedIdentity", json!({})).await.unwrap();
    assert_eq!(identity["subject"]["principal"], "PRINCIPAL_USER");
    let user = call(&token, "gitpod.v1.UserService/GetAuthenticatedUser", json!({})).await.unwrap();
    assert_eq!((&user["user"]["id"], &user["user"]["email"]), (&identity["subject"]["id"], &json!("dev@example.com")));

    let request = json!({ "description": "from a tool", "validFor": "3600s", "readOnly": true });
    let created = call(&token, "gitpod.v1.TokenService/CreatePersonalAccessToken", request).await.unwrap();
    let (new, known) = (created["token"].as_str().unwrap(), &created["personalAccessToken"]);
    assert_eq!(known["id"], token_id(new));
    assert_eq!((&known["description"], &known["readOnly"]), (&json!("from a tool"), &json!(true)));

    let list = "gitpod.v1.TokenService/ListPersonalAccessTokens";
    let listed = call(new, list, json!({ "pagination": { "pageSize": 1 } })).await.unwrap();
    assert_eq!(listed["personalAccessTokens"].as_array().unwrap().len(), 1);
    assert_eq!(listed["personalAccessTokens"][0]["id"], known["id"]);
    let next = json!({ "pagination": { "pageSize": 1, "token": listed["pagination"]["nextToken"] } });
    let listed = call(new, list, next).await.unwrap();
    assert_eq!(listed["personalAccessTokens"][0]["id"], token_id(&token));

    // Mistakes are told with their details, which reflection explains as well.
    let wrong = call(&token, list, json!({ "pagination": { "pageSize": -1 } })).await.unwrap_err();
    assert!(tool.complains_of(&wrong, "InvalidArgument", "invalid_argument"), "{wrong}");
    assert!(wrong.contains("pagination.page_size"), "{wrong}");
    let denied = call(new, "gitpod.v1.TokenService/CreatePersonalAccessToken", json!({})).await.unwrap_err();
    assert!(tool.complains_of(&denied, "PermissionDenied", "permission_denied"), "{denied}");
    assert!(denied.contains("this token is read-only"), "{denied}");
    let stranger = call("", list, json!({})).await.unwrap_err();
    assert!(tool.complains_of(&stranger, "Unauthenticated", "unauthenticated"), "{stranger}");

    let delete = json!({ "personalAccessTokenId": known["id"] });
    let deleted = call(&token, "gitpod.v1.TokenService/DeletePersonalAccessToken", delete).await.unwrap();
    assert_eq!(deleted, json!({}));
    let revoked = call(new, list, json!({})).await.unwrap_err();
    assert!(tool.complains_of(&revoked, "Unauthenticated", "unauthenticated"), "{revoked}");
    assert!(revoked.contains("token revoked on "), "{revoked}");

    let log = call(&token, "gitpod.v1.EventService/ListAuditLogs", json!({})).await.unwrap();
    let entries = log["entries"].as_array().unwrap();
    for action in ["token_create", "token_revoke"] {
        let entry = entries.iter().find(|entry| entry["action"] == action && entry["subjectId"] == known["id"]);
        assert_eq!(entry.unwrap_or_else(|| panic!("no {action} in {log}"))["tokenId"], token_id(&token));
    }
}

#[tokio::test]
async fn grpcurl_needs_reflection_alone() {
    explore(Tool::Grpcurl).await;
}

#[tokio::test]
async fn buf_curl_needs_reflection_alone_in_every_protocol_under_every_base_url() {
    for protocol in ["grpc", "grpcweb", "connect"] {
        for base in ["", "/api"] {
            explore(Tool::BufCurl { protocol, base }).await;
        }
    }
}
