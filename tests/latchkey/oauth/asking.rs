//! Requests to OAuth's endpoints, as clients write them and as they should not.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::support::{TestDatabase, TestServer, http1, keys::token_id};

pub(crate) const INTROSPECT: &str = "/oauth2/introspect";
pub(crate) const REVOKE: &str = "/oauth2/revoke";
/// The header that every good request has.
pub(crate) const FORM: &str = "content-type: application/x-www-form-urlencoded";

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { status, headers: lines.filter_map(header).collect(), body: body.to_owned() }
    }

    /// The values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.all("content-type"), ["application/json"], "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Nobody keeps it.
    #[track_caller]
    pub(crate) fn assert_kept_by_nobody(&self) {
        assert_eq!((self.all("cache-control"), self.all("pragma")), (vec!["no-store"], vec!["no-cache"]), "{self:?}");
    }

    /// It is an error of OAuth's, and this one.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, error: &str, words: &str) {
        self.assert_kept_by_nobody();
        let said = self.json();
        assert_eq!((self.status, &said["error"]), (status, &Value::from(error)), "{self:?}");
        assert!(said["error_description"].as_str().unwrap().contains(words), "{words}: {self:?}");
        assert_eq!(said.as_object().unwrap().len(), 2, "{self:?}");
    }

    /// It says nothing but that.
    #[track_caller]
    pub(super) fn assert_inactive(&self) {
        self.assert_kept_by_nobody();
        assert_eq!((self.status, self.body.as_str()), (200, r#"{"active":false}"#), "{self:?}");
    }

    /// A revocation, or what is to look like one.
    #[track_caller]
    pub(super) fn assert_done(&self) {
        self.assert_kept_by_nobody();
        assert_eq!((self.status, self.body.as_str()), (200, ""), "{self:?}");
    }
}

/// Sends a request with these lines of headers and this body.
pub(crate) async fn send(server: &TestServer, line: &str, headers: &[&str], body: &str) -> Answer {
    let headers = headers.iter().map(|header| format!("{header}\r\n")).collect::<String>();
    let address = server.address();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    );
    Answer::read(&http1::send(address, request.as_bytes()).await)
}

/// Posts a form with a value of the authorization header.
pub(crate) async fn post(server: &TestServer, path: &str, authorization: &str, form: &str) -> Answer {
    send(server, &format!("POST {path}"), &[FORM, &format!("authorization: {authorization}")], form).await
}

pub(crate) async fn introspect(server: &TestServer, asking: &str, token: &str) -> Answer {
    post(server, INTROSPECT, &bearer(asking), &format!("token={token}")).await
}

pub(crate) async fn revoke(server: &TestServer, asking: &str, token: &str) -> Answer {
    post(server, REVOKE, &bearer(asking), &format!("token={token}")).await
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

pub(crate) fn basic(name: &str, token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{token}")))
}

/// A token of a service that may ask about others' tokens.
pub(super) async fn service(server: &TestServer, database: &TestDatabase, name: &str, args: &[&str]) -> String {
    let id = server.admin(database, &["create-service-account", "--name", name, "--service"]).await.unwrap();
    let create = [&["create-token", "--service-account", id.trim(), "--description", "asks"], args].concat();
    server.admin(database, &create).await.unwrap().trim().to_owned()
}

/// The holder of a token.
pub(super) async fn holder(database: &TestDatabase, token: &str) -> String {
    let query = "SELECT principal_id::text FROM personal_access_tokens WHERE id = $1::text::uuid";
    database.text(query, &[&token_id(token)]).await
}
