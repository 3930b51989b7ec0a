//! Where the endpoints are (RFC 8414), and which pages of other origins may use them: none but those that the operator names.

use serde_json::json;

use super::asking::{FORM, INTROSPECT, REVOKE, bearer, send, service};
use crate::support::{ServerOptions, TestDatabase, TestServer};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

fn metadata(issuer: &str) -> serde_json::Value {
    json!({
        "issuer": issuer,
        "introspection_endpoint": format!("{issuer}/oauth2/introspect"),
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "Bearer"],
        "revocation_endpoint": format!("{issuer}/oauth2/revoke"),
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic"],
        "scopes_supported": ["read", "write"],
        "authorization_endpoint": format!("{issuer}/oauth2/authorize"),
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "device_authorization_endpoint": format!("{issuer}/oauth2/device_authorization"),
        "token_endpoint_auth_methods_supported": ["none"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    })
}

#[tokio::test]
async fn metadata_name_the_endpoints_as_clients_reach_them() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    for authorization in ["x: y", "authorization: Bearer nonsense"] {
        let answer = send(&server, &format!("GET {WELL_KNOWN}"), &[authorization], "").await;
        assert_eq!((answer.status, answer.json()), (200, metadata(&server.url())), "{answer:?}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        let answer = send(&server, &format!("{method} {WELL_KNOWN}"), &[FORM], "").await;
        answer.assert_error(405, "invalid_request", "another method");
        assert_eq!(answer.all("allow"), ["GET, HEAD"]);
    }
    let head = send(&server, &format!("HEAD {WELL_KNOWN}"), &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));

    let public = "https://latchkey.example";
    let args = vec!["--public-url".to_owned(), format!("{public}/")];
    let options = ServerOptions { args, signing_keys: Some(server.keys()), ..ServerOptions::default() };
    let server = TestServer::start_with(&database, options).await;
    assert_eq!(send(&server, &format!("GET {WELL_KNOWN}"), &[], "").await.json(), metadata(public));
    let asking = service(&server, &database, "gateway", &[]).await;
    let authorization = format!("authorization: {}", bearer(&asking));
    let said = send(&server, &format!("POST {INTROSPECT}"), &[FORM, &authorization], &format!("token={asking}")).await;
    assert_eq!(said.json()["iss"], public);
}

#[tokio::test]
async fn pages_of_other_origins_get_no_more_than_the_operator_gave_them() {
    let database = TestDatabase::create().await;
    let closed = TestServer::start(&database).await;
    let asking = service(&closed, &database, "gateway", &[]).await;
    let open = ServerOptions {
        args: vec!["--cors-allowed-origin=https://app.example".to_owned()],
        signing_keys: Some(closed.keys()),
        ..ServerOptions::default()
    };
    let open = TestServer::start_with(&database, open).await;
    let authorization = format!("authorization: {}", bearer(&asking));
    let ask = ["access-control-request-method: POST", "access-control-request-headers: authorization,content-type"];
    for path in [INTROSPECT, REVOKE] {
        for (server, origin, may) in [
            (&closed, "origin: https://app.example", false),
            (&open, "origin: https://app.example", true),
            (&open, "origin: https://other.example", false),
        ] {
            let preflight = send(server, &format!("OPTIONS {path}"), &[&[origin][..], &ask].concat(), "").await;
            let answer = send(server, &format!("POST {path}"), &[origin, FORM, &authorization], "token=x").await;
            assert_eq!(answer.status, 200);
            for answer in [preflight, answer] {
                let allowed = answer.all("access-control-allow-origin");
                assert_eq!(allowed, if may { vec!["https://app.example"] } else { vec![] }, "{path}: {answer:?}");
                assert!(answer.all("access-control-allow-credentials").is_empty(), "{answer:?}");
            }
        }
    }
}
