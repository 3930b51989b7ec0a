-- What clients note with their environments, and the session that they say an environment belongs to.

ALTER TABLE environments
    -- An object of texts, kept as it came: nothing here reads it.
    ADD COLUMN annotations jsonb NOT NULL DEFAULT '{}',
    -- Of the client's choosing; empty for none.
    ADD COLUMN session_id text NOT NULL DEFAULT '',
    -- Notes, not files: whoever lists environments reads them all.
    ADD CONSTRAINT environments_annotations
        CHECK (jsonb_typeof(annotations) = 'object' AND octet_length(annotations::text) <= 65536),
    ADD CONSTRAINT environments_session_id CHECK (char_length(session_id) <= 255 AND session_id !~ '[[:cntrl:]]');
