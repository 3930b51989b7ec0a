//! What is rare among millions of entries is found by what it is, not by looking at all.

use latchkey::pb::gitpod::v1::{
    ListAuditLogsRequest, PaginationRequest, Principal, ResourceType, list_audit_logs_request::Filter,
};

use crate::support::{TestDatabase, TestServer, eventually};

/// How many entries of all the indexes of a kind have been looked at, and how often.
const READ: &str =
    "SELECT coalesce(sum(idx_tup_read), 0)::bigint FROM pg_stat_user_indexes WHERE relname LIKE 'audit_logs%'";
const SCANS: &str =
    "SELECT coalesce(sum(idx_scan), 0)::bigint FROM pg_stat_user_indexes WHERE indexrelname LIKE '%' || $1";

#[tokio::test]
async fn what_is_rare_is_found_without_a_look_at_all() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let mut admin = server.api(&server.admin_user(&database, "admin@example.com").await).await;
    let owner = database.owner().await;
    let many = "
        INSERT INTO audit_logs (id, created_at, organization_id, actor_id, actor_kind, action, rpc, subject_type, subject_id, outcome)
        SELECT gen_random_uuid(), now() - make_interval(secs => n), organization_id, id, 'user', 'token_create', 'test',
            'personal_access_token', gen_random_uuid(), 'succeeded'
        FROM principals, generate_series(1, 30000) AS n WHERE email = 'admin@example.com'";
    assert_eq!(owner.execute(many, &[]).await.unwrap(), 30_000);
    owner.batch_execute("ANALYZE audit_logs").await.unwrap();
    let kind = Filter { subject_types: vec![ResourceType::Environment.into()], ..Default::default() };
    let principal = Filter { actor_principals: vec![Principal::ServiceAccount.into()], ..Default::default() };
    for (filter, index) in [(kind, "of_subject_type"), (principal, "of_actor_kind")] {
        let (read, scans) = (database.number(READ, &[]).await, database.number(SCANS, &[&index]).await);
        let pagination = Some(PaginationRequest { page_size: 25, ..Default::default() });
        let request = ListAuditLogsRequest { filter: Some(filter), pagination, ..Default::default() };
        let answer = admin.events.list_audit_logs(request).await.unwrap().into_inner();
        assert_eq!(answer.entries, [], "{index}");
        eventually("the scan is counted", || async { (database.number(SCANS, &[&index]).await > scans).then_some(()) })
            .await;
        let read = database.number(READ, &[]).await - read;
        assert!(read < 1000, "{index}: {read} entries were looked at");
    }
}
