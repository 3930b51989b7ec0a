-- Servers are told whatever the session is set to in which somebody changes credentials by hand: `session_replication_role` keeps no trigger
-- below from firing, and `search_path` leads none of their functions astray.

ALTER TABLE personal_access_tokens ENABLE ALWAYS TRIGGER personal_access_tokens_tell_update;
ALTER TABLE personal_access_tokens ENABLE ALWAYS TRIGGER personal_access_tokens_tell_delete;
ALTER TABLE personal_access_tokens ENABLE ALWAYS TRIGGER personal_access_tokens_tell_truncate;
ALTER TABLE principals ENABLE ALWAYS TRIGGER principals_tell_update;
ALTER TABLE principals ENABLE ALWAYS TRIGGER principals_tell_delete;
ALTER TABLE principals ENABLE ALWAYS TRIGGER principals_tell_truncate;
ALTER TABLE signing_keys ENABLE ALWAYS TRIGGER signing_keys_tell_update;
ALTER TABLE signing_keys ENABLE ALWAYS TRIGGER signing_keys_tell_delete;
ALTER TABLE signing_keys ENABLE ALWAYS TRIGGER signing_keys_tell_truncate;
ALTER TABLE environment_tokens ENABLE ALWAYS TRIGGER environment_tokens_tell_update;
ALTER TABLE environment_tokens ENABLE ALWAYS TRIGGER environment_tokens_tell_delete;
ALTER TABLE environment_tokens ENABLE ALWAYS TRIGGER environment_tokens_tell_truncate;
ALTER TABLE environments ENABLE ALWAYS TRIGGER environments_tell_update;

DO $$
DECLARE
    told regprocedure;
BEGIN
    FOREACH told IN ARRAY ARRAY[
        'verification_tell(text, uuid[])',
        'verification_tell_all()',
        'personal_access_tokens_tell()',
        'principals_tell()',
        'environment_tokens_tell()',
        'environments_tell()'
    ]::regprocedure[] LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', told, current_schema());
    END LOOP;
END
$$;
