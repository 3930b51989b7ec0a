//! A server in this process that says what it is told to say, and remembers what it was asked.

mod environments;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Body,
    extract::{Request as HttpRequest, State as Shared},
    middleware::{self, Next},
    response::Response as HttpResponse,
};
use latchkey::{
    domain::{
        ids::{EnvironmentId, TokenId},
        token::{CredentialKind, Generation, SigningKeys},
    },
    pb::{
        gitpod::v1::{
            environment_service_server::EnvironmentServiceServer,
            event_service_server::{EventService, EventServiceServer},
            identity_service_server::{IdentityService, IdentityServiceServer},
            token_service_server::{TokenService, TokenServiceServer},
            user_service_server::{UserService, UserServiceServer},
            *,
        },
        supervisor::v1::{ExecRequest, ExecResponse, environment_ops_service_server::EnvironmentOpsServiceServer},
    },
};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tonic::{Request, Response, Status, service::Routes};

use crate::unserved::unserved;

/// A call that came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) path: String,
    /// The host and the port that the client thinks it is talking to.
    pub(crate) authority: String,
    pub(crate) authorization: Option<String>,
    pub(crate) user_agent: String,
}

impl Call {
    fn of(request: &HttpRequest) -> Self {
        let text = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        Self {
            path: request.uri().path().to_owned(),
            authority: request.uri().authority().map(ToString::to_string).unwrap_or_default(),
            authorization: text("authorization"),
            user_agent: text("user-agent").unwrap_or_default(),
        }
    }
}

/// What the server knows, says and remembers.
#[derive(Default)]
pub(crate) struct State {
    /// Tokens that are accepted; all others are refused with `refusal`.
    pub(crate) accepted: Vec<String>,
    pub(crate) refusal: Option<Status>,
    pub(crate) service_account: bool,
    pub(crate) calls: Vec<Call>,
    /// What GetEnvironment answers, one after the other; the last answer is given from then on.
    pub(crate) looks: HashMap<String, VecDeque<Result<Environment, Status>>>,
    /// What every other call of an RPC by this name answers.
    pub(crate) failures: HashMap<&'static str, Status>,
    pub(crate) environments: Vec<Environment>,
    pub(crate) page_size: usize,
    pub(crate) endless: bool,
    pub(crate) classes: Vec<EnvironmentClass>,
    pub(crate) tokens: Vec<PersonalAccessToken>,
    pub(crate) entries: Vec<list_audit_logs_response::AuditLogEntry>,
    pub(crate) created: Vec<CreateEnvironmentRequest>,
    pub(crate) token_requests: Vec<CreatePersonalAccessTokenRequest>,
    pub(crate) token_updates: Vec<UpdatePersonalAccessTokenRequest>,
    pub(crate) audit_requests: Vec<ListAuditLogsRequest>,
    pub(crate) revoked: Vec<String>,
    pub(crate) execs: Vec<ExecRequest>,
    pub(crate) exec_answer: Option<ExecResponse>,
    pub(crate) cancelled: Vec<String>,
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    arrived: Arc<Notify>,
}

/// The server; it ends when it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    service: Service,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts on a free port of 127.0.0.1; it serves at `/` and at `/api/`.
    pub(crate) async fn start() -> Self {
        let service = Service {
            state: Arc::new(Mutex::new(State { page_size: 2, ..State::default() })),
            arrived: Arc::new(Notify::new()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Routes::new(EnvironmentServiceServer::new(service.clone()))
            .add_service(TokenServiceServer::new(service.clone()))
            .add_service(EventServiceServer::new(service.clone()))
            .add_service(IdentityServiceServer::new(service.clone()))
            .add_service(UserServiceServer::new(service.clone()))
            .add_service(EnvironmentOpsServiceServer::new(service.clone()))
            .into_axum_router()
            .reset_fallback();
        let gate = middleware::from_fn_with_state(service.clone(), gate);
        let router = Router::new().merge(routes.clone()).nest("/api", routes.clone()).nest("/ops/here", routes);
        let router = router.layer(gate);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, service, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.service.state.lock().unwrap()
    }

    /// A new token that the server accepts.
    pub(crate) fn token(&self) -> String {
        let token = mint(CredentialKind::PersonalAccessToken);
        self.state().accepted.push(token.clone());
        token
    }

    /// Full names of the methods that were called, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.state().calls.iter().map(|call| call.path.clone()).collect()
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.paths().iter().filter(|path| path.ends_with(&format!("/{method}"))).count()
    }

    /// Waits until a method has been called.
    pub(crate) async fn called(&self, method: &str) {
        loop {
            let arrived = self.service.arrived.notified();
            if self.count(method) > 0 {
                return;
            }
            arrived.await;
        }
    }

    /// Says how an environment looks, at one look after the other.
    pub(crate) fn looks(&self, id: &str, looks: impl IntoIterator<Item = Result<Environment, Status>>) {
        self.state().looks.insert(id.to_owned(), looks.into_iter().collect());
    }
}

