ALTER TABLE environments DROP COLUMN archived_at;
