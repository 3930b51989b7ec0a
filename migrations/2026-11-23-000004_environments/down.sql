DROP TABLE environment_tokens;
DROP TABLE environments;
DROP FUNCTION environments_notify();
DROP TABLE environment_classes;
DROP TABLE runners;
