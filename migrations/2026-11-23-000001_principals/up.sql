-- Who acts: users and service accounts of organizations.

-- The serving role. Roles belong to the whole cluster, so another database may have made it already, perhaps at this
-- very moment.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'latchkey_serving') THEN
        BEGIN
            CREATE ROLE latchkey_serving NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN
                NULL;
            WHEN insufficient_privilege THEN
                RAISE EXCEPTION 'the role latchkey_serving is missing and % may not create it; have an administrator run: CREATE ROLE latchkey_serving NOLOGIN; GRANT latchkey_serving TO %', current_user, current_user;
        END;
    END IF;
    -- Who serves with the owner's login puts on the serving role. Needless where the serving role has a login of its own.
    IF NOT pg_has_role(current_user, 'latchkey_serving', 'MEMBER') THEN
        BEGIN
            EXECUTE format('GRANT latchkey_serving TO %I', current_user);
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;
        END;
    END IF;
END
$$;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO latchkey_serving;

CREATE TABLE organizations (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Shown in lists and logs on one line.
    CONSTRAINT organizations_name CHECK (char_length(name) BETWEEN 1 AND 255 AND name !~ '[[:cntrl:]]')
);

CREATE TABLE principals (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id),
    kind text NOT NULL,
    role text NOT NULL,
    status text NOT NULL DEFAULT 'active',
    name text NOT NULL,
    email text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT principals_kind CHECK (kind IN ('user', 'service_account')),
    CONSTRAINT principals_role CHECK (role IN ('member', 'admin', 'service')),
    CONSTRAINT principals_status CHECK (status IN ('active', 'suspended')),
    CONSTRAINT principals_name CHECK (char_length(name) BETWEEN 1 AND 255 AND name !~ '[[:cntrl:]]'),
    -- A user is invited by e-mail; a service account has none.
    CONSTRAINT principals_email_of_users CHECK ((kind = 'user') = (email IS NOT NULL)),
    CONSTRAINT principals_email CHECK (char_length(email) BETWEEN 3 AND 254 AND email LIKE '_%@_%' AND email !~ '[[:cntrl:][:space:]]'),
    -- Asking about others' tokens is for programs; managing others is for people.
    CONSTRAINT principals_role_of_kind CHECK (
        (kind = 'user' AND role IN ('member', 'admin')) OR (kind = 'service_account' AND role IN ('member', 'service'))
    ),
    -- What belongs to a principal belongs to its organization: the target of the references that say so.
    CONSTRAINT principals_organization UNIQUE (id, organization_id)
);

-- One user for each address, however it is written.
CREATE UNIQUE INDEX principals_email_once ON principals (organization_id, lower(email));

GRANT SELECT ON organizations TO latchkey_serving;
-- Creating a token locks its principal's row (FOR NO KEY UPDATE), which takes the right to update it.
GRANT SELECT, UPDATE (status) ON principals TO latchkey_serving;
