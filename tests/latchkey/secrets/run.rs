//! A run of everything that touches a secret.

use latchkey::pb::{
    gitpod::v1::{
        CreateEnvironmentAccessTokenRequest, CreatePersonalAccessTokenRequest, DeletePersonalAccessTokenRequest,
        GetAuthenticatedUserRequest, GetEnvironmentRequest, GetPersonalAccessTokenRequest, ListAuditLogsRequest,
        ListEnvironmentsRequest, ListPersonalAccessTokensRequest, UpdatePersonalAccessTokenRequest,
    },
    supervisor::v1::ExecRequest,
};
use tonic::Code;

use super::{
    places::{self, Answers},
    search::Secrets,
};
use crate::support::{
    Api, Caller, Gitpod, LATCHKEY, LocalServer, Ran, ServerOptions, WHOAMI,
    environments::{from_url, operations},
    git_server::Manners,
    http,
    network::own_address,
    token_text::token_id,
};

/// What an environment token is good for.
pub(super) const OPERATIONS: &str = "/supervisor.v1.EnvironmentOpsService/Exec";

/// The server, everything that it answered, and what was found where it should not be.
pub(super) struct Run {
    pub(super) local: LocalServer,
    pub(super) metrics: String,
    pub(super) secrets: Secrets,
    pub(super) answers: Answers,
    found: Vec<String>,
    /// The user's first token, made by the operator.
    pub(super) first: String,
    /// One made with it.
    pub(super) second: String,
    pub(super) environment_token: String,
}

impl Run {
    /// A server that logs all there is to log, also of the libraries that it is made with.
    pub(super) async fn start() -> Self {
        let metrics = format!("{}:9464", own_address(3));
        let options = ServerOptions {
            args: vec!["--metrics-listen".to_owned(), metrics.clone()],
            env: vec![("LATCHKEY_LOG".to_owned(), "trace".to_owned())],
            ..ServerOptions::default()
        };
        let local = LocalServer::start_with(options).await;
        let mut secrets = Secrets::default();
        secrets.add_signing_key(&local.server().keys());
        let (answers, found) = (Answers::default(), Vec::new());
        let none = String::new;
        Self { local, metrics, secrets, answers, found, first: none(), second: none(), environment_token: none() }
    }

    pub(super) fn found(&self) -> &[String] {
        &self.found
    }

    pub(super) async fn api(&self) -> Api {
        self.local.api(&self.first).await
    }

    /// What the operator does, and what is said of that beside the result.
    pub(super) async fn operator(&mut self, arguments: &[&str]) -> Ran {
        let mut command = tokio::process::Command::new(LATCHKEY);
        command.arg("admin").args(arguments).env("LATCHKEY_LOG", "trace").kill_on_drop(true);
        command.args(["--database-url", &self.local.database.owner_url(), "--data-dir"]).arg(self.local.data_dir());
        Ran::of(command).await
    }

    /// A token by the operator.
    pub(super) async fn token_by_operator(&mut self, name: &str, more: &[&str]) -> String {
        let create = ["create-token", "--user", "dev@example.com", "--description", name];
        let ran = self.operator(&[&create, more].concat()).await.ended(0);
        let token = ran.stdout.trim_end().to_owned();
        self.secrets.add_token(name, &token);
        self.answers.keep_ran("create-token", &ran, Some(&token));
        token
    }

    /// A token of a new service that may ask about others'.
    pub(super) async fn service_token(&mut self, name: &str) -> String {
        let ran = self.operator(&["create-service-account", "--name", name, "--service"]).await.ended(0);
        let create = ["create-token", "--service-account", ran.stdout.trim(), "--description", "asks"];
        let ran = self.operator(&create).await.ended(0);
        let token = ran.stdout.trim_end().to_owned();
        self.secrets.add_token(&format!("the token of {name}"), &token);
        self.answers.keep_ran("create-token", &ran, Some(&token));
        token
    }

    /// A token by the API: all of the answer is kept but the token.
    pub(super) async fn token_by_api(&mut self, name: &str) -> String {
        let request = CreatePersonalAccessTokenRequest { description: name.to_owned(), ..Default::default() };
        let mut answer = self.api().await.tokens.create_personal_access_token(request).await.unwrap();
        let token = std::mem::take(&mut answer.get_mut().token);
        self.secrets.add_token(name, &token);
        self.answers.keep("CreatePersonalAccessToken", Ok(answer)).unwrap();
        token
    }

