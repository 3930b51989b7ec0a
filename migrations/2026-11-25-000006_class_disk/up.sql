-- How much disk an environment of a class may fill.

ALTER TABLE environment_classes
    -- 10 GiB, for servers that do not know this column yet.
    ADD COLUMN disk_bytes bigint NOT NULL DEFAULT 10737418240,
    -- Without any there is no room for the first file.
    ADD CONSTRAINT environment_classes_disk CHECK (disk_bytes > 0);

-- The classes that local runners have from the start.
UPDATE environment_classes SET disk_bytes = 21474836480 WHERE display_name = 'Regular';
UPDATE environment_classes SET disk_bytes = 42949672960 WHERE display_name = 'Large';
UPDATE environment_classes SET description = format('%s, %s GiB of disk', description, disk_bytes >> 30)
    WHERE description ~ '^[124] CPUs?, [248] GiB of memory$';
