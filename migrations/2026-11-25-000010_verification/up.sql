-- Tells every server that what it may remember of credentials is true no more. The payload is what has changed: `token ID` (of either
-- kind), `principal ID` or `environment ID` for all credentials of one, or `all`. It is sent by the transaction that makes the change,
-- so that no server hears of what did not happen, or too early; and for what verification reads alone, so that nothing else empties
-- the memory of all servers.

-- Above this many, one by one would take longer than looking everything up anew.
CREATE FUNCTION verification_tell(what text, ids uuid[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(ids) > 100 THEN
        RETURN false;
    END IF;
    PERFORM pg_notify('latchkey_verification', what || ' ' || id) FROM unnest(ids) AS id;
    RETURN true;
END
$$;

CREATE FUNCTION verification_tell_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('latchkey_verification', 'all');
    RETURN NULL;
END
$$;

CREATE FUNCTION personal_access_tokens_tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tokens uuid[];
    holders uuid[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(id), array_agg(DISTINCT principal_id) INTO tokens, holders FROM (
            SELECT id, organization_id, principal_id, key_generation, digest, read_only, expires_at, revoked_at FROM before
            EXCEPT
            SELECT id, organization_id, principal_id, key_generation, digest, read_only, expires_at, revoked_at FROM after
        ) AS changed;
    ELSE
        SELECT array_agg(id), array_agg(DISTINCT principal_id) INTO tokens, holders FROM before;
    END IF;
    IF tokens IS NOT NULL AND NOT verification_tell('token', tokens) AND NOT verification_tell('principal', holders) THEN
        PERFORM pg_notify('latchkey_verification', 'all');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER personal_access_tokens_tell_update AFTER UPDATE ON personal_access_tokens
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION personal_access_tokens_tell();
CREATE TRIGGER personal_access_tokens_tell_delete AFTER DELETE ON personal_access_tokens
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION personal_access_tokens_tell();
CREATE TRIGGER personal_access_tokens_tell_truncate AFTER TRUNCATE ON personal_access_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION verification_tell_all();

CREATE FUNCTION principals_tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids uuid[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(id) INTO ids FROM (
            SELECT id, organization_id, kind, role, status FROM before
            EXCEPT
            SELECT id, organization_id, kind, role, status FROM after
        ) AS changed;
    ELSE
        SELECT array_agg(id) INTO ids FROM before;
    END IF;
    IF ids IS NOT NULL AND NOT verification_tell('principal', ids) THEN
        PERFORM pg_notify('latchkey_verification', 'all');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER principals_tell_update AFTER UPDATE ON principals
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION principals_tell();
CREATE TRIGGER principals_tell_delete AFTER DELETE ON principals
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION principals_tell();
CREATE TRIGGER principals_tell_truncate AFTER TRUNCATE ON principals
    FOR EACH STATEMENT EXECUTE FUNCTION verification_tell_all();

-- Every token may be of the key.
CREATE TRIGGER signing_keys_tell_update AFTER UPDATE OF generation, revoked_at ON signing_keys
    FOR EACH ROW WHEN ((OLD.generation, OLD.revoked_at) IS DISTINCT FROM (NEW.generation, NEW.revoked_at))
    EXECUTE FUNCTION verification_tell_all();
CREATE TRIGGER signing_keys_tell_delete AFTER DELETE ON signing_keys FOR EACH ROW EXECUTE FUNCTION verification_tell_all();
CREATE TRIGGER signing_keys_tell_truncate AFTER TRUNCATE ON signing_keys FOR EACH STATEMENT EXECUTE FUNCTION verification_tell_all();

CREATE FUNCTION environment_tokens_tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tokens uuid[];
    their_environments uuid[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT array_agg(id), array_agg(DISTINCT environment_id) INTO tokens, their_environments FROM (
            SELECT id, environment_id, parent_token_id, key_generation, digest, expires_at FROM before
            EXCEPT
            SELECT id, environment_id, parent_token_id, key_generation, digest, expires_at FROM after
        ) AS changed;
    ELSE
        -- Those that have ended are good for nothing, remembered or not: they are removed by the hundred.
        SELECT array_agg(id), array_agg(DISTINCT environment_id) INTO tokens, their_environments
            FROM before WHERE expires_at > clock_timestamp();
    END IF;
    IF tokens IS NOT NULL AND NOT verification_tell('token', tokens) AND NOT verification_tell('environment', their_environments) THEN
        PERFORM pg_notify('latchkey_verification', 'all');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER environment_tokens_tell_update AFTER UPDATE ON environment_tokens
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION environment_tokens_tell();
CREATE TRIGGER environment_tokens_tell_delete AFTER DELETE ON environment_tokens
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION environment_tokens_tell();
CREATE TRIGGER environment_tokens_tell_truncate AFTER TRUNCATE ON environment_tokens
    FOR EACH STATEMENT EXECUTE FUNCTION verification_tell_all();

-- An environment that is told to go ends its tokens; its phases come and go without a word. One that is deleted takes the rows of its
-- tokens along.
CREATE FUNCTION environments_tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('latchkey_verification', 'environment ' || OLD.id);
    RETURN NULL;
END
$$;
CREATE TRIGGER environments_tell_update AFTER UPDATE OF id, desired_phase ON environments
    FOR EACH ROW WHEN (
        OLD.id <> NEW.id OR (OLD.desired_phase = 'deleted') <> (NEW.desired_phase = 'deleted')
    )
    EXECUTE FUNCTION environments_tell();
