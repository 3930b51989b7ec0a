//! The same for what programs ask for.

/// The constraint, and what breaks it.
pub(super) const CASES: &[(&str, &str)] = &[
    ("login_requests_pkey", "INSERT INTO login_requests SELECT * FROM login_requests WHERE id = @redeemed"),
    (
        "login_requests_key_generation_fkey",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'key_generation', 3))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_token_id_fkey",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'token_id', @nobody))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_approver",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'approver_id', @stranger))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_flow",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'flow', 'password', 'code_challenge', NULL, 'redirect_uri', NULL))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_of_device",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'user_code_digest', digest))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_of_device",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'user_code_digest', NULL))).* \
         FROM login_requests t WHERE id = @waiting",
    ),
    (
        "login_requests_of_redirect",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'code_challenge', NULL))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_of_redirect",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'redirect_uri', NULL))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_of_redirect",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'user_code_digest', digest, 'code_challenge', digest))).* \
         FROM login_requests t WHERE id = @waiting",
    ),
    (
        "login_requests_digest",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'digest', '\\\\x00'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_user_code_digest",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'user_code_digest', '\\\\x00'))).* \
         FROM login_requests t WHERE id = @waiting",
    ),
    (
        "login_requests_code_challenge",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'code_challenge', '\\\\x00'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_redirect_uri",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'redirect_uri', 'http://evil.example/'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_redirect_uri",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'redirect_uri', 'https://127.0.0.1:8085/'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_redirect_uri",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'redirect_uri', 'http://127.0.0.1.evil.example:8085/'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_redirect_uri",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'redirect_uri', 'http://127.0.0.1:8085@evil.example/'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_redirect_uri",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'redirect_uri', redirect_uri || repeat('x', 512)))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_host_name",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'host_name', 'a b'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_host_name",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'host_name', repeat('x', 64)))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_lifetime",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'lifetime_seconds', 59))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_lifetime",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'lifetime_seconds', 7776001))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_user_agent",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'user_agent', repeat('x', 256)))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    ("login_requests_poll", "UPDATE login_requests SET poll_seconds = 4"),
    ("login_requests_poll", "UPDATE login_requests SET poll_seconds = 301"),
    (
        "login_requests_expires_at",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'expires_at', created_at + interval '301 seconds'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_expires_at",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'expires_at', created_at))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_expires_at",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'expires_at', 'infinity'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_state",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'state', 'lost', 'token_id', NULL))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_decided",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'approver_id', NULL))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_decided",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'session_id', NULL))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    ("login_requests_decided", "UPDATE login_requests SET state = 'approved' WHERE id = @waiting"),
    ("login_requests_decided", "UPDATE login_requests SET decided_at = now() WHERE id = @waiting"),
    (
        "login_requests_waiting",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'state', 'pending', 'decided_at', NULL, 'organization_id', NULL, 'approver_id', NULL, 'session_id', NULL, 'token_id', NULL))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_redeemed",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'token_id', NULL))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_redeemed",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'state', 'approved'))).* \
         FROM login_requests t WHERE id = @redeemed",
    ),
    (
        "login_requests_user_code",
        "INSERT INTO login_requests SELECT (jsonb_populate_record(t, jsonb_build_object('id', @new, 'digest', digest))).* \
         FROM login_requests t WHERE id = @waiting",
    ),
    ("login_requests_keep", "UPDATE login_requests SET lifetime_seconds = 61"),
    ("login_requests_keep", "UPDATE login_requests SET digest = sha256('x')"),
    ("login_requests_keep", "UPDATE login_requests SET redirect_uri = 'http://127.0.0.1:1/' WHERE id = @redeemed"),
    ("login_requests_keep", "UPDATE login_requests SET approver_id = @colleague WHERE id = @redeemed"),
    ("login_requests_keep", "UPDATE login_requests SET session_id = @nobody WHERE id = @redeemed"),
    ("login_requests_keep", "UPDATE login_requests SET token_id = @revoked WHERE id = @redeemed"),
    ("login_requests_keep", "UPDATE login_requests SET state = 'approved', token_id = NULL WHERE id = @redeemed"),
    (
        "login_requests_keep",
        "UPDATE login_requests SET state = 'redeemed', token_id = @token, decided_at = now(), organization_id = @org, \
         approver_id = @user, session_id = @new WHERE id = @waiting",
    ),
];
