-- What programs ask for that want to act for somebody: `gitpod login` without a token. A person says yes or no to it in a browser; then
-- the program brings its code and gets a token, once.

CREATE TABLE login_requests (
    id uuid PRIMARY KEY,
    -- device: the program waits on one machine, and the person types its code on another (RFC 8628).
    -- redirect: the browser is on the same machine, and brings the code there (RFC 8252, RFC 7636).
    flow text NOT NULL,
    key_generation smallint NOT NULL REFERENCES signing_keys (generation),
    -- HMAC-SHA256 of what the program brings: all that is kept of it.
    digest bytea NOT NULL,
    -- The same of what the person types, under a key of its own.
    user_code_digest bytea,
    -- SHA-256 of what the program proves with that it was it who asked.
    code_challenge bytea,
    redirect_uri text,
    -- What the machine calls itself: a claim.
    host_name text NOT NULL,
    -- How long the token is to be good for.
    lifetime_seconds integer NOT NULL,
    -- From where it was asked for, and what the program calls itself.
    peer inet,
    user_agent text,
    -- What of the address counts as one peer.
    network inet,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    -- How often the program may look, and when it last did.
    poll_seconds integer NOT NULL DEFAULT 5,
    polled_at timestamptz,
    -- pending: nobody has said anything; approved, denied: somebody has; redeemed: a token was made of it.
    state text NOT NULL,
    decided_at timestamptz,
    -- Who said it, and in which session: what is made of it is theirs, and is made only as long as both are good. Sessions are cleared
    -- away once they have ended, so this names one rather than refer to it.
    organization_id uuid,
    approver_id uuid,
    session_id uuid,
    token_id uuid REFERENCES personal_access_tokens (id),
    CONSTRAINT login_requests_approver
        FOREIGN KEY (approver_id, organization_id) REFERENCES principals (id, organization_id),
    CONSTRAINT login_requests_flow CHECK (flow IN ('device', 'redirect')),
    CONSTRAINT login_requests_of_device CHECK ((flow = 'device') = (user_code_digest IS NOT NULL)),
    CONSTRAINT login_requests_of_redirect
        CHECK (CASE flow WHEN 'redirect' THEN code_challenge IS NOT NULL AND redirect_uri IS NOT NULL
                         ELSE code_challenge IS NULL AND redirect_uri IS NULL END),
    CONSTRAINT login_requests_digest CHECK (octet_length(digest) = 32),
    CONSTRAINT login_requests_user_code_digest CHECK (octet_length(user_code_digest) = 32),
    CONSTRAINT login_requests_code_challenge CHECK (octet_length(code_challenge) = 32),
    -- A code goes to the machine of the browser and nowhere else.
    CONSTRAINT login_requests_redirect_uri
        CHECK (redirect_uri ~ '^http://(127\.0\.0\.1|\[::1\]):[0-9]+/' AND char_length(redirect_uri) <= 512),
    -- Shown to whoever is asked: a name, and nothing that could be taken for a sentence.
    CONSTRAINT login_requests_host_name CHECK (host_name ~ '^[A-Za-z0-9._-]{0,63}$'),
    -- As long as any token may be good for.
    CONSTRAINT login_requests_lifetime CHECK (lifetime_seconds BETWEEN 60 AND 7776000),
    CONSTRAINT login_requests_user_agent CHECK (char_length(user_agent) <= 255),
    CONSTRAINT login_requests_poll CHECK (poll_seconds BETWEEN 5 AND 300),
    -- Five minutes at the most.
    CONSTRAINT login_requests_expires_at
        CHECK (CASE WHEN isfinite(created_at) AND isfinite(expires_at)
                    THEN expires_at > created_at AND expires_at - created_at <= interval '5 minutes'
                    ELSE false END),
    CONSTRAINT login_requests_state CHECK (state IN ('pending', 'approved', 'denied', 'redeemed')),
    CONSTRAINT login_requests_decided
        CHECK (CASE state WHEN 'pending' THEN num_nonnulls(decided_at, organization_id, approver_id, session_id) = 0
                          ELSE num_nonnulls(decided_at, organization_id, approver_id, session_id) = 4 END),
    -- The browser's code is made when its person has said yes.
    CONSTRAINT login_requests_waiting CHECK (state <> 'pending' OR flow = 'device'),
    CONSTRAINT login_requests_redeemed CHECK ((state = 'redeemed') = (token_id IS NOT NULL))
);

-- One code leads to one request; and what somebody has typed is found by it.
CREATE UNIQUE INDEX login_requests_user_code ON login_requests (user_code_digest) WHERE user_code_digest IS NOT NULL;
-- How many wait, of one peer and of all.
CREATE INDEX login_requests_pending ON login_requests (network, expires_at) WHERE state = 'pending';
-- Those that have ended, to be cleared away.
CREATE INDEX login_requests_expired ON login_requests (expires_at);

-- What somebody has said is said, and of one yes one token is made, of what was asked for.
CREATE FUNCTION login_requests_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a login request is decided once and redeemed once, and stays what it was'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'login_requests_keep';
END
$$;
CREATE TRIGGER login_requests_keep BEFORE UPDATE ON login_requests
    FOR EACH ROW WHEN (
        (OLD.id, OLD.flow, OLD.key_generation, OLD.digest, OLD.host_name, OLD.lifetime_seconds, OLD.created_at, OLD.expires_at)
            IS DISTINCT FROM
        (NEW.id, NEW.flow, NEW.key_generation, NEW.digest, NEW.host_name, NEW.lifetime_seconds, NEW.created_at, NEW.expires_at)
        OR (OLD.user_code_digest, OLD.code_challenge, OLD.redirect_uri) IS DISTINCT FROM (NEW.user_code_digest, NEW.code_challenge, NEW.redirect_uri)
        OR (OLD.approver_id IS NOT NULL
            AND (OLD.organization_id, OLD.approver_id, OLD.session_id) IS DISTINCT FROM (NEW.organization_id, NEW.approver_id, NEW.session_id))
        OR (OLD.token_id IS NOT NULL AND OLD.token_id IS DISTINCT FROM NEW.token_id)
        OR (OLD.state <> NEW.state
            AND NOT ((OLD.state = 'pending' AND NEW.state IN ('approved', 'denied')) OR (OLD.state = 'approved' AND NEW.state IN ('denied', 'redeemed'))))
    )
    EXECUTE FUNCTION login_requests_keep();

GRANT SELECT, INSERT, DELETE ON login_requests TO latchkey_serving;
GRANT UPDATE (poll_seconds, polled_at, state, decided_at, organization_id, approver_id, session_id, token_id) ON login_requests TO latchkey_serving;
