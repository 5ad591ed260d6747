-- Audit trails: one chain of entries for each tenant, and one for the house (tenant 0).

CREATE TABLE trail (
    tenant          INTEGER NOT NULL,
    seq             INTEGER NOT NULL,                  -- from 1, without gaps
    at              INTEGER NOT NULL,                  -- these three repeat what stands in the text
    action          TEXT    NOT NULL,
    recording       BLOB,
    hash            BLOB    NOT NULL,                  -- SHA-256 over its place, the hash before it, and the text
    text            TEXT    NOT NULL,                  -- JSON; precisely these bytes are hashed
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;

CREATE INDEX trail_by_recording ON trail (tenant, recording, seq) WHERE recording IS NOT NULL;
CREATE INDEX trail_by_action    ON trail (tenant, action, seq);
CREATE INDEX trail_by_time      ON trail (tenant, at, seq);

CREATE TABLE trail_head (
    tenant          INTEGER NOT NULL PRIMARY KEY,
    seq             INTEGER NOT NULL,
    hash            BLOB    NOT NULL
) STRICT;

CREATE TABLE trail_checkpoint (
    tenant          INTEGER NOT NULL,
    seq             INTEGER NOT NULL,                  -- the head that it is about
    jws             TEXT    NOT NULL,                  -- RFC 7515, compact
    PRIMARY KEY (tenant, seq)
) STRICT, WITHOUT ROWID;
