-- Sessions of people in browsers, and the links that open one.

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    key_generation smallint NOT NULL REFERENCES signing_keys (generation),
    -- HMAC-SHA256 of what the cookie holds: all that is kept of it.
    digest bytea NOT NULL,
    -- How somebody signed in: 'link', or the name of an OpenID provider.
    signed_in_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When it ends, however much it is used.
    expires_at timestamptz NOT NULL,
    -- When it ends if it is not used. Moved on by use, at most once a minute, since every server forgets it each time.
    idle_expires_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    -- From where it was last used.
    peer inet,
    user_agent text,
    CONSTRAINT sessions_principal FOREIGN KEY (principal_id, organization_id) REFERENCES principals (id, organization_id),
    CONSTRAINT sessions_digest CHECK (octet_length(digest) = 32),
    CONSTRAINT sessions_signed_in_by CHECK (signed_in_by ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND char_length(signed_in_by) <= 64),
    CONSTRAINT sessions_expires_at CHECK (isfinite(created_at) AND isfinite(expires_at) AND expires_at > created_at),
    CONSTRAINT sessions_idle_expires_at CHECK (isfinite(idle_expires_at) AND idle_expires_at <= expires_at),
    CONSTRAINT sessions_last_used_at CHECK (isfinite(last_used_at)),
    CONSTRAINT sessions_revoked_at CHECK (isfinite(revoked_at)),
    CONSTRAINT sessions_user_agent CHECK (char_length(user_agent) <= 255)
);

-- A person's sessions, newest first.
CREATE INDEX sessions_of_principal ON sessions (principal_id, created_at DESC, id DESC);
-- Those that have ended, to be cleared away.
CREATE INDEX sessions_expired ON sessions (expires_at);

-- A session that has ended stays so, and none is given to somebody else or made to last longer than it was meant to.
CREATE FUNCTION sessions_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a session is revoked once, and only its use may change'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'sessions_keep';
END
$$;
CREATE TRIGGER sessions_keep BEFORE UPDATE ON sessions
    FOR EACH ROW WHEN (
        (OLD.id, OLD.organization_id, OLD.principal_id, OLD.key_generation, OLD.digest, OLD.signed_in_by, OLD.created_at, OLD.expires_at)
            IS DISTINCT FROM
        (NEW.id, NEW.organization_id, NEW.principal_id, NEW.key_generation, NEW.digest, NEW.signed_in_by, NEW.created_at, NEW.expires_at)
        OR (OLD.revoked_at IS NOT NULL AND OLD.revoked_at IS DISTINCT FROM NEW.revoked_at)
    )
    EXECUTE FUNCTION sessions_keep();

