//! `gitpod.v1.UserService`.

use tonic::{Request, Response, Status};

use super::{TokenApi, caller, convert};
use crate::pb::gitpod::v1::{
    CreatePersonalAccessTokenRequest, CreatePersonalAccessTokenResponse, DeletePersonalAccessTokenRequest,
    DeletePersonalAccessTokenResponse, GetAuthenticatedUserRequest, GetAuthenticatedUserResponse,
    GetPersonalAccessTokenRequest, GetPersonalAccessTokenResponse, GetUserRequest, GetUserResponse,
    ListPersonalAccessTokensRequest, ListPersonalAccessTokensResponse, SetSuspendedRequest, SetSuspendedResponse,
    user_service_server::UserService,
};
use crate::service::Users;

/// Serves the use cases of users.
#[derive(Clone)]
pub struct UserApi {
    users: Users,
    tokens: TokenApi,
}

impl UserApi {
    /// On use cases of users, and the service of tokens, some of whose RPCs have names here too.
    #[must_use]
    pub const fn new(users: Users, tokens: TokenApi) -> Self {
        Self { users, tokens }
    }
}

#[tonic::async_trait]
impl UserService for UserApi {
    async fn get_authenticated_user(
        &self,
        request: Request<GetAuthenticatedUserRequest>,
    ) -> Result<Response<GetAuthenticatedUserResponse>, Status> {
        let caller = caller(&request)?;
        let user = self.users.own(caller.actor()).await?;
        Ok(Response::new(GetAuthenticatedUserResponse { user: Some(convert::user(user)) }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let caller = caller(&request)?;
        let id = convert::id("user_id", &request.get_ref().user_id)?;
        let user = self.users.get(caller.actor(), id).await?;
        Ok(Response::new(GetUserResponse { user: Some(convert::user(user)) }))
    }

    async fn set_suspended(
        &self,
        request: Request<SetSuspendedRequest>,
    ) -> Result<Response<SetSuspendedResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let id = convert::id("user_id", &request.user_id)?;
        let rpc = "gitpod.v1.UserService/SetSuspended";
        self.users.set_suspended(caller.actor(), id, request.suspended, rpc).await?;
        Ok(Response::new(SetSuspendedResponse {}))
    }

    async fn create_personal_access_token(
        &self,
        request: Request<CreatePersonalAccessTokenRequest>,
    ) -> Result<Response<CreatePersonalAccessTokenResponse>, Status> {
        self.tokens.create(request, "gitpod.v1.UserService/CreatePersonalAccessToken").await
    }

    async fn get_personal_access_token(
        &self,
        request: Request<GetPersonalAccessTokenRequest>,
    ) -> Result<Response<GetPersonalAccessTokenResponse>, Status> {
        self.tokens.get(request).await
    }

    async fn list_personal_access_tokens(
        &self,
        request: Request<ListPersonalAccessTokensRequest>,
    ) -> Result<Response<ListPersonalAccessTokensResponse>, Status> {
        self.tokens.list(request).await
    }

    async fn delete_personal_access_token(
        &self,
        request: Request<DeletePersonalAccessTokenRequest>,
    ) -> Result<Response<DeletePersonalAccessTokenResponse>, Status> {
        self.tokens.delete(request, "gitpod.v1.UserService/DeletePersonalAccessToken").await
    }
}
