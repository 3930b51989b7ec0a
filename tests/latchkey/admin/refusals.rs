//! What is asked for and cannot be done: said so that it can be put right, and nothing is done.

use super::Operator;
use crate::support::{TestDatabase, TestServer, token_text::token_id};

/// The ID of nothing.
const ID: &str = "01987654-3210-7abc-8def-0123456789ab";

struct Case<'a> {
    command: &'a [&'a str],
    code: i32,
    says: &'a [&'a str],
}

/// Fewer words for a case.
const fn case<'a>(command: &'a [&'a str], code: i32, says: &'a [&'a str]) -> Case<'a> {
    Case { command, code, says }
}

/// How much there is that a command may have changed.
async fn rows(database: &TestDatabase) -> i64 {
    let count = "SELECT (SELECT count(*) FROM principals) + (SELECT count(*) FROM personal_access_tokens)
                      + (SELECT count(*) FROM audit_logs WHERE actor_kind = 'operator')
                      + (SELECT count(*) FROM personal_access_tokens WHERE revoked_at IS NOT NULL)";
    database.number(count, &[]).await
}

async fn are_refused(database: &TestDatabase, operator: &Operator, cases: &[Case<'_>]) {
    let before = rows(database).await;
    for Case { command, code, says } in cases {
        let mut ran = operator.run(&[&["admin"], *command].concat()).await.ended(*code);
        for words in *says {
            ran = ran.saying(words);
        }
        assert!(ran.stdout.is_empty(), "{command:?}: {ran:#?}");
        assert_eq!(rows(database).await, before, "{command:?} has done something");
    }
}

/// An operator of a server with a user, whose keys and tables are there.
async fn with_user() -> (TestDatabase, TestServer, Operator) {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let operator = Operator::of_database(&database).with_keys(&server.data_dir().join("signing-keys"));
    operator.creates_user("dev@example.com").await;
    (database, server, operator)
}

#[tokio::test]
async fn a_user_that_cannot_be_made_is_refused() {
    let (database, _server, operator) = with_user().await;
    let no_address = &["is not an e-mail address"];
    let long = format!("{}@example.com", "x".repeat(243));
    let long_name = "x".repeat(256);
    are_refused(
        &database,
        &operator,
        &[
            case(&["create-user", "--email", ""], 1, no_address),
            case(&["create-user", "--email", "dev"], 1, &["\"dev\" is not an e-mail address"]),
            case(&["create-user", "--email", "@example.com"], 1, no_address),
            case(&["create-user", "--email", "dev@"], 1, no_address),
            case(&["create-user", "--email", "a dev@example.com"], 1, no_address),
            case(&["create-user", "--email", "dev@example.com\n"], 1, no_address),
            case(&["create-user", "--email", "d\u{1b}[2Jev@example.com"], 1, no_address),
            case(&["create-user", "--email", &long], 1, no_address),
            case(&["create-user", "--email", "dev@example.com"], 1, &["belongs to a user already"]),
            case(&["create-user", "--email", "Dev@Example.com"], 1, &["belongs to a user already"]),
            case(&["create-user", "--email", "n@example.com", "--name", ""], 1, &["--name", "must not be empty"]),
            case(&["create-user", "--email", "n@example.com", "--name", &long_name], 1, &["--name", "256", "255"]),
            case(&["create-user"], 2, &["--email"]),
        ],
    )
    .await;
    let longest = format!("{}@example.com", "x".repeat(242));
    operator.creates_user(&longest).await;
}

#[tokio::test]
async fn a_token_that_cannot_be_made_is_refused() {
    let (database, _server, operator) = with_user().await;
    let create = |more: &[&'static str]| -> Vec<&'static str> {
        [&["create-token", "--user", "dev@example.com"], more].concat()
    };
    let span = &["--valid-for", "between 1 minute and 90 days"];
    let long: &'static str = "ä".repeat(256).leak();
    let longest: &'static str = "ä".repeat(255).leak();
    are_refused(
        &database,
        &operator,
        &[
            case(&create(&["--description", "x", "--valid-for", "59s"]), 1, span),
            case(&create(&["--description", "x", "--valid-for", "91d"]), 1, span),
            case(&create(&["--description", "x", "--valid-for", "90d 1ns"]), 1, span),
            case(&create(&["--description", "x", "--valid-for", "100000000years"]), 1, span),
            case(&create(&["--description", "x", "--valid-for", "soon"]), 2, &["--valid-for"]),
            case(&create(&["--description", "x", "--valid-for=-1d"]), 2, &["--valid-for"]),
            case(&create(&["--description", ""]), 1, &["--description", "must not be empty"]),
            case(&create(&["--description", "  "]), 1, &["--description", "must not be empty"]),
            case(&create(&["--description", long]), 1, &["--description", "has 256 characters, the longest is 255"]),
            case(&create(&["--description", "a\tb"]), 1, &["--description", "control characters (U+0009)"]),
            case(&create(&["--description", "a\nb"]), 1, &["--description", "control characters (U+000A)"]),
            case(&create(&["--description", "a\u{202e}b"]), 1, &["--description", "control characters (U+202E)"]),
            case(&create(&[]), 2, &["--description"]),
            case(
                &["create-token", "--user", "nobody@example.com", "--description", "x"],
                1,
                &["there is no user nobody@example.com", "create-user --email nobody@example.com"],
            ),
            case(&["create-token", "--description", "x"], 2, &["--user"]),
        ],
    )
    .await;
    // What is just short enough is taken.
    for more in
        [["--description", longest], ["--description=x", "--valid-for=1m"], ["--description=x", "--valid-for=90d"]]
    {
        operator.does(&create(&more)).await;
    }
}

#[tokio::test]
async fn the_limit_of_tokens_is_what_the_operator_says_it_is() {
    let (database, _server, operator) = with_user().await;
    let email = "dev@example.com";
    let limit = |limit| ["--tokens-per-user", limit];
    for _ in 0..2 {
        operator.creates_token(email, &limit("2")).await;
    }
    let create = ["create-token", "--user", email, "--description", "x"];
    let reached = &["dev@example.com has 2 tokens that are neither revoked nor expired", "revoke one"];
    are_refused(
        &database,
        &operator,
        &[
            case(&[&create[..], &limit("2")].concat(), 1, reached),
            case(&[&create[..], &limit("1")].concat(), 1, &["revoke one"]),
            case(&[&create[..], &limit("0")].concat(), 2, &["--tokens-per-user", "1..=100000"]),
            case(&[&create[..], &limit("100001")].concat(), 2, &["--tokens-per-user"]),
        ],
    )
    .await;
    // By the variable that the server takes, too.
    let mut command = super::latchkey();
    command.arg("admin").args(create).args(&operator.place).env("LATCHKEY_TOKENS_PER_USER", "2");
    crate::support::Ran::of(command).await.ended(1).saying("revoke one");
    // An end makes room, whichever it is; and without the flag it is 100.
    let ids = operator.lists_ids(&[]).await;
    operator.does(&["revoke-token", &ids[0]]).await;
    operator.creates_token(email, &limit("2")).await;
    database.expire(&ids[1]).await;
    operator.creates_token(email, &limit("2")).await;
    operator.creates_token(email, &[]).await;
}

#[tokio::test]
async fn what_is_not_there_is_neither_listed_nor_revoked() {
    let (database, server, operator) = with_user().await;
    let token = operator.creates_token("dev@example.com", &[]).await;
    let other = server.stranger(&database, "member").await.2;
    let elsewhere = token_id(&other);
    let unknown = &[&format!("there is no token with ID {ID}")[..], "latchkey admin list-tokens"];
    are_refused(
        &database,
        &operator,
        &[
            case(&["revoke-token", ID], 1, unknown),
            case(&["revoke-token", &elsewhere], 1, &["there is no token with ID"]),
            case(&["revoke-token", "nonsense"], 2, &["nonsense", "is not a UUID"]),
            case(&["revoke-token", ""], 2, &["is not a UUID"]),
            case(&["revoke-token", &ID.replace('-', "")], 2, &["is not a UUID"]),
            case(&["revoke-token"], 2, &["<ID>"]),
            case(&["list-tokens", "--user", "nobody@example.com"], 1, &["there is no user nobody@example.com"]),
            case(&["revoke-generation", "7"], 1, &["no signing key of generation 7 is known"]),
            case(&["revoke-generation", "0"], 2, &["1..=255"]),
            case(&["revoke-generation", "256"], 2, &["1..=255"]),
        ],
    )
    .await;
    assert_eq!(operator.lists_ids(&[]).await, [token_id(&token)]);
}

#[tokio::test]
async fn a_token_in_the_wrong_place_is_not_shown() {
    let (database, _server, operator) = with_user().await;
    let token = operator.creates_token("dev@example.com", &[]).await;
    let id = token_id(&token);
    let flag = format!("--{token}");
    // Whoever finds a token somewhere wants to revoke it, and is told what it is called.
    let cases: [(&[&str], &str); 6] = [
        (&["revoke-token", &token], &id),
        (&["revoke-token", &token[..80]], "is not a UUID"),
        (&["revoke-token", &flag], ""),
        (&[&token], ""),
        (&["list-tokens", "--user", &token], "there is no user"),
        (&["revoke-generation", &token], ""),
    ];
    let before = rows(&database).await;
    for (command, says) in cases {
        let ran = operator.run(&[&["admin"], command].concat()).await.saying(says);
        assert!(matches!(ran.code, Some(1 | 2)) && ran.stdout.is_empty(), "{ran:#?}");
        assert!(!ran.stderr.contains(&token[11..40]), "{ran:#?}");
    }
    assert_eq!(rows(&database).await, before);
    operator.does(&["revoke-token", &id]).await;
}
