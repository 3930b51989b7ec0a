//! What there is to see on pages.

use crate::support::TestDatabase;

/// Gives a user environments, of which one runs, one has failed and one is stopped, and tokens in each state; other users and a service account,
/// with tokens of theirs, beside them; and tells the log of it. Times are such that they are told by the same words for half an hour.
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
            ('0198a000-0000-7000-8000-000000000011', 'website', 'main', 'f3a9c1d27b5e8840a1c6d2e9f0b7a4835d6c1e20', 'running', NULL, now() - interval '3 hours 30 minutes'),
            ('0198a000-0000-7000-8000-000000000012', 'billing', 'invoices', 'a1c6d2e9f0b7a4835d6c1e20f3a9c1d27b5e8840', 'stopped', NULL, now() - interval '50 hours 30 minutes'),
            ('0198a000-0000-7000-8000-000000000013', 'search', 'main', NULL, 'stopped', 'the repository cannot be cloned: the host asks for a user name and password, and there is no credential for it', NULL)
        ) AS e (id, name, branch, commit, phase, failure, started);
        INSERT INTO principals (id, organization_id, kind, role, name, email, status)
        SELECT p.id::uuid, organization_id, kind, role, name, email, status FROM me, (VALUES
            ('0198a000-0000-7000-8000-000000000021', 'user', 'member', 'Noor Haddad', 'noor@example.com', 'active'),
            ('0198a000-0000-7000-8000-000000000022', 'user', 'member', 'Kim Sato', 'kim@example.com', 'suspended'),
            ('0198a000-0000-7000-8000-000000000024', 'user', 'member', 'sam@example.com', 'sam@example.com', 'active'),
            ('0198a000-0000-7000-8000-000000000023', 'service_account', 'service', 'gateway', NULL, 'active')
        ) AS p (id, kind, role, name, email, status);
        INSERT INTO invitations (id, organization_id, principal_id, provider, email, expires_at)
        SELECT '0198a000-0000-7000-8000-000000000031', organization_id, '0198a000-0000-7000-8000-000000000021', 'acme', 'noor@example.com', now() + interval '5 days 12 hours' FROM me;
        INSERT INTO sessions (id, organization_id, principal_id, key_generation, digest, signed_in_by, created_at, last_used_at, expires_at, idle_expires_at,
            peer, user_agent)
        SELECT s.id::uuid, organization_id, me.id, 1, sha256(s.id::bytea), 'acme', now() - created, now() - used, now() - created + interval '7 days',
            now() + interval '12 hours 30 minutes', peer::inet, agent
        FROM me, (VALUES
            ('0198a000-0000-7000-8000-000000000051', interval '30 hours 30 minutes', interval '90 minutes', '192.0.2.7',
                'Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1'),
            ('0198a000-0000-7000-8000-000000000052', interval '54 hours 30 minutes', interval '5 hours 30 minutes', '2001:db8::7',
                'Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:132.0) Gecko/20100101 Firefox/132.0')
        ) AS s (id, created, used, peer, agent);
        INSERT INTO personal_access_tokens (id, organization_id, principal_id, creator_id, key_generation, digest, description, read_only, created_at, expires_at, revoked_at)
        SELECT n.id::uuid, me.organization_id, coalesce(whose::uuid, me.id), me.id, key_generation, sha256(n.id::bytea), name, reads,
            now() - age, now() - age + life, now() - revoked
        FROM me, (VALUES
            ('0198a000-0000-7000-8000-000000000041', NULL, 'Dashboard in the hall', true, interval '25 days 30 minutes', interval '30 days', NULL::interval),
            ('0198a000-0000-7000-8000-000000000042', NULL, 'Import of last year', false, interval '40 days 30 minutes', interval '30 days', NULL),
            ('0198a000-0000-7000-8000-000000000043', NULL, 'Old laptop', false, interval '50 days 30 minutes', interval '90 days', interval '2 days 30 minutes'),
            ('0198a000-0000-7000-8000-000000000044', '0198a000-0000-7000-8000-000000000021', 'Deploys of billing', false, interval '9 days 30 minutes', interval '60 days', NULL),
            ('0198a000-0000-7000-8000-000000000045', '0198a000-0000-7000-8000-000000000023', 'In front of the shop', true, interval '9 days 30 minutes', interval '90 days', NULL)
        ) AS n (id, whose, name, reads, age, life, revoked), personal_access_tokens AS like_it WHERE like_it.id = me.token;
        INSERT INTO audit_logs (id, organization_id, actor_id, actor_kind, token_id, action, rpc, subject_type, subject_id, outcome, reason, peer, user_agent, created_at)
        SELECT a.id::uuid, organization_id, me.id, 'user', token, action, 'gitpod.v1.EnvironmentService/' || rpc, 'environment', subject::uuid, outcome, reason,
            '192.0.2.7', 'gitpod/0.1.0', now() - age
        FROM me, (VALUES
            ('0198a000-0000-7000-8000-000000000061', 'environment_start', 'StartEnvironment', '0198a000-0000-7000-8000-000000000011', 'succeeded', '', interval '3 hours 30 minutes'),
            ('0198a000-0000-7000-8000-000000000062', 'environment_create', 'CreateEnvironment', '0198a000-0000-7000-8000-000000000011', 'succeeded', '', interval '5 hours 30 minutes'),
            ('0198a000-0000-7000-8000-000000000063', 'environment_delete', 'DeleteEnvironment', '0198a000-0000-7000-8000-000000000012', 'denied', 'the token is read-only', interval '20 hours 30 minutes'),
            ('0198a000-0000-7000-8000-000000000064', 'environment_stop', 'StopEnvironment', '0198a000-0000-7000-8000-000000000012', 'succeeded', '', interval '26 hours 30 minutes'),
            ('0198a000-0000-7000-8000-000000000065', 'environment_create', 'CreateEnvironment', '0198a000-0000-7000-8000-000000000012', 'succeeded', '', interval '50 hours 30 minutes')
        ) AS a (id, action, rpc, subject, outcome, reason, age);
        UPDATE personal_access_tokens SET description = 'CI of the website' WHERE id = (SELECT token FROM me);
        INSERT INTO token_last_used (token_id, last_used_at, peer) SELECT token, now() - interval '90 minutes', inet '192.0.2.7' FROM me
            UNION ALL SELECT '0198a000-0000-7000-8000-000000000044', now() - interval '26 hours 30 minutes', inet '198.51.100.4'
            UNION ALL SELECT '0198a000-0000-7000-8000-000000000041', now() - interval '150 minutes', inet '192.0.2.20';
        "
    );
    database.owner().await.batch_execute(&scene).await.unwrap();
}
