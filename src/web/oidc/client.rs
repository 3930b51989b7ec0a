//! One provider, as its client.

use std::{fmt, net::IpAddr, sync::Arc};

use openidconnect::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, CsrfToken, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, StandardErrorResponse, TokenResponse,
    UserInfoError,
    core::{CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType},
};
use url::Url;

use super::{
    claims,
    discovery::{Discovered, Discovery, is_cleartext},
    error::ProviderError,
    http_client::{HttpClient, HttpError, cut, whole},
    id_token::{Expected, Unproven, prove},
    places::{Place, Places},
    wire::{DiscoveredClient, Metadata, TokenAnswer, TokenClaims, UserInfo},
};
use crate::domain::{
    clock::Clock,
    secret::Secret,
    sign_in::{Attempt, ClaimedIdentity, Provider},
};

/// The longest code that is passed on.
const CODE_LIMIT: usize = 4096;

/// A provider that can be asked about one code.
pub struct Ready<'a> {
    client: &'a ProviderClient,
    discovered: Discovered,
    _place: Place,
}

impl Ready<'_> {
    /// Who has come back with a code to an attempt; `issuer` is who the answer says it is from, if it does (RFC 9207).
    ///
    /// # Errors
    /// [`ProviderError`]
    pub async fn identify(
        self,
        attempt: &Attempt,
        code: &str,
        issuer: Option<&str>,
    ) -> Result<ClaimedIdentity, ProviderError> {
        self.client.identify(&self.discovered, attempt, code, issuer).await
    }
}

impl fmt::Debug for Ready<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ready").field("client", self.client).finish_non_exhaustive()
    }
}

