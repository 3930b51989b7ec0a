//! What may be asked for in a new token, and what the answer says.

use latchkey::pb::gitpod::v1::{
    CreatePersonalAccessTokenRequest, CreatePersonalAccessTokenResponse, GetAuthenticatedIdentityRequest,
    ListPersonalAccessTokensRequest, Principal, list_personal_access_tokens_request::Filter,
};
use prost::Message;
use prost_types::Duration;
use tonic::{Code, Status};

use super::{assert_invalid, get, list};
use crate::support::{Api, TestDatabase, TestServer, token_text::token_id};

const DAY: i64 = 24 * 60 * 60;

fn asked(description: &str) -> CreatePersonalAccessTokenRequest {
    CreatePersonalAccessTokenRequest { description: description.to_owned(), ..Default::default() }
}

async fn create(
    api: &mut Api,
    request: CreatePersonalAccessTokenRequest,
) -> Result<CreatePersonalAccessTokenResponse, Status> {
    api.tokens.create_personal_access_token(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn the_answer_holds_the_token_and_what_is_known_of_it() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let user_id = api.whoami().await.unwrap();

    let request = CreatePersonalAccessTokenRequest { read_only: true, ..asked("nightly build") };
    let created = create(&mut api, request).await.unwrap();
    let known = created.personal_access_token.unwrap();
    assert_eq!((created.token.len(), &created.token[..11]), (83, "gitpod_pat_"));
    assert!(created.token[11..].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(known.id, token_id(&created.token), "the token ID is the one inside");
    assert_eq!(known.user_id, user_id);
    assert_eq!(known.description, "nightly build");
    assert!(known.read_only);
    let creator = known.creator.clone().unwrap();
    assert_eq!((creator.id.as_str(), creator.principal()), (user_id.as_str(), Principal::User));
    assert_eq!(known.last_used, None);
    let (created_at, expires_at) = (known.created_at.unwrap(), known.expires_at.unwrap());
    assert_eq!(expires_at.seconds - created_at.seconds, 30 * DAY);

    // Shown once: what else is said of it is what is known of it, and the token is not in there.
    assert_eq!(get(&mut api, &known.id).await.unwrap(), known);
    let listed = list(&mut api).await;
    assert_eq!(listed[0], known);
    let secret = &created.token[40..60];
    for shown in listed.iter().map(Message::encode_to_vec) {
        assert!(!String::from_utf8_lossy(&shown).contains(secret));
    }
    let kept = "SELECT count(*) FROM personal_access_tokens t WHERE t::text LIKE '%' || $1 || '%'";
    assert_eq!(database.number(kept, &[&secret]).await, 0);
    assert_eq!(database.number(kept, &[&known.id]).await, 1, "the row is there to be searched");
}

#[tokio::test]
async fn how_long_a_token_may_be_good_for() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;
    let valid_for = |seconds: i64, nanos: i32| CreatePersonalAccessTokenRequest {
        valid_for: Some(Duration { seconds, nanos }),
        ..asked("bounds")
    };

    for (seconds, nanos) in
        [(60, 0), (60, 1_000), (30 * DAY, 0), (60 * DAY, 0), (90 * DAY - 1, 999_999_000), (90 * DAY, 0)]
    {
        let created = create(&mut api, valid_for(seconds, nanos)).await;
        let known = created.unwrap_or_else(|status| panic!("{seconds} s: {status}")).personal_access_token.unwrap();
        let (from, to) = (known.created_at.unwrap(), known.expires_at.unwrap());
        let micros = (to.seconds - from.seconds) * 1_000_000 + i64::from((to.nanos - from.nanos) / 1000);
        assert_eq!(micros, seconds * 1_000_000 + i64::from(nanos / 1000), "{seconds} s and {nanos} ns");
    }
    let before = list(&mut api).await.len();
    for (seconds, nanos) in [
        (59, 999_999_999),
        (90 * DAY, 1),
        (90 * DAY + 1, 0),
        (365 * DAY, 0),
        (0, 0),
        (-1, 0),
        (-30 * DAY, 0),
        (i64::MAX, 0),
        (i64::MIN, 0),
        // No duration at all: signs that differ, more nanoseconds than a second has.
        (DAY, -1),
        (DAY, 1_000_000_000),
        (DAY, i32::MAX),
        (-DAY, i32::MIN),
    ] {
        let status = create(&mut api, valid_for(seconds, nanos)).await.expect_err(&format!("{seconds} s, {nanos} ns"));
        assert_invalid(&status, "valid_for");
    }
    assert_eq!(list(&mut api).await.len(), before, "nothing was made");
}

#[tokio::test]
async fn what_a_description_may_be() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&first).await;

    let longest = "x".repeat(255);
    // Characters are Unicode scalar values: four bytes each, one character each.
    let widest = "\u{1F511}".repeat(255);
    for good in [
        "1",
        " ci ",
        "CI für Änderungen",
        "鍵",
        "'; DROP TABLE personal_access_tokens; --",
        "%s \\ \"",
        &longest,
        &widest,
    ] {
        let created = create(&mut api, asked(good)).await.unwrap_or_else(|status| panic!("{good}: {status}"));
        let id = created.personal_access_token.unwrap().id;
        assert_eq!(get(&mut api, &id).await.unwrap().description, good);
    }
    let (too_long, too_wide) = ("x".repeat(256), "\u{1F511}".repeat(256));
    for bad in [
        "",
        " ",
        "a\nb",
        "\r",
        "a\0b",
        "tab\there",
        "\u{1b}[31mred",
        "\u{7f}",
        "\u{85}",
        "a\u{202E}b",
        &too_long,
        &too_wide,
    ] {
        let status = create(&mut api, asked(bad)).await.expect_err(bad);
        assert_invalid(&status, "description");
        assert!(
            !status.message().contains(char::is_control),
            "what is refused is not repeated: {:?}",
            status.message()
        );
    }
}

