//! Generated clients of every service, with a token or without.

use latchkey::pb::{
    gitpod::v1::{
        CreatePersonalAccessTokenRequest, CreatePersonalAccessTokenResponse,
        environment_service_client::EnvironmentServiceClient, event_service_client::EventServiceClient,
        identity_service_client::IdentityServiceClient,
        runner_configuration_service_client::RunnerConfigurationServiceClient,
        runner_service_client::RunnerServiceClient, token_service_client::TokenServiceClient,
        user_service_client::UserServiceClient,
    },
    supervisor::v1::environment_ops_service_client::EnvironmentOpsServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::{ErrorDetails, StatusExt};

/// Sends a token along.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

type Client = InterceptedService<Channel, Bearer>;
/// What clients of an environment's operations go through.
pub type Operations = Client;

/// Sends a token along on a connection.
pub fn with_token(channel: Channel, token: &str) -> Operations {
    InterceptedService::new(channel, Bearer(Some(format!("Bearer {token}").parse().unwrap())))
}

/// Clients on one connection.
#[derive(Clone)]
pub struct Api {
    pub tokens: TokenServiceClient<Client>,
    pub users: UserServiceClient<Client>,
    pub identity: IdentityServiceClient<Client>,
    pub events: EventServiceClient<Client>,
    pub environments: EnvironmentServiceClient<Client>,
    pub runners: RunnerServiceClient<Client>,
    pub runner_configuration: RunnerConfigurationServiceClient<Client>,
    pub operations: EnvironmentOpsServiceClient<Client>,
}

impl Api {
    /// Connects; sends `authorization: Bearer TOKEN` if there is a token.
    pub async fn connect(url: &str, token: Option<&str>) -> Self {
        Self::connect_with(url, token.map(|token| format!("Bearer {token}")).as_deref()).await
    }

    /// Connects; sends this authorization header.
    pub async fn connect_with(url: &str, authorization: Option<&str>) -> Self {
        let channel = Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap();
        Self::over(channel, authorization)
    }

    /// Connects from another of the machine's own addresses.
    pub async fn connect_from(address: std::net::IpAddr, url: &str, token: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap().local_address(Some(address));
        Self::over(endpoint.connect().await.unwrap(), Some(&format!("Bearer {token}")))
    }

    /// On a connection; sends this authorization header.
    pub fn over(channel: Channel, authorization: Option<&str>) -> Self {
        let bearer = Bearer(authorization.map(|text| text.parse().unwrap()));
        Self {
            tokens: TokenServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            users: UserServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            identity: IdentityServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            events: EventServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            environments: EnvironmentServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            runners: RunnerServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            runner_configuration: RunnerConfigurationServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            operations: EnvironmentOpsServiceClient::with_interceptor(channel, bearer)
                .max_decoding_message_size(64 * 1024 * 1024),
        }
    }

    /// Makes a token, with everything by default.
    pub async fn create_token(&mut self, description: &str) -> CreatePersonalAccessTokenResponse {
        let request = CreatePersonalAccessTokenRequest { description: description.to_owned(), ..Default::default() };
        self.tokens.create_personal_access_token(request).await.unwrap().into_inner()
    }

    /// Waits until a credential that has been ended elsewhere is refused: servers hear of that soon.
    pub async fn becomes_refused(&self) -> Status {
        super::eventually("the credential is refused", async || {
            self.clone().whoami().await.err().filter(|status| status.code() == tonic::Code::Unauthenticated)
        })
        .await
    }

    /// Whether the token is good now: who it is, or why not.
    pub async fn whoami(&mut self) -> Result<String, Status> {
        let identity = self
            .identity
            .get_authenticated_identity(latchkey::pb::gitpod::v1::GetAuthenticatedIdentityRequest {})
            .await?;
        Ok(identity.into_inner().subject.unwrap().id)
    }
}

/// What came of a call, and the ID that the answer gives it.
pub fn with_request_id<T>(answer: Result<tonic::Response<T>, Status>) -> (Result<T, Status>, String) {
    let id = |metadata: &tonic::metadata::MetadataMap| {
        metadata.get("x-request-id").expect("every answer has a request ID").to_str().unwrap().to_owned()
    };
    match answer {
        Ok(response) => {
            let request_id = id(response.metadata());
            (Ok(response.into_inner()), request_id)
        }
        Err(status) => {
            let request_id = id(status.metadata());
            (Err(status), request_id)
        }
    }
}

/// What a status says beyond its message: `google.rpc` details.
pub fn details(status: &Status) -> ErrorDetails {
    status.get_error_details()
}
