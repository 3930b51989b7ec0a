ALTER TABLE environments DROP COLUMN annotations, DROP COLUMN session_id;
