DROP TABLE login_requests;
DROP FUNCTION login_requests_keep();