    /// By the operator, by the API, and by the client.
    pub(super) async fn makes_tokens(&mut self) {
        let ran = self.operator(&["create-user", "--email", "dev@example.com"]).await.ended(0);
        self.answers.keep_ran("create-user", &ran, None);
        self.first = self.token_by_operator("the first token", &[]).await;
        self.second = self.token_by_api("the second token").await;

        let gitpod = Gitpod::with_token(&self.local.server().url(), &self.second);
        let ran = gitpod.run(&["token", "create", "--description", "by the client"]).await.ended(0);
        let token = ran.stdout.trim_end().to_owned();
        self.secrets.add_token("the token by the client", &token);
        self.answers.keep_ran("gitpod token create", &ran, Some(&token));
        let signed_in = Gitpod::new(&self.local.server().url());
        for arguments in [&["login", "--token", &token][..], &["whoami", "-o", "json"], &["token", "list"], &["logout"]]
        {
            let ran = signed_in.run(arguments).await.ended(0);
            self.answers.keep_ran("gitpod", &ran, None);
        }
    }

    /// From a repository, with a token for it and commands run there; gives its ID. It goes on running.
    pub(super) async fn uses_an_environment(&mut self) -> String {
        self.local.git.add_repository("owner/name", &[("file", "text\n")]);
        let api = self.api().await;
        let id = api.create_running(from_url("https://github.com/owner/name")).await;
        let request = CreateEnvironmentAccessTokenRequest { environment_id: id.clone() };
        let mut answer = api.environments.clone().create_environment_access_token(request).await.unwrap();
        self.environment_token = std::mem::take(&mut answer.get_mut().access_token);
        self.secrets.add_token("the environment token", &self.environment_token);
        self.answers.keep("CreateEnvironmentAccessToken", Ok(answer)).unwrap();

        // Whatever can be seen inside.
        let look = "env; cat /proc/*/cmdline /proc/*/environ | tr '\\0' '\\n'; \
                    find /workspace /run /tmp /home /etc -type f -size -64k -exec cat {} +; true";
        let request = ExecRequest { command: look.to_owned(), ..Default::default() };
        let url = format!("{}/environments/{id}/ops", self.local.server().url());
        let answer = operations(&url, &self.environment_token).await.exec(request).await;
        let answer = self.answers.keep("Exec", answer).unwrap();
        for seen in ["text\n", "HOME=", "supervisor"] {
            assert!(answer.stdout.contains(seen), "it did not look everywhere: {seen:?}");
        }
        let gitpod = Gitpod::with_token(&self.local.server().url(), &self.second);
        let ran = gitpod.run(&["environment", "exec", &id, "--", "env"]).await.ended(0);
        self.answers.keep_ran("gitpod environment exec", &ran, None);
        self.found.extend(places::search_processes(&id, &self.secrets));
        id
    }

