//! How messages that hold a secret, or may, are written for people: without it, whoever puts one into a log.

use std::fmt;

use super::{
    envoy::service::auth::v3::{HeaderValue, attribute_context::HttpRequest},
    gitpod::v1::{
        BatchIntrospectTokensRequest, CreateEnvironmentAccessTokenResponse, CreateEnvironmentLogsTokenResponse,
        CreatePersonalAccessTokenResponse, CreatePortAccessTokenResponse, IntrospectTokenRequest,
        ParseContextUrlRequest,
    },
    supervisor::v1::ExecRequest,
};

/// Shows these fields; `..` stands for all others.
macro_rules! show {
    ($($message:ident { $($field:ident),* })*) => {$(
        impl fmt::Debug for $message {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter
                    .debug_struct(stringify!($message))
                    $(.field(stringify!($field), &self.$field))*
                    .finish_non_exhaustive()
            }
        }
    )*};
}

show! {
    IntrospectTokenRequest {}
    BatchIntrospectTokensRequest {}
    // Somebody may have pasted a password along.
    ParseContextUrlRequest { runner_id }
    CreatePersonalAccessTokenResponse { personal_access_token }
    CreateEnvironmentAccessTokenResponse {}
    CreateEnvironmentLogsTokenResponse {}
    CreatePortAccessTokenResponse {}
    ExecRequest { operation_id, working_directory, timeout_seconds }
    HeaderValue { key }
    // Neither the headers nor the path, whose query may be worse.
    HttpRequest { method }
}
