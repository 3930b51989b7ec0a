//! `gitpod.v1.TokenService`; `UserService` has the same RPCs.

use tonic::{Request, Response, Status};

use super::{caller, convert};
use crate::domain::token::{CreateToken, InvalidToken, TokenDescription};
use crate::pb::gitpod::v1::{
    BatchIntrospectTokensRequest, BatchIntrospectTokensResponse, CreatePersonalAccessTokenRequest,
    CreatePersonalAccessTokenResponse, DeletePersonalAccessTokenRequest, DeletePersonalAccessTokenResponse,
    GetPersonalAccessTokenRequest, GetPersonalAccessTokenResponse, IntrospectTokenRequest, IntrospectTokenResponse,
    ListPersonalAccessTokensRequest, ListPersonalAccessTokensResponse, TokenIntrospection,
    UpdatePersonalAccessTokenRequest, UpdatePersonalAccessTokenResponse, token_service_server::TokenService,
};
use crate::service::{ActiveToken, Introspection, ServiceError, Tokens, Verdict};

/// Tokens of one batch.
const BATCH: usize = 1000;

/// Serves the use cases of tokens.
#[derive(Clone)]
pub struct TokenApi {
    tokens: Tokens,
    introspection: Introspection,
}

impl TokenApi {
    /// On use cases.
    #[must_use]
    pub const fn new(tokens: Tokens, introspection: Introspection) -> Self {
        Self { tokens, introspection }
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

    async fn update_personal_access_token(
        &self,
        request: Request<UpdatePersonalAccessTokenRequest>,
    ) -> Result<Response<UpdatePersonalAccessTokenResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.get_ref();
        let id = convert::id("personal_access_token_id", &request.personal_access_token_id)?;
        let description = request.description.as_deref().map(TokenDescription::new).transpose().map_err(invalid)?;
        let rpc = "gitpod.v1.TokenService/UpdatePersonalAccessToken";
        let token = self.tokens.update(caller.actor(), id, description.as_ref(), rpc).await?;
        Ok(Response::new(UpdatePersonalAccessTokenResponse { pat: Some(convert::token(token)) }))
    }

    async fn introspect_token(
        &self,
        request: Request<IntrospectTokenRequest>,
    ) -> Result<Response<IntrospectTokenResponse>, Status> {
        let caller = caller(&request)?;
        let token = &request.get_ref().token;
        if token.is_empty() {
            return Err(ServiceError::invalid("token", "must not be empty").into());
        }
        let found = self.introspection.introspect(caller.actor(), token).await?;
        Ok(Response::new(IntrospectTokenResponse { introspection: Some(introspection(found)) }))
    }

    async fn batch_introspect_tokens(
        &self,
        request: Request<BatchIntrospectTokensRequest>,
    ) -> Result<Response<BatchIntrospectTokensResponse>, Status> {
        let caller = caller(&request)?;
        let tokens = &request.get_ref().tokens;
        if !(1..=BATCH).contains(&tokens.len()) {
            return Err(ServiceError::invalid("tokens", format!("must be 1 to {BATCH}, not {}", tokens.len())).into());
        }
        let found = self.introspection.introspect_all(caller.actor(), tokens).await?;
        let said = |verdict| match verdict {
            Verdict::Active(token) => introspection(Some(token)),
            Verdict::NotActive => introspection(None),
            Verdict::Undecided => TokenIntrospection { undecided: true, ..introspection(None) },
        };
        let introspections = found.into_iter().map(said).collect();
        Ok(Response::new(BatchIntrospectTokensResponse { introspections }))
    }
}

fn introspection(found: Option<ActiveToken>) -> TokenIntrospection {
    found.map_or_else(TokenIntrospection::default, |token| TokenIntrospection {
        active: true,
        token_id: token.token_id.to_string(),
        subject: Some(convert::subject(token.identity.principal_id, token.identity.kind)),
        organization_id: token.identity.organization_id.to_string(),
        read_only: token.read_only,
        expires_at: Some(convert::timestamp(token.expires_at)),
        fresh_for: prost_types::Duration::try_from(token.fresh_for).ok(),
        undecided: false,
    })
}

fn invalid(error: InvalidToken) -> ServiceError {
    let field = match error {
        InvalidToken::Description(_) => "description",
        InvalidToken::ValidFor => "valid_for",
    };
    ServiceError::Invalid { field, problem: error.to_string() }
}