pub(crate) fn mint(kind: CredentialKind) -> String {
    let keys = SigningKeys::parse(SigningKeys::generate_line(Generation::FIRST).unwrap().expose()).unwrap();
    let minted = keys.mint(kind, Generation::FIRST, TokenId::generate().uuid()).unwrap().unwrap();
    minted.text.expose().to_owned()
}

pub(crate) fn new_id() -> String {
    EnvironmentId::generate().to_string()
}

pub(crate) fn environment(id: &str, phase: EnvironmentPhase) -> Environment {
    Environment {
        id: id.to_owned(),
        spec: Some(EnvironmentSpec { desired_phase: EnvironmentPhase::Running.into(), ..Default::default() }),
        status: Some(EnvironmentStatus { phase: phase.into(), status_version: 1, ..Default::default() }),
        ..Default::default()
    }
}

pub(crate) fn failed(id: &str, version: u64, message: &str) -> Environment {
    let mut environment = environment(id, EnvironmentPhase::Stopped);
    let status = environment.status.as_mut().unwrap();
    status.failure_message = vec![message.to_owned()];
    status.status_version = version;
    environment
}

/// Remembers a call, and lets it through if its token is good.
async fn gate(Shared(service): Shared<Service>, request: HttpRequest, next: Next) -> HttpResponse {
    let call = Call::of(&request);
    let refusal = {
        let mut state = service.state.lock().unwrap();
        state.calls.push(call.clone());
        let accepted = state.accepted.iter().any(|token| call.authorization == Some(format!("Bearer {token}")));
        let unknown = || Status::unauthenticated("the token is not known");
        (!accepted).then(|| state.refusal.clone().unwrap_or_else(unknown))
    };
    service.arrived.notify_waiters();
    match refusal {
        Some(status) => status.into_http::<Body>(),
        None => next.run(request).await,
    }
}

impl Service {
    fn answer<T>(&self, method: &'static str, answer: impl FnOnce(&mut State) -> T) -> Result<Response<T>, Status> {
        let mut state = self.state.lock().unwrap();
        match state.failures.get(method) {
            Some(status) => Err(status.clone()),
            None => Ok(Response::new(answer(&mut state))),
        }
    }
}

/// One page of a list. The page token is the number of entries before it.
fn page<T: Clone>(
    state: &State,
    all: &[T],
    request: Option<PaginationRequest>,
) -> (Vec<T>, Option<PaginationResponse>) {
    let request = request.unwrap_or_default();
    let start: usize = if request.token.is_empty() { 0 } else { request.token.parse().unwrap() };
    // A client that does not give up comes to an end all the same, for the test to fail.
    if state.endless && state.calls.len() < 50 {
        return (all.to_vec(), Some(PaginationResponse { next_token: "0".to_owned() }));
    }
    let size = state.page_size.min(usize::try_from(request.page_size).unwrap());
    let end = all.len().min(start + size);
    let next_token = if end < all.len() { end.to_string() } else { String::new() };
    (all[start..end].to_vec(), Some(PaginationResponse { next_token }))
}

#[tonic::async_trait]
impl TokenService for Service {
    async fn create_personal_access_token(
        &self,
        request: Request<CreatePersonalAccessTokenRequest>,
    ) -> Result<Response<CreatePersonalAccessTokenResponse>, Status> {
        self.answer("CreatePersonalAccessToken", |state| {
            state.token_requests.push(request.into_inner());
            CreatePersonalAccessTokenResponse {
                token: mint(CredentialKind::PersonalAccessToken),
                personal_access_token: state.tokens.first().cloned(),
            }
        })
    }

    async fn get_personal_access_token(
        &self,
        request: Request<GetPersonalAccessTokenRequest>,
    ) -> Result<Response<GetPersonalAccessTokenResponse>, Status> {
        let id = request.into_inner().personal_access_token_id;
        let pat = self.state.lock().unwrap().tokens.iter().find(|token| token.id == id).cloned();
        match pat {
            Some(pat) => Ok(Response::new(GetPersonalAccessTokenResponse { pat: Some(pat) })),
            None => Err(Status::not_found("there is no token of yours with this ID")),
        }
    }

    async fn list_personal_access_tokens(
        &self,
        request: Request<ListPersonalAccessTokensRequest>,
    ) -> Result<Response<ListPersonalAccessTokensResponse>, Status> {
        self.answer("ListPersonalAccessTokens", |state| {
            let (personal_access_tokens, pagination) = page(state, &state.tokens, request.into_inner().pagination);
            ListPersonalAccessTokensResponse { pagination, personal_access_tokens }
        })
    }

