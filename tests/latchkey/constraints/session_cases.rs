//! The same for how people sign in: sessions, links, and the servers that they are reached at.

/// The constraint, and what breaks it.
pub(super) const CASES: &[(&str, &str)] = &[
    ("sessions_pkey", "INSERT INTO sessions SELECT * FROM sessions"),
    (
        "sessions_principal",
        "INSERT INTO sessions SELECT (jsonb_populate_record(s, jsonb_build_object('id', @new, 'principal_id', @stranger))).* \
         FROM sessions s",
    ),
    (
        "sessions_key_generation_fkey",
        "INSERT INTO sessions SELECT (jsonb_populate_record(s, jsonb_build_object('id', @new, 'key_generation', 3))).* \
         FROM sessions s",
    ),
    (
        "sessions_digest",
        "INSERT INTO sessions SELECT (jsonb_populate_record(s, jsonb_build_object('id', @new, 'digest', '\\x00'))).* \
         FROM sessions s",
    ),
    (
        "sessions_signed_in_by",
        "INSERT INTO sessions SELECT (jsonb_populate_record(s, jsonb_build_object('id', @new, 'signed_in_by', 'A b'))).* \
         FROM sessions s",
    ),
    (
        "sessions_expires_at",
        "INSERT INTO sessions SELECT (jsonb_populate_record(s, jsonb_build_object('id', @new, 'created_at', \
         '2026-01-02Z', 'expires_at', '2026-01-02Z', 'idle_expires_at', '2026-01-02Z'))).* FROM sessions s",
    ),
    (
        "sessions_expires_at",
        "INSERT INTO sessions SELECT (jsonb_populate_record(s, jsonb_build_object('id', @new, 'expires_at', \
         'infinity'))).* FROM sessions s",
    ),
    ("sessions_idle_expires_at", "UPDATE sessions SET idle_expires_at = expires_at + interval '1 second'"),
    ("sessions_idle_expires_at", "UPDATE sessions SET idle_expires_at = '-infinity'"),
    ("sessions_last_used_at", "UPDATE sessions SET last_used_at = 'infinity'"),
    ("sessions_revoked_at", "UPDATE sessions SET revoked_at = 'infinity'"),
    ("sessions_user_agent", "UPDATE sessions SET user_agent = repeat('x', 256)"),
    // It lasts no longer than it was meant to, is nobody else's, and does not come back.
    ("sessions_keep", "UPDATE sessions SET expires_at = expires_at + interval '1 second'"),
    ("sessions_keep", "UPDATE sessions SET principal_id = @colleague"),
    ("sessions_keep", "UPDATE sessions SET digest = sha256('z')"),
    ("sessions_keep", "UPDATE sessions SET signed_in_by = 'provider'"),
    ("sessions_keep", "UPDATE sessions SET id = @new"),
    ("sessions_keep", "UPDATE sessions SET revoked_at = now(); UPDATE sessions SET revoked_at = NULL"),
    ("sign_in_links_pkey", "INSERT INTO sign_in_links SELECT * FROM sign_in_links"),
    ("sign_in_links_principal", "UPDATE sign_in_links SET principal_id = @stranger"),
    ("sign_in_links_key_generation_fkey", "UPDATE sign_in_links SET key_generation = 3"),
    ("sign_in_links_digest", "UPDATE sign_in_links SET digest = '\\x00'"),
    ("sign_in_links_expires_at", "UPDATE sign_in_links SET expires_at = created_at"),
    ("sign_in_links_expires_at", "UPDATE sign_in_links SET expires_at = created_at + interval '10 minutes 1 second'"),
    ("sign_in_links_expires_at", "UPDATE sign_in_links SET created_at = '-infinity', expires_at = 'infinity'"),
    ("sign_in_links_used_at", "UPDATE sign_in_links SET used_at = 'infinity'"),
    ("servers_pkey", "INSERT INTO servers SELECT * FROM servers"),
    ("servers_public_url", "UPDATE servers SET public_url = 'latchkey.example'"),
    ("servers_public_url", "UPDATE servers SET public_url = 'https://' || repeat('x', 2048)"),
    ("servers_seen_at", "UPDATE servers SET seen_at = 'infinity'"),
    ("token_forms_pkey", "INSERT INTO token_forms SELECT * FROM token_forms"),
    ("audit_session_tallies_count", "UPDATE audit_session_tallies SET count = 0"),
    ("audit_session_tallies_key", "INSERT INTO audit_session_tallies SELECT * FROM audit_session_tallies"),
];
