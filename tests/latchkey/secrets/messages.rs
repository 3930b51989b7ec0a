//! Messages, as they are written into logs and failures.

use latchkey::{
    auth::policy::POLICIES,
    pb::{
        envoy::service::auth::v3::{
            AttributeContext, CheckRequest, HeaderMap, HeaderValue,
            attribute_context::{HttpRequest, Request},
        },
        gitpod::v1::{
            BatchIntrospectTokensRequest, CreateEnvironmentAccessTokenResponse, CreateEnvironmentLogsTokenResponse,
            CreatePersonalAccessTokenResponse, CreatePortAccessTokenResponse, IntrospectTokenRequest,
            ParseContextUrlRequest, PersonalAccessToken,
        },
        supervisor::v1::ExecRequest,
    },
};

#[test]
fn messages_that_may_hold_a_secret_do_not_show_it() {
    let secret = || "gitpod_pat_secret".to_owned();
    let request = |http| {
        let request = Some(Request { http: Some(http) });
        CheckRequest { attributes: Some(AttributeContext { request, ..AttributeContext::default() }) }
    };
    let header = |key: &str, value, raw_value| HeaderValue { key: key.to_owned(), value, raw_value };
    let headers = vec![
        header("authorization", secret(), Vec::new()),
        header("authorization", String::new(), secret().into_bytes()),
    ];
    let mut joined = HttpRequest { path: format!("/?access_token={}", secret()), ..HttpRequest::default() };
    joined.headers.insert("authorization".to_owned(), secret());
    let raw = HttpRequest {
        method: "GET".to_owned(),
        header_map: Some(HeaderMap { headers: headers.clone() }),
        ..HttpRequest::default()
    };

    let requests = [
        ("IntrospectToken", format!("{:?}", IntrospectTokenRequest { token: secret() })),
        ("BatchIntrospectTokens", format!("{:?}", BatchIntrospectTokensRequest { tokens: vec![secret()] })),
        (
            "ParseContextURL",
            format!("{:?}", ParseContextUrlRequest { runner_id: "it".to_owned(), context_url: secret() }),
        ),
        ("Exec", format!("{:?}", ExecRequest { command: secret(), ..ExecRequest::default() })),
        ("Check", format!("{:?} {:?} {headers:?}", request(joined), request(raw))),
    ];
    for policy in POLICIES.iter().filter(|policy| policy.secret_in_request) {
        let method = policy.rpc.rsplit('/').next().unwrap();
        assert!(requests.iter().any(|(known, _)| *known == method), "what does a request of {method} look like?");
    }
    let token =
        Some(PersonalAccessToken { description: "what is public".to_owned(), ..PersonalAccessToken::default() });
    let created = CreatePersonalAccessTokenResponse { token: secret(), personal_access_token: token };
    let answers = [
        format!("{created:?}"),
        format!("{:?}", CreateEnvironmentAccessTokenResponse { access_token: secret() }),
        format!("{:?}", CreateEnvironmentLogsTokenResponse { access_token: secret() }),
        format!("{:?}", CreatePortAccessTokenResponse { access_token: secret() }),
    ];
    assert!(answers[0].contains("what is public"), "{}", answers[0]);
    for text in requests.iter().map(|(_, text)| text).chain(&answers) {
        let bytes = format!("{:?}", secret().as_bytes());
        let bytes = bytes.trim_matches(['[', ']']);
        assert!(!text.contains("secret") && !text.contains(bytes) && text.contains(".."), "{text}");
    }
}