    /// All that can be asked about tokens, and their end.
    pub(super) async fn shows_lists_and_revokes(&mut self) {
        let api = self.api().await;
        let id = token_id(&self.second);
        let get = GetPersonalAccessTokenRequest { personal_access_token_id: id.clone() };
        let list = ListPersonalAccessTokensRequest::default();
        let answers = &mut self.answers;
        answers.keep("get", api.tokens.clone().get_personal_access_token(get).await).unwrap();
        let listed = answers.keep("list", api.tokens.clone().list_personal_access_tokens(list).await).unwrap();
        assert_eq!(listed.personal_access_tokens.len(), 3);
        let user = GetAuthenticatedUserRequest::default();
        answers.keep("user", api.users.clone().get_authenticated_user(user).await).unwrap();
        let log = ListAuditLogsRequest::default();
        let log = answers.keep("log", api.events.clone().list_audit_logs(log).await).unwrap();
        assert!(log.entries.iter().any(|entry| entry.token_id == id), "answers name tokens by their IDs");
        let environments = ListEnvironmentsRequest::default();
        answers.keep("environments", api.environments.clone().list_environments(environments).await).unwrap();
        let update = UpdatePersonalAccessTokenRequest {
            personal_access_token_id: id.clone(),
            description: Some("described anew".to_owned()),
        };
        answers.keep("update", api.tokens.clone().update_personal_access_token(update).await).unwrap();
        for _ in 0..2 {
            let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: id.clone() };
            answers.keep("delete", api.tokens.clone().delete_personal_access_token(delete).await).unwrap();
        }
        let other = self.token_by_operator("a token for the operator to revoke", &[]).await;
        for command in [&["list-tokens"][..], &["revoke-token", &token_id(&other)], &["revoke-token", &other]] {
            let ran = self.operator(command).await;
            self.answers.keep_ran("admin", &ran, None);
        }
    }

    /// Clones that fail, and a database that refuses a write.
    pub(super) async fn fails(&mut self) {
        let api = self.api().await;
        self.local.git.set_manners("owner/private", Manners::Private);
        for url in ["https://github.com/owner/missing", "https://github.com/owner/private"] {
            let id = api.create(from_url(url)).await.unwrap().id;
            let failure = api.until_failed(&id).await;
            self.answers.keep_text("failure", &failure);
            let get = GetEnvironmentRequest { environment_id: id };
            self.answers.keep("failed", api.environments.clone().get_environment(get).await).unwrap();
        }
        let owner = self.local.database.owner().await;
        let constraint = "ALTER TABLE personal_access_tokens ADD CONSTRAINT refused CHECK (description <> 'refused')";
        owner.batch_execute(constraint).await.unwrap();
        let request = CreatePersonalAccessTokenRequest { description: "refused".to_owned(), ..Default::default() };
        let answer = api.tokens.clone().create_personal_access_token(request).await;
        assert_eq!(self.answers.keep("refused", answer).unwrap_err().code(), Code::Internal);
        let create = ["create-token", "--user", "dev@example.com", "--description", "refused"];
        let ran = self.operator(&create).await.ended(1);
        self.answers.keep_ran("create-token", &ran, None);
    }

    /// A new key, with a server that is started again, which writes its log as JSON, and the end of the old one with all its tokens.
    pub(super) async fn changes_keys(&mut self) {
        self.searches_metrics().await;
        let ran = self.operator(&["generate-signing-key", "--generation", "2"]).await.ended(0);
        assert_eq!(ran.stderr, "");
        self.secrets.add_signing_key(&ran.stdout);
        let path = self.local.data_dir().join("signing-keys");
        let keys = std::fs::read_to_string(&path).unwrap() + &ran.stdout;
        std::fs::write(&path, keys).unwrap();
        self.local.stop().await;
        self.searches_log().await;
        let git_config = self.local.git_config();
        let variables = [("LATCHKEY_GIT_CONFIG", git_config.to_str().unwrap()), ("LATCHKEY_LOG_FORMAT", "json")];
        self.local.set_variables(&variables);
        self.local.start_again().await;
        let ran = self.operator(&["activate-generation", "2"]).await.ended(0);
        self.answers.keep_ran("activate", &ran, None);
        let newest = self.token_by_operator("a token of the second key", &[]).await;
        let revoked = std::mem::replace(&mut self.first, newest);
        let ran = self.operator(&["revoke-generation", "1"]).await.ended(0);
        self.answers.keep_ran("revoke", &ran, None);
        let caller = Caller::connect(&self.local.server().url()).await;
        for (path, token) in [(WHOAMI, &revoked), (OPERATIONS, &self.environment_token)] {
            self.answers.keep_headers("revoked", caller.call_with_token(path, token).await).unwrap_err();
        }
    }

    /// The environment is deleted, and the server ends.
    pub(super) async fn ends(&mut self, environment: &str) {
        self.api().await.delete_whole(environment).await;
        self.searches_metrics().await;
        self.local.stop().await;
        let log = self.local.server().log();
        let is_json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line.is_object());
        assert!(log.lines().all(is_json), "its log is JSON: {:?}", log.lines().find(|line| !is_json(line)));
        self.searches_log().await;
    }

    fn notes(&mut self, place: &str, text: &[u8]) {
        let here = self.secrets.found_in(text).into_iter();
        self.found.extend(here.map(|secret| format!("{secret} is in {place}")));
    }

    /// Once a server has said its last word.
    async fn searches_log(&mut self) {
        places::learn_digests(&self.local.database, &mut self.secrets).await;
        let log = self.local.server().log();
        for said in ["TRACE", "DEBUG", "answered", "GetAuthenticatedIdentity"] {
            assert!(log.contains(said), "it does not say everything: {said}");
        }
        assert!(!log.contains('\u{1b}'), "colours in a file would part what is looked for");
        self.notes("the log", log.as_bytes());
    }

    async fn searches_metrics(&mut self) {
        let (code, metrics) = http::get(&self.metrics, "/metrics").await;
        assert!(code == 200 && metrics.contains("latchkey_refusals_total{reason="), "{metrics}");
        self.notes("the metrics", metrics.as_bytes());
    }

    /// Everything that there is now, but for what a server says when it ends.
    pub(super) async fn searches(&mut self) {
        places::learn_digests(&self.local.database, &mut self.secrets).await;
        self.found.extend(places::search_database(&self.local.database, &self.secrets).await);
        self.found.extend(places::search_files(&self.local.data_dir(), &self.secrets));
        let requests = self.local.git.requests().join("\n");
        assert!(requests.contains("owner/name"), "{requests}");
        self.notes("what the Git server was asked", requests.as_bytes());
        for (to, answer) in std::mem::take(&mut self.answers.0) {
            self.notes(&format!("the answer to {to}"), &answer);
        }
    }
}
