DROP INDEX principals_of_organization;
ALTER TABLE personal_access_tokens DROP COLUMN idempotency_key;
ALTER TABLE audit_tallies DROP COLUMN session_id;
ALTER TABLE audit_logs DROP COLUMN session_id;
DROP TABLE servers;
DROP TABLE sign_in_links;
DROP TABLE sessions;
DROP FUNCTION sessions_tell();
DROP FUNCTION sessions_keep();
