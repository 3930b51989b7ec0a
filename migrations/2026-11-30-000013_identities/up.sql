-- By what providers know people, and who is invited to be known.

-- People are known by issuer and subject, which a provider never gives to anybody else; never by an address, which it may.
CREATE TABLE identities (
    issuer text NOT NULL,
    subject text NOT NULL,
    organization_id uuid NOT NULL,
    principal_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- Whoever it was given to has it for good: the serving role can neither change nor remove it.
    PRIMARY KEY (issuer, subject),
    -- An identity belongs to a principal of its own organization.
    CONSTRAINT identities_principal
        FOREIGN KEY (principal_id, organization_id) REFERENCES principals (id, organization_id),
    -- As the configuration takes it.
    CONSTRAINT identities_issuer CHECK (char_length(issuer) BETWEEN 1 AND 2048 AND issuer ~ '^https?://' AND issuer !~ '[[:cntrl:][:space:]]'),
    -- OpenID Connect Core 1.0, section 2. It is compared byte by byte.
    CONSTRAINT identities_subject CHECK (subject ~ '^[ -~]{1,255}$')
);

-- Those of a principal.
CREATE INDEX identities_of_principal ON identities (principal_id);

-- Lets one account of a provider in as a user who is there already, once.
CREATE TABLE invitations (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    -- Who whoever redeems it will be.
    principal_id uuid NOT NULL,
    -- What the configuration calls the provider.
    provider text NOT NULL,
    -- What the provider has to say that it has verified.
    email text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    redeemed_at timestamptz,
    withdrawn_at timestamptz,
    CONSTRAINT invitations_principal
        FOREIGN KEY (principal_id, organization_id) REFERENCES principals (id, organization_id),
    CONSTRAINT invitations_provider CHECK (char_length(provider) <= 63 AND provider ~ '^[a-z0-9]+(-[a-z0-9]+)*$'),
    CONSTRAINT invitations_email CHECK (char_length(email) BETWEEN 3 AND 254 AND email LIKE '_%@_%' AND email ~ '^[!-~]+$'),
    -- A week: a mailbox that changes hands lets nobody in.
    CONSTRAINT invitations_expires_at
        CHECK (CASE WHEN isfinite(created_at) AND isfinite(expires_at)
                    THEN expires_at > created_at AND expires_at - created_at <= interval '168 hours'
                    ELSE false END),
    CONSTRAINT invitations_redeemed_at CHECK (redeemed_at >= created_at AND redeemed_at < expires_at),
    CONSTRAINT invitations_withdrawn_at CHECK (withdrawn_at >= created_at AND isfinite(withdrawn_at)),
    -- What was redeemed cannot be taken back, and what was taken back cannot be redeemed.
    CONSTRAINT invitations_ended_once CHECK (redeemed_at IS NULL OR withdrawn_at IS NULL)
);

-- One for each address at a provider: nobody wonders which of them counts.
CREATE UNIQUE INDEX invitations_one_open ON invitations (organization_id, provider, lower(email))
    WHERE redeemed_at IS NULL AND withdrawn_at IS NULL;
-- Those of a principal.
CREATE INDEX invitations_of_principal ON invitations (principal_id);

-- What has ended an invitation stays so, whoever asks; and none is ever for somebody else, or good for longer.
CREATE FUNCTION invitations_keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an invitation is redeemed or withdrawn, once, and nothing else of it changes'
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'invitations_keep';
END
$$;
CREATE TRIGGER invitations_keep BEFORE UPDATE ON invitations
    FOR EACH ROW WHEN (
        (OLD.id, OLD.organization_id, OLD.principal_id, OLD.provider, OLD.email, OLD.created_at, OLD.expires_at)
            IS DISTINCT FROM
        (NEW.id, NEW.organization_id, NEW.principal_id, NEW.provider, NEW.email, NEW.created_at, NEW.expires_at)
        OR OLD.redeemed_at IS NOT NULL OR OLD.withdrawn_at IS NOT NULL
    )
    EXECUTE FUNCTION invitations_keep();

-- Attempts to sign in that have come to their end: what is brought back from a provider is good for one try, on whichever server, though
-- a provider might take a code twice. They are removed when the attempt would be too old anyway.
CREATE TABLE sign_in_attempts (
    id uuid PRIMARY KEY,
    ended_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX sign_in_attempts_ended ON sign_in_attempts (ended_at);

GRANT SELECT, INSERT ON identities TO latchkey_serving;
GRANT SELECT, INSERT, UPDATE (redeemed_at, withdrawn_at) ON invitations TO latchkey_serving;
GRANT SELECT, INSERT, DELETE ON sign_in_attempts TO latchkey_serving;
-- Who signs in for the first time from an allowed domain is added, and groups say who is an admin.
GRANT INSERT (id, organization_id, kind, role, name, email), UPDATE (role) ON principals TO latchkey_serving;
