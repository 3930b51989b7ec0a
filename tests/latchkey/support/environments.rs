//! What tests do with environments, in few words.

use latchkey::pb::{
    gitpod::v1::{
        ArchiveEnvironmentRequest, ContextUrlInitializer, CreateEnvironmentAccessTokenRequest,
        CreateEnvironmentRequest, DeleteEnvironmentRequest, Environment, EnvironmentInitializer, EnvironmentPhase,
        EnvironmentSpec, EnvironmentStatus, GetEnvironmentRequest, GitInitializer, StartEnvironmentRequest,
        StopEnvironmentRequest, UnarchiveEnvironmentRequest, UpdateEnvironmentRequest,
        environment_initializer::{Spec, spec},
        environment_spec, update_environment_request,
    },
    supervisor::v1::{ExecRequest, ExecResponse, environment_ops_service_client::EnvironmentOpsServiceClient},
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use super::{Api, eventually, rpc::Operations};

/// A request for an environment from a context URL.
pub fn from_url(url: &str) -> CreateEnvironmentRequest {
    from(spec::Spec::ContextUrl(ContextUrlInitializer { url: url.to_owned() }))
}

/// A request for an environment from a Git repository.
pub fn from_git(git: GitInitializer) -> CreateEnvironmentRequest {
    from(spec::Spec::Git(git))
}

/// A request for an environment with an empty workspace.
pub fn from_nothing() -> CreateEnvironmentRequest {
    CreateEnvironmentRequest { spec: Some(EnvironmentSpec::default()), ..Default::default() }
}

fn from(spec: spec::Spec) -> CreateEnvironmentRequest {
    let initializer = EnvironmentInitializer { specs: vec![Spec { spec: Some(spec) }] };
    let content = environment_spec::Content { initializer: Some(initializer), ..Default::default() };
    let spec = EnvironmentSpec { content: Some(content), ..Default::default() };
    CreateEnvironmentRequest { spec: Some(spec), ..Default::default() }
}

/// The same, of a class.
pub fn of_class(mut request: CreateEnvironmentRequest, class: &str) -> CreateEnvironmentRequest {
    let machine = environment_spec::Machine { class: class.to_owned(), ..Default::default() };
    request.spec.as_mut().unwrap().machine = Some(machine);
    request
}

/// The same, to be there and not to run.
pub fn stopped(mut request: CreateEnvironmentRequest) -> CreateEnvironmentRequest {
    request.spec.as_mut().unwrap().desired_phase = EnvironmentPhase::Stopped.into();
    request
}

/// Checks that something was refused for a limit, with these words.
#[track_caller]
pub fn assert_exhausted<T: std::fmt::Debug>(answer: Result<T, Status>, words: &[&str]) {
    let refused = answer.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(super::details(&refused).error_info().unwrap().reason, "LIMIT_REACHED");
    for word in words {
        assert!(refused.message().contains(word), "{word:?} is not in {refused}");
    }
}

/// How an environment is.
pub fn status(environment: &Environment) -> &EnvironmentStatus {
    environment.status.as_ref().unwrap()
}

impl Api {
    /// Asks for an environment.
    pub async fn create(&self, request: CreateEnvironmentRequest) -> Result<Environment, Status> {
        let answer = self.environments.clone().create_environment(request).await?;
        Ok(answer.into_inner().environment.unwrap())
    }

    /// Asks for an environment, and waits until it runs; gives its ID.
    pub async fn create_running(&self, request: CreateEnvironmentRequest) -> String {
        let id = self.create(request).await.unwrap().id;
        self.until(&id, EnvironmentPhase::Running).await;
        id
    }

    /// One environment.
    pub async fn get(&self, id: &str) -> Result<Environment, Status> {
        let request = GetEnvironmentRequest { environment_id: id.to_owned() };
        Ok(self.environments.clone().get_environment(request).await?.into_inner().environment.unwrap())
    }

    /// Asks for a start.
    pub async fn start(&self, id: &str) -> Result<(), Status> {
        let request = StartEnvironmentRequest { environment_id: id.to_owned() };
        self.environments.clone().start_environment(request).await.map(drop)
    }

    /// Asks for a stop.
    pub async fn stop(&self, id: &str) -> Result<(), Status> {
        let request = StopEnvironmentRequest { environment_id: id.to_owned() };
        self.environments.clone().stop_environment(request).await.map(drop)
    }

    /// Puts an environment aside.
    pub async fn archive(&self, id: &str) -> Result<(), Status> {
        let request = ArchiveEnvironmentRequest { environment_id: id.to_owned() };
        self.environments.clone().archive_environment(request).await.map(drop)
    }

    /// Puts it back.
    pub async fn unarchive(&self, id: &str) -> Result<(), Status> {
        let request = UnarchiveEnvironmentRequest { environment_id: id.to_owned() };
        self.environments.clone().unarchive_environment(request).await.map(drop)
    }

    /// Gives an environment another name.
    pub async fn rename(&self, id: &str, name: &str) -> Result<(), Status> {
        let metadata = update_environment_request::Metadata { name: Some(name.to_owned()), lockdown_at: None };
        let request = UpdateEnvironmentRequest { environment_id: id.to_owned(), metadata: Some(metadata), spec: None };
        self.environments.clone().update_environment(request).await.map(drop)
    }

    /// Asks for the end.
    pub async fn delete(&self, id: &str) -> Result<(), Status> {
        let request = DeleteEnvironmentRequest { environment_id: id.to_owned(), force: false };
        self.environments.clone().delete_environment(request).await.map(drop)
    }

    /// Waits until an environment is in a phase. One that was to run and failed breaks the test off.
    pub async fn until(&self, id: &str, phase: EnvironmentPhase) -> Environment {
        eventually(&format!("{id} is {}", phase.as_str_name()), async || {
            let environment = self.get(id).await.unwrap();
            let status = status(&environment);
            let failed = phase == EnvironmentPhase::Running && !status.failure_message.is_empty();
            assert!(!failed, "{id} failed: {:?}", status.failure_message);
            (status.phase() == phase).then_some(environment)
        })
        .await
    }

    /// Waits until an environment that was to run, or ran, has failed; gives what its status says of that.
    pub async fn until_failed(&self, id: &str) -> String {
        let failed = eventually(&format!("{id} fails"), async || {
            let environment = self.get(id).await.unwrap();
            (!status(&environment).failure_message.is_empty()).then_some(environment)
        })
        .await;
        assert_eq!(status(&failed).phase(), EnvironmentPhase::Stopped);
        status(&failed).failure_message.join("\n")
    }

    /// Waits until an environment is no more.
    pub async fn until_gone(&self, id: &str) {
        eventually(&format!("{id} is gone"), async || match self.get(id).await {
            Ok(_) => None,
            Err(status) => {
                assert_eq!(status.code(), Code::NotFound, "{status}");
                Some(())
            }
        })
        .await;
    }

    /// Deletes an environment, and waits until it is no more.
    pub async fn delete_whole(&self, id: &str) {
        self.delete(id).await.unwrap();
        self.until_gone(id).await;
    }

    /// A token for one environment.
    pub async fn environment_token(&self, id: &str) -> Result<String, Status> {
        let request = CreateEnvironmentAccessTokenRequest { environment_id: id.to_owned() };
        Ok(self.environments.clone().create_environment_access_token(request).await?.into_inner().access_token)
    }

    /// The operations of a running environment, at the URL in its status, with a token for it.
    pub async fn operations_of(&self, id: &str) -> EnvironmentOpsServiceClient<Operations> {
        let environment = self.get(id).await.unwrap();
        let ops = &status(&environment).environment_urls.as_ref().unwrap().ops;
        assert!(!ops.is_empty(), "{id} does not run");
        operations(ops, &self.environment_token(id).await.unwrap()).await
    }

    /// Runs a command in an environment.
    pub async fn run(&self, id: &str, command: &str) -> ExecResponse {
        let request = ExecRequest { command: command.to_owned(), ..Default::default() };
        self.operations_of(id).await.exec(request).await.unwrap().into_inner()
    }

    /// The standard output of a command that does not fail, without white space at its end.
    pub async fn said(&self, id: &str, command: &str) -> String {
        let ran = self.run(id, command).await;
        assert_eq!((ran.exit_code, ran.stderr.as_str()), (0, ""), "{command}");
        ran.stdout.trim_end().to_owned()
    }
}

/// A client of the operations at a URL, with a token.
pub async fn operations(url: &str, token: &str) -> EnvironmentOpsServiceClient<Operations> {
    let origin: http::Uri = url.parse().unwrap();
    let origin = format!("{}://{}", origin.scheme_str().unwrap(), origin.authority().unwrap());
    let channel = Endpoint::from_shared(origin).unwrap().connect().await.unwrap();
    with_url(channel, url, token)
}

/// The same, on a connection to the server whose URL it is.
pub fn with_url(channel: Channel, url: &str, token: &str) -> EnvironmentOpsServiceClient<Operations> {
    EnvironmentOpsServiceClient::with_origin(super::rpc::with_token(channel, token), url.parse().unwrap())
        .max_decoding_message_size(64 * 1024 * 1024)
}
