-- Tells every server what became of an environment, for those who watch. The payload is the organization's ID, the creator's, what
-- happened, and the environment's ID, with a space between them.

CREATE FUNCTION environments_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told environments := coalesce(NEW, OLD);
BEGIN
    PERFORM pg_notify('latchkey_events', concat_ws(' ', told.organization_id, told.creator_id, TG_ARGV[0], told.id));
    RETURN NULL;
END
$$;
CREATE TRIGGER environments_event_create AFTER INSERT ON environments
    FOR EACH ROW EXECUTE FUNCTION environments_event('create');
-- What is asked of it.
CREATE TRIGGER environments_event_update AFTER UPDATE OF name, desired_phase, annotations, session_id, archived_at ON environments
    FOR EACH ROW WHEN ((OLD.name, OLD.desired_phase, OLD.annotations, OLD.session_id, OLD.archived_at)
        IS DISTINCT FROM (NEW.name, NEW.desired_phase, NEW.annotations, NEW.session_id, NEW.archived_at))
    EXECUTE FUNCTION environments_event('update');
-- What became of it. Each version of a status is another status; what it fills of the disk is counted without a word.
CREATE TRIGGER environments_event_update_status AFTER UPDATE OF status_version ON environments
    FOR EACH ROW WHEN (OLD.status_version IS DISTINCT FROM NEW.status_version)
    EXECUTE FUNCTION environments_event('update_status');
CREATE TRIGGER environments_event_delete AFTER DELETE ON environments
    FOR EACH ROW EXECUTE FUNCTION environments_event('delete');
