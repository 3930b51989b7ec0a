DROP INDEX audit_logs_of_actor_kind;
DROP INDEX audit_logs_of_subject_type;
