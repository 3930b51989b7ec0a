//! How programs get a token: they ask on one machine to be answered on another (RFC 8628), or bring the code that a browser on the same
//! one has brought them (RFC 6749, section 4.1; RFC 7636).

use axum::{body::Body, extract::State};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    answer::{Failure, Word, answer},
    endpoints::{OAuthApi, only_post},
    form,
    metadata::{AUTHORIZATION_CODE, DEVICE_CODE, SCOPES},
};
use crate::auth::origin;
use crate::domain::{
    login::{CLIENT_ID, CodeVerifier, DEVICE_PATIENCE, LoginAsk, LoginProof, POLL_INTERVAL},
    principal::Origin,
    secret::Secret,
};
use crate::form::Form;
use crate::service::{CreatedToken, Login, LoginBegin};

/// What the audit log calls it.
const TOKEN: &str = "oauth2/token";

/// What a request says, and from where it came.
struct Asked {
    form: Form,
    origin: Origin,
}

impl Asked {
    async fn read(request: Request<Body>, limit: usize) -> Result<Self, Failure> {
        form::only_in_body(&request)?;
        only_post(&request)?;
        let (parts, body) = request.into_parts();
        let origin = origin(&parts);
        let form = form::parameters(Request::from_parts(parts, body), limit).await?;
        Ok(Self { form, origin })
    }

    fn needed(&self, name: &'static str) -> Result<&Secret, Failure> {
        let missing = || Failure::login(Word::InvalidRequest, format!("the parameter '{name}' is missing, or empty"));
        self.form.get(name).ok_or_else(missing)
    }

    /// There is one client.
    fn is_of_the_client(&self) -> Result<(), Failure> {
        if self.needed("client_id")?.expose() == CLIENT_ID {
            return Ok(());
        }
        Err(Failure::login(
            Word::InvalidClient,
            format!("there is no such client here; the one that there is, is {CLIENT_ID}"),
        ))
    }
}

pub(super) async fn authorize_device(State(api): State<OAuthApi>, request: Request<Body>) -> Response<Body> {
    begin(&api, request).await.unwrap_or_else(Failure::answer)
}

pub(super) async fn token(State(api): State<OAuthApi>, request: Request<Body>) -> Response<Body> {
    redeem(&api, request).await.unwrap_or_else(Failure::answer)
}

async fn begin(api: &OAuthApi, request: Request<Body>) -> Result<Response<Body>, Failure> {
    let asked = Asked::read(request, api.request_bytes).await?;
    asked.is_of_the_client()?;
    let ask = LoginAsk::parse(asked.form.text("host_name"), asked.form.text("lifetime"));
    let ask = ask.map_err(|problem| Failure::login(Word::InvalidRequest, problem.to_string()))?;
    match api.login_requests.begin(&asked.origin, &ask).await? {
        LoginBegin::Waits(codes) => {
            // No address with the code in it: whoever is sent one would say yes without having seen the code (RFC 8628, section 5.4).
            let said = json!({
                "device_code": codes.device_code.expose(),
                "user_code": codes.user_code.expose(),
                "verification_uri": format!("{}/device", api.issuer),
                "expires_in": DEVICE_PATIENCE.whole_seconds(),
                "interval": POLL_INTERVAL.whole_seconds(),
            });
            Ok(answer(StatusCode::OK, Code::Ok, Some(&said)))
        }
        LoginBegin::TooMany { message, retry_after } => Err(Failure::too_many(message, retry_after)),
    }
}

async fn redeem(api: &OAuthApi, request: Request<Body>) -> Result<Response<Body>, Failure> {
    let asked = Asked::read(request, api.request_bytes).await?;
    match asked.needed("grant_type")?.expose() {
        DEVICE_CODE => {
            asked.is_of_the_client()?;
            let code = asked.needed("device_code")?;
            let login = api.login_requests.redeem(&asked.origin, code, LoginProof::Device, TOKEN).await?;
            told(login, Word::AccessDenied, Word::ExpiredToken)
        }
        AUTHORIZATION_CODE => {
            asked.is_of_the_client()?;
            let (code, uri) = (asked.needed("code")?, asked.needed("redirect_uri")?.expose());
            let verifier = CodeVerifier::parse(asked.needed("code_verifier")?.clone()).ok_or_else(|| {
                Failure::login(
                    Word::InvalidRequest,
                    "'code_verifier' is none: it has 43 to 128 letters, digits, or -._~",
                )
            })?;
            let proof = LoginProof::Redirect { uri, verifier: &verifier };
            let login = api.login_requests.redeem(&asked.origin, code, proof, TOKEN).await?;
            told(login, Word::InvalidGrant, Word::InvalidGrant)
        }
        _ => {
            let description = format!("the grants that there are, are {AUTHORIZATION_CODE} and {DEVICE_CODE}");
            Err(Failure::login(Word::UnsupportedGrantType, description))
        }
    }
}

/// RFC 6749, section 5.1.
fn made(created: &CreatedToken) -> Value {
    let token = &created.token;
    json!({
        "access_token": created.text.expose(),
        "token_type": "Bearer",
        "expires_in": (token.expires_at - token.created_at).whole_seconds(),
        "scope": SCOPES.join(" "),
    })
}

/// What came of it: a token, or why there is none, by the words that the grant has for it.
fn told(login: Login, denied: Word, expired: Word) -> Result<Response<Body>, Failure> {
    Err(match login {
        Login::Done(created) => return Ok(answer(StatusCode::OK, Code::Ok, Some(&made(&created)))),
        Login::Pending => Failure::login(Word::AuthorizationPending, "nobody has said yes or no yet; ask again"),
        Login::TooSoon => {
            Failure::login(Word::SlowDown, "nobody has said yes or no yet; ask more seldom, by 5 seconds from now on")
        }
        Login::Denied(why) => Failure::login(denied, why),
        Login::Expired => Failure::login(expired, "it took too long; begin again"),
        Login::NoSuchCode => Failure::login(
            Word::InvalidGrant,
            "this is no code that is good: it was brought before, or was not given out here, or not to this client",
        ),
        Login::TooManyTries { retry_after } => {
            Failure::too_many("too much that is no code has come from your address; come again later", retry_after)
        }
    })
}