-- Every server is told of what verification reads: see the migration of verification.
CREATE FUNCTION sessions_tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
    holders uuid[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(id), array_agg(DISTINCT principal_id) INTO ids, holders FROM (
            SELECT id, organization_id, principal_id, key_generation, digest, expires_at, idle_expires_at, revoked_at FROM before
            EXCEPT
            SELECT id, organization_id, principal_id, key_generation, digest, expires_at, idle_expires_at, revoked_at FROM after
        ) AS changed;
    ELSE
        -- Those that have ended are good for nothing, remembered or not: they are removed by the hundred.
        SELECT array_agg(id), array_agg(DISTINCT principal_id) INTO ids, holders
            FROM before WHERE least(expires_at, idle_expires_at) > clock_timestamp() AND revoked_at IS NULL;
    END IF;
    IF ids IS NOT NULL AND NOT verification_tell('session', ids) AND NOT verification_tell('principal', holders) THEN
        PERFORM pg_notify('latchkey_verification', 'all');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER sessions_tell_update AFTER UPDATE ON sessions
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION sessions_tell();
CREATE TRIGGER sessions_tell_delete AFTER DELETE ON sessions
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION sessions_tell();
CREATE TRIGGER sessions_tell_truncate AFTER TRUNCATE ON sessions
    FOR EACH STATEMENT EXECUTE FUNCTION verification_tell_all();
ALTER TABLE sessions ENABLE ALWAYS TRIGGER sessions_tell_update;
ALTER TABLE sessions ENABLE ALWAYS TRIGGER sessions_tell_delete;
ALTER TABLE sessions ENABLE ALWAYS TRIGGER sessions_tell_truncate;

-- Links that sign somebody in, once.
CREATE TABLE sign_in_links (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    key_generation smallint NOT NULL REFERENCES signing_keys (generation),
    digest bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    CONSTRAINT sign_in_links_principal
        FOREIGN KEY (principal_id, organization_id) REFERENCES principals (id, organization_id),
    CONSTRAINT sign_in_links_used_at CHECK (isfinite(used_at)),
    CONSTRAINT sign_in_links_digest CHECK (octet_length(digest) = 32),
    -- Ten minutes at the most.
    CONSTRAINT sign_in_links_expires_at
        CHECK (CASE WHEN isfinite(created_at) AND isfinite(expires_at)
                    THEN expires_at > created_at AND expires_at - created_at <= interval '10 minutes'
                    ELSE false END)
);

CREATE INDEX sign_in_links_expired ON sign_in_links (expires_at);

-- Servers that run, for the operator's commands, which have to know where people reach one.
CREATE TABLE servers (
    id uuid PRIMARY KEY,
    public_url text NOT NULL,
    -- Whether people sign in there by links: it has no provider, and listens for this machine alone.
    takes_links boolean NOT NULL,
    -- Written now and then, as long as it runs.
    seen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT servers_seen_at CHECK (isfinite(seen_at)),
    CONSTRAINT servers_public_url CHECK (public_url ~ '^https?://' AND char_length(public_url) <= 2048)
);

-- What is counted of sessions until its minute is over, as audit_tallies is of tokens: a table of its own, since servers that know no
-- sessions yet move what is in the other one.
CREATE TABLE audit_session_tallies (
    minute timestamptz NOT NULL,
    organization_id uuid NOT NULL,
    actor_id uuid NOT NULL,
    actor_kind text NOT NULL,
    session_id uuid NOT NULL,
    action text NOT NULL,
    rpc text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL DEFAULT '',
    peer inet,
    user_agent text,
    count bigint NOT NULL,
    CONSTRAINT audit_session_tallies_count CHECK (count > 0),
    CONSTRAINT audit_session_tallies_key UNIQUE NULLS NOT DISTINCT (minute, session_id, action, rpc, outcome, reason, peer)
);

-- Forms that have made a token: one that is sent twice makes one, such as by the reload of the page that showed it. Apart from the tokens,
-- of which there may be many more than a migration may look through.
CREATE TABLE token_forms (
    -- Kept for a day, whoever is there by then.
    creator_id uuid NOT NULL,
    idempotency_key uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (creator_id, idempotency_key)
);

CREATE INDEX token_forms_made ON token_forms (created_at);

-- Principals are listed by kind, newest first.
CREATE INDEX principals_of_organization ON principals (organization_id, kind, created_at DESC, id DESC);

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION sessions_tell() SET search_path = %I, pg_temp', current_schema());
END
$$;

GRANT SELECT, INSERT, DELETE ON sessions TO latchkey_serving;
GRANT UPDATE (idle_expires_at, last_used_at, revoked_at, peer, user_agent) ON sessions TO latchkey_serving;
GRANT SELECT, INSERT, DELETE ON sign_in_links TO latchkey_serving;
GRANT UPDATE (used_at) ON sign_in_links TO latchkey_serving;
GRANT SELECT, INSERT, DELETE ON servers TO latchkey_serving;
GRANT UPDATE (seen_at) ON servers TO latchkey_serving;
GRANT SELECT, INSERT, DELETE, UPDATE (count) ON audit_session_tallies TO latchkey_serving;
GRANT SELECT, INSERT, DELETE ON token_forms TO latchkey_serving;

-- What was done in a session rather than with a token. Last, since everybody who writes to the log waits from here on.
ALTER TABLE audit_logs ADD COLUMN session_id uuid;
