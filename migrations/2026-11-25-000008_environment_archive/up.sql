-- Environments that are put aside: kept with their files, and not in anybody's way.

ALTER TABLE environments
    -- None while it is not archived.
    ADD COLUMN archived_at timestamptz,
    -- Nothing that is put aside runs, or will by itself.
    ADD CONSTRAINT environments_archived CHECK (archived_at IS NULL OR desired_phase <> 'running'),
    -- Pages begin after a time: one that is none cannot be read back.
    ADD CONSTRAINT environments_archived_at CHECK (isfinite(archived_at));
