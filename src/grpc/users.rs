//! `gitpod.v1.UserService`.

use tonic::{Request, Response, Status};

use super::{caller, convert};
use crate::pb::gitpod::v1::{
    GetAuthenticatedUserRequest, GetAuthenticatedUserResponse, user_service_server::UserService,
};
use crate::service::Users;

/// Serves the use cases of users.
#[derive(Debug, Clone)]
pub struct UserApi {
    users: Users,
}

impl UserApi {
    /// On use cases.
    #[must_use]
    pub const fn new(users: Users) -> Self {
        Self { users }
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
}