#[tokio::test]
async fn whom_a_token_may_be_made_for() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let member = server.user(&database, "member@example.com").await;
    let other = server.user(&database, "other@example.com").await;
    let admin = server.admin_user(&database, "admin@example.com").await;
    let service_account = database.service_account("builds").await;
    let (mut member, mut other, mut admin) =
        (server.api(&member).await, server.api(&other).await, server.api(&admin).await);
    let (member_id, other_id, admin_id) =
        (member.whoami().await.unwrap(), other.whoami().await.unwrap(), admin.whoami().await.unwrap());
    let nobody = uuid::Uuid::from_u128(7).to_string();
    let made_for = |user_id: &str| CreatePersonalAccessTokenRequest { user_id: user_id.to_owned(), ..asked("for") };

    for own in ["", &member_id, &member_id.to_uppercase()] {
        let created = create(&mut member, made_for(own)).await.unwrap();
        assert_eq!(created.personal_access_token.unwrap().user_id, member_id, "{own:?}");
    }
    // Somebody else's, and nobody's: one answer, whoever asks.
    let mut answers = Vec::new();
    for (api, user_id) in [
        (&member, &other_id),
        (&member, &admin_id),
        (&member, &service_account),
        (&member, &nobody),
        (&admin, &other_id),
        (&admin, &nobody),
    ] {
        let status = create(&mut api.clone(), made_for(user_id)).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        answers.push((status.message().to_owned(), status.details().to_vec()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    for bad in ["dev@example.com", "7", "00000000-0000-0000-0000-00000000000g"] {
        assert_invalid(&create(&mut member, made_for(bad)).await.unwrap_err(), "user_id");
    }

    let created = create(&mut admin, made_for(&service_account)).await.unwrap();
    let known = created.personal_access_token.unwrap();
    let creator = known.creator.unwrap();
    assert_eq!((known.user_id, creator.id), (service_account.clone(), admin_id.clone()));
    let mut service = server.api(&created.token).await;
    let identity = service.identity.get_authenticated_identity(GetAuthenticatedIdentityRequest {}).await.unwrap();
    let subject = identity.into_inner().subject.unwrap();
    assert_eq!((subject.id.as_str(), subject.principal()), (service_account.as_str(), Principal::ServiceAccount));
    assert_eq!(
        create(&mut service, asked("again")).await.unwrap().personal_access_token.unwrap().user_id,
        service_account
    );

    // Whose tokens may be listed: one's own; an admin's choice.
    let of = |user_ids: &[&String]| ListPersonalAccessTokensRequest {
        filter: Some(Filter { user_ids: user_ids.iter().map(|id| (*id).clone()).collect() }),
        ..Default::default()
    };
    let status = member.tokens.list_personal_access_tokens(of(&[&member_id, &other_id])).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let listed = admin.tokens.list_personal_access_tokens(of(&[&service_account, &other_id])).await.unwrap();
    let mut holders: Vec<String> =
        listed.into_inner().personal_access_tokens.into_iter().map(|token| token.user_id).collect();
    holders.sort();
    let mut expected = vec![service_account.clone(), service_account.clone(), other_id];
    expected.sort();
    assert_eq!(holders, expected);
    let bad = member.tokens.list_personal_access_tokens(of(&[&"me".to_owned()])).await.unwrap_err();
    assert_invalid(&bad, "filter.user_ids");
    assert!(list(&mut admin).await.iter().all(|token| token.user_id == admin_id), "without a filter: one's own");
}
