//! For each constraint, statements that break it and nothing else.

/// The constraint, and what breaks it.
pub(super) const CASES: &[(&str, &str)] = &[
    // Organizations and principals.
    ("organizations_pkey", "INSERT INTO organizations (id, name) VALUES (@org, 'x')"),
    ("organizations_name", "UPDATE organizations SET name = ''"),
    ("organizations_name", "UPDATE organizations SET name = repeat('x', 256)"),
    ("organizations_name", "UPDATE organizations SET name = E'a\\nb'"),
    ("principals_pkey", "UPDATE principals SET id = @user WHERE id = @service"),
    ("principals_organization_id_fkey", "UPDATE principals SET organization_id = @nobody WHERE id = @service"),
    ("principals_kind", "UPDATE principals SET kind = 'robot' WHERE id = @service"),
    ("principals_role", "UPDATE principals SET role = 'owner', kind = 'user', email = 'x@y' WHERE id = @service"),
    ("principals_status", "UPDATE principals SET status = 'deleted'"),
    ("principals_name", "UPDATE principals SET name = ''"),
    ("principals_name", "UPDATE principals SET name = E'a\\tb'"),
    ("principals_email_of_users", "UPDATE principals SET email = NULL WHERE id = @user"),
    ("principals_email_of_users", "UPDATE principals SET email = 'x@y' WHERE id = @service"),
    ("principals_email", "UPDATE principals SET email = 'nowhere' WHERE id = @user"),
    ("principals_email", "UPDATE principals SET email = 'a b@c' WHERE id = @user"),
    ("principals_email", "UPDATE principals SET email = repeat('x', 250) || '@y.zz' WHERE id = @user"),
    ("principals_role_of_kind", "UPDATE principals SET role = 'admin' WHERE id = @service"),
    ("principals_role_of_kind", "UPDATE principals SET role = 'service' WHERE id = @user"),
    ("principals_email_once", "UPDATE principals SET email = 'USER@Example.com' WHERE id = @colleague"),
    // The primary key alone would refuse it; the composite key is there to be referred to.
    (
        "principals_organization",
        "ALTER TABLE principals DROP CONSTRAINT principals_pkey; UPDATE principals SET id = @user WHERE id = @service",
    ),
    // Signing keys.
    ("signing_keys_pkey", "UPDATE signing_keys SET generation = 1 WHERE generation = 2"),
    ("signing_keys_generation", "UPDATE signing_keys SET generation = 0 WHERE generation = 2"),
    ("signing_keys_generation", "UPDATE signing_keys SET generation = 256 WHERE generation = 2"),
    ("signing_keys_check_value", "UPDATE signing_keys SET check_value = '\\x00'"),
    ("signing_keys_state", "UPDATE signing_keys SET state = 'lost'"),
    ("signing_keys_one_active", "UPDATE signing_keys SET state = 'active', activated_at = now()"),
    ("signing_keys_activated_at", "UPDATE signing_keys SET activated_at = NULL WHERE generation = 1"),
    ("signing_keys_activated_at", "UPDATE signing_keys SET state = 'active' WHERE generation = 2"),
    ("signing_keys_revoked_at", "UPDATE signing_keys SET state = 'revoked'"),
    ("signing_keys_revoked_at", "UPDATE signing_keys SET revoked_at = now()"),
    // Personal access tokens.
    ("personal_access_tokens_pkey", "INSERT INTO personal_access_tokens SELECT * FROM personal_access_tokens"),
    (
        "personal_access_tokens_created_by_token_id_fkey",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'created_by_token_id', @nobody))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_key_generation_fkey",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'key_generation', 3))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_principal",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'principal_id', @stranger))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_creator",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'creator_id', @stranger))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_digest",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'digest', '\\x00'))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    ("personal_access_tokens_description", "UPDATE personal_access_tokens SET description = ''"),
    ("personal_access_tokens_description", "UPDATE personal_access_tokens SET description = repeat('x', 256)"),
    ("personal_access_tokens_description", "UPDATE personal_access_tokens SET description = E'\\u0007'"),
    (
        "personal_access_tokens_expires_at",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'expires_at', '2026-01-01T00:00:59Z'))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_expires_at",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'expires_at', '2026-04-01T00:00:01Z'))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_expires_at",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'expires_at', 'infinity'))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_finite",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'created_at', '-infinity', 'expires_at', '-infinity'))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_finite",
        "INSERT INTO personal_access_tokens SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, \
         'created_at', 'infinity', 'expires_at', 'infinity'))).* FROM personal_access_tokens t WHERE id = @token",
    ),
    (
        "personal_access_tokens_revoked_at",
        "UPDATE personal_access_tokens SET revoked_at = '2025-12-31Z' WHERE id = @token",
    ),
    (
        "personal_access_tokens_revoked_at",
        "UPDATE personal_access_tokens SET revoked_at = 'infinity' WHERE id = @token",
    ),
    // What was said of a token stays said: no coming back, no longer life, no other owner, no other secret.
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET revoked_at = NULL WHERE id = @revoked"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET revoked_at = '2026-01-03Z' WHERE id = @revoked"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET revoked_at = '2026-01-01Z' WHERE id = @revoked"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET expires_at = expires_at + interval '1 second'"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET expires_at = expires_at - interval '1 second'"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET digest = sha256('z') WHERE id = @token"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET principal_id = @colleague"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET creator_id = @colleague"),
    (
        "personal_access_tokens_keep",
        "UPDATE personal_access_tokens SET organization_id = @other_org, principal_id = @stranger, creator_id = @stranger",
    ),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET key_generation = 2"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET read_only = NOT read_only"),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET created_at = created_at - interval '1 day'"),
    (
        "personal_access_tokens_keep",
        "UPDATE personal_access_tokens SET created_by_token_id = @token WHERE id = @revoked",
    ),
    ("personal_access_tokens_keep", "UPDATE personal_access_tokens SET id = @new WHERE id = @revoked"),
    ("token_last_used_pkey", "INSERT INTO token_last_used (token_id, last_used_at) VALUES (@token, now())"),
    ("token_last_used_token_id_fkey", "UPDATE token_last_used SET token_id = @nobody"),
    ("token_last_used_finite", "UPDATE token_last_used SET last_used_at = 'infinity'"),
    ("token_last_used_user_agent", "UPDATE token_last_used SET user_agent = repeat('x', 256)"),
    // The audit log.
    ("audit_logs_pkey", "INSERT INTO audit_logs SELECT * FROM audit_logs"),
    ("audit_logs_actor_kind", "UPDATE audit_logs SET actor_kind = 'ghost'"),
    ("audit_logs_actor", "UPDATE audit_logs SET actor_id = @user"),
    ("audit_logs_actor", "UPDATE audit_logs SET actor_kind = 'user'"),
    ("audit_logs_action", "UPDATE audit_logs SET action = ''"),
    ("audit_logs_action", "UPDATE audit_logs SET action = 'User Create'"),
    ("audit_logs_subject", "UPDATE audit_logs SET subject_type = 'user'"),
    ("audit_logs_subject", "UPDATE audit_logs SET subject_id = @user"),
    ("audit_logs_outcome", "UPDATE audit_logs SET outcome = 'unknown'"),
    ("audit_logs_reason", "UPDATE audit_logs SET outcome = 'denied'"),
    ("audit_logs_reason", "UPDATE audit_logs SET reason = 'expired'"),
    ("audit_logs_count", "UPDATE audit_logs SET count = 0"),
    ("audit_logs_user_agent", "UPDATE audit_logs SET user_agent = repeat('x', 256)"),
    ("audit_tallies_count", "UPDATE audit_tallies SET count = 0"),
    ("audit_tallies_key", "INSERT INTO audit_tallies SELECT * FROM audit_tallies"),
    // Runners and classes.
    ("runners_pkey", "UPDATE runners SET id = @runner"),
    ("runners_organization_id_fkey", "DELETE FROM environments; UPDATE runners SET organization_id = @nobody"),
    ("runners_name", "UPDATE runners SET name = ''"),
    (
        "runners_organization",
        "ALTER TABLE runners DROP CONSTRAINT runners_pkey CASCADE; INSERT INTO runners SELECT * FROM runners",
    ),
    ("environment_classes_pkey", "UPDATE environment_classes SET id = @class"),
    (
        "environment_classes_runner_id_fkey",
        "DELETE FROM environments; UPDATE environment_classes SET runner_id = @nobody WHERE id = @class",
    ),
    ("environment_classes_display_name", "UPDATE environment_classes SET display_name = ''"),
    ("environment_classes_display_name", "UPDATE environment_classes SET display_name = repeat('x', 128)"),
    ("environment_classes_limits", "UPDATE environment_classes SET cpu_millicores = 0"),
    ("environment_classes_limits", "UPDATE environment_classes SET memory_bytes = 0"),
    ("environment_classes_limits", "UPDATE environment_classes SET processes = 0"),
    ("environment_classes_disk", "UPDATE environment_classes SET disk_bytes = 0"),
    ("environment_classes_default_enabled", "UPDATE environment_classes SET enabled = false"),
    (
        "environment_classes_once",
        "INSERT INTO environment_classes (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes) \
         VALUES (@new, @runner, 'Small', '', 1, 1, 1)",
    ),
    (
        "environment_classes_one_default",
        "INSERT INTO environment_classes (id, runner_id, display_name, description, cpu_millicores, memory_bytes, processes, \
         is_default) VALUES (@new, @runner, 'Large', '', 1, 1, 1, true)",
    ),
    (
        "environment_classes_runner",
        "ALTER TABLE environment_classes DROP CONSTRAINT environment_classes_pkey, DROP CONSTRAINT \
         environment_classes_once; INSERT INTO environment_classes SELECT (jsonb_populate_record(c, jsonb_build_object( \
         'is_default', false))).* FROM environment_classes c",
    ),
    // Environments.
    ("environments_pkey", "INSERT INTO environments SELECT * FROM environments"),
    ("environments_creator", "UPDATE environments SET creator_id = @stranger"),
    ("environments_created_by_token_id_fkey", "UPDATE environments SET created_by_token_id = @nobody"),
    ("environments_runner", "UPDATE environments SET runner_id = @other_runner, class_id = @other_class"),
    ("environments_class", "UPDATE environments SET class_id = @other_class"),
    ("environments_name", "UPDATE environments SET name = ''"),
    ("environments_name", "UPDATE environments SET name = repeat('x', 81)"),
    ("environments_remote_url", "UPDATE environments SET target = 'remote_head', remote_url = 'http://host/path'"),
    (
        "environments_remote_url",
        "UPDATE environments SET target = 'remote_head', remote_url = 'https://me:pw@host/path'",
    ),
    ("environments_remote_url", "UPDATE environments SET target = 'remote_head', remote_url = 'file:///etc'"),
    ("environments_remote_url", "UPDATE environments SET target = 'remote_head', remote_url = '--upload-pack=x'"),
    ("environments_remote_url", "UPDATE environments SET target = 'remote_head', remote_url = E'https://host/a\\nb'"),
    (
        "environments_remote_url",
        "UPDATE environments SET target = 'remote_head', remote_url = 'https://host/' || repeat('x', 2048)",
    ),
    (
        "environments_upstream_url",
        "UPDATE environments SET target = 'remote_head', remote_url = 'https://host/path', upstream_url = 'ssh://host/path'",
    ),
    (
        "environments_target",
        "UPDATE environments SET remote_url = 'https://host/path', target = 'tree', target_name = 'x'",
    ),
    ("environments_source", "UPDATE environments SET remote_url = 'https://host/path'"),
    ("environments_source", "UPDATE environments SET target = 'remote_head'"),
    ("environments_source_parts", "UPDATE environments SET context_url = 'https://host/path'"),
    ("environments_source_parts", "UPDATE environments SET upstream_url = 'https://host/path'"),
    ("environments_source_parts", "UPDATE environments SET checkout_location = 'x'"),
    (
        "environments_target_name",
        "UPDATE environments SET remote_url = 'https://host/path', target = 'remote_branch', target_name = NULL",
    ),
    (
        "environments_target_name",
        "UPDATE environments SET remote_url = 'https://host/path', target = 'remote_head', target_name = 'main'",
    ),
    ("environments_desired_phase", "UPDATE environments SET desired_phase = 'paused'"),
    ("environments_phase", "UPDATE environments SET phase = 'paused'"),
    ("environments_running_content", "UPDATE environments SET phase = 'running'"),
    ("environments_epoch", "UPDATE environments SET epoch = 0"),
    ("environments_epoch", "UPDATE environments SET status_version = 0"),
    ("environments_messages", "UPDATE environments SET failure_message = repeat('x', 1001)"),
    ("environments_messages", "UPDATE environments SET warning_message = repeat('x', 1001)"),
    ("environments_annotations", "UPDATE environments SET annotations = '[]'"),
    ("environments_annotations", "UPDATE environments SET annotations = jsonb_build_object('x', repeat('x', 65536))"),
    ("environments_session_id", "UPDATE environments SET session_id = repeat('x', 256)"),
    ("environments_session_id", "UPDATE environments SET session_id = E'a\\nb'"),
    ("environments_disk", "UPDATE environments SET disk_bytes = -1"),
    ("environments_archived", "UPDATE environments SET archived_at = now()"),
    (
        "environments_archived_at",
        "UPDATE environments SET phase = 'stopped', desired_phase = 'stopped', archived_at = 'infinity'",
    ),
    // Environment tokens.
    ("environment_tokens_pkey", "INSERT INTO environment_tokens SELECT * FROM environment_tokens"),
    ("environment_tokens_environment_id_fkey", "UPDATE environment_tokens SET environment_id = @nobody"),
    ("environment_tokens_parent_token_id_fkey", "UPDATE environment_tokens SET parent_token_id = @nobody"),
    ("environment_tokens_key_generation_fkey", "UPDATE environment_tokens SET key_generation = 3"),
    ("environment_tokens_digest", "UPDATE environment_tokens SET digest = '\\x00'"),
    ("environment_tokens_expires_at", "UPDATE environment_tokens SET expires_at = created_at"),
    (
        "environment_tokens_expires_at",
        "UPDATE environment_tokens SET expires_at = created_at + interval '1 hour' + interval '1 microsecond'",
    ),
    (
        "environment_tokens_expires_at",
        "UPDATE environment_tokens SET created_at = '-infinity', expires_at = 'infinity'",
    ),
    // Identities.
    ("identities_pkey", "INSERT INTO identities SELECT * FROM identities"),
    (
        "identities_pkey",
        "INSERT INTO identities (issuer, subject, organization_id, principal_id) VALUES ('https://i.example', 'user', @org, @colleague)",
    ),
    ("identities_principal", "UPDATE identities SET principal_id = @stranger"),
    ("identities_principal", "UPDATE identities SET principal_id = @nobody"),
    ("identities_issuer", "UPDATE identities SET issuer = 'i.example'"),
    ("identities_issuer", "UPDATE identities SET issuer = 'https://i.example/a b'"),
    ("identities_issuer", "UPDATE identities SET issuer = 'https://' || repeat('x', 2048)"),
    ("identities_subject", "UPDATE identities SET subject = ''"),
    ("identities_subject", "UPDATE identities SET subject = repeat('x', 256)"),
    ("identities_subject", "UPDATE identities SET subject = E'a\\nb'"),
    ("identities_subject", "UPDATE identities SET subject = 'ä'"),
    // Invitations.
    ("invitations_pkey", "INSERT INTO invitations SELECT * FROM invitations WHERE id = @redeemed"),
    (
        "invitations_principal",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'principal_id', @stranger))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_provider",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'provider', 'Acme'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_provider",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'provider', 'a--b'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_provider",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'provider', ''))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_provider",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'provider', repeat('x', 64)))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_email",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'email', 'nowhere'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_email",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'email', 'a b@c'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_email",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'email', 'ä@c.example'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_email",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'email', repeat('x', 250) || '@y.zz'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_expires_at",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'expires_at', '2026-01-08T00:00:01Z', 'redeemed_at', NULL, 'withdrawn_at', '2026-01-02Z'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_expires_at",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'expires_at', '2026-01-01Z', 'redeemed_at', NULL, 'withdrawn_at', '2026-01-02Z'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_expires_at",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'expires_at', 'infinity', 'redeemed_at', NULL, 'withdrawn_at', '2026-01-02Z'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_redeemed_at",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'redeemed_at', '2025-12-31Z'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_redeemed_at",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'redeemed_at', '2026-01-08Z'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_withdrawn_at",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'withdrawn_at', '2025-12-31Z'))).* FROM invitations i WHERE id = @withdrawn",
    ),
    (
        "invitations_withdrawn_at",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'withdrawn_at', 'infinity'))).* FROM invitations i WHERE id = @withdrawn",
    ),
    (
        "invitations_ended_once",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'withdrawn_at', '2026-01-03Z'))).* FROM invitations i WHERE id = @redeemed",
    ),
    (
        "invitations_one_open",
        "INSERT INTO invitations SELECT (jsonb_populate_record(i, jsonb_build_object('id', @new, \
         'email', 'USER@example.com', 'redeemed_at', NULL))).* FROM invitations i WHERE id = @redeemed",
    ),
    ("invitations_keep", "UPDATE invitations SET redeemed_at = NULL WHERE id = @redeemed"),
    ("invitations_keep", "UPDATE invitations SET withdrawn_at = '2026-01-03Z' WHERE id = @redeemed"),
    ("invitations_keep", "UPDATE invitations SET redeemed_at = '2026-01-03Z' WHERE id = @withdrawn"),
    ("invitations_keep", "UPDATE invitations SET principal_id = @colleague WHERE id = @invitation"),
    ("invitations_keep", "UPDATE invitations SET expires_at = '2026-01-07Z' WHERE id = @invitation"),
    ("invitations_keep", "UPDATE invitations SET email = 'other@example.com' WHERE id = @invitation"),
    ("sign_in_attempts_pkey", "INSERT INTO sign_in_attempts (id) VALUES (@attempt)"),
];

/// What looks like a case and is none.
pub(super) const ALLOWED: &[&str] = &[
    "UPDATE personal_access_tokens SET description = 'another' WHERE id = @revoked",
    "UPDATE personal_access_tokens SET revoked_at = now() WHERE id = @token",
    "UPDATE personal_access_tokens SET revoked_at = revoked_at, digest = digest, expires_at = expires_at",
    "UPDATE signing_keys SET state = 'verifying'",
    "UPDATE principals SET email = 'user@example.com' WHERE id = @stranger",
    "UPDATE environments SET content_ready = true, phase = 'running'",
    "UPDATE environments SET remote_url = 'https://host/path', target = 'remote_branch', target_name = 'main'",
    "UPDATE environments SET phase = 'stopped', desired_phase = 'deleted', archived_at = now()",
    // An invitation has one end.
    "UPDATE invitations SET redeemed_at = '2026-01-03Z' WHERE id = @invitation",
    "UPDATE invitations SET withdrawn_at = '2026-01-03Z' WHERE id = @invitation",
    // Its tokens go with an environment.
    "DELETE FROM environments; SELECT 1 / (1 - count(*)) FROM environment_tokens",
];
