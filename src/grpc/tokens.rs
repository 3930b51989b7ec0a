//! `gitpod.v1.TokenService`; `UserService` has the same RPCs.

use tonic::{Request, Response, Status};

use super::{caller, convert};
use crate::domain::token::{CreateToken, InvalidToken};
use crate::pb::gitpod::v1::{
    CreatePersonalAccessTokenRequest, CreatePersonalAccessTokenResponse, DeletePersonalAccessTokenRequest,
    DeletePersonalAccessTokenResponse, GetPersonalAccessTokenRequest, GetPersonalAccessTokenResponse,
    ListPersonalAccessTokensRequest, ListPersonalAccessTokensResponse, token_service_server::TokenService,
};
use crate::service::{ServiceError, Tokens};

/// Serves the use cases of tokens.
#[derive(Debug, Clone)]
pub struct TokenApi {
    tokens: Tokens,
}

impl TokenApi {
    /// On use cases.
    #[must_use]
    pub const fn new(tokens: Tokens) -> Self {
        Self { tokens }
    }

    pub(super) async fn create(
        &self,
        request: Request<CreatePersonalAccessTokenRequest>,
        rpc: &'static str,
    ) -> Result<Response<CreatePersonalAccessTokenResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let user = convert::optional_id("user_id", &request.user_id)?;
        let valid_for = request.valid_for.map(|valid_for| convert::duration("valid_for", valid_for)).transpose()?;
        let asked = CreateToken::new(&request.description, valid_for, request.read_only).map_err(invalid)?;
        let created = self.tokens.create(caller.actor(), user, asked, rpc).await?;
        Ok(Response::new(CreatePersonalAccessTokenResponse {
            token: created.text.expose().to_owned(),
            personal_access_token: Some(convert::token(created.token)),
        }))
    }

    pub(super) async fn get(
        &self,
        request: Request<GetPersonalAccessTokenRequest>,
    ) -> Result<Response<GetPersonalAccessTokenResponse>, Status> {
        let caller = caller(&request)?;
        let id = convert::id("personal_access_token_id", &request.get_ref().personal_access_token_id)?;
        let token = self.tokens.get(caller.actor(), id).await?;
        Ok(Response::new(GetPersonalAccessTokenResponse { pat: Some(convert::token(token)) }))
    }

    pub(super) async fn list(
        &self,
        request: Request<ListPersonalAccessTokensRequest>,
    ) -> Result<Response<ListPersonalAccessTokensResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let page = convert::page_request(request.pagination)?;
        let users = convert::ids("filter.user_ids", &request.filter.unwrap_or_default().user_ids)?;
        let tokens = self.tokens.list(caller.actor(), &users, &page).await?;
        let (personal_access_tokens, pagination) = convert::page(tokens, convert::token);
        Ok(Response::new(ListPersonalAccessTokensResponse { pagination, personal_access_tokens }))
    }

    pub(super) async fn delete(
        &self,
        request: Request<DeletePersonalAccessTokenRequest>,
        rpc: &'static str,
    ) -> Result<Response<DeletePersonalAccessTokenResponse>, Status> {
        let caller = caller(&request)?;
        let id = convert::id("personal_access_token_id", &request.get_ref().personal_access_token_id)?;
        self.tokens.delete(caller.actor(), id, rpc).await?;
        Ok(Response::new(DeletePersonalAccessTokenResponse {}))
    }
}

#[tonic::async_trait]
impl TokenService for TokenApi {
    async fn create_personal_access_token(
        &self,
        request: Request<CreatePersonalAccessTokenRequest>,
    ) -> Result<Response<CreatePersonalAccessTokenResponse>, Status> {
        self.create(request, "gitpod.v1.TokenService/CreatePersonalAccessToken").await
    }

    async fn get_personal_access_token(
        &self,
        request: Request<GetPersonalAccessTokenRequest>,
    ) -> Result<Response<GetPersonalAccessTokenResponse>, Status> {
        self.get(request).await
    }

    async fn list_personal_access_tokens(
        &self,
        request: Request<ListPersonalAccessTokensRequest>,
    ) -> Result<Response<ListPersonalAccessTokensResponse>, Status> {
        self.list(request).await
    }

    async fn delete_personal_access_token(
        &self,
        request: Request<DeletePersonalAccessTokenRequest>,
    ) -> Result<Response<DeletePersonalAccessTokenResponse>, Status> {
        self.delete(request, "gitpod.v1.TokenService/DeletePersonalAccessToken").await
    }
}

fn invalid(error: InvalidToken) -> ServiceError {
    let field = match error {
        InvalidToken::Description(_) => "description",
        InvalidToken::ValidFor => "valid_for",
    };
    ServiceError::Invalid { field, problem: error.to_string() }
}