    async fn delete_personal_access_token(
        &self,
        request: Request<DeletePersonalAccessTokenRequest>,
    ) -> Result<Response<DeletePersonalAccessTokenResponse>, Status> {
        let id = request.into_inner().personal_access_token_id;
        let mut state = self.state.lock().unwrap();
        if !state.tokens.iter().any(|token| token.id == id) {
            return Err(Status::not_found("there is no token of yours with this ID"));
        }
        state.revoked.push(id);
        Ok(Response::new(DeletePersonalAccessTokenResponse {}))
    }

    async fn update_personal_access_token(
        &self,
        request: Request<UpdatePersonalAccessTokenRequest>,
    ) -> Result<Response<UpdatePersonalAccessTokenResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state.lock().unwrap();
        let known = state.tokens.iter().find(|token| token.id == request.personal_access_token_id).cloned();
        let known = known.ok_or_else(|| Status::not_found("there is no token of yours with this ID"))?;
        let description = request.description.clone().unwrap_or_default();
        state.token_updates.push(request);
        let pat = Some(PersonalAccessToken { description, ..known });
        Ok(Response::new(UpdatePersonalAccessTokenResponse { pat }))
    }

    async fn introspect_token(
        &self,
        _: Request<IntrospectTokenRequest>,
    ) -> Result<Response<IntrospectTokenResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }

    async fn batch_introspect_tokens(
        &self,
        _: Request<BatchIntrospectTokensRequest>,
    ) -> Result<Response<BatchIntrospectTokensResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }
}

#[tonic::async_trait]
impl EventService for Service {
    type WatchEventsStream = futures::stream::Empty<Result<WatchEventsResponse, Status>>;

    /// The client does not watch.
    async fn watch_events(&self, _: Request<WatchEventsRequest>) -> Result<Response<Self::WatchEventsStream>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn list_audit_logs(
        &self,
        request: Request<ListAuditLogsRequest>,
    ) -> Result<Response<ListAuditLogsResponse>, Status> {
        let request = request.into_inner();
        self.answer("ListAuditLogs", |state| {
            state.audit_requests.push(request.clone());
            let (entries, pagination) = page(state, &state.entries, request.pagination);
            ListAuditLogsResponse { entries, pagination }
        })
    }
}

#[tonic::async_trait]
impl IdentityService for Service {
    async fn get_authenticated_identity(
        &self,
        _: Request<GetAuthenticatedIdentityRequest>,
    ) -> Result<Response<GetAuthenticatedIdentityResponse>, Status> {
        self.answer("GetAuthenticatedIdentity", |state| {
            let kind = if state.service_account { Principal::ServiceAccount } else { Principal::User };
            GetAuthenticatedIdentityResponse {
                subject: Some(Subject {
                    id: "0190f0a0-0000-7000-8000-000000000001".to_owned(),
                    principal: kind.into(),
                }),
                organization_id: "0190f0a0-0000-7000-8000-000000000002".to_owned(),
                organization_tier: String::new(),
            }
        })
    }
}

#[tonic::async_trait]
impl UserService for Service {
    unserved! { set_suspended: SetSuspendedRequest => SetSuspendedResponse; }

    async fn get_authenticated_user(
        &self,
        _: Request<GetAuthenticatedUserRequest>,
    ) -> Result<Response<GetAuthenticatedUserResponse>, Status> {
        self.answer("GetAuthenticatedUser", |_| GetAuthenticatedUserResponse {
            user: Some(User { name: "Ada".to_owned(), email: "ada@example.com".to_owned(), ..Default::default() }),
        })
    }

    // The client asks TokenService for tokens, and nobody for other users.

    async fn get_user(&self, _: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }

    async fn create_personal_access_token(
        &self,
        _: Request<CreatePersonalAccessTokenRequest>,
    ) -> Result<Response<CreatePersonalAccessTokenResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }

    async fn get_personal_access_token(
        &self,
        _: Request<GetPersonalAccessTokenRequest>,
    ) -> Result<Response<GetPersonalAccessTokenResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }

    async fn list_personal_access_tokens(
        &self,
        _: Request<ListPersonalAccessTokensRequest>,
    ) -> Result<Response<ListPersonalAccessTokensResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }

    async fn delete_personal_access_token(
        &self,
        _: Request<DeletePersonalAccessTokenRequest>,
    ) -> Result<Response<DeletePersonalAccessTokenResponse>, Status> {
        Err(Status::unimplemented("never asked for"))
    }
}
