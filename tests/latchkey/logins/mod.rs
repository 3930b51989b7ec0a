//! How a program gets a token: what it asks, what a person says to it, and what comes of its code.

mod approval;
mod bounds;
mod client;
mod device;
mod hostile;
mod over;
mod pages;
mod redirect;
mod refused;

use std::{net::IpAddr, sync::Arc, time::Duration};

use latchkey::{
    auth::{Cache, Guesses},
    domain::{
        ids::RequestId,
        login::{CodeChallenge, HostName, LoginAsk, LoopbackRedirect, PendingLogin},
        principal::{Actor, Credential, Origin, PrincipalKind, Role},
        token::SigningKeys,
    },
    service::{LoginRequests, ServiceError},
    store::{Store, StoreConfig},
};
use serde_json::Value;

use crate::{
    oauth::asking::{Answer, FORM, send},
    support::{TestDatabase, TestServer},
};

const BEGIN: &str = "/oauth2/device_authorization";
const TOKEN: &str = "/oauth2/token";
const CLIENT: &str = "client_id=gitpod-cli";
const DEVICE: &str = "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=gitpod-cli";

async fn post(server: &TestServer, path: &str, form: &str) -> Answer {
    send(server, &format!("POST {path}"), &[FORM, "user-agent: gitpod/test"], form).await
}

/// What a program is told that begins.
struct Begun {
    device_code: String,
    user_code: String,
}

async fn begin(server: &TestServer, form: &str) -> Begun {
    let answer = post(server, BEGIN, &format!("{CLIENT}&{form}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let said = answer.json();
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    Begun { device_code: text("device_code"), user_code: text("user_code") }
}

impl Begun {
    /// Brings the code.
    async fn redeem(&self, server: &TestServer) -> Answer {
        post(server, TOKEN, &format!("{DEVICE}&device_code={}", self.device_code)).await
    }

    /// The same so long after the last time that it is not too soon.
    async fn redeem_later(&self, server: &TestServer, database: &TestDatabase) -> Answer {
        let back = "UPDATE login_requests SET polled_at = polled_at - interval '10 minutes'";
        database.owner().await.execute(back, &[]).await.unwrap();
        self.redeem(server).await
    }
}

/// The token of an answer.
fn token_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.assert_kept_by_nobody();
    let said = answer.json();
    assert_eq!((&said["token_type"], &said["scope"]), (&Value::from("Bearer"), &Value::from("read write")));
    said["access_token"].as_str().unwrap().to_owned()
}

/// Somebody with a session, and the use cases that the pages are served by.
struct Person {
    logins: LoginRequests,
    actor: Actor,
}

impl Person {
    /// A new user.
    async fn new(database: &TestDatabase, server: &TestServer, email: &str) -> Self {
        server.admin(database, &["create-user", "--email", email]).await.unwrap();
        let of = async |column: &str| {
            let query = format!("SELECT {column}::text FROM principals WHERE email = $1");
            database.text(&query, &[&email]).await
        };
        let session = database
            .text(
                "INSERT INTO sessions
                     (id, organization_id, principal_id, key_generation, digest, signed_in_by, expires_at, idle_expires_at)
                 SELECT gen_random_uuid(), organization_id, id, 1, sha256(id::text::bytea), 'link',
                     now() + interval '1 day', now() + interval '1 hour'
                 FROM principals WHERE email = $1 RETURNING id::text",
                &[&email],
            )
            .await;
        let store = Store::new(StoreConfig::parse(&database.serving_url()).unwrap()).unwrap();
        let keys = Arc::new(SigningKeys::parse(&server.keys()).unwrap());
        let cache = Arc::new(Cache::new(Duration::ZERO, 1));
        Self {
            logins: LoginRequests::new(store, keys, cache, Arc::new(Guesses::default()), 100),
            actor: Actor {
                organization_id: of("organization_id").await.parse().unwrap(),
                principal_id: of("id").await.parse().unwrap(),
                kind: PrincipalKind::User,
                role: Role::Member,
                credential: Credential::Session { id: session.parse().unwrap() },
                origin: Origin {
                    peer: Some(IpAddr::from([192, 0, 2, 9])),
                    user_agent: Some("a browser".into()),
                    request_id: RequestId::generate(),
                },
            },
        }
    }

    fn session(&self) -> String {
        self.actor.credential.session_id().unwrap().to_string()
    }

    async fn find(&self, code: &str) -> Result<PendingLogin, ServiceError> {
        self.logins.find(&self.actor, code, "device").await
    }

    async fn say(&self, code: &str, approves: bool) -> Result<PendingLogin, ServiceError> {
        self.logins.answer(&self.actor, code, approves, "device").await
    }

    /// Says yes in the browser of the program's machine; the code.
    async fn authorize(&self, redirect: &str, challenge: &str) -> String {
        let asked = LoginAsk::new(HostName::cleaned("laptop"), Some(3600)).unwrap();
        let (redirect, challenge) =
            (LoopbackRedirect::parse(redirect).unwrap(), CodeChallenge::parse(challenge).unwrap());
        let made = self.logins.authorize(&self.actor, &asked, &redirect, &challenge, "oauth2/authorize").await;
        made.unwrap().expose().to_owned()
    }
}

/// How many tokens there are of programs.
async fn tokens(database: &TestDatabase) -> i64 {
    let query =
        "SELECT count(*) FROM personal_access_tokens WHERE description LIKE 'gitpod on %' AND revoked_at IS NULL";
    database.number(query, &[]).await
}
