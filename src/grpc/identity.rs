//! `gitpod.v1.IdentityService`.

use tonic::{Request, Response, Status};

use super::{caller, convert};
use crate::pb::gitpod::v1::{
    GetAuthenticatedIdentityRequest, GetAuthenticatedIdentityResponse, identity_service_server::IdentityService,
};
use crate::service::Users;

/// Says whom the caller was verified as.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdentityApi;

#[tonic::async_trait]
impl IdentityService for IdentityApi {
    async fn get_authenticated_identity(
        &self,
        request: Request<GetAuthenticatedIdentityRequest>,
    ) -> Result<Response<GetAuthenticatedIdentityResponse>, Status> {
        let caller = caller(&request)?;
        let identity = Users::identity(caller.actor());
        Ok(Response::new(GetAuthenticatedIdentityResponse {
            subject: Some(convert::subject(identity.principal_id, identity.kind)),
            organization_id: identity.organization_id.to_string(),
            organization_tier: String::new(),
        }))
    }
}
