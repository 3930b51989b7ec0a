//! OAuth's endpoints, with tokens where they belong and where they do not.

use super::run::Run;
use crate::{
    oauth::asking::{INTROSPECT, REVOKE, basic, bearer, post, send},
    support::{http, token_text::token_id},
};

impl Run {
    /// Asks about tokens, revokes some, and makes every mistake.
    pub(super) async fn asks_by_oauth(&mut self, service: &str) {
        let asking = self.service_token(service).await;
        let theirs = self.token_by_operator("a token that was found", &[]).await;
        let (first, revoked) = (self.first.clone(), self.second.clone());
        let of_environment = self.environment_token.clone();

        let credentials = [
            bearer(&asking),
            basic(&token_id(&asking), &asking),
            basic(&asking, &asking),
            basic(&asking, ""),
            bearer(&first),
        ];
        let mut said = String::new();
        for path in [INTROSPECT, REVOKE] {
            for authorization in &credentials {
                for form in [
                    format!("token={revoked}"),
                    format!("token={of_environment}"),
                    format!("token={theirs}"),
                    format!("token={theirs}x"),
                    format!("{first}={first}&{first}"),
                    format!("token={first}&client_secret={first}"),
                    format!("token={first}&token={first}"),
                ] {
                    let answer = post(self.local.server(), path, authorization, &form).await;
                    said.push_str(&format!("{answer:?}\n"));
                }
                for (line, content_type, body) in [
                    (format!("POST {path}?token={first}"), "application/x-www-form-urlencoded", ""),
                    (format!("GET {path}?token={first}&access_token={first}"), "", ""),
                    (format!("POST {path}"), "application/json", &*format!("{{\"token\":\"{first}\"}}")),
                    (format!("POST {path}/{first}"), &*first, &*first),
                ] {
                    let headers = [format!("authorization: {authorization}"), format!("content-type: {content_type}")];
                    let headers = headers.each_ref().map(String::as_str);
                    let answer = send(self.local.server(), &line, &headers, body).await;
                    said.push_str(&format!("{answer:?}\n"));
                }
            }
        }
        for expected in
            ["\\\"active\\\":true", "\\\"active\\\":false", "unsupported_token_type", "status: 401", "status: 403"]
        {
            assert!(said.contains(expected), "{expected} was not said:\n{said}");
        }
        self.answers.keep_text("oauth", &said);
        let (_, metrics) = http::get(&self.metrics, "/metrics").await;
        for path in ["oauth2/introspect", "oauth2/revoke"] {
            assert!(metrics.contains(&format!("rpc=\"{path}\"")), "calls are counted by {path}: {metrics}");
        }
    }
}
