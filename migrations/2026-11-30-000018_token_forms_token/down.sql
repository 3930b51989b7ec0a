ALTER TABLE token_forms DROP COLUMN token_id;
