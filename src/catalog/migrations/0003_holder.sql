-- Several servers over one catalog, each with a spool of its own: which one holds what the object store has not.

ALTER TABLE recording ADD COLUMN holder TEXT;         -- the replica that receives or spools it; NULL: nobody
ALTER TABLE replica ADD COLUMN url TEXT;              -- where other replicas reach it; NULL: nowhere
ALTER TABLE replica ADD COLUMN seen_at INTEGER;       -- its last sign of life

CREATE INDEX recording_by_holder ON recording (holder, state, id) WHERE holder IS NOT NULL;
