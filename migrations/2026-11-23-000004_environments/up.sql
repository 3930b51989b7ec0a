-- Runners, classes, environments, and the tokens that are good for one environment.

CREATE TABLE runners (
    -- A local runner keeps its ID in its data directory: its environments belong to that server alone.
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT runners_name CHECK (char_length(name) BETWEEN 1 AND 255 AND name !~ '[[:cntrl:]]'),
    CONSTRAINT runners_organization UNIQUE (id, organization_id)
);

CREATE TABLE environment_classes (
    id uuid PRIMARY KEY,
    runner_id uuid NOT NULL REFERENCES runners (id),
    display_name text NOT NULL,
    description text NOT NULL,
    -- Thousandths of a processor.
    cpu_millicores integer NOT NULL,
    memory_bytes bigint NOT NULL,
    processes integer NOT NULL,
    is_default boolean NOT NULL DEFAULT false,
    enabled boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT environment_classes_display_name
        CHECK (char_length(display_name) BETWEEN 1 AND 127 AND display_name !~ '[[:cntrl:]]'),
    CONSTRAINT environment_classes_limits CHECK (cpu_millicores > 0 AND memory_bytes > 0 AND processes > 0),
    -- A class that is not enabled cannot be what a request without a class gets.
    CONSTRAINT environment_classes_default_enabled CHECK (enabled OR NOT is_default),
    CONSTRAINT environment_classes_once UNIQUE (runner_id, display_name),
    CONSTRAINT environment_classes_runner UNIQUE (id, runner_id)
);

CREATE UNIQUE INDEX environment_classes_one_default ON environment_classes (runner_id) WHERE is_default;

CREATE TABLE environments (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL,
    creator_id uuid NOT NULL,
    created_by_token_id uuid NOT NULL REFERENCES personal_access_tokens (id),
    runner_id uuid NOT NULL,
    class_id uuid NOT NULL,
    name text NOT NULL,
    -- The URL that a person gave; none if it was no URL.
    context_url text,
    -- What is cloned; none for an empty workspace.
    remote_url text,
    upstream_url text,
    -- What is checked out.
    target text,
    -- The branch, tag or commit that the target names.
    target_name text,
    -- Where, below the workspace.
    checkout_location text,
    desired_phase text NOT NULL,
    phase text NOT NULL,
    -- Counts the changes of mind: a phase is written only by who decided on it knowing the last one.
    epoch bigint NOT NULL DEFAULT 1,
    status_version bigint NOT NULL DEFAULT 1,
    content_ready boolean NOT NULL DEFAULT false,
    branch text,
    commit text,
    failure_message text,
    warning_message text,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_started_at timestamptz,
    CONSTRAINT environments_creator
        FOREIGN KEY (creator_id, organization_id) REFERENCES principals (id, organization_id),
    CONSTRAINT environments_runner
        FOREIGN KEY (runner_id, organization_id) REFERENCES runners (id, organization_id),
    -- A class says where its environments run.
    CONSTRAINT environments_class
        FOREIGN KEY (class_id, runner_id) REFERENCES environment_classes (id, runner_id),
    CONSTRAINT environments_name CHECK (char_length(name) BETWEEN 1 AND 80 AND name !~ '[[:cntrl:]]'),
    -- Git is given nothing but https URLs, and none with a credential in it.
    CONSTRAINT environments_remote_url CHECK (remote_url ~ '^https://[^/@[:space:]]+/[^[:cntrl:][:space:]]+$' AND length(remote_url) <= 2048),
    CONSTRAINT environments_upstream_url CHECK (upstream_url ~ '^https://[^/@[:space:]]+/[^[:cntrl:][:space:]]+$' AND length(upstream_url) <= 2048),
    CONSTRAINT environments_target CHECK (target IN ('remote_head', 'remote_branch', 'local_branch', 'remote_commit', 'remote_tag')),
    CONSTRAINT environments_source CHECK ((remote_url IS NULL) = (target IS NULL)),
    CONSTRAINT environments_source_parts CHECK (
        remote_url IS NOT NULL
        OR (context_url IS NULL AND upstream_url IS NULL AND checkout_location IS NULL)
    ),
    CONSTRAINT environments_target_name CHECK ((coalesce(target, 'remote_head') <> 'remote_head') = (target_name IS NOT NULL)),
    CONSTRAINT environments_desired_phase CHECK (desired_phase IN ('running', 'stopped', 'deleted')),
    CONSTRAINT environments_phase CHECK (phase IN ('creating', 'starting', 'running', 'stopping', 'stopped', 'deleting')),
    -- Nothing runs before its files have come.
    CONSTRAINT environments_running_content CHECK (content_ready OR phase NOT IN ('starting', 'running', 'stopping')),
    CONSTRAINT environments_epoch CHECK (epoch > 0 AND status_version > 0),
    CONSTRAINT environments_messages CHECK (char_length(failure_message) <= 1000 AND char_length(warning_message) <= 1000)
);

CREATE INDEX environments_of_organization ON environments (organization_id, created_at DESC, id DESC);
CREATE INDEX environments_of_creator ON environments (creator_id, created_at DESC, id DESC);
-- What a reconciler has to look after.
CREATE INDEX environments_of_runner ON environments (runner_id) WHERE phase <> 'stopped' OR desired_phase <> 'stopped';

-- Wakes the reconciler of the runner. The payload is the runner's ID.
CREATE FUNCTION environments_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('latchkey_environments', NEW.runner_id::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER environments_notify_insert AFTER INSERT ON environments
    FOR EACH ROW EXECUTE FUNCTION environments_notify();
CREATE TRIGGER environments_notify_update AFTER UPDATE OF desired_phase, epoch ON environments
    FOR EACH ROW WHEN (OLD.epoch IS DISTINCT FROM NEW.epoch OR OLD.desired_phase IS DISTINCT FROM NEW.desired_phase)
    EXECUTE FUNCTION environments_notify();

-- Credentials for the operations of one environment: dead with it, with the token they were made with, and with its user.
CREATE TABLE environment_tokens (
    id uuid PRIMARY KEY,
    environment_id uuid NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    parent_token_id uuid NOT NULL REFERENCES personal_access_tokens (id),
    key_generation smallint NOT NULL REFERENCES signing_keys (generation),
    digest bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CONSTRAINT environment_tokens_digest CHECK (octet_length(digest) = 32),
    -- An hour at the most.
    CONSTRAINT environment_tokens_expires_at
        CHECK (CASE WHEN isfinite(created_at) AND isfinite(expires_at)
                    THEN expires_at > created_at AND expires_at - created_at <= interval '1 hour'
                    ELSE false END)
);

-- Those of a deleted environment, and those that have ended.
CREATE INDEX environment_tokens_of_environment ON environment_tokens (environment_id);
CREATE INDEX environment_tokens_expired ON environment_tokens (expires_at);

GRANT SELECT, INSERT ON runners TO latchkey_serving;
GRANT SELECT, INSERT ON environment_classes TO latchkey_serving;
GRANT SELECT, INSERT, UPDATE, DELETE ON environments TO latchkey_serving;
GRANT SELECT, INSERT, DELETE ON environment_tokens TO latchkey_serving;
