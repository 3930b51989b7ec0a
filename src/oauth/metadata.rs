//! What a client has to know before it asks (RFC 8414).

use serde_json::{Value, json};

/// What a token may be good for, as OAuth names it: whoever may write may read.
pub(super) const SCOPES: [&str; 2] = ["read", "write"];

/// The metadata of the server that clients know by this URL. Tokens are made by other means than OAuth's, so that it gives out none:
/// neither grants nor the endpoints for them.
pub(super) fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        // A token with its own authentication scheme, or as the password of a client.
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "Bearer"],
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        // Schemes of tokens have no names in this list, though they are taken as well.
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic"],
        "scopes_supported": SCOPES,
        "response_types_supported": [],
        "grant_types_supported": [],
    })
}
