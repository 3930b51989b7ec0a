//! What a client has to know before it asks (RFC 8414).

use serde_json::{Value, json};

/// How a program gets a token whose person was on the same machine (RFC 6749, section 4.1.3).
pub(super) const AUTHORIZATION_CODE: &str = "authorization_code";
/// The same of whose person was on another one (RFC 8628, section 3.4).
pub(super) const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a token may be good for, as OAuth names it: whoever may write may read.
pub(super) const SCOPES: [&str; 2] = ["read", "write"];

/// The metadata of the server that clients know by this URL.
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
        "authorization_endpoint": format!("{issuer}/oauth2/authorize"),
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "device_authorization_endpoint": format!("{issuer}/oauth2/device_authorization"),
        // The one client keeps no secret of its own.
        "token_endpoint_auth_methods_supported": ["none"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [AUTHORIZATION_CODE, DEVICE_CODE],
        "code_challenge_methods_supported": ["S256"],
        // RFC 9207: so that no client takes the code of another server's for one of this.
        "authorization_response_iss_parameter_supported": true,
    })
}
