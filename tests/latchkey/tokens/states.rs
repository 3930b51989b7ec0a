//! Lists of tokens by their state, as a page shows them: from the store itself, which no RPC asks for these.

use std::collections::BTreeSet;

use latchkey::{
    domain::{
        ids::{OrganizationId, PrincipalId, TokenId},
        page::PageRequest,
        token::{Token, TokenState},
    },
    store::{Store, StoreConfig, TokenScope},
};

use super::delete;
use crate::support::{ServerOptions, TestDatabase, TestServer, eventually, token_text::token_id};

struct Lists {
    store: Store,
    organization: OrganizationId,
    principal: PrincipalId,
}

impl Lists {
    async fn of(database: &TestDatabase, token_id: &str) -> Self {
        let of = async |column: &str| {
            let query = format!("SELECT {column}::text FROM personal_access_tokens WHERE id = $1::text::uuid");
            database.text(&query, &[&token_id]).await
        };
        Self {
            store: Store::new(StoreConfig::parse(&database.serving_url()).unwrap()).unwrap(),
            organization: of("organization_id").await.parse().unwrap(),
            principal: of("principal_id").await.parse().unwrap(),
        }
    }

    /// Every page, one after the other.
    async fn all(&self, state: TokenState, size: i32) -> Vec<Token> {
        let (mut tokens, mut request) = (Vec::new(), PageRequest::parse(size, "").unwrap());
        loop {
            let page = self.store.token_list_of_state(self.organization, self.principal, state, &request).await;
            let page = page.unwrap();
            tokens.extend(page.entries);
            let Some(next) = page.next else { return tokens };
            request = request.following(next);
        }
    }

    async fn descriptions(&self, state: TokenState) -> Vec<String> {
        self.all(state, 1).await.into_iter().map(|token| token.description).collect()
    }
}

#[tokio::test]
async fn each_token_is_in_the_list_of_its_state_the_last_to_end_first() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    server.user(&database, "other@example.com").await;
    let mut api = server.api(&first).await;
    let mut made = Vec::new();
    for description in ["one", "two", "expired", "expired later", "revoked", "expired and revoked", "revoked first"] {
        made.push(api.create_token(description).await.personal_access_token.unwrap().id);
    }
    for id in [&made[2], &made[3], &made[5]] {
        database.expire(id).await;
    }
    for id in [&made[6], &made[4], &made[5]] {
        delete(&mut api, id).await.unwrap();
    }
    let lists = Lists::of(&database, &made[0]).await;
    assert_eq!(lists.descriptions(TokenState::Active).await, ["two", "one", "test"]);
    assert_eq!(lists.descriptions(TokenState::Expired).await, ["expired later", "expired"]);
    assert_eq!(
        lists.descriptions(TokenState::Revoked).await,
        ["expired and revoked", "revoked", "revoked first"],
        "by when it was revoked, not by when it was made"
    );
    // One that is revoked is there for whoever asks for it by its ID, and says when.
    let id: TokenId = made[4].parse().unwrap();
    let revoked = lists.store.token_get(id, TokenScope::Principal(lists.principal)).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some() && revoked.description == "revoked");
    let elsewhere = TokenScope::Principal(PrincipalId::generate());
    assert_eq!(lists.store.token_get(id, elsewhere).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_says_when_and_from_where_it_was_last_used() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let first = server.user(&database, "dev@example.com").await;
    server.api(&first).await.whoami().await.unwrap();
    let lists = Lists::of(&database, &token_id(&first)).await;
    let used =
        eventually("the use is written", || async { lists.all(TokenState::Active, 25).await.remove(0).last_used })
            .await;
    assert_eq!(used.peer, Some([127, 0, 0, 1].into()));
}

/// How often an index was used.
const SCANS: &str = "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes WHERE indexrelname = $1";

#[tokio::test]
async fn ten_thousand_of_each_state_are_paged_by_indexes() {
    let database = TestDatabase::create().await;
    let args = vec!["--tokens-per-user".to_owned(), "100000".to_owned()];
    let server = TestServer::start_with(&database, ServerOptions { args, ..ServerOptions::default() }).await;
    let first = server.user(&database, "dev@example.com").await;
    let like = token_id(&first);
    let owner = database.owner().await;
    // Many of each moment, so that the ID decides.
    let insert = "
        INSERT INTO personal_access_tokens (id, organization_id, principal_id, creator_id, key_generation, digest,
            description, read_only, created_at, expires_at, revoked_at)
        SELECT gen_random_uuid(), organization_id, principal_id, creator_id, key_generation, digest, state, false,
            made, made + CASE state WHEN 'expired' THEN interval '1 hour' ELSE interval '80 days' END,
            CASE state WHEN 'revoked' THEN made + interval '1 minute' END
        FROM personal_access_tokens, unnest(ARRAY['active', 'expired', 'revoked']) AS state,
            generate_series(1, 10000) AS n, date_trunc('hour', now() - interval '2 hours' - make_interval(mins => n)) AS made
        WHERE id = $1::text::uuid";
    assert_eq!(owner.execute(insert, &[&like]).await.unwrap(), 30_000);
    owner.batch_execute("ANALYZE personal_access_tokens").await.unwrap();
    let lists = Lists::of(&database, &like).await;
    for (state, more, index) in [
        (TokenState::Active, 1, "personal_access_tokens_of_principal"),
        (TokenState::Expired, 0, "personal_access_tokens_by_end"),
        (TokenState::Revoked, 0, "personal_access_tokens_by_revocation"),
    ] {
        let before = database.number(SCANS, &[&index]).await;
        let all = lists.all(state, 100).await;
        let different: BTreeSet<_> = all.iter().map(|token| token.id).collect();
        assert_eq!((all.len(), different.len()), (10_000 + more, 10_000 + more), "{state:?}");
        // The statistics of a session are told when it has been idle for a while.
        let scans = eventually("the scans are counted", || async {
            let scans = database.number(SCANS, &[&index]).await - before;
            (scans >= 100).then_some(scans)
        })
        .await;
        assert!(scans >= 100, "{index}: {scans}");
    }
    let (made, ended): (Vec<_>, Vec<_>) =
        lists.all(TokenState::Expired, 100).await.iter().map(|token| (token.created_at, token.expires_at)).unzip();
    assert!(ended.is_sorted_by(|one, other| one >= other), "{made:?}");
}
