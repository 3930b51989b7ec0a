//! Tokens that are refused, and tokens where something else is asked for.

use latchkey::pb::gitpod::v1::{
    DeletePersonalAccessTokenRequest, GetEnvironmentRequest, GetPersonalAccessTokenRequest,
    ListPersonalAccessTokensRequest, PaginationRequest,
};
use tonic::Code;

use super::{
    run::{OPERATIONS, Run},
    search::base64,
};
use crate::support::{
    Caller, WHOAMI,
    environments::from_url,
    http1,
    token_text::{TokenText, changed, token_id, with_check_digits},
};

impl Run {
    /// Revoked, expired, suspended, forged in each part, and in the wrong header.
    pub(super) async fn is_refused(&mut self, environment: &str) {
        let expired = self.token_by_api("the expired token").await;
        self.local.database.expire(&token_id(&expired)).await;
        let reader = self.token_by_operator("the reader's token", &["--read-only"]).await;
        let (first, second) = (self.first.clone(), self.second.clone());
        let mut forged = TokenText::read(&first);
        forged.body[30] ^= 1;
        let mut tag = TokenText::read(&first);
        tag.body[45] ^= 1;
        let mut tokens: Vec<String> = (0..first.len()).step_by(7).map(|at| changed(&first, at)).collect();
        tokens.extend([second.clone(), expired.clone(), forged.write(), tag.write(), format!("{first}x")]);
        tokens.extend([
            first[..60].to_owned(),
            TokenText::read(&first).write_otherwise(),
            with_check_digits(&changed(&first[..77], 50)),
        ]);
        let caller = Caller::connect(&self.local.server().url()).await;
        let mut said = String::new();
        for token in tokens {
            let answer = caller.call_with_token(WHOAMI, &token).await;
            let refused = self.answers.keep_headers("whoami", answer).expect_err(&token);
            assert_eq!(refused.code(), Code::Unauthenticated, "{token}: {refused:?}");
            said.push_str(refused.message());
        }
        assert!(said.contains("token revoked on") && said.contains("token expired on"), "{said}");

        for values in [
            vec![first.clone()],
            vec![format!("Basic {}", base64(format!("token:{first}.").as_bytes()))],
            vec![format!("Token {first}")],
            vec![format!("Bearer {first}"), format!("Bearer {second}")],
            vec![format!("Bearer {first}, Bearer {second}")],
            vec![format!("Bearer Bearer {first}")],
        ] {
            let values: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
            self.answers.keep_headers("wrong header", caller.call(WHOAMI, &values).await).unwrap_err();
        }
        // Good tokens for what they are not good for.
        let create = "/gitpod.v1.TokenService/CreatePersonalAccessToken";
        for (path, token) in
            [(create, &reader), (OPERATIONS, &first), (WHOAMI, &self.environment_token), ("/no.such.Rpc/Here", &first)]
        {
            self.answers.keep_headers(path, caller.call_with_token(path, token).await).unwrap_err();
        }
        let address = self.local.server().address().to_owned();
        for (path, headers) in [
            (WHOAMI.to_owned(), format!("authorization: Bearer {first}\r\n")),
            (
                WHOAMI.to_owned(),
                format!(
                    "x-api-key: {first}\r\ncookie: token={first}\r\nx-request-id: {first}\r\nuser-agent: {first}\r\n"
                ),
            ),
            (WHOAMI.to_owned(), format!("authorization: Bearer {first}\r\nuser-agent: client {first} (x)\r\n")),
            (format!("{WHOAMI}?access_token={first}"), String::new()),
            (format!("/{first}"), format!("authorization: {first}\r\n")),
            (format!("/environments/{environment}/ops/{first}"), String::new()),
            (format!("/readyz?token={first}"), format!("host: {first}\r\n")),
        ] {
            let answer = http1::get(&address, &path, &headers).await;
            self.answers.keep_text(&path.replace(&first, "…"), &answer);
        }
        self.local.database.suspend("dev@example.com", true).await;
        self.local.api(&first).await.becomes_refused().await;
        for (path, token) in [(WHOAMI, &first), (OPERATIONS, &self.environment_token)] {
            let answer = caller.call_with_token(path, token).await;
            let refused = self.answers.keep_headers("suspended", answer).unwrap_err();
            assert!(refused.message().contains("suspended"), "{refused:?}");
        }
        self.local.database.suspend("dev@example.com", false).await;
    }

    /// Where something else is asked for.
    pub(super) async fn has_tokens_in_wrong_places(&mut self) {
        let api = self.api().await;
        let token = &self.first;
        let answers = &mut self.answers;
        let get = GetPersonalAccessTokenRequest { personal_access_token_id: token.clone() };
        answers.keep("get", api.tokens.clone().get_personal_access_token(get).await).unwrap_err();
        let delete = DeletePersonalAccessTokenRequest { personal_access_token_id: token.clone() };
        answers.keep("delete", api.tokens.clone().delete_personal_access_token(delete).await).unwrap_err();
        let get = GetEnvironmentRequest { environment_id: token.clone() };
        answers.keep("environment", api.environments.clone().get_environment(get).await).unwrap_err();
        let pagination = Some(PaginationRequest { token: token.clone(), ..Default::default() });
        let list = ListPersonalAccessTokensRequest { pagination, ..Default::default() };
        answers.keep("page", api.tokens.clone().list_personal_access_tokens(list).await).unwrap_err();
        for url in [
            format!("https://{token}@github.com/owner/name"),
            format!("https://oauth2:{token}@github.com/owner/name"),
            format!("https://github.com/owner/name?access_token={token}"),
            format!("https://github.com/owner/name#{token}"),
            token.clone(),
        ] {
            let answer = api.environments.clone().create_environment(from_url(&url)).await;
            answers.keep("create", answer).unwrap_err();
        }
    }
}
