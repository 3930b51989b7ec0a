//! Who cannot prove to hold a token is told one thing, whatever is wrong. The reason is in the server's log alone.

use latchkey::domain::token::{Generation, SigningKeys};
use tonic::{Code, Status};
use uuid::Uuid;

use super::{keys_of, minted};
use crate::support::{
    Caller, ServerOptions, TestDatabase, TestServer, WHOAMI,
    token_text::{BODY, PREFIX, TokenText, changed, with_check_digits},
    told,
};

const MISSING: &str = "no credentials";
const REPEATED: &str = "more than one authorization header";
const SCHEME: &str = "not a bearer token";
const MALFORMED: &str = "malformed";
const FORGED: &str = "forged";

/// What a stranger may send, what is wrong with it, and how the log names that.
struct Attempt {
    what: String,
    authorization: Vec<Vec<u8>>,
    reason: &'static str,
}

fn attempt(what: &str, reason: &'static str, authorization: &[&[u8]]) -> Attempt {
    Attempt { what: what.to_owned(), authorization: authorization.iter().map(|value| value.to_vec()).collect(), reason }
}

fn bearer(what: &str, reason: &'static str, token: &str) -> Attempt {
    attempt(what, reason, &[format!("Bearer {token}").as_bytes()])
}

/// A server whose log can be read by machines.
async fn server_with_json_log(database: &TestDatabase) -> TestServer {
    let env = vec![("LATCHKEY_LOG_FORMAT".to_owned(), "json".to_owned())];
    TestServer::start_with(database, ServerOptions { env, ..ServerOptions::default() }).await
}

/// How the log gives the reason of a refusal.
fn reason(log: &str, status: &Status) -> String {
    let request = status.metadata().get("x-request-id").expect("each answer names its request").to_str().unwrap();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut refusals =
        lines.filter(|line| line["fields"]["message"] == "refused" && line["span"]["request_id"] == request);
    let refusal = refusals.next().unwrap_or_else(|| panic!("no refusal of {request} in the log: {log}"));
    assert!(refusals.next().is_none(), "refused once");
    refusal["fields"]["reason"].as_str().unwrap().to_owned()
}

/// Makes all attempts and holds the answers against each other, and the log against what is expected.
async fn all_are_told_the_same(server: &TestServer, attempts: Vec<Attempt>) {
    let caller = Caller::connect(&server.url()).await;
    let nobody = told(&caller.call(WHOAMI, &[]).await.unwrap_err());
    assert_eq!(nobody.0, Code::Unauthenticated);
    assert!(nobody.1.contains("a valid token is needed"), "{}", nobody.1);
    let mut refused = Vec::new();
    for attempt in attempts {
        let authorization: Vec<&[u8]> = attempt.authorization.iter().map(Vec::as_slice).collect();
        let status = caller.call(WHOAMI, &authorization).await.expect_err(&attempt.what);
        assert_eq!(told(&status), nobody, "{}", attempt.what);
        refused.push((attempt, status));
    }
    let log = server.log();
    for (attempt, status) in refused {
        assert_eq!(reason(&log, &status), attempt.reason, "{}", attempt.what);
    }
}

#[tokio::test]
async fn headers_that_are_not_one_bearer_token() {
    let database = TestDatabase::create().await;
    let server = server_with_json_log(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let good = format!("Bearer {token}");
    let good = good.as_bytes();

    let mut attempts = vec![
        attempt("nothing", MISSING, &[]),
        attempt("twice the same", REPEATED, &[good, good]),
        attempt("a good one and none", REPEATED, &[good, b""]),
        attempt("another scheme, then a good one", REPEATED, &[b"Basic ZGV2Og==", good]),
    ];
    let schemes =
        ["{}", "Basic {}", "Token {}", "Bearer{}", "Bearer:{}", "Bearer\t{}", " Bearer {}", "\"Bearer {}\"", ""];
    for scheme in schemes.into_iter().chain(["Bearer", "Digest", " "]) {
        attempts.push(attempt(scheme, SCHEME, &[scheme.replace("{}", &token).as_bytes()]));
    }
    // Text that no header may hold as text, in the scheme and in the token.
    attempts.push(attempt("a no-break space", SCHEME, &[format!("Bearer\u{a0}{token}").as_bytes()]));
    attempts.push(attempt(
        "bytes that are no text",
        SCHEME,
        &[&[b"Bearer \xff".as_slice(), token.as_bytes()].concat()],
    ));
    for around in ["\"{}\"", "{}\t", "{},", "{}=", "{} {}", "{}, Bearer {}", "<{}>", "", " ", "%67itpod_pat_"] {
        attempts.push(bearer(around, MALFORMED, &around.replace("{}", &token)));
    }
    all_are_told_the_same(&server, attempts).await;

    // What the rules of HTTP let through: any case of the scheme, more than one space (RFC 9110, section 11.4).
    let caller = Caller::connect(&server.url()).await;
    for good in ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}", "Bearer {}  "] {
        let good = good.replace("{}", &token);
        caller.call(WHOAMI, &[good.as_bytes()]).await.unwrap_or_else(|status| panic!("{good}: {status}"));
    }
}

