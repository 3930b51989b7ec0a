-- Signing keys and what is kept of the credentials made with them.

CREATE TABLE signing_keys (
    -- 1 to 255: one byte in each token's body.
    generation smallint PRIMARY KEY,
    -- Tells whether a server holds the same key; tells nothing of the key.
    check_value bytea NOT NULL,
    -- verifying: servers check tokens with it; active: new tokens are made with it as well; revoked: no more.
    state text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When tokens were first made with it: there are none of a key that never was active.
    activated_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT signing_keys_activated_at CHECK (state <> 'active' OR activated_at IS NOT NULL),
    CONSTRAINT signing_keys_revoked_at CHECK ((state = 'revoked') = (revoked_at IS NOT NULL)),
    CONSTRAINT signing_keys_generation CHECK (generation BETWEEN 1 AND 255),
    CONSTRAINT signing_keys_check_value CHECK (octet_length(check_value) = 32),
    CONSTRAINT signing_keys_state CHECK (state IN ('verifying', 'active', 'revoked'))
);

-- New tokens are made with one key.
CREATE UNIQUE INDEX signing_keys_one_active ON signing_keys (state) WHERE state = 'active';

CREATE TABLE personal_access_tokens (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    creator_id uuid NOT NULL,
    -- The token that this one was made with; none for the operator's.
    created_by_token_id uuid REFERENCES personal_access_tokens (id),
    key_generation smallint NOT NULL REFERENCES signing_keys (generation),
    -- HMAC-SHA256 of the whole token: all that is kept of its secret.
    digest bytea NOT NULL,
    description text NOT NULL,
    read_only boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    -- A token belongs to a principal of its own organization.
    CONSTRAINT personal_access_tokens_principal
        FOREIGN KEY (principal_id, organization_id) REFERENCES principals (id, organization_id),
    CONSTRAINT personal_access_tokens_creator
        FOREIGN KEY (creator_id, organization_id) REFERENCES principals (id, organization_id),
    CONSTRAINT personal_access_tokens_digest CHECK (octet_length(digest) = 32),
    CONSTRAINT personal_access_tokens_description
        CHECK (char_length(description) BETWEEN 1 AND 255 AND description !~ '[[:cntrl:]]'),
    -- 1 minute to 90 days. An infinite time would be no end at all, and is nothing that a program can read.
    CONSTRAINT personal_access_tokens_expires_at
        -- By difference: adding days to a time means another time in zones that change their clocks.
        CHECK (CASE WHEN isfinite(created_at) AND isfinite(expires_at)
                    THEN expires_at - created_at BETWEEN interval '1 minute' AND interval '90 days'
                    ELSE NOT isfinite(created_at) END),
    CONSTRAINT personal_access_tokens_finite CHECK (isfinite(created_at) AND isfinite(expires_at)),
    CONSTRAINT personal_access_tokens_revoked_at CHECK (revoked_at >= created_at AND isfinite(revoked_at))
);

-- Lists: newest first, without the deleted ones; and the count of a principal's live tokens.
CREATE INDEX personal_access_tokens_of_principal
    ON personal_access_tokens (principal_id, created_at DESC, id DESC) WHERE revoked_at IS NULL;
-- All tokens of a key, when it is revoked.
CREATE INDEX personal_access_tokens_of_generation
    ON personal_access_tokens (key_generation) WHERE revoked_at IS NULL;

-- A token that is revoked stays revoked, at the time that it was first revoked; and no token is ever given to somebody
-- else, made to last longer, or given another secret.
CREATE FUNCTION personal_access_tokens_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a personal access token is revoked once, and only its description may change'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'personal_access_tokens_keep';
END
$$;
CREATE TRIGGER personal_access_tokens_keep BEFORE UPDATE ON personal_access_tokens
    FOR EACH ROW WHEN (
        (OLD.id, OLD.organization_id, OLD.principal_id, OLD.creator_id, OLD.key_generation, OLD.digest, OLD.read_only, OLD.created_at, OLD.expires_at)
            IS DISTINCT FROM
        (NEW.id, NEW.organization_id, NEW.principal_id, NEW.creator_id, NEW.key_generation, NEW.digest, NEW.read_only, NEW.created_at, NEW.expires_at)
        OR OLD.created_by_token_id IS DISTINCT FROM NEW.created_by_token_id
        OR (OLD.revoked_at IS NOT NULL AND OLD.revoked_at IS DISTINCT FROM NEW.revoked_at)
    )
    EXECUTE FUNCTION personal_access_tokens_keep();

-- Apart from the tokens, so that a use changes nothing that verification reads.
CREATE TABLE token_last_used (
    token_id uuid PRIMARY KEY REFERENCES personal_access_tokens (id),
    last_used_at timestamptz NOT NULL,
    peer inet,
    user_agent text,
    CONSTRAINT token_last_used_finite CHECK (isfinite(last_used_at)),
    CONSTRAINT token_last_used_user_agent CHECK (char_length(user_agent) <= 255)
) WITH (fillfactor = 70);

GRANT SELECT, INSERT, UPDATE (state) ON signing_keys TO latchkey_serving;
GRANT SELECT, INSERT, UPDATE (revoked_at, description) ON personal_access_tokens TO latchkey_serving;
GRANT SELECT, INSERT, UPDATE (last_used_at, peer, user_agent) ON token_last_used TO latchkey_serving;
