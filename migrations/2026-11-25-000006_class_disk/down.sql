UPDATE environment_classes SET description = regexp_replace(description, ', \d+ GiB of disk$', '');
ALTER TABLE environment_classes DROP COLUMN disk_bytes;
