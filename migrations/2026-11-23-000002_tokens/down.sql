DROP TABLE token_last_used;
DROP TABLE personal_access_tokens;
DROP FUNCTION personal_access_tokens_keep();
DROP TABLE signing_keys;
