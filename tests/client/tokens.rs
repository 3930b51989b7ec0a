//! `gitpod token` and `gitpod audit-logs`.

use latchkey::{
    domain::{ids::TokenId, token::Presented},
    pb::gitpod::v1::{
        AuditLogOutcome, PersonalAccessToken, Principal, ResourceType, list_audit_logs_response::AuditLogEntry,
    },
};

use crate::{gitpod::Home, server::Server};

async fn signed_in() -> (Home, Server) {
    let (home, server) = (Home::new(), Server::start().await);
    home.gitpod(&["login", "--token", &server.token(), "--host", &server.url()]).await.ended(0);
    (home, server)
}

fn token(description: &str) -> PersonalAccessToken {
    PersonalAccessToken {
        id: TokenId::generate().to_string(),
        description: description.to_owned(),
        expires_at: Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 }),
        ..Default::default()
    }
}

#[tokio::test]
async fn create_prints_the_token_alone() {
    let (home, server) = signed_in().await;
    let known = token("ci");
    server.state().tokens = vec![known.clone()];
    let arguments = ["token", "create", "--description", "ci", "--valid-for", "12h", "--read-only"];
    let run = home.gitpod(&arguments).await.ended(0).saying("is not shown again").saying(&known.id);
    let text = run.stdout.strip_suffix('\n').unwrap();
    Presented::parse(text).unwrap();
    assert!(!run.stderr.contains(text));
    let request = server.state().token_requests.remove(0);
    assert_eq!((request.description.as_str(), request.read_only), ("ci", true));
    assert_eq!(request.valid_for.unwrap().seconds, 12 * 60 * 60);

    let run = home.gitpod(&["token", "create", "--description", "ci", "-o", "json"]).await.ended(0);
    Presented::parse(run.json()["token"].as_str().unwrap()).unwrap();
    assert_eq!(run.json()["personalAccessToken"]["id"], known.id);
    assert_eq!(server.state().token_requests.remove(0).valid_for, None, "the server decides");
    home.gitpod(&["token", "create"]).await.ended(2).saying("--description");
}

#[tokio::test]
async fn a_token_that_could_not_be_shown_is_named_to_be_revoked() {
    let (home, server) = signed_in().await;
    let known = token("ci");
    server.state().tokens = vec![known.clone()];
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let run = home.gitpod_into(full, &["token", "create", "--description", "ci"]).await.ended(1);
    run.saying(&format!("gitpod token revoke {}", known.id));
}

#[tokio::test]
async fn tokens_are_listed_shown_and_revoked() {
    let (home, server) = signed_in().await;
    let tokens: Vec<_> = ["one", "two", "three"].map(token).to_vec();
    server.state().tokens = tokens.clone();
    let run = home.gitpod(&["token", "list", "-o", "json"]).await.ended(0);
    assert_eq!(run.json().as_array().unwrap().len(), 3);
    assert_eq!(run.json()[0]["expiresAt"], "2026-01-01T00:00:00Z");
    let run = home.gitpod(&["token", "list"]).await.ended(0);
    assert!(run.stdout.contains("2026-01-01 00:00:00Z (expired)"), "{run:?}");
    let run = home.gitpod(&["token", "get", &tokens[1].id]).await.ended(0);
    assert!(run.stdout.contains("two"), "{run:?}");

    let unknown = TokenId::generate().to_string();
    let run = home.gitpod(&["token", "revoke", &tokens[0].id, &unknown, &tokens[2].id]).await.ended(4);
    run.saying(&format!("Token {} is revoked", tokens[2].id)).saying("there is no token of yours");
    assert_eq!(server.state().revoked, [tokens[0].id.clone(), tokens[2].id.clone()]);
    home.gitpod(&["token", "get", &unknown]).await.ended(4);
}

#[tokio::test]
async fn a_token_is_described_anew() {
    let (home, server) = signed_in().await;
    let known = token("ci");
    server.state().tokens = vec![known.clone()];
    let arguments = ["token", "update", &known.id, "--description", "nightly"];
    let run = home.gitpod(&arguments).await.ended(0).saying(&known.id);
    assert_eq!(run.stdout, "");
    let request = server.state().token_updates.remove(0);
    assert_eq!((&request.personal_access_token_id, request.description.as_deref()), (&known.id, Some("nightly")));
    let unknown = TokenId::generate().to_string();
    home.gitpod(&["token", "update", &unknown, "--description", "x"]).await.ended(4);
    home.gitpod(&["token", "update", &known.id]).await.ended(2).saying("--description");
}

#[tokio::test]
async fn audit_logs_are_filtered_and_limited() {
    let (home, server) = signed_in().await;
    let (actor, subject) = (TokenId::generate().to_string(), TokenId::generate().to_string());
    let entry = AuditLogEntry {
        action: "environment_create".to_owned(),
        actor_id: actor.clone(),
        actor_principal: Principal::User.into(),
        subject_id: subject.clone(),
        subject_type: ResourceType::Environment.into(),
        token_id: TokenId::generate().to_string(),
        outcome: AuditLogOutcome::Denied.into(),
        reason: "token expired".to_owned(),
        count: 3,
        ..Default::default()
    };
    server.state().entries = vec![entry.clone(); 5];
    let run = home.gitpod(&["audit-logs", "-o", "json"]).await.ended(0);
    assert_eq!(run.json().as_array().unwrap().len(), 5);
    assert_eq!(run.json()[0]["tokenId"], entry.token_id);
    assert_eq!(run.json()[0]["outcome"], "AUDIT_LOG_OUTCOME_DENIED");
    let arguments = ["audit-logs", "--limit", "3", "--actor", &actor, "--subject", &subject];
    let run = home.gitpod(&arguments).await.ended(0);
    assert_eq!(run.stdout.lines().count(), 4);
    for text in ["environment_create", &entry.token_id, "denied: token expired", &format!("user {actor}")] {
        assert!(run.stdout.contains(text), "{text}: {run:?}");
    }
    let filter = server.state().audit_requests.last().unwrap().filter.clone().unwrap();
    assert_eq!((filter.actor_ids, filter.subject_ids), (vec![actor], vec![subject]));
    home.gitpod(&["audit-logs", "--limit", "0"]).await.ended(2);
}