#[tokio::test]
async fn texts_that_are_no_token() {
    let database = TestDatabase::create().await;
    let server = server_with_json_log(&database).await;
    let token = server.user(&database, "dev@example.com").await;

    let mut attempts = vec![
        bearer("cut off", MALFORMED, &token[..token.len() - 1]),
        bearer("too long", MALFORMED, &format!("{token}0")),
        bearer("all capitals", MALFORMED, &token.to_uppercase()),
        bearer("no capitals", MALFORMED, &token.to_lowercase()),
        bearer("the prefix in capitals", MALFORMED, &with_check_digits(&format!("GITPOD_PAT_{}", body(&token)))),
        bearer("the other case throughout", MALFORMED, &swap_case(&token)),
        bearer("a second spelling", MALFORMED, &TokenText::read(&token).write_otherwise()),
        bearer("no prefix", MALFORMED, &token[PREFIX..]),
    ];
    // One character: in the prefix, the body, the check digits.
    for position in 0..token.len() {
        attempts.push(bearer(&format!("character {position} changed"), MALFORMED, &changed(&token, position)));
    }
    all_are_told_the_same(&server, attempts).await;
    Caller::connect(&server.url()).await.call_with_token(WHOAMI, &token).await.expect("the token itself is good");
}

#[tokio::test]
async fn tokens_that_nobody_made() {
    let database = TestDatabase::create().await;
    let server = server_with_json_log(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let (text, keys) = (TokenText::read(&token), keys_of(&server));
    let other_key = SigningKeys::parse(SigningKeys::generate_line(Generation::FIRST).unwrap().expose()).unwrap();

    let mut attempts = Vec::new();
    // Each byte of the body, with the check digits that go with it: generation, ID, secret, tag.
    for byte in 0..text.body.len() {
        let mut forged = text.clone();
        forged.body[byte] ^= 1;
        attempts.push(bearer(&format!("byte {byte} of the body changed"), FORGED, &forged.write()));
    }
    let disguised = TokenText { prefix: "gitpod_env_".to_owned(), ..text.clone() };
    attempts.push(bearer("as a token of an environment", FORGED, &disguised.write()));
    attempts.push(bearer("another key of this generation", FORGED, &minted(&other_key, Generation::FIRST, text.id())));
    // A genuine tag: what is stored is what refuses these.
    attempts.push(bearer("another secret", FORGED, &minted(&keys, Generation::FIRST, text.id())));
    attempts.push(bearer("an ID that is not stored", FORGED, &minted(&keys, Generation::FIRST, Uuid::from_u128(7))));
    // The other case of every letter, check digits and all: another number, or none at all.
    let swapped = swap_case(&token);
    let swapped = with_check_digits(&format!("gitpod_pat_{}", body(&swapped)));
    let caller = Caller::connect(&server.url()).await;
    assert_eq!(caller.call_with_token(WHOAMI, &swapped).await.unwrap_err().code(), Code::Unauthenticated);
    all_are_told_the_same(&server, attempts).await;
}

#[tokio::test]
async fn who_does_not_hold_an_ended_token_is_not_told_that_it_ended() {
    let database = TestDatabase::create().await;
    let server = server_with_json_log(&database).await;
    let expired = server.user(&database, "expired@example.com").await;
    let revoked = server.user(&database, "revoked@example.com").await;
    let suspended = server.user(&database, "suspended@example.com").await;
    let id = |token: &str| TokenText::read(token).id();
    database.expire(&id(&expired).to_string()).await;
    server.admin(&database, &["revoke-token", &id(&revoked).to_string()]).await.unwrap();
    database.suspend("suspended@example.com", true).await;

    let keys = keys_of(&server);
    let same_id = |token: &str| minted(&keys, Generation::FIRST, id(token));
    let attempts = vec![
        bearer("expired", FORGED, &same_id(&expired)),
        bearer("revoked", FORGED, &same_id(&revoked)),
        bearer("suspended", FORGED, &same_id(&suspended)),
    ];
    all_are_told_the_same(&server, attempts).await;
}

#[tokio::test]
async fn a_forged_tag_costs_no_query() {
    let database = TestDatabase::create().await;
    let server = server_with_json_log(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut forged = TokenText::read(&token);
    forged.body[48] ^= 1;
    let caller = Caller::connect(&server.url()).await;

    // Whoever asks the database now gets no answer.
    let owner = database.owner().await;
    owner.batch_execute("ALTER TABLE personal_access_tokens RENAME TO away").await.unwrap();
    let genuine = caller.call_with_token(WHOAMI, &token).await.unwrap_err();
    assert_eq!(genuine.code(), Code::Unavailable, "an outage is not a bad token: {genuine}");
    all_are_told_the_same(&server, vec![bearer("forged tag", FORGED, &forged.write())]).await;

    owner.batch_execute("ALTER TABLE away RENAME TO personal_access_tokens").await.unwrap();
    caller.call_with_token(WHOAMI, &token).await.expect("the server recovers by itself");
}

fn body(token: &str) -> &str {
    &token[PREFIX..PREFIX + BODY]
}

fn swap_case(token: &str) -> String {
    let swap = |character: char| {
        if character.is_ascii_lowercase() { character.to_ascii_uppercase() } else { character.to_ascii_lowercase() }
    };
    let (prefix, rest) = token.split_at(PREFIX);
    format!("{prefix}{}", rest.chars().map(swap).collect::<String>())
}
