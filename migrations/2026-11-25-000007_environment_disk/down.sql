ALTER TABLE environments DROP COLUMN disk_bytes;
