DROP TABLE audit_tallies;
DROP TABLE audit_logs;
DROP FUNCTION audit_logs_prepare_partitions();
