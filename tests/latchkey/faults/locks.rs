//! Several who do something to the same people at once: each waits for the other, and none for ever.

use std::{net::IpAddr, sync::Arc, time::Duration};

use latchkey::{
    auth::Cache,
    domain::{
        ids::{RequestId, SessionId},
        principal::{Actor, Credential, Origin, PrincipalKind, Role},
    },
    service::{Invitations, Users},
    store::{Store, StoreConfig},
};

use crate::support::{TestDatabase, TestServer, eventually};

/// An admin, as the use cases know them.
async fn admin(database: &TestDatabase, server: &TestServer, email: &str) -> Actor {
    server.admin(database, &["create-user", "--email", email, "--admin"]).await.unwrap();
    let of = async |column: &str| {
        database.text(&format!("SELECT {column}::text FROM principals WHERE email = $1"), &[&email]).await
    };
    Actor {
        organization_id: of("organization_id").await.parse().unwrap(),
        principal_id: of("id").await.parse().unwrap(),
        kind: PrincipalKind::User,
        role: Role::Admin,
        credential: Credential::Session { id: SessionId::generate() },
        origin: Origin {
            peer: Some(IpAddr::from([192, 0, 2, 9])),
            user_agent: None,
            request_id: RequestId::generate(),
        },
    }
}

#[tokio::test]
async fn who_invites_somebody_and_who_suspends_them_wait_for_each_other() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    // In the order of their IDs: whoever suspends the first one holds them, and then the admins.
    let invited = admin(&database, &server, "invited@example.com").await;
    let inviting = admin(&database, &server, "inviting@example.com").await;
    let suspending = admin(&database, &server, "suspending@example.com").await;
    let store = Store::new(StoreConfig::parse(&database.serving_url()).unwrap()).unwrap();
    let invitations = Invitations::new(store.clone());
    let users = Users::new(store, Arc::new(Cache::new(Duration::ZERO, 1)));
    let superuser = database.superuser().await;
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    let wait = async |many: i64| {
        let who_waits =
            async || (superuser.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == many).then_some(());
        eventually("they wait", who_waits).await;
    };

    // Both come when somebody holds the first one.
    let owner = database.owner().await;
    owner.batch_execute("BEGIN; SELECT FROM principals WHERE email = 'invited@example.com' FOR UPDATE").await.unwrap();
    let suspension =
        tokio::spawn(async move { users.set_suspended(&suspending, invited.principal_id, true, "test").await });
    wait(1).await;
    let provider = "acme".parse().unwrap();
    let invitation =
        tokio::spawn(async move { invitations.create(&inviting, provider, "Invited@example.com", "test").await });
    wait(2).await;
    owner.batch_execute("COMMIT").await.unwrap();
    suspension.await.unwrap().unwrap();
    assert_eq!(invitation.await.unwrap().unwrap().user, invited.principal_id);
}
