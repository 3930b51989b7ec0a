-- Lists of tokens that were revoked, by when that was, the last first: one may have thousands, of which a page shows 25. Built while others go on,
-- so that no token has to wait to be revoked; what that leaves when it is broken off is removed before it is tried again.
CREATE INDEX CONCURRENTLY personal_access_tokens_by_revocation
    ON personal_access_tokens (principal_id, revoked_at DESC, id DESC) WHERE revoked_at IS NOT NULL;
