-- Lists of tokens that have ended, by when they did, the last first: one may have thousands, of which a page shows 25.
CREATE INDEX personal_access_tokens_by_end
    ON personal_access_tokens (principal_id, expires_at DESC, id DESC) WHERE revoked_at IS NULL;
CREATE INDEX personal_access_tokens_by_revocation
    ON personal_access_tokens (principal_id, revoked_at DESC, id DESC) WHERE revoked_at IS NOT NULL;
