-- The audit log: append-only for the serving role, a partition for each month.

CREATE TABLE audit_logs (
    id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- None for what a stranger did.
    organization_id uuid,
    -- Principals, tokens and subjects are named, not referred to: what they were outlives them.
    actor_id uuid,
    actor_kind text NOT NULL,
    token_id uuid,
    action text NOT NULL,
    rpc text NOT NULL,
    subject_type text,
    subject_id uuid,
    outcome text NOT NULL,
    reason text NOT NULL DEFAULT '',
    peer inet,
    user_agent text,
    request_id uuid,
    -- More than 1 for reads and strangers' refusals, which are aggregated by minute.
    count bigint NOT NULL DEFAULT 1,
    -- By which a reader that follows the log knows what is still to be committed before it.
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- The partition key is part of every key of a partitioned table.
    PRIMARY KEY (id, created_at),
    CONSTRAINT audit_logs_actor_kind CHECK (actor_kind IN ('user', 'service_account', 'operator', 'stranger')),
    CONSTRAINT audit_logs_actor CHECK ((actor_id IS NOT NULL) = (actor_kind IN ('user', 'service_account'))),
    CONSTRAINT audit_logs_action CHECK (action ~ '^[a-z]+(_[a-z]+)*$'),
    CONSTRAINT audit_logs_subject CHECK ((subject_type IS NULL) = (subject_id IS NULL)),
    CONSTRAINT audit_logs_outcome CHECK (outcome IN ('succeeded', 'denied')),
    CONSTRAINT audit_logs_reason CHECK ((outcome = 'denied') = (reason <> '')),
    CONSTRAINT audit_logs_count CHECK (count > 0),
    CONSTRAINT audit_logs_user_agent CHECK (char_length(user_agent) <= 255)
) PARTITION BY RANGE (created_at);

CREATE INDEX audit_logs_of_organization ON audit_logs (organization_id, created_at DESC, id DESC);
CREATE INDEX audit_logs_of_actor ON audit_logs (actor_id, created_at DESC, id DESC);
CREATE INDEX audit_logs_of_subject ON audit_logs (subject_id, created_at DESC, id DESC);

-- Where entries go whose month has no partition: nothing is lost for want of one.
CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT;

-- Makes the partitions of this month and the next three. A month whose first entries already went to the default
-- partition stays there. Runs with the owner's rights, so that the serving role need not have them.
CREATE FUNCTION audit_logs_prepare_partitions() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
    -- Months are UTC's, whoever calls. Adding a partition waits for everybody who reads the log, and everybody who writes
    -- waits behind it: rather not now.
    SET search_path = pg_catalog, public SET timezone = 'UTC' SET lock_timeout = '200ms' AS $$
DECLARE
    first_day timestamptz;
    partition text;
BEGIN
    -- Two servers may start at once.
    PERFORM pg_advisory_xact_lock(hashtext('latchkey audit partitions'));
    FOR month IN 0..3 LOOP
        first_day := date_trunc('month', now(), 'UTC') + make_interval(months => month);
        partition := 'audit_logs_' || to_char(first_day AT TIME ZONE 'UTC', 'YYYY_MM');
        CONTINUE WHEN to_regclass('public.' || partition) IS NOT NULL;
        BEGIN
            EXECUTE format(
                'CREATE TABLE public.%I PARTITION OF public.audit_logs FOR VALUES FROM (%L) TO (%L)',
                partition, first_day, date_trunc('month', first_day + interval '32 days', 'UTC'));
        EXCEPTION WHEN check_violation THEN
            RAISE WARNING 'the entries of % stay in the default partition', partition;
        END;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION audit_logs_prepare_partitions() FROM PUBLIC;
SELECT audit_logs_prepare_partitions();

-- What is counted until its minute is over, then written to the log: reads of a token, and strangers' refusals of a peer.
CREATE TABLE audit_tallies (
    minute timestamptz NOT NULL,
    organization_id uuid,
    actor_id uuid,
    actor_kind text NOT NULL,
    token_id uuid,
    action text NOT NULL,
    rpc text NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL DEFAULT '',
    peer inet,
    user_agent text,
    count bigint NOT NULL,
    CONSTRAINT audit_tallies_count CHECK (count > 0),
    CONSTRAINT audit_tallies_key UNIQUE NULLS NOT DISTINCT (minute, token_id, actor_id, action, rpc, outcome, reason, peer)
);

GRANT SELECT, INSERT ON audit_logs TO latchkey_serving;
GRANT SELECT, INSERT, DELETE, UPDATE (count) ON audit_tallies TO latchkey_serving;
GRANT EXECUTE ON FUNCTION audit_logs_prepare_partitions() TO latchkey_serving;
