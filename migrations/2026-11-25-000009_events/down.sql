DROP TRIGGER environments_event_create ON environments;
DROP TRIGGER environments_event_update ON environments;
DROP TRIGGER environments_event_update_status ON environments;
DROP TRIGGER environments_event_delete ON environments;
DROP FUNCTION environments_event();