/// A provider's client.
pub struct ProviderClient {
    provider: Provider,
    secret: Option<Secret>,
    client_id: ClientId,
    redirect: RedirectUrl,
    http: HttpClient,
    discovery: Discovery,
    under_way: Places,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for ProviderClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ProviderClient").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl ProviderClient {
    /// Of a provider, with the secret that we have there.
    ///
    /// # Errors
    /// [`ProviderError::Configuration`]
    pub fn new(
        provider: Provider,
        secret: Option<Secret>,
        public_url: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ProviderError> {
        let wrong = |error: &dyn fmt::Display| ProviderError::Configuration(error.to_string());
        let issuer = IssuerUrl::new(provider.issuer.clone()).map_err(|error| wrong(&error))?;
        // Each provider has its own: what comes back there was never begun by another one (RFC 9700, section 4.4.2).
        let redirect = format!("{public_url}/sign-in/{}/callback", provider.name);
        let redirect = RedirectUrl::new(redirect).map_err(|error| wrong(&error))?;
        let http = HttpClient::new(is_cleartext(issuer.url())).map_err(|error| wrong(&error))?;
        Ok(Self {
            client_id: ClientId::new(provider.client_id.clone()),
            discovery: Discovery::new(issuer, http.clone()),
            under_way: Places::default(),
            provider,
            secret,
            redirect,
            http,
            clock,
        })
    }

    /// What the operator says of it.
    #[must_use]
    pub const fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Where a browser is sent with an attempt.
    ///
    /// # Errors
    /// [`ProviderError`]
    pub async fn authorization_url(&self, attempt: &Attempt) -> Result<Url, ProviderError> {
        let discovered = self.discovery.discovered().await?;
        let client = self.client(&discovered.metadata);
        let (state, nonce) = (attempt.state.clone(), attempt.nonce.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier(attempt));
        // The client asks for openid by itself.
        let scopes = self.provider.scopes.iter().filter(|scope| *scope != "openid").cloned().map(Scope::new);
        let (url, _, _) = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state.expose().to_owned()),
                move || Nonce::new(nonce.expose().to_owned()),
            )
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .url();
        Ok(url)
    }

    /// A place for a code that a peer brings, once it is known where to ask: of the code nothing is sent before.
    ///
    /// # Errors
    /// [`ProviderError`]
    pub async fn ready(&self, peer: Option<IpAddr>) -> Result<Ready<'_>, ProviderError> {
        let place = self.under_way.take(peer).ok_or(ProviderError::Busy)?;
        Ok(Ready { client: self, discovered: self.discovery.discovered().await?, _place: place })
    }

    async fn identify(
        &self,
        discovered: &Discovered,
        attempt: &Attempt,
        code: &str,
        issuer: Option<&str>,
    ) -> Result<ClaimedIdentity, ProviderError> {
        if code.is_empty() || code.len() > CODE_LIMIT {
            return Err(ProviderError::Code("it is empty, or too long to be one".to_owned()));
        }
        self.check_issuer(&discovered.metadata, issuer)?;
        let client = self.client(&discovered.metadata);
        let answer = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|error| ProviderError::Unavailable(whole(&error)))?
            .set_pkce_verifier(verifier(attempt))
            .request_async(&self.http)
            .await
            .map_err(refused)?;
        let claims = self.prove(discovered, &answer, attempt).await?;
        let besides = match client.user_info_url() {
            Some(_) if !claims::is_whole(&self.provider, &claims) => {
                Some(self.ask_besides(&client, &answer, &claims).await?)
            }
            Some(_) | None => None,
        };
        claims::identity(&self.provider, &claims, besides.as_ref())
    }

    fn check_issuer(&self, metadata: &Metadata, issuer: Option<&str>) -> Result<(), ProviderError> {
        let is_needed = metadata.additional_metadata().authorization_response_iss_parameter_supported;
        match issuer {
            Some(issuer) if issuer == self.provider.issuer => Ok(()),
            None if !is_needed => Ok(()),
            Some(_) => Err(ProviderError::Proof("the answer is from another issuer".to_owned())),
            None => Err(ProviderError::Proof("the answer does not say which issuer it is from".to_owned())),
        }
    }

    async fn prove(
        &self,
        discovered: &Discovered,
        answer: &TokenAnswer,
        attempt: &Attempt,
    ) -> Result<TokenClaims, ProviderError> {
        let token = answer.id_token().ok_or_else(|| ProviderError::Proof("there is no ID token".to_owned()))?;
        let nonce = Nonce::new(attempt.nonce.expose().to_owned());
        let expected = |metadata| Expected {
            metadata,
            client_id: &self.client_id,
            nonce: &nonce,
            access_token: answer.access_token(),
            now: self.clock.now(),
        };
        let unknown = || ProviderError::Proof("it was signed with a key that the provider does not tell of".to_owned());
        match prove(token, &expected(&discovered.metadata)) {
            Ok(claims) => return Ok(claims.clone()),
            Err(Unproven::For(error)) => return Err(error),
            Err(Unproven::UnknownKey) => {}
        }
        let Some(newer) = self.discovery.newer_than(discovered).await? else { return Err(unknown()) };
        match prove(token, &expected(&newer.metadata)) {
            Ok(claims) => Ok(claims.clone()),
            Err(Unproven::For(error)) => Err(error),
            Err(Unproven::UnknownKey) => Err(unknown()),
        }
    }

    /// What the provider says besides, of the same subject.
    async fn ask_besides(
        &self,
        client: &DiscoveredClient,
        answer: &TokenAnswer,
        claims: &TokenClaims,
    ) -> Result<UserInfo, ProviderError> {
        let asking = client.user_info(answer.access_token().clone(), Some(claims.subject().clone()));
        let asking = asking.map_err(|error| ProviderError::Unavailable(whole(&error)))?;
        asking.request_async(&self.http).await.map_err(|error: UserInfoError<HttpError>| {
            let is_of_another = matches!(error, UserInfoError::ClaimsVerification(_));
            let problem = whole(&error);
            if is_of_another { ProviderError::Proof(problem) } else { ProviderError::Unavailable(problem) }
        })
    }

    fn client(&self, metadata: &Metadata) -> DiscoveredClient {
        let secret = self.secret.as_ref().map(|secret| ClientSecret::new(secret.expose().to_owned()));
        // By the form only where the provider takes nothing else of what we have.
        let in_form = metadata.token_endpoint_auth_methods_supported().is_some_and(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretPost)
                && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        let auth_type = if in_form { AuthType::RequestBody } else { AuthType::BasicAuth };
        DiscoveredClient::from_provider_metadata(metadata.clone(), self.client_id.clone(), secret)
            .set_redirect_uri(self.redirect.clone())
            .set_auth_type(auth_type)
    }
}

fn verifier(attempt: &Attempt) -> PkceCodeVerifier {
    PkceCodeVerifier::new(attempt.verifier.expose().to_owned())
}

/// Of the token endpoint's errors (RFC 6749, section 5.2) one is about the code; others are about us, whoever comes.
fn refused(error: RequestTokenError<HttpError, StandardErrorResponse<CoreErrorResponseType>>) -> ProviderError {
    match error {
        RequestTokenError::ServerResponse(answer) => {
            let said = cut(&format!("{answer:?}"));
            match answer.error() {
                CoreErrorResponseType::InvalidGrant => ProviderError::Code(said),
                CoreErrorResponseType::InvalidClient
                | CoreErrorResponseType::InvalidRequest
                | CoreErrorResponseType::InvalidScope
                | CoreErrorResponseType::UnauthorizedClient
                | CoreErrorResponseType::UnsupportedGrantType => ProviderError::Configuration(said),
                // Such as temporarily_unavailable.
                CoreErrorResponseType::Extension(_) => ProviderError::Unavailable(said),
            }
        }
        RequestTokenError::Request(error) => ProviderError::Unavailable(whole(&error)),
        // The body may hold tokens: it is told nobody.
        RequestTokenError::Parse(error, _) => {
            ProviderError::Unavailable(format!("what it answers cannot be read, at {}", cut(&error.path().to_string())))
        }
        RequestTokenError::Other(error) => ProviderError::Unavailable(cut(&error)),
    }
}
