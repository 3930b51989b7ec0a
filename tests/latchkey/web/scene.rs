//! What there is to see on pages.

use crate::support::TestDatabase;

/// Gives a user environments, of which one runs, one has failed and one is stopped, and another user and a service account beside
/// them; and tells the log of it.
pub(super) async fn furnish(database: &TestDatabase, email: &str) {
    let scene = format!(
        "
        CREATE TEMP TABLE me AS SELECT p.id, p.organization_id, t.id AS token FROM principals p JOIN personal_access_tokens t
            ON t.principal_id = p.id WHERE email = '{email}';
        INSERT INTO runners (id, organization_id, name) SELECT '0198a000-0000-7000-8000-000000000001', organization_id, 'local' FROM me;
        INSERT INTO environment_classes (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, is_default)
            VALUES ('0198a000-0000-7000-8000-000000000002', '0198a000-0000-7000-8000-000000000001', 'Regular', '', 1, 1, 1, true);
        INSERT INTO environments (id, organization_id, creator_id, created_by_token_id, runner_id, class_id, name, remote_url, target, target_name,
            branch, commit, desired_phase, phase, content_ready, failure_message, disk_bytes, last_started_at)
        SELECT e.id::uuid, organization_id, me.id, token, '0198a000-0000-7000-8000-000000000001', '0198a000-0000-7000-8000-000000000002',
            name, 'https://git.example/team/' || name, 'remote_branch', branch, branch, commit, phase, phase, commit IS NOT NULL, failure, 734003200, started
        FROM me, (VALUES
            ('0198a000-0000-7000-8000-000000000011', 'website', 'main', 'f3a9c1d27b5e8840a1c6d2e9f0b7a4835d6c1e20', 'running', NULL, now() - interval '3 hours'),
            ('0198a000-0000-7000-8000-000000000012', 'billing', 'invoices', 'a1c6d2e9f0b7a4835d6c1e20f3a9c1d27b5e8840', 'stopped', NULL, now() - interval '2 days'),
            ('0198a000-0000-7000-8000-000000000013', 'search', 'main', NULL, 'stopped', 'the repository cannot be cloned: the host asks for a user name and password, and there is no credential for it', NULL)
        ) AS e (id, name, branch, commit, phase, failure, started);
        INSERT INTO principals (id, organization_id, kind, role, name, email, status)
        SELECT p.id::uuid, organization_id, kind, role, name, email, status FROM me, (VALUES
            ('0198a000-0000-7000-8000-000000000021', 'user', 'member', 'Noor Haddad', 'noor@example.com', 'active'),
            ('0198a000-0000-7000-8000-000000000022', 'user', 'member', 'Kim Sato', 'kim@example.com', 'suspended'),
            ('0198a000-0000-7000-8000-000000000023', 'service_account', 'service', 'gateway', NULL, 'active')
        ) AS p (id, kind, role, name, email, status);
        INSERT INTO invitations (id, organization_id, principal_id, provider, email, expires_at)
        SELECT '0198a000-0000-7000-8000-000000000031', organization_id, '0198a000-0000-7000-8000-000000000021', 'acme', 'noor@example.com', now() + interval '5 days' FROM me;
        INSERT INTO audit_logs (id, organization_id, actor_id, actor_kind, token_id, action, rpc, subject_type, subject_id, outcome, peer, user_agent)
        SELECT gen_random_uuid(), organization_id, me.id, 'user', token, action, rpc, 'environment', '0198a000-0000-7000-8000-000000000011', 'succeeded', '192.0.2.7', 'gitpod/0.1.0'
        FROM me, (VALUES
            ('environment_create', 'gitpod.v1.EnvironmentService/CreateEnvironment'), ('environment_start', 'gitpod.v1.EnvironmentService/StartEnvironment')
        ) AS a (action, rpc);
        UPDATE personal_access_tokens SET description = 'CI of the website' WHERE id = (SELECT token FROM me);
        INSERT INTO token_last_used (token_id, last_used_at, peer) SELECT token, now() - interval '4 minutes', '192.0.2.7' FROM me;
        "
    );
    database.owner().await.batch_execute(&scene).await.unwrap();
}
