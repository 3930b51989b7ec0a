-- The role stays: other databases of the cluster may use it.
DROP TABLE principals;
DROP TABLE organizations;
