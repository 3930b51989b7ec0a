-- What environments fill of the disk.

ALTER TABLE environments
    -- As it was last counted: after its clone, now and then while it runs, and when it was stopped.
    ADD COLUMN disk_bytes bigint NOT NULL DEFAULT 0,
    -- They are added up against limits: nothing may count against the others.
    ADD CONSTRAINT environments_disk CHECK (disk_bytes >= 0);
