REVOKE INSERT (id, organization_id, kind, role, name, email), UPDATE (role) ON principals FROM latchkey_serving;
DROP TABLE sign_in_attempts;
DROP TABLE invitations;
DROP FUNCTION invitations_keep();
DROP TABLE identities;
