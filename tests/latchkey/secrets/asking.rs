//! Who asks about the tokens of others: services by RPC, and proxies.

use latchkey::pb::{
    envoy::service::auth::v3::{
        AttributeContext, CheckRequest, HeaderMap, HeaderValue,
        attribute_context::{HttpRequest, Request},
        authorization_client::AuthorizationClient,
    },
    gitpod::v1::{BatchIntrospectTokensRequest, IntrospectTokenRequest},
};

use super::run::Run;
use crate::support::{Caller, with_token};

impl Run {
    /// Asks about tokens in every way that there is, as somebody who may and as somebody who may not.
    pub(super) async fn asks_about_others(&mut self, service: &str) {
        let asking = self.service_token(service).await;
        let (first, environment) = (self.first.clone(), self.environment_token.clone());
        let revoked = self.second.clone();
        let tokens = vec![first.clone(), revoked, environment, format!("{first}x"), asking.clone()];
        let url = self.local.server().url();
        for who in [&asking, &first] {
            let api = self.local.api(who).await;
            let answers = &mut self.answers;
            let mut is_active = 0;
            for token in &tokens {
                let request = IntrospectTokenRequest { token: token.clone() };
                let answer = answers.keep("introspect", api.tokens.clone().introspect_token(request).await);
                is_active += usize::from(answer.is_ok_and(|said| said.introspection.unwrap_or_default().active));
            }
            let request = BatchIntrospectTokensRequest { tokens: tokens.clone() };
            let answer = answers.keep("introspect", api.tokens.clone().batch_introspect_tokens(request).await);
            is_active += answer.map_or(0, |said| said.introspections.iter().filter(|said| said.active).count());

            // What Envoy sends, in both forms, also of requests that have tokens where none belongs.
            let mut authorization = AuthorizationClient::new(with_token(Caller::connect(&url).await.channel(), who));
            for token in &tokens {
                let values = [format!("Bearer {token}"), format!("Bearer {token},Bearer {first}"), token.clone()];
                for (value, is_raw) in values.iter().flat_map(|value| [(value, true), (value, false)]) {
                    let request = check(&first, value, is_raw);
                    let answer = answers.keep("Check", authorization.check(request).await);
                    is_active += usize::from(answer.is_ok_and(|said| said.status.unwrap_or_default().code == 0));
                }
            }
            assert_eq!(
                is_active,
                if who == &asking { 8 } else { 0 },
                "whoever may ask is told of the two that are good"
            );
        }
    }
}

fn check(token: &str, authorization: &str, is_raw: bool) -> CheckRequest {
    let mut http =
        HttpRequest { method: "GET".to_owned(), path: format!("/page?access_token={token}"), ..HttpRequest::default() };
    for (key, value) in [("authorization", authorization), ("user-agent", token), ("content-type", token)] {
        if is_raw {
            let header =
                HeaderValue { key: key.to_owned(), value: String::new(), raw_value: value.as_bytes().to_vec() };
            http.header_map.get_or_insert_with(HeaderMap::default).headers.push(header);
        } else {
            http.headers.insert(key.to_owned(), value.to_owned());
        }
    }
    let attributes = AttributeContext { request: Some(Request { http: Some(http) }), ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }
}
