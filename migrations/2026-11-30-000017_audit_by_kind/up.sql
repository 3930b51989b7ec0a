-- The log of what was done to one kind of thing, or by one kind of principal, of which there may be nothing among millions of entries. Of the
-- whole table only, which takes no time; each partition's own is built while others go on (store/indexes.rs), and whatever partition is
-- made from now on comes with one.
CREATE INDEX audit_logs_of_subject_type ON ONLY audit_logs (organization_id, subject_type, created_at DESC, id DESC);
CREATE INDEX audit_logs_of_actor_kind ON ONLY audit_logs (organization_id, actor_kind, created_at DESC, id DESC);
