DROP INDEX principals_of_organization;
DROP TABLE token_forms;
DROP TABLE audit_session_tallies;
ALTER TABLE audit_logs DROP COLUMN session_id;
DROP TABLE servers;
DROP TABLE sign_in_links;
DROP TABLE sessions;
DROP FUNCTION sessions_tell();
DROP FUNCTION sessions_keep();
