//! What the benchmark asks of a server, and waits for.

use std::time::{Duration, Instant};

use latchkey::pb::gitpod::v1::{
    ContextUrlInitializer, CreateEnvironmentRequest, DeleteEnvironmentRequest, Environment, EnvironmentInitializer,
    EnvironmentPhase, EnvironmentSpec, GetEnvironmentRequest,
    environment_initializer::{Spec, spec},
    environment_service_client::EnvironmentServiceClient,
    environment_spec,
};
use tonic::{
    Code,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use crate::ground::server::with_token;

/// Between two looks at an environment; its time is known as exactly as this.
const LOOK: Duration = Duration::from_millis(2);

/// The repository that is cloned by itself, too.
pub(super) const REPOSITORY: &str = "https://github.com/owner/name";

/// A connection, and who talks over it.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) environments: EnvironmentServiceClient<Channel>,
    pub(super) token: MetadataValue<Ascii>,
}

impl Api {
    /// Creates an environment; how long until its files were there, and until it ran.
    pub(super) async fn create(&mut self, url: &str) -> (String, Duration, Duration) {
        let began = Instant::now();
        let id = self.ask_for(url).await;
        self.reach(&id, EnvironmentPhase::Starting).await;
        let files = began.elapsed();
        self.reach(&id, EnvironmentPhase::Running).await;
        (id, files, began.elapsed())
    }

    /// Asks for an environment.
    pub(super) async fn ask_for(&mut self, url: &str) -> String {
        let url = ContextUrlInitializer { url: url.to_owned() };
        let initializer = EnvironmentInitializer { specs: vec![Spec { spec: Some(spec::Spec::ContextUrl(url)) }] };
        let content = environment_spec::Content { initializer: Some(initializer), ..Default::default() };
        let spec = EnvironmentSpec {
            desired_phase: EnvironmentPhase::Running.into(),
            content: Some(content),
            ..Default::default()
        };
        let request = with_token(&self.token, CreateEnvironmentRequest { spec: Some(spec), ..Default::default() });
        self.environments.create_environment(request).await.unwrap().into_inner().environment.unwrap().id
    }

    /// Waits until an environment is in a phase, or beyond it.
    pub(super) async fn reach(&mut self, id: &str, wanted: EnvironmentPhase) {
        loop {
            let found = self.get(id).await.expect("it is there");
            let status = found.status.unwrap();
            assert_eq!(status.failure_message, Vec::<String>::new(), "it fails");
            if status.phase() == wanted
                || (wanted, status.phase()) == (EnvironmentPhase::Starting, EnvironmentPhase::Running)
            {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Deletes an environment, and waits until it is gone.
    pub(super) async fn delete(&mut self, id: &str) {
        let request = DeleteEnvironmentRequest { environment_id: id.to_owned(), ..Default::default() };
        self.environments.delete_environment(with_token(&self.token, request)).await.unwrap();
        while self.get(id).await.is_some() {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn get(&mut self, id: &str) -> Option<Environment> {
        let request = with_token(&self.token, GetEnvironmentRequest { environment_id: id.to_owned() });
        match self.environments.get_environment(request).await {
            Ok(answer) => answer.into_inner().environment,
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => panic!("{status}"),
        }
    }
}
