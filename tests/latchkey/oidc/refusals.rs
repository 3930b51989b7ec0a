//! Who is refused before anybody is known: counted, and found by admins.

use latchkey::pb::gitpod::v1::{AuditLogOutcome, ListAuditLogsRequest};
use serde_json::json;

use super::{World, assert_out, person};
use crate::support::eventually;

#[tokio::test]
async fn who_is_refused_and_not_known_is_counted_by_reason_peer_and_minute() {
    let accounts = json!({
        "eve": person("eve@evil.example", "Eve"),
        "bob": person("bob@acme.example", "Bob"),
        "ann": { "email": "ann@acme.example", "email_verified": false, "name": "Ann" },
    });
    let world = World::real(accounts, json!({ "allowed_domains": ["acme.example"] })).await;
    world.server.user(&world.database, "bob@acme.example").await;
    for (subject, words) in [("ann", "is verified"), ("bob", "with the e-mail address"), ("eve", "is not known here")] {
        let (browser, page) = world.sign_in(subject).await;
        assert_out(&page, &browser, 403, words);
    }
    for _ in 0..11 {
        let (browser, page) = world.sign_in("eve").await;
        assert_out(&page, &browser, 403, "is not known here");
    }
    let expected = [("e-mail not verified", 1), ("e-mail of another user", 1), ("not invited", 12)];
    let seen = world.refusals("not invited", 12).await;
    assert_eq!(seen, expected.map(|(reason, count)| (reason.to_owned(), count)));
    // However many come, there is one row a minute.
    let owner = world.database.owner().await;
    let rows =
        "SELECT count(*) <= 2, bool_and(host(peer) = '127.0.0.1' AND actor_id IS NULL AND user_agent = 'a browser')
                FROM audit_tallies WHERE reason = 'not invited'";
    let row = owner.query_one(rows, &[]).await.unwrap();
    assert!(row.get::<_, bool>(0) && row.get::<_, Option<bool>>(1) != Some(false), "{row:?}");
    assert_eq!(world.audit().await, Vec::<String>::new(), "nobody is known, and so nothing is said of anybody");

    // Their minute is over: admins find them, and nobody else does.
    owner.batch_execute("UPDATE audit_tallies SET minute = minute - interval '5 minutes'").await.unwrap();
    let admin = world.server.api(&world.server.admin_user(&world.database, "admin@acme.example").await).await;
    let entries = eventually("they are in the log", async || {
        let answer = admin.events.clone().list_audit_logs(ListAuditLogsRequest::default()).await.unwrap().into_inner();
        let entries = answer.entries.into_iter().filter(|entry| entry.reason == "not invited").collect::<Vec<_>>();
        (entries.iter().map(|entry| entry.count).sum::<i64>() == 12).then_some(entries)
    })
    .await;
    for entry in entries {
        assert_eq!((entry.action.as_str(), entry.outcome()), ("sign_in", AuditLogOutcome::Denied));
        assert_eq!((entry.rpc.as_str(), entry.peer_address.as_str()), ("sign-in/{}/callback", "127.0.0.1"));
        assert_eq!((entry.actor_id.as_str(), entry.session_id.as_str()), ("", ""));
    }
    let member = world.server.api(&world.server.token(&world.database, "bob@acme.example", &[]).await).await;
    let own = member.events.clone().list_audit_logs(ListAuditLogsRequest::default()).await.unwrap().into_inner();
    assert!(own.entries.iter().all(|entry| entry.action != "sign_in"), "{own:#?}");
}
